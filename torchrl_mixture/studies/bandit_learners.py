"""Learners of the continuous bandit, all seeds as one batch of tensors.

"Lightweight" learners, without a critic and without a buffer: each update takes the true reward
of actions of its own. A further learner is one more subclass of :class:`BanditLearner`.

Source:
    Dey and Sharon (2025), figure 1, with the settings of Huang et al. (2023), "Reparameterized
    Policy Learning for Multimodal Trajectory Optimization", by the authors' code.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from torchrl_mixture import functional as F
from torchrl_mixture.distributions import TanhNormalMixture
from torchrl_mixture.envs.bandit_rewards import continuous_bandit_reward
from torchrl_mixture.objectives.estimators import GradientEstimator
from torchrl_mixture.studies.shared_baseline import SharedHalfReparam, SharedLikelihood

__all__ = [
    "LEARNERS",
    "BanditLearner",
    "DeterministicLearner",
    "GamidLearner",
    "MEDELearner",
    "SACLearner",
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
        return _normal_density(action, self.mean.tanh(), self.noise_std)


class GamidLearner(BanditLearner):
    r"""Gamid's actors with the true reward in place of a critic.

    .. math::
        \max_\theta \sum_{i=1}^K r(\mu_i) + \tau D_i, \qquad \mu_i = \tanh\theta_i

    with :math:`D_i` of :func:`~torchrl_mixture.functional.component_divergence`. The density is
    that of what explores: a normal density around each mean, the best one, by the true reward,
    with the weight :math:`1 - \epsilon + \epsilon / K`, the others with :math:`\epsilon / K`.
    Adam's step size is 1e-3, means at the start are those of :class:`SACLearner`.

    The paper gives no settings for the bandit. Ours: five means, as its SACM; the temperature and
    the epsilon that are commonest in its table 5; and as the components' variance the one of the
    exploration noise, as in its algorithm 1.

    Arguments:
        num_seeds: :math:`S`.
        num_components: :math:`K`.
        temperature: :math:`\tau`.
        variance: :math:`\sigma^2` of the components in the divergence.
        noise_std: of the exploration.
        epsilon: :math:`\epsilon`.
    """

    def __init__(
        self,
        num_seeds: int,
        num_components: int = 5,
        *,
        temperature: float = 0.1,
        variance: float = 0.01,
        noise_std: float = 0.1,
        epsilon: float = 0.1,
    ) -> None:
        initial = INITIAL_SPREAD * torch.randn(num_seeds, num_components)
        self.mean = initial.requires_grad_()
        self.temperature = temperature
        self.variance = variance
        self.noise_std = noise_std
        self.epsilon = epsilon
        self.optimizer = torch.optim.Adam([self.mean], lr=1e-3)

    def update(self, step: int) -> None:
        action = self.mean.tanh()
        divergence = F.component_divergence(action.unsqueeze(-1), self.variance)
        gain = continuous_bandit_reward(action) + self.temperature * divergence
        self.optimizer.zero_grad()
        gain.sum().neg().backward()
        self.optimizer.step()

    @torch.no_grad()
    def density(self, action: Tensor) -> Tensor:
        means = self.mean.tanh()
        best = continuous_bandit_reward(means).argmax(-1, keepdim=True)
        weights = torch.full_like(means, self.epsilon / means.shape[-1])
        weights.scatter_add_(-1, best, torch.full_like(means[:, :1], 1 - self.epsilon))
        components = _normal_density(action, means, self.noise_std)
        return (weights.unsqueeze(-1) * components).sum(-2)


class MEDELearner(BanditLearner):
    r"""MEDE's policies with the true reward in place of a critic.

    .. math::
        \max_\pi\; \frac1Z \sum_z \mathbb E_{a \sim \pi_z}\left[w\, r(a)
            - \alpha_t \left(\log \pi_z(a) - \log q(z \mid a)\right)\right], \qquad
        q(z \mid a) = \frac{\pi_z(a)}{\sum_{z'} \pi_{z'}(a)}

    The discriminator is the exact posterior of equally likely policies. It is held constant in
    their parameters, the gradient goes through it to the reparameterised action. As

    .. math::
        \log \pi_z(a) - \log q(z \mid a) = \log \tfrac1Z \textstyle\sum_{z'} \pi_{z'}(a)
            - \log p(z), \qquad p(z) = \tfrac1Z

    the objective is then that of a mixture with equal weights, with the entropy of the whole
    mixture but for a constant. The density is that mixture's.

    The paper has no bandit. Ours: five policies, and the settings of :class:`SACLearner`, with
    256 actions of each policy an update.

    Arguments:
        num_seeds: :math:`S`.
        num_latents: :math:`Z`.
        reward_weight: :math:`w`.

    Source:
        Cohen et al. (2019), equation 12.
    """

    def __init__(
        self, num_seeds: int, num_latents: int = 5, *, reward_weight: float = 0.1
    ) -> None:
        shape = (num_seeds, num_latents, 1)
        self.loc = (INITIAL_SPREAD * torch.randn(shape)).requires_grad_()
        self.log_scale = torch.ones(shape).requires_grad_()
        self.reward_weight = reward_weight
        self.optimizer = torch.optim.Adam([self.loc, self.log_scale], lr=1e-3)

    def policy(self) -> TanhNormalMixture:
        """The seeds' mixtures of their policies, batch ``[S]``."""
        scale = self.log_scale.clamp(-20, 2).exp()
        return TanhNormalMixture(torch.zeros_like(scale[..., 0]), self.loc, scale)

    def update(self, step: int) -> None:
        alpha = 0.2 * 0.9995**step
        policy = self.policy()
        loc, scale = policy.loc.unsqueeze(-3), policy.scale.unsqueeze(-3)
        x = policy.loc + policy.scale * torch.randn((256, *self.loc.shape))
        log_pi = _own(F.component_log_prob(x, loc, scale)) - F.TANH.log_slope(x).squeeze(-1)
        log_q = _own(F.component_log_prob(x, loc.detach(), scale.detach()).log_softmax(-1))
        reward = self.reward_weight * continuous_bandit_reward(x.tanh().squeeze(-1))
        gain = reward - alpha * (log_pi - log_q)
        self.optimizer.zero_grad()
        gain.mean((0, -1)).sum().neg().backward()
        self.optimizer.step()

    @torch.no_grad()
    def density(self, action: Tensor) -> Tensor:
        return self.policy().log_prob(action[:, None, None]).exp().mT


