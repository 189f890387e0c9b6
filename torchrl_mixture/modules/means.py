"""A deterministic actor with several means."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from tensordict.nn import TensorDictModule
from tensordict.utils import NestedKey
from torch import Tensor, nn
from torchrl.data import Composite, TensorSpec

from torchrl_mixture.modules.specs import action_box, action_leaf, input_size

__all__ = ["MeanActors"]


class MeanActors(TensorDictModule):
    r"""Separate networks, each giving one action, evaluated as one batched product.

    .. math::
        \mu_k(s) = \text{centre} + \text{half} \cdot \tanh f_k(s), \qquad k = 1, \dots, K

    where the action's box has this centre and half-width. It writes ``"means"``, ``[*B, K, A]``.
    The networks share nothing. TorchRL's ``MultiAgentMLP`` computes the same, but cannot be
    compiled within a loss in one graph, and takes several times as long for one state.

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
        edges = action_box(leaf)
        sizes = [input_size(observation_spec, in_keys), *num_cells, leaf.shape[-1]]
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [_BatchedLinear(num_components, size_in, size_out), activation_class()]
        module = _Means(layers[:-1], torch.as_tensor(edges["low"]), torch.as_tensor(edges["high"]))
        super().__init__(module, in_keys=list(in_keys), out_keys=["means"])
        self.num_components = num_components


class _Means(nn.Module):
    """Layers of separate networks on the same input, squashed into the box."""

    def __init__(self, layers: Sequence[nn.Module], low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        # A spec of another type does not change the type of the networks.
        dtype = next(layers[0].parameters()).dtype
        self.register_buffer("centre", ((high + low) / 2).to(dtype))
        self.register_buffer("half_width", ((high - low) / 2).to(dtype))

    def forward(self, *inputs: Tensor) -> Tensor:
        features = torch.cat(inputs, -1)
        batch = features.shape[:-1]
        outputs = self.layers(features.reshape(1, -1, features.shape[-1]))
        means = self.centre + self.half_width * outputs.tanh()
        return means.movedim(0, -2).unflatten(0, batch) if batch else means.squeeze(-2)


class _BatchedLinear(nn.Module):
    """Linear layers side by side: ``[K or 1, B, in]`` to ``[K, B, out]``."""

    def __init__(self, count: int, size_in: int, size_out: int) -> None:
        super().__init__()
        bound = size_in**-0.5  # as in nn.Linear
        self.weight = nn.Parameter(torch.empty(count, size_in, size_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(count, 1, size_out).uniform_(-bound, bound))

    def forward(self, features: Tensor) -> Tensor:
        features = features.expand(len(self.weight), *features.shape[1:])
        return torch.baddbmm(self.bias, features, self.weight)
