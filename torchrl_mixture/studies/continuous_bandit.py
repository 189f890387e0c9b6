r"""Who finds the narrow global mode of a bandit with a wide local one?

"Lightweight" learners, without a critic and without a buffer: each update draws fresh actions and
takes their true rewards. All seeds are trained as one batch of tensors.

A further learner is one more subclass of :class:`BanditLearner`.

Source:
    Dey and Sharon (2025), figure 1, with the settings of Huang et al. (2023), "Reparameterized
    Policy Learning for Multimodal Trajectory Optimization", by the authors' code.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from torchrl_mixture.analysis.statistics import wilson_interval
from torchrl_mixture.distributions import TanhNormalMixture
from torchrl_mixture.envs.bandit_rewards import continuous_bandit_reward
from torchrl_mixture.objectives.estimators import GradientEstimator
from torchrl_mixture.studies.shared_baseline import SharedHalfReparam, SharedLikelihood

__all__ = [
    "LEARNERS",
    "BanditLearner",
    "BanditResult",
    "DeterministicLearner",
    "SACLearner",
    "train_learner",
]

GLOBAL_MODE, GLOBAL_HALF_WIDTH = -0.6, math.sqrt(1.1 / 18) / 2
INITIAL_SPREAD = 0.05  # of the initial means over seeds, before the tanh; ours
MOMENTS = (0, 500, 2000, 5000, 8000, 12_000)


class BanditLearner(ABC):
    """What a learner of the bandit does: begin, update, and show its policy.

    Its parameters have a leading axis of seeds, ``[S]``, and do not mix them.
    """

    @abstractmethod
    def update(self, step: int) -> None:
        """Update all seeds once.

        Arguments:
            step: updates made before.
        """

    @abstractmethod
    def density(self, action: Tensor) -> Tensor:
        """Density of the policy's actions.

        Arguments:
            action: inside (-1, 1), ``[G]``.

        Returns:
            ``[S, G]``.
        """


class SACLearner(BanditLearner):
    r"""SAC's actor with the true reward in place of a critic.

    .. math::
        \max_\pi\; w\, \mathbb E[r(a)] + \alpha_t H(\pi), \qquad
        \alpha_t = 0.2 \cdot 0.9995^t

    The weight :math:`w = 0.1` of the reward and the decaying entropy coefficient are those of the
    released code of Huang et al. for REINFORCE, as are Adam's step size 1e-3, 256 actions an
    update, and scales of :math:`e` before the tanh at the start. Means at the start are normal
    with a standard deviation of 0.05, so that seeds differ (ours; 0 in that code).

    Arguments:
        num_seeds: :math:`S`.
        num_components: :math:`K`; 1 for a single Gaussian.
        estimator: of the gradient, for a minibatch of draws from one policy.
        reward_weight: :math:`w`.
    """

    def __init__(
        self,
        num_seeds: int,
        num_components: int,
        estimator: GradientEstimator,
        *,
        reward_weight: float = 0.1,
    ) -> None:
        shape = (num_seeds, num_components, 1)
        self.logits = torch.zeros(shape[:-1]).requires_grad_()
        self.loc = (INITIAL_SPREAD * torch.randn(shape)).requires_grad_()
        self.log_scale = torch.ones(shape).requires_grad_()
        self.estimator = estimator
        self.reward_weight = reward_weight
        self.optimizer = torch.optim.Adam([self.logits, self.loc, self.log_scale], lr=1e-3)

    def policy(self) -> TanhNormalMixture:
        """The seeds' policies, batch ``[S]``."""
        scale = self.log_scale.clamp(-20, 2).exp()
        return TanhNormalMixture(self.logits, self.loc, scale)

    def update(self, step: int) -> None:
        alpha = torch.tensor(0.2 * 0.9995**step)
        minibatch = self.policy().expand((256, len(self.loc)))
        cost, _ = self.estimator(minibatch, self._value, alpha)
        self.optimizer.zero_grad()
        cost.mean(0).sum().backward()
        self.optimizer.step()

    def _value(self, action: Tensor) -> Tensor:
        return self.reward_weight * continuous_bandit_reward(action.squeeze(-1))

    @torch.no_grad()
    def density(self, action: Tensor) -> Tensor:
        return self.policy().log_prob(action[:, None, None]).exp().mT


class DeterministicLearner(BanditLearner):
    r"""TD3's or DDPG's actor with the true reward in place of a critic.

    .. math::
        \theta \leftarrow \theta + \eta\, \nabla_\theta\, r(\tanh\theta)

    The step is Adam's with a step size of 1e-3. The standard deviation 0.1 is that of the
    exploration noise. Without a critic no action that is taken has an influence on what is
    learned, so that the noise shows in the density alone: a normal density around the
    deterministic action. The paper does not say what the noise does; this is ours. Means at the
    start are those of :class:`SACLearner`.

    Arguments:
        num_seeds: :math:`S`.
        noise_std: of the exploration.
    """

    def __init__(self, num_seeds: int, noise_std: float = 0.1) -> None:
        self.mean = (INITIAL_SPREAD * torch.randn(num_seeds)).requires_grad_()
        self.noise_std = noise_std
        self.optimizer = torch.optim.Adam([self.mean], lr=1e-3)

    def update(self, step: int) -> None:
        self.optimizer.zero_grad()
        continuous_bandit_reward(self.mean.tanh()).sum().neg().backward()
        self.optimizer.step()

    @torch.no_grad()
    def density(self, action: Tensor) -> Tensor:
        z = (action - self.mean.tanh().unsqueeze(-1)) / self.noise_std
        return torch.exp(-0.5 * z.square()) / (self.noise_std * math.sqrt(2 * math.pi))


# Each from a number of seeds. The first is close to the released code's REINFORCE, whose baseline
# is the minibatch's mean reward. The mixtures are not SACM: they learn their weights and have the
# entropy of the whole mixture. All components begin close together.
LEARNERS: dict[str, Callable[[int], BanditLearner]] = {
    "SAC": lambda num_seeds: SACLearner(num_seeds, 1, SharedLikelihood(256)),
    "SAC, reparameterised": lambda num_seeds: SACLearner(num_seeds, 1, SharedHalfReparam()),
    "TD3/DDPG": DeterministicLearner,
    "Mixture SAC": lambda num_seeds: SACLearner(num_seeds, 5, SharedLikelihood(256)),
    "Mixture SAC, half": lambda num_seeds: SACLearner(num_seeds, 5, SharedHalfReparam(256)),
}


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