def _own(each: Tensor) -> Tensor:
    """Of what every policy says of the actions of every policy, ``[..., Z, Z]``, its own."""
    return each.diagonal(dim1=-2, dim2=-1)


def _normal_density(action: Tensor, mean: Tensor, std: float) -> Tensor:
    """Densities ``[..., G]`` around means ``[...]`` at actions ``[G]``."""
    z = (action - mean.unsqueeze(-1)) / std
    return torch.exp(-0.5 * z.square()) / (std * math.sqrt(2 * math.pi))


# Each from a number of seeds. The first is close to the released code's REINFORCE, whose baseline
# is the minibatch's mean reward. The mixtures are not SACM: they learn their weights and have the
# entropy of the whole mixture. All components begin close together. The divergence as printed is
# that of unit variance without its factor 1/2. DIAYN is not among them: without states its
# discriminator is p(z), and pays all actions alike.
LEARNERS: dict[str, Callable[[int], BanditLearner]] = {
    "SAC": lambda num_seeds: SACLearner(num_seeds, 1, SharedLikelihood(256)),
    "SAC, reparameterised": lambda num_seeds: SACLearner(num_seeds, 1, SharedHalfReparam()),
    "TD3/DDPG": DeterministicLearner,
    "Mixture SAC": lambda num_seeds: SACLearner(num_seeds, 5, SharedLikelihood(256)),
    "Mixture SAC, half": lambda num_seeds: SACLearner(num_seeds, 5, SharedHalfReparam(256)),
    "Gamid": GamidLearner,
    "Gamid, as printed": lambda num_seeds: GamidLearner(num_seeds, variance=0.5),
    "MEDE": MEDELearner,
}
