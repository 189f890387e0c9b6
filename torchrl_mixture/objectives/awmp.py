"""Soft actor-critic for advantage-weighted mixture policies."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
from torch import Tensor
from torchrl.objectives.utils import distance_loss

from torchrl_mixture import functional as F
from torchrl_mixture.distributions import ComponentMixture
from torchrl_mixture.modules import PriorNetwork
from torchrl_mixture.modules.ensemble import component_values
from torchrl_mixture.modules.extractor import count_components
from torchrl_mixture.objectives.checks import (
    check_awmp_settings,
    check_choice,
    check_one_value,
    check_prior,
)
from torchrl_mixture.objectives.mixture_policy import MixturePolicyLoss, policy_diagnostics

__all__ = ["AWMPLoss", "PriorAction"]

PriorAction: TypeAlias = Literal["replay", "sampled"]


class AWMPLoss(MixturePolicyLoss):
    r"""SAC for a mixture whose components share a critic, and are weighed by a gate and a prior.

    With draws :math:`a_h, \tilde a_h \sim \pi_h` of each component, and target networks
    :math:`\bar Q, \bar V`,

    .. math::
        \hat V(s) &= \sum_h \rho(h \mid s) \left[\min_e Q_e(s, a_h) - \alpha \log \pi_h(a_h \mid s)
            - \alpha_g \log \rho(h \mid s)\right] \\
        \rho(h \mid s) &\propto \exp\!\left[\frac1T \left(\min_e \bar Q_e(s, \tilde a_h)
            - \alpha \log \pi_h(\tilde a_h \mid s)\right)\right] \\
        y &= r + \gamma\, (1 - d)\, \bar V(s') \\
        L_\pi &= \mathbb E_s \sum_h p_h \left[\alpha \log \pi_h(a_h \mid s)
            - \min_e Q_e(s, a_h)\right]

    The value network is trained towards :math:`\hat V`, every critic on the whole batch towards
    :math:`y`. The weights :math:`p` are those of the prior, without gradient. With
    ``prior_action="replay"`` they are :math:`P(h \mid s, a)` for the action :math:`a` of the
    batch, as in the authors' code: independent of :math:`a_h`, so that they say how much a
    component learns in a state, not which actions. ``"sampled"`` is our reading of line 16 of
    algorithm 1, which has one action of the mixture: :math:`P(h \mid s, a_h)` of each component's
    own draw, divided by their sum.

    The gate's temperature :math:`T` is 1, as in the paper's equation 16 and the code: set it, or
    scale the rewards. Equation 18 is at its maximum with :math:`T = \alpha_g`; with the paper's
    0.001 the gate, made of one draw of each component, would follow their luck. The values in
    :math:`\hat V` are of further draws, as are the actions that are taken: of the same draws they
    would be too high, with a sharp gate by :math:`\alpha / \pi` for two equal normal components
    of one dimension and a critic that is constant.

    Where the sources differ. Equation 21 averages over the gate, algorithm 1 and the code over
    the prior: here the gate, by which :class:`~torchrl_mixture.modules.GatedPolicy` acts (the
    value is that of its ``"mixture"``, not of its ``"convex"``). The code's gate lacks the
    entropy, and its actor's loss has the first critic alone. Equations 24 to 27 give the actor
    the density of a convex combination of actions, which has no closed form; the loss is the
    code's. Two rates of smoothing, 0.005 and 0.001, are for ``PartwiseSoftUpdate``.

    The temperature :math:`\alpha` is fixed in the paper: ``alpha_init=0.2, fixed_alpha=True``.
    Learned it is adapted as in SAC, to the entropy :math:`-\sum_h p_h \log \pi_h(a_h \mid s)`,
    which is the output ``entropy``; the policy follows by ``policy.alpha.copy_(output["alpha"])``.

    With one component it is TorchRL's :class:`~torchrl.objectives.SACLoss` with a value network,
    both with ``num_qvalue_nets=1``, that one with ``delay_qvalue=False`` (equation 21 has online
    critics), in values, gradients and priorities. With :math:`E` critics TorchRL trains each on
    its own :math:`E`-th of the batch: ``loss_qvalue`` is :math:`E` times TorchRL's for :math:`E`
    copies of the batch in a row. ``"td_error"`` is the largest squared error, ``[*B]``.

    Beside the losses it returns, without gradient, ``alpha``, ``entropy``, the diagnostics of
    :class:`~torchrl_mixture.objectives.MixtureSACLoss` for the mixture that the gate weighs (the
    gate's mean entropy is ``weight_entropy``), and ``prior_effective_components``,
    :math:`\exp H(\bar p)`.

    The prior is neither among this loss's parameters nor in its ``state_dict``: it is trained,
    saved and moved by :class:`~torchrl_mixture.objectives.AWMPPriorLoss`, whose ``"advantage"``
    is that of :meth:`advantage`.

    Arguments:
        actor_network: a mixture policy with a
            :class:`~torchrl_mixture.modules.MixtureParamExtractor`, such as
            :func:`~torchrl_mixture.modules.mixture_actor` makes with ``learn_weights=False``:
            weights of its own are not used, and would get no gradient.
        qvalue_network: a critic with one value, or a list of them, whose initialisation is kept.
        value_network: the value of a state.
        prior_network: :math:`P(h \mid s, a)`, such as
            :class:`~torchrl_mixture.modules.PriorNetwork`.
        prior_action: ``"replay"`` or ``"sampled"``.
        gate_temperature: :math:`T`, positive, in units of the value; a schedulable buffer.
        gate_entropy_coef: :math:`\alpha_g`, at least 0; a schedulable buffer.
        **kwargs: the other keyword arguments of ``SACLoss``. Its default ``loss_function`` is
            ``"smooth_l1"``; the paper uses ``"l2"``.

    Raises:
        ValueError: where an argument is none of those allowed, there is no value network, or the
            prior has another number of components or does not read the action.

    Source:
        Hou et al. (2020), sections 3.2 and 3.3 and algorithm 1; the target of the critics has
        the terminal mask that the paper omits.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl.data import Bounded, Composite, Unbounded
        >>> from torchrl.modules import MLP, ValueOperator
        >>> from torchrl_mixture.modules import ComponentCritic, mixture_actor
        >>> action, spec = Bounded(-1.0, 1.0, (2,)), Composite(observation=Unbounded((3,)))
        >>> loss = AWMPLoss(
        ...     mixture_actor(action, 4, observation_spec=spec, learn_weights=False),
        ...     [ComponentCritic(action, 1, observation_spec=spec) for _ in range(2)],
        ...     ValueOperator(MLP(3, 1), in_keys=["observation"]),
        ...     prior_network=PriorNetwork(4, action, observation_spec=spec),
        ...     alpha_init=0.2,
        ...     fixed_alpha=True,
        ... )
        >>> batch = TensorDict(
        ...     {
        ...         "observation": torch.randn(8, 3),
        ...         "action": torch.rand(8, 2),
        ...         "next": {
        ...             "observation": torch.randn(8, 3),
        ...             "reward": torch.randn(8, 1),
        ...             "done": torch.zeros(8, 1, dtype=torch.bool),
        ...             "terminated": torch.zeros(8, 1, dtype=torch.bool),
        ...         },
        ...     },
        ...     batch_size=[8],
        ... )
        >>> [key for key in sorted(loss(batch).keys()) if key.startswith("loss")]
        ['loss_actor', 'loss_alpha', 'loss_qvalue', 'loss_value']
    """

    _schedulable_buffers = frozenset({"gate_temperature", "gate_entropy_coef"})

    gate_temperature: Tensor
    gate_entropy_coef: Tensor
    prior_network: PriorNetwork

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        qvalue_network: TensorDictModule | list[TensorDictModule],
        value_network: TensorDictModule,
        *,
        prior_network: PriorNetwork,
        prior_action: PriorAction = "replay",
        gate_temperature: float = 1.0,
        gate_entropy_coef: float = 0.001,
        **kwargs: Any,
    ) -> None:
        check_choice("prior_action", prior_action, PriorAction)
        check_awmp_settings(value_network, gate_temperature, gate_entropy_coef, kwargs)
        # Not registered: it is a part of its own loss, and its parameters are shared with it.
        self.__dict__["prior_network"] = prior_network
        super().__init__(actor_network, qvalue_network, value_network, **kwargs)
        check_prior(prior_network, count_components(actor_network), self.tensor_keys.action)
        self.prior_action = prior_action
        self.register_coeff_buffer("gate_temperature", float(gate_temperature))
        self.register_coeff_buffer("gate_entropy_coef", float(gate_entropy_coef))
        self.out_keys = [*self.out_keys, "prior_effective_components"]

    def _set_in_keys(self) -> None:
        super()._set_in_keys()
        following = [("next", key) for key in self.value_network.in_keys]
        keys = [*self.in_keys, *following, *self.prior_network.in_keys]
        self._in_keys = list(dict.fromkeys(keys))

    def _values(
        self, tensordict: TensorDictBase, actions: Tensor, params: TensorDictBase
    ) -> Tensor:
        """The smallest value of each component's action, ``[*B, K]``."""
        values = component_values(
            self._vmap_qnetworkN0,
            params,
            tensordict,
            actions,
            action_key=self.tensor_keys.action,
            value_key=self.tensor_keys.state_action_value,
        )
        check_one_value(values.shape[-1])
        return values.squeeze(-1).amin(0)

    def _gated(self, tensordict: TensorDictBase) -> ComponentMixture:
        """The mixture with the weights of a gate, which is made of a draw of each component."""
        policy = self._policy(tensordict, self.target_actor_network_params)
        if policy.num_components == 1:
            return policy  # without a draw: the random numbers are those of TorchRL's loss
        actions, _, log_prob = policy.rsample_components_and_log_prob()
        values = self._values(tensordict, actions, self.target_qvalue_network_params)
        options = F.soft_option_values(values, log_prob, self._alpha)
        return policy.with_weights(F.gate_log_prob(options, self.gate_temperature))

    @torch.no_grad()
    def _value_target(self, tensordict: TensorDictBase) -> Tensor:
        """What the value network is trained towards, ``[*B]``."""
        gated = self._gated(tensordict)
        # Further draws: those that made the gate have high values where its weights are high.
        actions, _, log_prob = gated.rsample_components_and_log_prob()
        values = self._values(tensordict, actions, self._cached_detached_qvalue_params)
        options = F.soft_option_values(values, log_prob, self._alpha)
        self._gate_metadata = policy_diagnostics(gated)
        return F.gated_value(options, gated.log_weights, self.gate_entropy_coef)

    def _value(self, tensordict: TensorDictBase, params: TensorDictBase) -> Tensor:
        """The value network's, ``[*B, 1]``."""
        inputs = tensordict.select(*self.value_network.in_keys, strict=False)
        with params.to_module(self.value_network, preserve_module_state=False):
            return self.value_network(inputs).get(self.tensor_keys.value)

    def value_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the value network."""
        value = self._value(tensordict, self.value_network_params).squeeze(-1)
        target = self._value_target(tensordict)
        loss = distance_loss(value, target, loss_function=self.loss_function)
        weights = self._maybe_get_priority_weight(tensordict)
        return self._reduce_loss(loss, tensordict=tensordict, weights=weights), {}

    @torch.no_grad()
    def _critic_target(self, tensordict: TensorDictBase) -> Tensor:
        """Targets of the critics, ``[*B]``."""
        following = self._value(tensordict.get("next"), self.target_value_network_params)
        # Given, so that TorchRL's estimator does not call the actor before the value network.
        target = self.value_estimator.value_estimate(tensordict.copy(), next_value=following)
        return target.squeeze(-1)

    def qvalue_v1_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """The critics' loss, summed over critics, and the largest squared error."""
        target = self._critic_target(tensordict)
        output = self._vmap_qnetworkN0(tensordict, self.qvalue_network_params)
        values = output.get(self.tensor_keys.state_action_value).squeeze(-1)
        target = target.expand_as(values)
        loss = distance_loss(values, target, loss_function=self.loss_function).sum(0)
        weights = self._maybe_get_priority_weight(tensordict)
        loss = self._reduce_loss(loss, tensordict=tensordict, weights=weights)
        return loss, {"td_error": (values.detach() - target).pow(2).amax(0)}

    @torch.no_grad()
    def _prior_log_prob(self, tensordict: TensorDictBase, actions: Tensor) -> Tensor:
        """The actor's log-weights, ``[*B, K]``, of each component's action ``[*B, K, A]``."""
        inputs = tensordict.select(*self.prior_network.in_keys)
        if self.prior_action == "replay":
            return self.prior_network(inputs)["prior_logits"].log_softmax(-1)
        inputs = inputs.unsqueeze(-1).expand(*inputs.shape, actions.shape[-2])
        logits = self.prior_network(inputs.set(self.tensor_keys.action, actions))["prior_logits"]
        return logits.log_softmax(-1).diagonal(dim1=-2, dim2=-1).log_softmax(-1)

    def actor_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """The actor's loss, and without gradient the log-density and the prior's use."""
        policy = self._policy(tensordict)
        actions, _, log_prob = policy.rsample_components_and_log_prob()
        values = self._values(tensordict, actions, self._cached_detached_qvalue_params)
        log_prior = self._prior_log_prob(tensordict, actions)
        weights = log_prior.exp()
        loss = (weights * (self._alpha * log_prob - values)).sum(-1)
        loss = self._reduce_loss(
            loss, tensordict=tensordict, weights=self._maybe_get_priority_weight(tensordict)
        )
        self._actor_metadata = {
            "log_prob": (weights * log_prob.detach()).sum(-1),
            "prior_effective_components": F.effective_components(log_prior),
            **self.__dict__.pop("_gate_metadata", {}),  # the value's loss comes before
        }
        return loss, self._actor_metadata

    @torch.no_grad()
    def advantage(self, tensordict: TensorDictBase) -> Tensor:
        r"""What the prior is trained with, :math:`\min_e \bar Q_e(s, a) - \bar V(s)`.

        Arguments:
            tensordict: a batch with the critics' and the value network's input, ``[*B]``.

        Returns:
            ``[*B, 1]``, without gradient.
        """
        output = self._vmap_qnetworkN0(tensordict, self.target_qvalue_network_params)
        values = output.get(self.tensor_keys.state_action_value).amin(0)
        return values - self._value(tensordict, self.target_value_network_params)

    @torch.no_grad()
    def mixture_diagnostics(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """What is too slow for every update, as in ``MixtureSACLoss``, with the gate's weights.

        Arguments:
            tensordict: a batch with the actor's input.

        Returns:
            what that class returns; ``component_weight`` is the gate's.
        """
        weights = self._gated(tensordict).weights
        mean = weights.mean(tuple(range(weights.ndim - 1)))
        return {**super().mixture_diagnostics(tensordict), "component_weight": mean}
