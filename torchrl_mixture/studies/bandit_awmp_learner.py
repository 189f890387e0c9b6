"""The learner of the continuous bandit with a gate and a prior: SAC-AWMP.

All seeds are one batch of tensors.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.distributions import Normal
from torch.quasirandom import SobolEngine

from torchrl_mixture import functional as F
from torchrl_mixture.objectives.awmp import PriorAction
from torchrl_mixture.objectives.checks import check_choice
from torchrl_mixture.studies.bandit_mixture_learners import GaussianComponents
from torchrl_mixture.studies.replicated_actor import evaluate_layers, linear_layers

__all__ = ["AWMPLearner"]

NUM_GATES = 1024  # over which the density is a mean


class AWMPLearner(GaussianComponents):
    r"""SAC-AWMP's actor, gate and prior with the true reward in place of critics.

    Each of 256 actions :math:`a_b` is of the mixture :math:`\mu_b` that a gate :math:`\rho_b`
    weighs, made of one draw :math:`a_h` of each component. They stand for the replayed ones:

    .. math::
        \rho(h) &\propto \exp\!\left[\frac1T \left(w\, r(a_h)
            - \alpha_t \log \pi_h(a_h)\right)\right], \qquad
            \mu(a) = \sum_h \rho(h)\, \pi_h(a) \\
        L_\eta &= \frac1{256} \sum_b D_{KL}\big(P_\eta(\cdot \mid \tilde a_b) \,\|\,
            P_\eta(\cdot \mid a_b)\big) - \zeta\, I_\eta(h; a), \qquad
            \tilde a_b = a_b + 0.04\, \epsilon_b \\
        L_\pi &= \mathbb E \sum_h p_h \left[\alpha_t \log \pi_h(a_h) - w\, r(a_h)\right]

    The information weighs :math:`a_b` by :math:`e^{A_b} / \mu_b(a_b)`,
    :math:`A_b = w\, r(a_b) - V`. There is one state: its value :math:`V` cancels, and nothing is
    left for a value network to do, nor for the coefficient of the gate's entropy. The prior
    takes a step of Adam, then the components take one with further draws and the new prior,
    whose weights :math:`p` have no gradient: :math:`P(h \mid a_b)` with
    ``prior_action="replay"``, :math:`P(h \mid a_h) / \sum_j P(j \mid a_j)` with ``"sampled"``.

    A replayed action and the draws are independent given the state, and the state is always the
    same. With ``"replay"`` the expected gradient therefore is

    .. math::
        \mathbb E\big[P(h \mid a_b)\big]\; \nabla\, \mathbb E_{a \sim \pi_h}\left[
            \alpha_t \log \pi_h(a) - w\, r(a)\right]

    a multiple of that of a single Gaussian. Adam takes nearly the same steps whatever the
    multiple, as long as it changes slowly: the prior has no say in where a component goes, but
    one that it suddenly leaves alone waits.

    With ``"sampled"`` a component learns from its draws among the actions that the prior gives
    to it. This is no gradient of an objective, as the weights depend on the draws and are held
    constant. But for the denominator, the entropy moves a location along

    .. math::
        -\alpha_t\, \mathbb E_{a \sim \pi_h}\left[P(h \mid a)\, \frac{\partial \log \pi_h(a)}
            {\partial \mu_h}\right] = -2 \alpha_t\, \mathbb E_{a \sim \pi_h}\left[
            P(h \mid a)\, a\right]

    in which the path through the action is a part of the derivative: away from the side that the
    component is given.

    The density is that of actions, the mean over gates. As it is linear in :math:`\rho`, it is a
    mixture with the weights :math:`\mathbb E\, \rho(h)`, here the mean over 1,024 gates made of
    the same quasi-random draws, and of the entropy coefficient of the last update.

    The paper has no bandit. Ours: the settings of :class:`SACLearner` with five components, a
    prior with two hidden layers of 32 units and ReLU. :math:`T`, :math:`\zeta` and the noise,
    which is additive, are those of :class:`~torchrl_mixture.objectives.AWMPLoss` and
    :class:`~torchrl_mixture.objectives.AWMPPriorLoss`. For the weight :math:`w = 0.1` the
    rewards are so small that a gate with :math:`T = 1` is almost uniform, as far as rewards go:
    they change the odds of two components by :math:`e^{0.11}` at most. The advantage's
    :math:`e^A` is as flat.

    Arguments:
        num_seeds: :math:`S`.
        num_components: :math:`K`.
        prior_action: ``"replay"`` or ``"sampled"``.
        reward_weight: :math:`w`.
        gate_temperature: :math:`T`, positive.
        information_coef: :math:`\zeta`.
        noise_std: of the perturbation.
        hidden_size: units in each hidden layer of the prior.

    Raises:
        ValueError: where the prior's action is unknown.

    Source:
        Hou et al. (2020), "Off-policy Maximum Entropy Reinforcement Learning: Soft Actor-Critic
        with Advantage Weighted Mixture Policy (SAC-AWMP)", equations 5 to 17 and algorithm 1.
    """

    def __init__(
        self,
        num_seeds: int,
        num_components: int = 5,
        *,
        prior_action: PriorAction = "replay",
        reward_weight: float = 0.1,
        gate_temperature: float = 1.0,
        information_coef: float = 0.1,
        noise_std: float = 0.04,
        hidden_size: int = 32,
    ) -> None:
        check_choice("prior_action", prior_action, PriorAction)
        super().__init__(num_seeds, num_components, reward_weight)
        sizes = (1, hidden_size, hidden_size, num_components)
        self.prior = list(linear_layers(num_seeds, sizes))
        self.optimizer.add_param_group({"params": self.prior})
        self.prior_action = prior_action
        self.gate_temperature = gate_temperature
        self.information_coef = information_coef
        self.noise_std = noise_std
        self.alpha = 0.2

    def update(self, step: int) -> None:
        self.alpha = 0.2 * 0.9995**step
        action, log_prob = self.act()
        self._descend(self.prior_cost(action, log_prob))
        self._descend(self.cost(action).mean(0))

    def _descend(self, cost: Tensor) -> None:
        """One step of those parameters that the seeds' costs ``[S]`` are functions of."""
        self.optimizer.zero_grad()
        cost.sum().backward()
        self.optimizer.step()  # passes over parameters without a gradient

    def _log_gate(self, action: Tensor, log_prob: Tensor) -> Tensor:
        """Log-weights ``[*B, K]``, of an action of each component and its own log-density."""
        options = F.soft_option_values(self.value(action), log_prob, self.alpha)
        return F.gate_log_prob(options, self.gate_temperature)

    @torch.no_grad()
    def act(self) -> tuple[Tensor, Tensor]:
        """Actions of the gated mixture, ``[256, S, 1]``, and their log-densities ``[256, S]``."""
        policy = self.policy().expand((256, len(self.loc)))
        action, _, log_prob = policy.rsample_components_and_log_prob()
        gated = policy.with_weights(self._log_gate(action, log_prob))
        return gated.rsample_component_and_log_prob()[1:]

    def prior_logits(self, action: Tensor) -> Tensor:
        """Logits of the prior, ``[N, S, *B, K]``, of actions ``[N, S, *B, 1]``."""
        features = action.movedim(1, 0)
        logits = evaluate_layers(self.prior, features.reshape(len(features), 1, -1)).mT
        return logits.reshape(*features.shape[:-1], -1).movedim(0, 1)

    def prior_cost(self, action: Tensor, log_prob: Tensor) -> Tensor:
        """The prior's loss, ``[S]``.

        Arguments:
            action: ``[256, S, 1]``.
            log_prob: of the action, when it was taken, ``[256, S]``.
        """
        each = partial(torch.vmap, in_dims=1)
        weights = each(F.advantage_weights, out_dims=1)(self.value(action), log_prob)
        logits = self.prior_logits(action)
        perturbed = self.prior_logits(action + self.noise_std * torch.randn(action.shape))
        divergence = each(F.perturbation_divergence)(logits, perturbed)
        information, _, _ = each(F.weighted_information)(logits, weights)
        return divergence - self.information_coef * information

    def cost(self, action: Tensor) -> Tensor:
        """What new actions of the components cost, by the prior's weights, ``[256, S]``.

        Arguments:
            action: those that the prior weighs the components by with ``prior_action="replay"``,
                ``[256, S, 1]``.
        """
        policy = self.policy().expand((256, len(self.loc)))
        sampled, _, log_prob = policy.rsample_components_and_log_prob()
        weights = self._weights(action if self.prior_action == "replay" else sampled)
        return (weights * (self.alpha * log_prob - self.value(sampled))).sum(-1)

    @torch.no_grad()
    def _weights(self, action: Tensor) -> Tensor:
        """Of the components, ``[256, S, K]``: by one action, or by an action of each."""
        log_prior = self.prior_logits(action).log_softmax(-1)
        if self.prior_action == "sampled":
            log_prior = log_prior.diagonal(dim1=-2, dim2=-1).log_softmax(-1)
        return log_prior.exp()

    @torch.no_grad()
    def density(self, action: Tensor) -> Tensor:
        policy, normal = self.policy(), Normal(0.0, 1.0)
        uniform = SobolEngine(self.loc.shape[1], scramble=True, seed=0).draw(NUM_GATES)
        noise = normal.icdf(uniform)[:, None, :, None]
        x = policy.loc + policy.scale * noise
        log_prob = normal.log_prob(noise) - policy.scale.log() - F.TANH.log_slope(x)
        weights = self._log_gate(x.tanh(), log_prob.squeeze(-1)).exp().mean(0)
        return policy.with_weights(weights.log()).log_prob(action[:, None, None]).exp().mT
