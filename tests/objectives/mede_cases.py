"""Losses of latent policies, and batches in which a latent acted."""

from __future__ import annotations

import torch
from tensordict import TensorDict
from torch import nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.modules import ProbabilisticActor, ValueOperator

from torchrl_mixture.modules import Discriminator, latent_actor, latent_critic
from torchrl_mixture.objectives import MEDELoss

Z = 3
OUT_KEYS = ["loss_actor", "loss_qvalue", "loss_alpha", "alpha", "entropy"]
LOSSES = OUT_KEYS[:3]


def action_spec() -> Bounded:
    return Bounded(torch.tensor([-1.5, -2.0]), torch.tensor([1.0, 1.5]))


def observation_spec() -> Composite:
    return Composite(observation=Unbounded((3,)))


def make_actor(num_latents: int = Z, **kwargs: object) -> ProbabilisticActor:
    kwargs = {"num_cells": (8,), "observation_spec": observation_spec(), **kwargs}
    return latent_actor(action_spec(), num_latents, **kwargs)


def make_critics(num_latents: int = Z, number: int = 2, **kwargs: object) -> list[ValueOperator]:
    kwargs = {"num_cells": (8,), "observation_spec": observation_spec(), **kwargs}
    return [latent_critic(action_spec(), num_latents, **kwargs) for _ in range(number)]


def make_discriminator(
    num_latents: int = Z, form: str = "state_action", **kwargs: object
) -> Discriminator:
    kwargs = {"num_cells": (8,), "activation_class": nn.Tanh, **kwargs}
    action = action_spec() if form == "state_action" else None
    return Discriminator(num_latents, action, observation_spec=observation_spec(), **kwargs)


def make_loss(
    diversity: str = "mede",
    num_latents: int = Z,
    *,
    actor: ProbabilisticActor | None = None,
    critics: nn.Module | list[nn.Module] | None = None,
    discriminator: Discriminator | None = None,
    gamma: float = 0.9,
    **kwargs: object,
) -> MEDELoss:
    number = kwargs.get("num_qvalue_nets", 2)
    actor = make_actor(num_latents) if actor is None else actor
    critics = make_critics(num_latents, number) if critics is None else critics
    if discriminator is None:
        form = "state_action" if diversity == "mede" else "state"
        discriminator = make_discriminator(num_latents, form)
    kwargs.setdefault("loss_function", "l2")
    loss = MEDELoss(actor, critics, discriminator=discriminator, diversity=diversity, **kwargs)
    loss.make_value_estimator(gamma=gamma)
    return loss


def one_hot(shape: tuple[int, ...], num_latents: int = Z) -> torch.Tensor:
    return torch.eye(num_latents)[torch.randint(num_latents, shape)]


def with_latents(batch: TensorDict, num_latents: int = Z) -> TensorDict:
    """The latent that acted; the next state's is another draw, so that the two can be told."""
    batch["latent"] = one_hot(batch.shape, num_latents)
    batch["next", "latent"] = one_hot(batch.shape, num_latents)
    return batch


def copy_state(source: nn.Module, target: nn.Module) -> None:
    """Parameters and buffers by name, where both have them."""
    own = {**dict(target.named_parameters()), **dict(target.named_buffers())}
    for name, value in [*source.named_parameters(), *source.named_buffers()]:
        if name in own:
            own[name].data.copy_(value)


def shift(params: TensorDict) -> None:
    for parameter in params.values(True, True):
        parameter.data.add_(1)


def expected_in_keys() -> set:
    following = ("observation", "latent", "reward", "done", "terminated")
    return {"observation", "action", "latent", *(("next", key) for key in following)}


def keywords(batch: TensorDict) -> dict[str, torch.Tensor]:
    """A batch as ``dispatch`` takes it."""
    here = {key: batch[key] for key in batch.keys() if key != "next"}
    return here | {f"next_{key}": value for key, value in batch["next"].items()}
