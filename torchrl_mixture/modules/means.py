"""A deterministic actor with several means."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict.nn import TensorDictModule
from tensordict.utils import NestedKey
from torch import Tensor, nn
from torchrl.data import Composite, TensorSpec

from torchrl_mixture.modules.batched import BatchedMLP
from torchrl_mixture.modules.specs import action_box, action_leaf, input_size

__all__ = ["MeanActors"]


class MeanActors(TensorDictModule):
    r"""Separate networks, each giving one action, evaluated as one batched product.

    .. math::
        \mu_k(s) = \text{centre} + \text{half} \cdot \tanh f_k(s), \qquad k = 1, \dots, K

    where the action's box has this centre and half-width. It writes ``"means"``, ``[*B, K, A]``.
    The networks share nothing.

    Arguments:
        action_spec: the action's spec, ``[*B, A]``, bounded, or a composite with the key
            ``"action"`` at its top.
        num_components: the number of means :math:`K`.
        observation_spec: where the input's size is read.
        in_keys: what the networks read; several are concatenated.
        num_cells: widths of the hidden layers.
        activation_class: activation between the layers.

    Raises:
        ValueError: where the action is discrete or unbounded, there is no component, or an input
            is not in the spec.

    Source:
        Dey and Sharon (2025), section 3.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl.data import Bounded, Unbounded
        >>> observed = Composite(observation=Unbounded((3,)))
        >>> actor = MeanActors(Bounded(-2.0, 2.0, (1,)), 5, observation_spec=observed)
        >>> actor(TensorDict({"observation": torch.zeros(8, 3)}, [8]))["means"].shape
        torch.Size([8, 5, 1])
    """

    def __init__(
        self,
        action_spec: TensorSpec,
        num_components: int,
        *,
        observation_spec: Composite,
        in_keys: Sequence[NestedKey] = ("observation",),
        num_cells: Sequence[int] = (256, 256),
        activation_class: type[nn.Module] = nn.ReLU,
    ) -> None:
        if num_components < 1:
            raise ValueError(f"num_components must be at least 1, got {num_components}.")
        leaf = action_leaf(action_spec)
        sizes = [input_size(observation_spec, in_keys), *num_cells, leaf.shape[-1]]
        module = _Means(num_components, sizes, activation_class, action_box(leaf))
        super().__init__(module, in_keys=list(in_keys), out_keys=["means"])
        self.num_components = num_components


class _Means(BatchedMLP):
    """Separate networks on the same input, squashed into the box."""

    centre: Tensor
    half_width: Tensor

    def __init__(
        self,
        num_components: int,
        sizes: Sequence[int],
        activation_class: type[nn.Module],
        edges: dict[str, float | Tensor],
    ) -> None:
        super().__init__(num_components, sizes, activation_class)
        # A spec of another type does not change the type of the networks.
        dtype = next(self.parameters()).dtype
        low, high = torch.as_tensor(edges["low"]), torch.as_tensor(edges["high"])
        self.register_buffer("centre", ((high + low) / 2).to(dtype))
        self.register_buffer("half_width", ((high - low) / 2).to(dtype))

    def forward(self, *inputs: Tensor) -> Tensor:
        outputs = super().forward(torch.cat(inputs, -1))
        return self.centre + self.half_width * outputs.tanh()
