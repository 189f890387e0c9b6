"""How an ensemble of critics is called."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from tensordict.utils import NestedKey
from torch import Tensor
from torch.func import functional_call

__all__ = ["EnsembleCall", "check_critic_keys", "component_values"]


class EnsembleCall:
    """One critic module with stacked parameters, called once for each set of them.

    What ``torch.vmap`` over a TensorDict module does for ``in_dims=(None, 0)``, in less time for
    the few critics of an ensemble, because the parameters are swapped as plain tensors.

    Arguments:
        network: the critic.
    """

    def __init__(self, network: TensorDictModule) -> None:
        self.network = network
        self.out_keys = [key for key in network.out_keys if key != "_"]
        # named_modules names a module that is used twice once, so that it is swapped once.
        self._slots = [
            (f"{prefix}.{name}".removeprefix("."), store, name)
            for prefix, module in network.named_modules()
            for store in (module._parameters, module._buffers)
            for name, value in store.items()
            if value is not None
        ]

    def __call__(self, tensordict: TensorDictBase, params: TensorDictBase) -> TensorDict:
        """The critics' outputs, with the ensemble first: ``[E, *B]``.

        Arguments:
            tensordict: the critic's input, ``[*B]``.
            params: its parameters and buffers, each with a leading axis of size ``E``.
        """
        flat = params.flatten_keys(".")
        members = list(zip(*(flat.get(name).unbind(0) for name, *_ in self._slots), strict=True))
        inputs = tensordict.select(*self.network.in_keys, strict=False)
        outputs = [self._call_one(inputs.copy(), member) for member in members]
        return TensorDict(
            {key: torch.stack([output.get(key) for output in outputs]) for key in self.out_keys},
            batch_size=(len(members), *inputs.shape),
        )

    def _call_one(self, inputs: TensorDictBase, member: Sequence[Tensor]) -> TensorDictBase:
        if torch.compiler.is_compiling():
            values = {name: value for (name, *_), value in zip(self._slots, member, strict=True)}
            return functional_call(self.network, values, (inputs,), tie_weights=False)
        # The same without functional_call's look-up of each name at each call.
        own = [store[name] for _, store, name in self._slots]
        try:
            for (_, store, name), value in zip(self._slots, member, strict=True):
                store[name] = value
            return self.network(inputs)
        finally:
            for (_, store, name), value in zip(self._slots, own, strict=True):
                store[name] = value


def component_values(
    critics: EnsembleCall,
    params: TensorDictBase,
    tensordict: TensorDictBase,
    means: Tensor,
    *,
    action_key: NestedKey = "action",
    value_key: NestedKey = "state_action_value",
) -> Tensor:
    """Score one action of each component.

    Arguments:
        critics: critics of state and action.
        params: their parameters, ``[E]``.
        tensordict: the state, ``[*B]``.
        means: ``[*B, K, A]``.
        action_key: what the critics read.
        value_key: what they write.

    Returns:
        ``[E, *B, K, n]``, with :math:`n` values of each critic.
    """
    state = tensordict.select(*critics.network.in_keys, strict=False)
    scored = state.unsqueeze(-1).expand(*state.shape, means.shape[-2])
    return critics(scored.set(action_key, means), params).get(value_key)


def check_critic_keys(qvalue_network: TensorDictModule) -> None:
    """Refuse critics of other keys, for modules that have no ``set_keys``."""
    if "action" not in qvalue_network.in_keys or (
        "state_action_value" not in qvalue_network.out_keys
    ):
        raise ValueError(
            f"qvalue_network must read 'action' and write 'state_action_value', it reads "
            f"{list(qvalue_network.in_keys)} and writes {list(qvalue_network.out_keys)}."
        )
