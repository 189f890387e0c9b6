"""Losses of mixtures with component critics, and the names and batches that they use."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from tensordict import TensorDict
from torch import nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.modules import ProbabilisticActor

from torchrl_mixture.modules import ComponentCritic, mixture_actor
from torchrl_mixture.objectives import SACMLoss

K, ALPHA, GAMMA = 3, 0.3, 0.9
LOSSES = ["loss_actor", "loss_qvalue", "loss_alpha"]
DIAGNOSTICS = ["weight_entropy", "effective_components", "component_information"]
OUT_KEYS = [*LOSSES, "alpha", "entropy", *DIAGNOSTICS]
LOW, HIGH = (-1.5, -2.0), (1.0, 1.5)


def action_spec() -> Bounded:
    return Bounded(torch.tensor(LOW), torch.tensor(HIGH))


def observation_spec() -> Composite:
    return Composite(observation=Unbounded((3,)))


def make_actor(num_components: int = K, **kwargs: object) -> ProbabilisticActor:
    kwargs = {"num_cells": (8,), "observation_spec": observation_spec(), **kwargs}
    return mixture_actor(action_spec(), num_components, **kwargs)


def make_critics(values: int = K, number: int = 2, **kwargs: object) -> list[ComponentCritic]:
    kwargs = {"num_cells": (8,), "observation_spec": observation_spec(), **kwargs}
    return [ComponentCritic(action_spec(), values, **kwargs) for _ in range(number)]


def make_loss(
    num_components: int = K,
    *,
    actor: ProbabilisticActor | None = None,
    critics: nn.Module | list[nn.Module] | None = None,
    gamma: float = GAMMA,
    **kwargs: object,
) -> SACMLoss:
    number = kwargs.get("num_qvalue_nets", 2)
    actor = make_actor(num_components) if actor is None else actor
    critics = make_critics(num_components, number) if critics is None else critics
    kwargs = {"loss_function": "l2", "alpha_init": ALPHA, **kwargs}
    loss = SACMLoss(actor, critics, **kwargs)
    loss.make_value_estimator(gamma=gamma)
    return loss


def with_masks(batch: TensorDict, num_components: int = K) -> TensorDict:
    """Masks of none, some and all of the components."""
    return batch.set("component_mask", torch.rand(*batch.shape, num_components) < 0.5)


def shift(params: TensorDict) -> None:
    for parameter in params.values(True, True):
        parameter.data.add_(1)


def perturb(params: TensorDict) -> None:
    for parameter in params.values(True, True):
        parameter.data.add_(0.5 * torch.randn_like(parameter))


def copy_state(source: nn.Module, target: nn.Module) -> None:
    """Parameters and buffers in their order, whatever their names."""
    for ours, theirs in (
        (source.parameters(), target.parameters()),
        (source.buffers(), target.buffers()),
    ):
        for value, own in zip(ours, theirs, strict=True):
            own.data.copy_(value)


def unstack(loss: SACMLoss) -> Iterator[nn.Module]:
    """The critics, each with its own parameters."""
    for params in loss.qvalue_network_params.unbind(0):
        critic = copy.deepcopy(loss.qvalue_network)
        params.data.to_module(critic)
        yield critic


def keywords(batch: TensorDict) -> dict[str, torch.Tensor]:
    """A batch as ``dispatch`` takes it."""
    here = {key: batch[key] for key in batch.keys() if key != "next"}
    return here | {f"next_{key}": value for key, value in batch["next"].items()}
