"""Small networks and batches that the tests of the losses share, as fixtures that build."""

import copy
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.modules import MLP, ProbabilisticActor, ValueOperator

from torchrl_mixture.modules import mixture_actor
from torchrl_mixture.objectives import MixtureSACLoss

OBSERVATION, ACTION = 3, 2


def _actor(num_components: int = 3, action_size: int = ACTION, **kwargs) -> ProbabilisticActor:
    spec = Composite(observation=Unbounded((OBSERVATION,), dtype=torch.get_default_dtype()))
    action_spec = Bounded(-1.5, 1.0, (action_size,), dtype=torch.get_default_dtype())
    kwargs = {"num_cells": (8,), "observation_spec": spec, **kwargs}
    return mixture_actor(action_spec, num_components, **kwargs)


def _critic(action_size: int = ACTION, **kwargs) -> ValueOperator:
    net = MLP(OBSERVATION + action_size, 1, num_cells=[8], activation_class=nn.ReLU)
    return ValueOperator(net, in_keys=["observation", "action"], **kwargs)


def _critics(number: int = 2, action_size: int = ACTION, **kwargs) -> list[ValueOperator]:
    return [_critic(action_size, **kwargs) for _ in range(number)]


def _loss(
    estimator: str | nn.Module = "half",
    num_components: int = 3,
    *,
    actor: ProbabilisticActor | None = None,
    critics: nn.Module | list[nn.Module] | None = None,
    gamma: float = 0.9,
    **kwargs,
) -> MixtureSACLoss:
    actor = _actor(num_components) if actor is None else actor
    critics = _critics(kwargs.get("num_qvalue_nets", 2)) if critics is None else critics
    kwargs.setdefault("loss_function", "l2")
    loss = MixtureSACLoss(actor, critics, gradient_estimator=estimator, **kwargs)
    loss.make_value_estimator(gamma=gamma)
    return loss


def _batch(*shape: int, action_size: int = ACTION) -> TensorDict:
    shape = shape or (16,)
    terminated = torch.rand(*shape, 1) < 0.3
    following = {
        "observation": torch.randn(*shape, OBSERVATION),
        "reward": torch.randn(*shape, 1),
        "terminated": terminated,
        "done": terminated | (torch.rand(*shape, 1) < 0.3),
    }
    content = {
        "observation": torch.randn(*shape, OBSERVATION),
        "action": torch.rand(*shape, action_size) * 2.3 - 1.4,
        "next": TensorDict(following, shape),
    }
    return TensorDict(content, shape)


def _losses(output: TensorDict) -> Tensor:
    """Everything that is to be minimised, in one scalar."""
    return sum(value.sum() for key, value in output.items() if key.startswith("loss"))


def _step(loss: nn.Module, batch: TensorDict, seed: int = 1) -> tuple[TensorDict, dict]:
    """What a loss returns for a seed, and the gradients by name."""
    loss.zero_grad()
    torch.manual_seed(seed)
    output = loss(batch)
    _losses(output).backward()
    gradients = {
        name: copy.deepcopy(parameter.grad)
        for name, parameter in loss.named_parameters()
        if parameter.grad is not None
    }
    return output, gradients


@pytest.fixture
def make_actor() -> Callable[..., ProbabilisticActor]:
    return _actor


@pytest.fixture
def make_critics() -> Callable[..., list[ValueOperator]]:
    return _critics


@pytest.fixture
def make_loss() -> Callable[..., MixtureSACLoss]:
    return _loss


@pytest.fixture
def make_batch() -> Callable[..., TensorDict]:
    return _batch


@pytest.fixture
def run() -> SimpleNamespace:
    """``run.step(loss, batch)`` and ``run.total(output)``."""
    return SimpleNamespace(step=_step, total=_losses)
