"""Losses of several means, and what they are compared with: TorchRL's loss of one of the means."""

from __future__ import annotations

import copy

import torch
from tensordict.nn import TensorDictModule, TensorDictModuleBase, TensorDictSequential
from torch import nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.modules import MLP, ValueOperator
from torchrl.objectives import TD3Loss

from torchrl_mixture.modules import MeanActors
from torchrl_mixture.objectives import GamidLoss

TD3_KEYS = ["loss_actor", "loss_qvalue", "pred_value", "target_value", "next_state_value"]
DIAGNOSTICS = ["divergence", "component_distance", "effective_components"]
OUT_KEYS = {*TD3_KEYS, "state_action_value_actor", *DIAGNOSTICS}


def action_spec() -> Bounded:
    low, high = torch.tensor([-1.5, -2.0]), torch.tensor([1.0, 0.5])
    return Bounded(low, high)


def make_means(num_components: int = 3, num_cells: tuple[int, ...] = (8,)) -> MeanActors:
    spec = Composite(observation=Unbounded((3,)))
    return MeanActors(action_spec(), num_components, observation_spec=spec, num_cells=num_cells)


def make_critics(number: int = 2, **keys: list) -> list[ValueOperator]:
    keys = {"in_keys": ["observation", "action"], **keys}
    nets = [MLP(5, 1, num_cells=[8], activation_class=nn.Tanh) for _ in range(number)]
    return [ValueOperator(net, **keys) for net in nets]


def make_loss(
    num_components: int = 3,
    *,
    actor: MeanActors | None = None,
    critics: nn.Module | list[nn.Module] | None = None,
    gamma: float = 0.9,
    **kwargs: object,
) -> GamidLoss:
    actor = make_means(num_components) if actor is None else actor
    critics = make_critics(kwargs.get("num_qvalue_nets", 2)) if critics is None else critics
    kwargs = {"action_spec": action_spec(), "loss_function": "l2", **kwargs}
    loss = GamidLoss(actor, critics, **kwargs)
    loss.make_value_estimator(gamma=gamma)
    return loss


def one_mean(actor: MeanActors, component: int = 0) -> TensorDictModuleBase:
    """A deterministic actor of TorchRL's kind: one of the means."""
    pick = TensorDictModule(lambda means: means[..., component, :], ["means"], ["action"])
    return TensorDictSequential(actor, pick)


def stock_loss(
    actor: MeanActors, critics: list[nn.Module], component: int = 0, **kwargs: object
) -> TD3Loss:
    actor = one_mean(copy.deepcopy(actor), component)
    loss = TD3Loss(actor, copy.deepcopy(critics), **kwargs)
    loss.make_value_estimator(gamma=0.9)
    return loss


def perturb(params: object, scale: float = 0.3, seed: int = 5) -> None:
    """Move weights and biases by noise, the same for every loss of the same shapes."""
    generator = torch.Generator().manual_seed(seed)
    for name in sorted(params.keys(True, True), key=str):
        value = params[name]
        if "centre" not in str(name) and "half_width" not in str(name):
            noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            value.data.add_(scale * noise)


def member(params: object, network: nn.Module, index: int) -> nn.Module:
    """One critic of an ensemble, as a module of its own."""
    critic = copy.deepcopy(network)
    params.data[index].clone().to_module(critic)
    return critic
