"""A latent value for every episode."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torchrl.data import OneHot
from torchrl.envs import TensorDictPrimer

from torchrl_mixture.modules.specs import check_num_latents

__all__ = ["LatentPrimer"]


class LatentPrimer(TensorDictPrimer):
    r"""Draw a latent at every reset and keep it through the episode.

    .. math::
        z \sim \text{Uniform}\{0, \dots, Z - 1\}

    An environment transform that writes ``"latent"``, one-hot ``[*B, Z]`` of the default dtype,
    and the same under ``("next", "latent")``. Each copy of a batch of environments has a latent
    of its own, drawn from torch's global generator when that copy is reset.

    Arguments:
        num_latents: the number of values :math:`Z`.
        latent: always this value, between 0 and :math:`Z - 1`, in place of a draw.

    Raises:
        ValueError: where there is no value to draw, or ``latent`` is none of them.

    Example:
        >>> from torchrl.envs import GymEnv
        >>> env = GymEnv("Pendulum-v1").append_transform(LatentPrimer(4, latent=3))
        >>> env.rollout(2)["latent"]
        tensor([[0., 0., 0., 1.],
                [0., 0., 0., 1.]])
    """

    def __init__(self, num_latents: int, *, latent: int | None = None) -> None:
        check_num_latents(num_latents)
        if latent is not None and not 0 <= latent < num_latents:
            raise ValueError(
                f"latent must be None or at least 0 and below num_latents = {num_latents}, "
                f"got {latent}."
            )
        spec = OneHot(num_latents, dtype=torch.get_default_dtype())
        super().__init__({"latent": spec}, random=True, expand_specs=True)
        self.latent = latent

    def _reset(
        self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase
    ) -> TensorDictBase:
        tensordict_reset = super()._reset(tensordict, tensordict_reset)
        # By hand: a spec whose mask allows one value cannot check floating-point values.
        if self.latent is not None:
            chosen = torch.zeros_like(tensordict_reset["latent"])
            chosen[..., self.latent] = 1
            tensordict_reset.set("latent", chosen)
        return tensordict_reset
