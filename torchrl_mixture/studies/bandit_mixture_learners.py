"""The learners of the continuous bandit with several components: Gamid, SACM and MEDE.

All seeds are one batch of tensors.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import get_args

import torch
from torch import Tensor

from torchrl_mixture import functional as F
from torchrl_mixture.distributions import TanhNormalMixture
from torchrl_mixture.envs.bandit_rewards import continuous_bandit_reward
from torchrl_mixture.objectives.sacm import ActorEntropy
from torchrl_mixture.studies.bandit_base_learners import (
    INITIAL_SPREAD,
    BanditLearner,
    normal_density,
)

__all__ = [
    "EqualMixtureLearner",
    "GamidLearner",
    "GaussianComponents",
    "MEDELearner",
    "SACMLearner",
]


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
        components = normal_density(action, means, self.noise_std)
        return (weights.unsqueeze(-1) * components).sum(-2)


class GaussianComponents(BanditLearner):
    """Squashed Gaussians that begin as those of :class:`SACLearner`, and have its optimiser.

    Arguments:
        num_seeds: :math:`S`.
        num_components: :math:`K`.
        reward_weight: :math:`w`.
    """

    def __init__(self, num_seeds: int, num_components: int, reward_weight: float) -> None:
        shape = (num_seeds, num_components, 1)
        self.loc = (INITIAL_SPREAD * torch.randn(shape)).requires_grad_()
        self.log_scale = torch.ones(shape).requires_grad_()
        self.reward_weight = reward_weight
        self.optimizer = torch.optim.Adam([self.loc, self.log_scale], lr=1e-3)

    def policy(self) -> TanhNormalMixture:
        """The seeds' mixtures with equal weights, batch ``[S]``."""
        scale = self.log_scale.clamp(-20, 2).exp()
        return TanhNormalMixture(torch.zeros_like(scale[..., 0]), self.loc, scale)

    def value(self, action: Tensor) -> Tensor:
        """The weighted reward, ``[*B]``, of actions ``[*B, 1]``."""
        return self.reward_weight * continuous_bandit_reward(action.squeeze(-1))


class EqualMixtureLearner(GaussianComponents):
    """Reparameterised squashed Gaussians with equal, fixed weights; the density is the mixture's.

    The settings are those of :class:`SACLearner`, with 256 actions of each Gaussian an update.
    Arguments are those of :class:`GaussianComponents`.
    """

    @abstractmethod
    def gain(self, alpha: float) -> Tensor:
        """What new actions of each component earn, ``[256, S, K]``.

        Arguments:
            alpha: entropy coefficient.
        """

    def update(self, step: int) -> None:
        gain = self.gain(0.2 * 0.9995**step)
        self.optimizer.zero_grad()
        gain.mean((0, -1)).sum().neg().backward()
        self.optimizer.step()

    @torch.no_grad()
    def density(self, action: Tensor) -> Tensor:
        return self.policy().log_prob(action[:, None, None]).exp().mT


class SACMLearner(EqualMixtureLearner):
    r"""SACM's actor with the true reward in place of critics.

    .. math::
        \min_\pi\; \sum_{i=1}^K w_i\, \mathbb E_{a_i \sim \pi_i}\left[
            \alpha_t \ell_i(a_i) - w\, r(a_i)\right], \qquad w_i = \tfrac1K

    with the entropy of each component or that of the whole mixture,

    .. math::
        \ell_i(a) = \log \pi_i(a) \qquad \text{or} \qquad
        \ell_i(a) = \log \textstyle\sum_j w_j\, \pi_j(a)

    The first is the actor's loss as printed. It has nothing that one component has to do with
    another: the :math:`K` components are as many single Gaussians of :class:`SACLearner`, whose
    loss is divided by :math:`K`. The second is the paper's objective, with a gradient to all
    components at every action. It is the objective of :class:`MEDELearner`, and the gradient's
    expectation is the same: the two take the same path through the action, and differ in
    :math:`\alpha_t` times the slopes of :math:`\log \sum_j w_j \pi_j` and of
    :math:`\log \pi_i` in their own parameters at actions held constant, which both have mean zero.

    SACM and S2ACM differ in the target of the critics alone. Here they are one.

    Dey and Sharon (2025) have five Gaussians and name no other settings of it. Ours: those of
    :class:`SACLearner`, with 256 actions of each Gaussian an update, and one entropy coefficient
    for all components, where SACM tunes one for each.

    Arguments:
        num_seeds: :math:`S`.
        num_components: :math:`K`.
        actor_entropy: ``"component"`` or ``"mixture"``.
        reward_weight: :math:`w`.

    Raises:
        ValueError: where the entropy is unknown.

    Source:
        Baram et al. (2021), "Maximum Entropy Reinforcement Learning with Mixture Policies",
        equation 12 for ``"component"``, equation 1 for ``"mixture"``.
    """

    def __init__(
        self,
        num_seeds: int,
        num_components: int = 5,
        *,
        actor_entropy: ActorEntropy = "component",
        reward_weight: float = 0.1,
    ) -> None:
        if actor_entropy not in get_args(ActorEntropy):
            raise ValueError(
                f"actor_entropy must be 'component' or 'mixture', got {actor_entropy!r}."
            )
        super().__init__(num_seeds, num_components, reward_weight)
        self.actor_entropy = actor_entropy

    def gain(self, alpha: float) -> Tensor:
        policy = self.policy().expand((256, len(self.loc)))
        action, mixture, own = policy.rsample_components_and_log_prob()
        log_prob = own if self.actor_entropy == "component" else mixture
        return self.value(action) - alpha * log_prob


class MEDELearner(EqualMixtureLearner):
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
    mixture but for a constant: that of :class:`SACMLearner` with ``actor_entropy="mixture"``.

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
        super().__init__(num_seeds, num_latents, reward_weight)

    def gain(self, alpha: float) -> Tensor:
        policy = self.policy()
        loc, scale = policy.loc.unsqueeze(-3), policy.scale.unsqueeze(-3)
        x = policy.loc + policy.scale * torch.randn((256, *self.loc.shape))
        log_pi = _own(F.component_log_prob(x, loc, scale)) - F.TANH.log_slope(x).squeeze(-1)
        log_q = _own(F.component_log_prob(x, loc.detach(), scale.detach()).log_softmax(-1))
        return self.value(x.tanh()) - alpha * (log_pi - log_q)


def _own(each: Tensor) -> Tensor:
    """Of what every policy says of the actions of every policy, ``[..., Z, Z]``, its own."""
    return each.diagonal(dim1=-2, dim2=-1)
