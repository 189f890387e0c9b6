"""What a learner of the continuous bandit does, and the learners of SAC and of TD3 or DDPG.

All seeds are one batch of tensors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from torchrl_mixture.distributions import TanhNormalMixture
from torchrl_mixture.envs.bandit_rewards import continuous_bandit_reward
from torchrl_mixture.objectives.estimators import GradientEstimator

__all__ = [
    "INITIAL_SPREAD",
    "BanditLearner",
    "DeterministicLearner",
    "SACLearner",
    "normal_density",
]

INITIAL_SPREAD = 0.05  # of the initial means over seeds, before the tanh; ours


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
        return normal_density(action, self.mean.tanh(), self.noise_std)


def normal_density(action: Tensor, mean: Tensor, std: float) -> Tensor:
    """Densities ``[..., G]`` around means ``[...]`` at actions ``[G]``."""
    z = (action - mean.unsqueeze(-1)) / std
    return torch.exp(-0.5 * z.square()) / (std * math.sqrt(2 * math.pi))
