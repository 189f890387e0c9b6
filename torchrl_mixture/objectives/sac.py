"""Soft actor-critic for mixture policies."""

from __future__ import annotations

from typing import Any

from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
from torch import Tensor

from torchrl_mixture.objectives.estimators import (
    EstimatorName,
    GradientEstimator,
    make_gradient_estimator,
)
from torchrl_mixture.objectives.mixture_policy import MixturePolicyLoss, policy_diagnostics

__all__ = ["MixtureSACLoss"]


class MixtureSACLoss(MixturePolicyLoss):
    r"""SAC with a choice of gradient estimator for a mixture policy.

    .. math::
        L_\pi = \mathbb E_{s}\, \mathbb E_{a \sim \pi(\cdot \mid s)}
            \left[\alpha \log \pi(a \mid s) - \min_e Q_e(s, a)\right]

    where :math:`\pi` is always the mixture's density, in the actor's loss, the critics' target
    and the temperature's. Everything but the actor's gradient is TorchRL's
    :class:`~torchrl.objectives.SACLoss`, whose keyword arguments it takes; with one component the
    two are equal.

    Beside the losses, ``alpha`` and ``entropy``, it returns without gradient what shows whether
    the mixture lives: ``weight_entropy`` :math:`H(w)` and ``component_information``
    :math:`I(k; a \mid s)`, means over the batch in nats, and ``effective_components``
    :math:`\exp H(\bar w)`.

    Arguments:
        actor_network: a policy whose distribution is a
            :class:`~torchrl_mixture.distributions.ComponentMixture`, such as
            :func:`~torchrl_mixture.modules.mixture_actor` makes.
        qvalue_network: the critic; give a list of critics to keep their initialisation.
        value_network: as in ``SACLoss``.
        gradient_estimator: ``"half"``, ``"gumbel"``, ``"likelihood"``, ``"marginal"``,
            ``"implicit"``, or a :class:`~torchrl_mixture.objectives.GradientEstimator`.
        **kwargs: the keyword arguments of ``SACLoss``. Its default ``loss_function`` is
            ``"smooth_l1"``; the papers use ``"l2"``.

    Raises:
        ValueError: where the estimator is unknown or the actor's distribution is no mixture of
            this library; at the first call, where an estimator's result has another shape than
            the batch.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), algorithm 1,
        with the terminal mask that it omits.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from torchrl.data import Bounded
        >>> from torchrl.modules import MLP, ValueOperator
        >>> from torchrl_mixture.modules import mixture_actor
        >>> actor = mixture_actor(Bounded(-1.0, 1.0, (2,)), num_components=5)
        >>> def critic():
        ...     return ValueOperator(MLP(out_features=1), in_keys=["observation", "action"])
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
        >>> critics = [critic(), critic()]
        >>> for network in (actor, *critics):
        ...     _ = network(batch.copy())  # lazy layers take their size
        >>> loss = MixtureSACLoss(actor, critics, gradient_estimator="half")
        >>> sorted(loss(batch).keys())
        ['alpha', 'component_information', 'effective_components', 'entropy', 'loss_actor',
         'loss_alpha', 'loss_qvalue', 'weight_entropy']
    """

    gradient_estimator: GradientEstimator

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        qvalue_network: TensorDictModule | list[TensorDictModule],
        value_network: TensorDictModule | None = None,
        *,
        gradient_estimator: EstimatorName | GradientEstimator = "half",
        **kwargs: Any,
    ) -> None:
        gradient_estimator = make_gradient_estimator(gradient_estimator)
        super().__init__(actor_network, qvalue_network, value_network, **kwargs)
        self.gradient_estimator = gradient_estimator

    def actor_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """The actor's loss, and without gradient the log-density and the diagnostics."""
        policy = self._policy(tensordict)
        critic_input = tensordict.select(*self.qvalue_network.in_keys, strict=False)

        def q_function(action: Tensor) -> Tensor:
            scored = critic_input.copy()
            if sample_shape := action.shape[: action.ndim - 1 - scored.ndim]:
                scored = scored.expand(*sample_shape, *scored.shape)
            scored.set(self.tensor_keys.action, action)
            scored = self._vmap_qnetworkN0(scored, self._cached_detached_qvalue_params)
            return scored.get(self.tensor_keys.state_action_value).squeeze(-1).amin(0)

        loss, log_prob = self.gradient_estimator(policy, q_function, self._alpha)
        if not loss.shape == log_prob.shape == tensordict.shape:
            raise ValueError(
                f"gradient_estimator must return cost and log_prob of the batch's shape "
                f"{tuple(tensordict.shape)}, {type(self.gradient_estimator).__name__} returned "
                f"{tuple(loss.shape)} and {tuple(log_prob.shape)}."
            )
        weights = self._maybe_get_priority_weight(tensordict)
        loss = self._reduce_loss(loss, tensordict=tensordict, weights=weights)
        self._actor_metadata = {"log_prob": log_prob.detach(), **policy_diagnostics(policy)}
        return loss, self._actor_metadata
