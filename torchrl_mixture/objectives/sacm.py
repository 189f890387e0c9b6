"""Soft actor-critic for mixtures with a critic and a temperature for each component."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
from tensordict.utils import NestedKey
from torch import Tensor, nn
from torchrl.objectives import SACLoss
from torchrl.objectives.utils import distance_loss

from torchrl_mixture import functional as F
from torchrl_mixture.modules.ensemble import component_values
from torchrl_mixture.modules.extractor import count_components
from torchrl_mixture.objectives.checks import (
    check_choice,
    check_mask,
    check_target_entropy,
    check_values,
)
from torchrl_mixture.objectives.mixture_policy import MixturePolicyLoss, policy_diagnostics

__all__ = ["ActorEntropy", "SACMLoss", "Variant"]

Variant = Literal["sacm", "s2acm"]
ActorEntropy = Literal["component", "mixture"]


class SACMLoss(MixturePolicyLoss):
    r"""SAC for a mixture whose components have critics and temperatures of their own.

    With :math:`a_j \sim \pi_j`, one draw of each component,

    .. math::
        L_\pi &= \mathbb E_s \sum_i w_i(s) \left[\alpha_i \log \pi_i(a_i \mid s)
            - \min_e Q_{e,i}(s, a_i)\right] \\
        y_i &= r + \gamma\, (1 - d) \left[\min_e \bar Q_{e,i}(s', a') + \alpha B_i(s')\right],
            \qquad a' \sim \pi(\cdot \mid s'), \quad \alpha = \sum_j w_j(s')\, \alpha_j \\
        B_i &= \sum_j w_j \hat H_j, \qquad \hat H_j = -\log \sum_k w_k \pi_k(a_j \mid s')

    :math:`B_i` is the unbiased estimate of the mixture's entropy,
    :func:`~torchrl_mixture.functional.stratified_entropy`. With ``variant="s2acm"`` it is the
    partial sum over :math:`j \le i`, so that the critics differ. The paper's equation 14 has there
    :math:`-\sum_{j \le i} \hat H_i`: the index of the summand does not run, the sign makes a
    penalty of the bonus, and without the weights the last critic's bonus would be :math:`K`
    times the entropy.

    With ``actor_entropy="component"`` the actor has the entropy of each component, as the paper
    prints it (equations 11 and 12): nothing drives the components apart, and their weighted
    entropies are a lower bound on the entropy in the critics' target. With ``"mixture"`` it has
    that one, :math:`\log \pi(a_i \mid s)` in place of :math:`\log \pi_i(a_i \mid s)`, with
    gradients to all components, which is the objective of equation 1 where the temperatures are
    equal. The temperature of a component is adapted to the entropy that its actor's loss has,
    with :math:`\rho_i = \pi_i` or :math:`\pi`:

    .. math::
        L_\alpha = -\mathbb E_s \sum_i
            \log \alpha_i \left(\log \rho_i(a_i \mid s) + \bar H_i\right)

    The printed target lacks the terminal mask, and the :math:`\gamma` of the entropy. The paper's
    actor loss has one temperature, here each component has its own: with the mean of all, each
    :math:`\alpha_i` would answer for entropies that it does not control.

    A critic of one value is shared by all components. One component is SAC, but for the shape
    ``[1]`` of ``log_alpha``. With learned weights the components are chosen by their values, and
    those of S2ACM's critics differ by their bonus: while entropies are positive, the last
    component takes all.

    Beside the losses it returns, without gradient, ``alpha`` (:math:`\sum_j w_j \alpha_j`, mean
    over the batch), ``entropy`` (the mixture's, estimated), and the diagnostics of
    :class:`~torchrl_mixture.objectives.MixtureSACLoss`.

    Arguments:
        actor_network: a mixture policy with a
            :class:`~torchrl_mixture.modules.MixtureParamExtractor`, such as
            :func:`~torchrl_mixture.modules.mixture_actor` makes, with ``learn_weights=False`` for
            the paper's equal weights.
        qvalue_network: a critic with :math:`K` values or one, such as
            :class:`~torchrl_mixture.modules.ComponentCritic`; give a list of critics to keep
            their initialisation.
        value_network: ``None``: the value of a state is that of each component's critic.
        variant: ``"sacm"`` or ``"s2acm"``; the latter needs a critic with :math:`K` values.
        actor_entropy: ``"component"`` or ``"mixture"``.
        data_masks: whether each transition trains the critics of some components only: those of
            its ``"component_mask"``, bool ``[*B, K]``, such as
            :class:`~torchrl_mixture.trainers.DataMasks` writes.
        target_entropy: :math:`\bar H`, in nats: ``"auto"`` for minus the action's size, a number,
            or one number for each component.
        **kwargs: the other keyword arguments of ``SACLoss``. Its default ``loss_function`` is
            ``"smooth_l1"``; the paper uses ``"l2"``.

    Raises:
        ValueError: where an argument is none of those allowed or its size is not that of the
            components; when called, where values or masks have another shape.

    Source:
        Baram et al. (2021), arXiv:2103.10176, algorithm 1 and equations 8 to 14.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl.data import Bounded, Composite, Unbounded
        >>> from torchrl_mixture.modules import ComponentCritic, mixture_actor
        >>> action, spec = Bounded(-1.0, 1.0, (2,)), Composite(observation=Unbounded((3,)))
        >>> actor = mixture_actor(action, 3, observation_spec=spec, learn_weights=False)
        >>> critics = [ComponentCritic(action, 3, observation_spec=spec) for _ in range(2)]
        >>> loss = SACMLoss(actor, critics, variant="s2acm", loss_function="l2")
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
        >>> sorted(loss(batch).keys())
        ['alpha', 'component_information', 'effective_components', 'entropy', 'loss_actor',
         'loss_alpha', 'loss_qvalue', 'weight_entropy']
    """

    @dataclass
    class _AcceptedKeys(SACLoss._AcceptedKeys):
        """SAC's keys, and that of the components whose critics a transition trains."""

        component_mask: NestedKey = "component_mask"

    default_keys = _AcceptedKeys

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        qvalue_network: TensorDictModule | list[TensorDictModule],
        value_network: None = None,
        *,
        variant: Variant = "sacm",
        actor_entropy: ActorEntropy = "component",
        data_masks: bool = False,
        target_entropy: str | float | Sequence[float] = "auto",
        **kwargs: Any,
    ) -> None:
        check_choice("variant", variant, Variant)
        check_choice("actor_entropy", actor_entropy, ActorEntropy)
        if value_network is not None:
            raise ValueError("value_network must be None: a component's value is of its critic.")
        self.data_masks = data_masks  # read below, where the input's keys are listed
        super().__init__(actor_network, qvalue_network, target_entropy=target_entropy, **kwargs)
        self.num_components = count_components(actor_network)
        if isinstance(target_entropy, Sequence) and not isinstance(target_entropy, str):
            check_target_entropy(target_entropy, self.num_components)
        self.variant = variant
        self.actor_entropy = actor_entropy
        log_alpha = self.log_alpha.detach().repeat(self.num_components)  # type: ignore[has-type]
        if self.fixed_alpha:
            self.register_buffer("log_alpha", log_alpha)
        else:
            self.log_alpha = nn.Parameter(log_alpha)

    def _set_in_keys(self) -> None:
        super()._set_in_keys()
        if self.data_masks:
            keys = [*self._in_keys, self.tensor_keys.component_mask]  # type: ignore[has-type]
            self._in_keys = keys

    def _values(self, tensordict: TensorDictBase, params: TensorDictBase) -> Tensor:
        """Values of each critic and component, ``[E, *B, K]``, or ``[E, *B, 1]`` if shared."""
        output = self._vmap_qnetworkN0(tensordict, params)
        values = output.get(self.tensor_keys.state_action_value)
        check_values(values.shape[-1], self.num_components, self.variant, self.data_masks)
        return values

    def _actor_values(self, tensordict: TensorDictBase, actions: Tensor) -> Tensor:
        """The smallest value of each component's action by its own critic, ``[*B, K]``."""
        values = component_values(
            self._vmap_qnetworkN0,
            self._cached_detached_qvalue_params,
            tensordict,
            actions,
            action_key=self.tensor_keys.action,
            value_key=self.tensor_keys.state_action_value,
        )
        shared = values.shape[-1] == 1
        own = values.squeeze(-1) if shared else values.diagonal(dim1=-2, dim2=-1)
        return own.amin(0)

    def actor_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """The actor's loss, and without gradient the log-densities and the diagnostics."""
        policy = self._policy(tensordict)
        actions, log_prob, own_log_prob = policy.rsample_components_and_log_prob()
        values = self._actor_values(tensordict, actions)
        regularizer = log_prob if self.actor_entropy == "mixture" else own_log_prob
        weights = policy.weights
        loss = (weights * (self._alpha * regularizer - values)).sum(-1)
        loss = self._reduce_loss(
            loss, tensordict=tensordict, weights=self._maybe_get_priority_weight(tensordict)
        )
        self._actor_metadata = {
            "log_prob": regularizer.detach(),
            "alpha": (weights.detach() * self._alpha).sum(-1).mean(),
            "entropy": F.stratified_entropy(policy.log_weights, log_prob).detach().mean(),
            **policy_diagnostics(policy),
        }
        return loss, self._actor_metadata

    def _alpha_loss(self, log_prob: Tensor) -> Tensor:
        return super()._alpha_loss(log_prob).sum(-1)

    @torch.no_grad()
    def _compute_target_v2(self, tensordict: TensorDictBase) -> Tensor:
        """Targets of each component's critics, ``[*B, K]``, or ``[*B, 1]`` if shared."""
        tensordict = tensordict.copy()
        following = tensordict.get("next").copy()
        action, bonus = self._next_action_and_bonus(following)
        following.set(self.tensor_keys.action, action)
        values = self._values(following, self.target_qvalue_network_params).amin(0) + bonus
        keys = self.value_estimator.tensor_keys
        following.set(keys.value, values)
        for key in (keys.reward, keys.done, keys.terminated):
            signal = following.get(key)
            if signal.shape == values[..., :1].shape:  # any other is the estimator's to refuse
                following.set(key, signal.expand(values.shape))
        steps = tensordict.get(keys.steps_to_next_obs, None)
        if steps is not None:
            steps = steps.reshape(*tensordict.shape, 1).expand(values.shape)
            tensordict.set(keys.steps_to_next_obs, steps)
        return self.value_estimator.value_estimate(tensordict.set("next", following))

    def _next_action_and_bonus(self, following: TensorDictBase) -> tuple[Tensor, Tensor]:
        """A draw of the mixture, ``[*B, A]``, and the entropies' share of each critic's target."""
        going = None
        if self.skip_done_states:
            going = ~following.get(self.tensor_keys.done).squeeze(-1)
        policy = self._policy(following if going is None else following[going])
        actions, log_prob, _ = policy.rsample_components_and_log_prob()
        action = F.take_component(actions, policy.choose_component())
        alpha = (policy.weights * self._alpha).sum(-1, keepdim=True)
        entropies = -alpha * policy.weights * log_prob
        if self.variant == "s2acm":
            bonus = entropies.cumsum(-1)
        else:
            bonus = entropies.sum(-1, keepdim=True)
        if going is None:
            return action, bonus
        return _scatter(going, action), _scatter(going, bonus)

    def qvalue_v2_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """The critics' loss, summed over critics and components, and the largest error."""
        target = self._compute_target_v2(tensordict)
        inputs = tensordict.select(*self.qvalue_network.in_keys, strict=False)
        values = self._values(inputs, self.qvalue_network_params)
        target = target.expand_as(values)
        loss = distance_loss(values, target, loss_function=self.loss_function)
        td_error = (values.detach() - target).abs()
        if self.data_masks:
            mask = tensordict[self.tensor_keys.component_mask]
            check_mask(mask, values)
            loss, td_error = loss * mask, td_error * mask
        loss = self._reduce_loss(
            loss.sum((0, -1)),
            tensordict=tensordict,
            weights=self._maybe_get_priority_weight(tensordict),
        )
        return loss, {"td_error": td_error.amax((0, -1))}

    def mixture_diagnostics(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """What is too slow for every update, as in ``MixtureSACLoss``, and each temperature.

        Arguments:
            tensordict: a batch with the actor's input.

        Returns:
            what that class returns, and ``alpha_0``, ``alpha_1``, ...
        """
        temperatures = {f"alpha_{k}": alpha for k, alpha in enumerate(self._alpha)}
        return {**super().mixture_diagnostics(tensordict), **temperatures}


def _scatter(mask: Tensor, rows: Tensor) -> Tensor:
    """The rows where the mask is true, and zeros elsewhere."""
    everywhere = rows.new_zeros((*mask.shape, rows.shape[-1]))
    everywhere[mask] = rows
    return everywhere
