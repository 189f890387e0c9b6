"""Separate networks of one shape, evaluated as batched products."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["BatchedMLP"]


class BatchedMLP(nn.Module):
    """Networks side by side on the same input: ``[*B, in]`` to ``[*B, N, out]``.

    TorchRL's ``MultiAgentMLP`` computes the same, but cannot be compiled within a loss in one
    graph, and takes several times as long for one state.

    Arguments:
        count: the number of networks :math:`N`.
        sizes: widths of input, hidden layers and output.
        activation_class: activation between the layers.
    """

    def __init__(
        self, count: int, sizes: Sequence[int], activation_class: type[nn.Module] = nn.ReLU
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [_BatchedLinear(count, size_in, size_out), activation_class()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, features: Tensor) -> Tensor:
        batch = features.shape[:-1]
        outputs = self.layers(features.reshape(1, -1, features.shape[-1]))
        return outputs.movedim(0, -2).unflatten(0, batch) if batch else outputs.squeeze(-2)


class _BatchedLinear(nn.Module):
    """Linear layers side by side: ``[N or 1, B, in]`` to ``[N, B, out]``."""

    def __init__(self, count: int, size_in: int, size_out: int) -> None:
        super().__init__()
        bound = size_in**-0.5  # as in nn.Linear
        self.weight = nn.Parameter(torch.empty(count, size_in, size_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(count, 1, size_out).uniform_(-bound, bound))

    def forward(self, features: Tensor) -> Tensor:
        features = features.expand(len(self.weight), *features.shape[1:])
        return torch.baddbmm(self.bias, features, self.weight)
