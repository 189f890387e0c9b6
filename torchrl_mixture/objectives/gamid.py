"""Deterministic policy gradients for a mixture of means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import (
    TensorDictModule,
    TensorDictModuleBase,
    TensorDictSequential,
)
from tensordict.utils import NestedKey
from torch import Tensor
from torchrl.objectives import TD3Loss

from torchrl_mixture import functional as F
from torchrl_mixture.modules import MeanActors
from torchrl_mixture.modules.ensemble import EnsembleCall, component_values

__all__ = ["GamidLoss"]

_DIAGNOSTICS = ("divergence", "component_distance", "effective_components")


class GamidLoss(TD3Loss):
    r"""TD3 for several means, which are kept apart by a divergence.

    .. math::
        L_\pi = -\mathbb E_s \sum_{i=1}^K \left[Q_1(s, \mu_i(s)) + \tau D_i(s)\right], \qquad
        D_i = -\log \frac{1}{K - 1} \sum_{j \ne i}
            \exp\left(-\frac{\lVert \mu_i - \mu_j \rVert^2}{2 \sigma^2}\right)

    with :math:`j \ne i` held constant in :math:`D_i`, and means in units of the half-width of the
    action's box. The target's action is the target mean of the component

    .. math::
        k = \arg\max_i \min_e Q_e'(s', \mu_i'(s'))

    under the target critics, to which TD3's clipped noise is added before the minimum of the
    twins. Everything else is TorchRL's :class:`~torchrl.objectives.TD3Loss`, whose keyword
    arguments it takes; with one component the two are equal.

    Beside TD3's outputs it returns without gradient ``divergence``, :math:`\sum_i D_i`, and
    ``component_distance``, the mean of :math:`\lVert \mu_i - \mu_j \rVert` over pairs, both
    means over the batch; and ``effective_components``, the exponential of the entropy of how
    often each component has the highest :math:`Q_1`. ``state_action_value_actor`` is
    :math:`Q_1(s, \mu_i(s))`, ``[*B, K]``.

    Arguments:
        actor_network: the means.
        qvalue_network: the critic; give a list of critics to keep their initialisation.
        temperature: :math:`\tau`, a buffer that can be scheduled.
        variance: :math:`\sigma^2` of the components, in squared half-widths, a buffer too. 1/2
            gives the paper's printed form, see
            :func:`~torchrl_mixture.functional.component_divergence`.
        **kwargs: the keyword arguments of ``TD3Loss``, among them ``action_spec`` or ``bounds``.
            Its default ``loss_function`` is ``"smooth_l1"``; the paper uses ``"l2"``.

    Raises:
        ValueError: where the actor does not write ``"means"``, the temperature is negative, or
            the variance is not positive.

    Source:
        Dey and Sharon (2025), algorithm 1, for TD3. Line 10 prints the online means in the
        target; here they are the target means, as in the paper's code, whose divergence draws
        the means together instead of apart.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl.data import Bounded, Composite, Unbounded
        >>> from torchrl.modules import MLP, ValueOperator
        >>> spec = Bounded(-1.0, 1.0, (2,))
        >>> observed = Composite(observation=Unbounded((3,)))
        >>> actor = MeanActors(spec, num_components=5, observation_spec=observed)
        >>> critic = ValueOperator(MLP(5, 1), in_keys=["observation", "action"])
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
        >>> loss = GamidLoss(actor, critic, action_spec=spec)
        >>> sorted(loss(batch).keys())
        ['component_distance', 'divergence', 'effective_components', 'loss_actor', 'loss_qvalue',
         'next_state_value', 'pred_value', 'state_action_value_actor', 'target_value']
    """

    temperature: Tensor
    variance: Tensor
    _schedulable_buffers = frozenset({"temperature", "variance"})
    out_keys = [*TD3Loss.out_keys, *_DIAGNOSTICS]

    def __init__(
        self,
        actor_network: MeanActors,
        qvalue_network: TensorDictModule | list[TensorDictModule],
        *,
        temperature: float = 0.1,
        variance: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if actor_network.out_keys != ["means"]:
            raise ValueError(
                f"actor_network must write 'means', as MeanActors does, it writes "
                f"{actor_network.out_keys}."
            )
        if not temperature >= 0:
            raise ValueError(f"temperature must be at least 0, got {temperature}.")
        if not variance > 0:
            raise ValueError(f"variance must be above 0, got {variance}.")
        critic = qvalue_network[0] if isinstance(qvalue_network, list) else qvalue_network
        state_keys = [key for key in critic.in_keys if key != "action"]
        # TD3Loss runs this actor in its target alone, with the target's parameters.
        target_actor = TensorDictSequential(actor_network, _Choice(self._choose, state_keys))
        super().__init__(target_actor, qvalue_network, **kwargs)
        self.register_coeff_buffer("temperature", float(temperature))
        self.register_coeff_buffer("variance", float(variance))

    def _make_vmap(self) -> None:
        super()._make_vmap()
        self._critics = EnsembleCall(self.qvalue_network)
        self._vmap_qvalue_network00 = self._call_expanded

    def _set_in_keys(self) -> None:
        super()._set_in_keys()
        # The critics read it, but the target's actor writes it.
        next_action = ("next", self.tensor_keys.action)
        self._in_keys = [key for key in self.in_keys if key != next_action]

    def _call_expanded(self, tensordict: TensorDictBase, params: TensorDictBase) -> TensorDictBase:
        """Call the critics on what ``TD3Loss`` has expanded to one copy for each."""
        return self._critics(tensordict[0], params)

    def _values(self, params: TensorDictBase, tensordict: TensorDictBase, means: Tensor) -> Tensor:
        return component_values(
            self._critics,
            params,
            tensordict,
            means,
            action_key=self.tensor_keys.action,
            value_key=self.tensor_keys.state_action_value,
        ).squeeze(-1)

    def _choose(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Set the action to the mean that is best under the target critics."""
        means = tensordict["means"]
        if means.shape[-2] == 1:
            action = means.squeeze(-2)
        else:
            values = self._values(self.target_qvalue_network_params, tensordict, means)
            action = F.take_component(means, values.amin(0).argmax(-1))
        return tensordict.set(self.tensor_keys.action, action)

    def _means(self, tensordict: TensorDictBase) -> Tensor:
        with self.actor_network_params.to_module(self.actor_network, preserve_module_state=False):
            actor = self.actor_network[0]
            return actor(tensordict.select(*actor.in_keys, strict=False))["means"]

    def actor_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """The actor's loss, and without gradient the components' values and diagnostics."""
        means = self._means(tensordict)
        first_critic = self._cached_detach_qvalue_network_params[:1]
        values = self._values(first_critic, tensordict, means).squeeze(0)
        scaled = means * (2 / (self.max_action - self.min_action))
        divergence = F.component_divergence(scaled, self.variance)
        loss = -(values + self.temperature * divergence).sum(-1)
        weights = self._maybe_get_priority_weight(tensordict)
        loss = self._reduce_loss(loss, tensordict=tensordict, weights=weights)
        self._clear_weakrefs(
            tensordict,
            "actor_network_params",
            "qvalue_network_params",
            "target_actor_network_params",
            "target_qvalue_network_params",
        )
        return loss, {
            "state_action_value_actor": values.detach(),
            "divergence": divergence.detach().sum(-1).mean(),
            "component_distance": _mean_distance(scaled.detach()),
            "effective_components": _effective_components(values.detach()),
        }


class _Choice(TensorDictModuleBase):
    """What follows the means in the target's actor."""

    def __init__(
        self,
        choose: Callable[[TensorDictBase], TensorDictBase],
        state_keys: Sequence[NestedKey],
    ) -> None:
        super().__init__()
        self.choose = choose
        self.in_keys = [*state_keys, "means"]
        self.out_keys = ["action"]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        return self.choose(tensordict)


def _mean_distance(means: Tensor) -> Tensor:
    distance = (means.unsqueeze(-2) - means.unsqueeze(-3)).norm(dim=-1)
    return F.mean_pairwise_distance(distance).mean() / 2  # both orders are one distance


def _effective_components(values: Tensor) -> Tensor:
    best = torch.nn.functional.one_hot(values.argmax(-1), values.shape[-1])
    return F.effective_components(best.to(values.dtype).log())
