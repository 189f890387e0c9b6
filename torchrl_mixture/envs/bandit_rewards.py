"""Rewards of the papers' bandits, as functions of the action."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BIMODAL_MEANS, BIMODAL_STD = (-1.0, 1.0), 0.5
BIMODAL_CONSTANT = 0.798152943213875  # the greatest sum of the two densities, at |a| = 0.99933

BOX = 3.0  # of the random bandits: their means lie in it
NUM_PEAKS = 30
_GRID = 1501
_CANDIDATES = 4  # peaks that are looked at more closely, as the grid may mistake near ties
_ZOOM = 65


def _normal_density(action: Tensor, mean: Tensor | float, std: Tensor | float) -> Tensor:
    z = (action - mean) / std
    return torch.exp(-0.5 * z.square()) / (std * math.sqrt(2 * math.pi))


def bimodal_reward(action: Tensor) -> Tensor:
    r"""Reward with two equal modes.

    .. math::
        r(a) = \frac{\mathcal N(a; -1, 0.5^2) + \mathcal N(a; 1, 0.5^2)}{c}

    The constant :math:`c = 0.79815` makes the greatest reward 1. The paper says "normalised" and
    no more; of a peak of 1, a mass of 1 and no constant at all, only the first agrees with its
    figure 1.

    Arguments:
        action: :math:`a`, any real number, ``[*B]``.

    Returns:
        ``[*B]``, in (0, 1].

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), section 3.3
        and appendix C.

    Example:
        >>> bimodal_reward(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([1.0000, 0.2706, 1.0000])
    """
    left, right = (_normal_density(action, mean, BIMODAL_STD) for mean in BIMODAL_MEANS)
    return (left + right) / BIMODAL_CONSTANT


@dataclass(frozen=True)
class RandomRewards:
    r"""A family of rewards with many modes.

    .. math::
        r(a) = \frac 1c \sum_{i=1}^{30} \mathcal N(a; m_i, s_i^2), \qquad
        m_i \sim U[-3, 3], \quad s_i \sim U[0.1, 1]

    The paper leaves :math:`c` and the range of actions open. Ours: the greatest reward in the
    box [-3, 3] is 1, as in :func:`bimodal_reward`.

    Arguments:
        means: :math:`m`, ``[N, 30]``.
        stds: :math:`s`, ``[N, 30]``.
        scale: :math:`c`, ``[N]``.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), section 5.3.

    Example:
        >>> rewards = RandomRewards.draw(num_bandits=100, seed=0)
        >>> rewards(torch.zeros(32, 100)).shape
        torch.Size([32, 100])
    """

    means: Tensor
    stds: Tensor
    scale: Tensor

    @classmethod
    def draw(cls, num_bandits: int, seed: int, dtype: torch.dtype | None = None) -> RandomRewards:
        """Draw a family.

        Arguments:
            num_bandits: :math:`N`; a longer family begins with a shorter one of the same seed.
            seed: of the family.
            dtype: of its tensors; PyTorch's default by default.
        """
        generator = torch.Generator().manual_seed(seed)
        options: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
        unit = torch.rand(num_bandits, 2, NUM_PEAKS, generator=generator, **options)
        means, stds = 2 * BOX * unit[:, 0] - BOX, 0.1 + 0.9 * unit[:, 1]
        one = torch.ones(num_bandits, **options)
        dtype = dtype or torch.get_default_dtype()
        scale = cls(means, stds, one).peak()
        return cls(means.to(dtype), stds.to(dtype), scale.to(dtype))

    def __call__(self, action: Tensor) -> Tensor:
        """Give the rewards.

        Arguments:
            action: one action of each bandit, ``[*B, N]``.

        Returns:
            ``[*B, N]``.
        """
        return _normal_density(action.unsqueeze(-1), self.means, self.stds).sum(-1) / self.scale

    def peak(self) -> Tensor:
        """Find the greatest reward of each bandit, to 1e-10 of it, ``[N]``.

        The means lie in the box, so that no reward is greater outside.
        """
        grid = torch.linspace(-BOX, BOX, _GRID, dtype=self.means.dtype, device=self.means.device)
        parts = grid.unsqueeze(-1).expand(-1, len(self.means)).split(_GRID // 5)
        values = torch.cat([self(part) for part in parts])
        inner = values[1:-1]
        peaks = torch.where((inner >= values[:-2]) & (inner >= values[2:]), inner, 0.0)
        centre = grid[1 + peaks.topk(_CANDIDATES, 0).indices]
        offsets = torch.linspace(-1, 1, _ZOOM, dtype=grid.dtype, device=grid.device)
        reach = 2 * BOX / (_GRID - 1)
        for _ in range(3):
            near = centre + reach * offsets[:, None, None]
            best = self(near).max(0)
            centre = near.gather(0, best.indices.unsqueeze(0)).squeeze(0)
            reach *= 2 / (_ZOOM - 1)
        return best.values.amax(0)


def continuous_bandit_reward(action: Tensor) -> Tensor:
    r"""Reward with a narrow global mode on the left and a wide local one on the right.

    .. math::
        r(a) = \max\left(0,\, 1.1 - 18 (2a + 1.2)^2\right)
             + \max\left(0,\, 0.5 - 0.125 (2a - 1.75)^2\right) [a < 0.875]

    The global mode is at :math:`a = -0.6`, 1.1 high and 0.25 wide; the local one climbs to 0.5 at
    0.875 and falls to 0 there.

    Arguments:
        action: :math:`a`, in [-1, 1], ``[*B]``.

    Returns:
        ``[*B]``, in [0, 1.1].

    Source:
        Huang et al. (2023), "Reparameterized Policy Learning for Multimodal Trajectory
        Optimization", figure 4, by the authors' code; used by Dey and Sharon (2025), figure 1.

    Example:
        >>> continuous_bandit_reward(torch.tensor([-0.6, 0.0, 0.87, 0.88]))
        tensor([1.1000, 0.1172, 0.5000, 0.0000])
    """
    narrow = (1.1 - 18 * (2 * action + 1.2).square()).clamp(min=0)
    wide = (0.5 - 0.125 * (2 * action - 1.75).square()).clamp(min=0)
    return narrow + torch.where(action < 0.875, wide, 0.0)
