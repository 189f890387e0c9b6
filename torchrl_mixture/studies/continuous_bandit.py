r"""Who finds the narrow global mode of a bandit with a wide local one?

The learners are those of :mod:`~torchrl_mixture.studies.bandit_learners`.

Source:
    Dey and Sharon (2025), figure 1, with the settings of Huang et al. (2023), "Reparameterized
    Policy Learning for Multimodal Trajectory Optimization", by the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from torchrl_mixture.analysis.statistics import wilson_interval
from torchrl_mixture.studies.bandit_learners import LEARNERS

__all__ = ["BanditResult", "train_learner"]

GLOBAL_MODE, GLOBAL_HALF_WIDTH = -0.6, math.sqrt(1.1 / 18) / 2
MOMENTS = (0, 500, 2000, 5000, 8000, 12_000)


@dataclass(frozen=True)
class BanditResult:
    r"""What a learner's policies did in training.

    A seed has found the global mode where the densest action of its last policy lies in the
    mode's support, :math:`|a + 0.6| < 0.1236` (ours).

    Arguments:
        learner: its name.
        moments: updates after which the density was taken, :math:`T` of them.
        action: the grid, ``[G]``.
        density: ``[T, S, G]``.
    """

    learner: str
    moments: tuple[int, ...]
    action: Tensor
    density: Tensor

    @property
    def mode(self) -> Tensor:
        """The densest action at the last moment, ``[S]``."""
        return self.action[self.density[-1].argmax(-1)]

    @property
    def found(self) -> Tensor:
        """Whether a seed has found the global mode, ``[S]``."""
        return (self.mode - GLOBAL_MODE).abs() < GLOBAL_HALF_WIDTH

    def summary(self) -> dict[str, str | float | int]:
        """The share of seeds that found the global mode, with its 95 % Wilson interval."""
        successes, trials = int(self.found.sum()), len(self.found)
        low, high = wilson_interval(successes, trials)
        return {
            "learner": self.learner,
            "found": successes,
            "seeds": trials,
            "share": successes / trials,
            "low": low,
            "high": high,
            "median_mode": float(self.mode.median()),
        }

    def table(self) -> pd.DataFrame:
        """Density of every seed at every moment, a row for every tenth point of the grid."""
        action, density = self.action[::10], self.density[..., ::10]
        levels = [[self.learner], self.moments, range(len(self.found)), action.tolist()]
        index = pd.MultiIndex.from_product(levels, names=["learner", "step", "seed", "action"])
        return pd.DataFrame({"density": density.flatten().numpy()}, index).reset_index()


def train_learner(
    name: str, *, num_seeds: int = 20, moments: Sequence[int] = MOMENTS, seed: int = 0
) -> BanditResult:
    """Train one learner on the continuous bandit.

    PyTorch's global generator is left as it was. The same arguments give the same numbers.

    Arguments:
        name: one of ``LEARNERS``.
        num_seeds: policies, trained together.
        moments: updates after which to take the density; the last one ends the training.
        seed: of initial means and actions.

    Returns:
        the densities, on 2001 actions.

    Raises:
        ValueError: where the learner is unknown.

    Example:
        >>> result = train_learner("TD3/DDPG", num_seeds=3, moments=(0, 100))
        >>> result.density.shape
        torch.Size([2, 3, 2001])
    """
    if name not in LEARNERS:
        raise ValueError(f"name must be one of {sorted(LEARNERS)}, got {name!r}.")
    # Not the edges themselves, where a squashed policy may have no finite density.
    action = torch.linspace(-1, 1, 2003)[1:-1]
    densities = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learner = LEARNERS[name](num_seeds)
        for start, end in zip((0, *moments), moments, strict=False):
            for step in range(start, end):
                learner.update(step)
            densities.append(learner.density(action))
    return BanditResult(name, tuple(moments), action, torch.stack(densities))
