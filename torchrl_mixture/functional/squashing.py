"""Maps from the line to the open interval (-1, 1), scored before the squashing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["ARCTAN", "TANH", "Squashing"]

# The share of the half-width at either edge in which an action is scored as if it lay just inside.
EDGE = 1e-6


class Squashing(NamedTuple):
    r"""An increasing map :math:`g` from the line onto (-1, 1), elementwise.

    Arguments:
        forward: :math:`g(x)`.
        inverse: :math:`g^{-1}(u)`, with :math:`u` held within ``1e-6`` of the edges, where
            the gradient with respect to :math:`u` is zero.
        log_slope: :math:`\log g'(x)`, as a function of :math:`x` so that it stays exact where
            :math:`g(x)` rounds to an edge.

    Example:
        >>> float(TANH.log_slope(torch.tensor(20.0)))
        -38.6137
    """

    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    log_slope: Callable[[Tensor], Tensor]


def _inside(u: Tensor) -> Tensor:
    return u.clamp(-1 + EDGE, 1 - EDGE)


def _tanh_log_slope(x: Tensor) -> Tensor:
    return 2 * (math.log(2) - x - softplus(-2 * x))


def _arctan(x: Tensor) -> Tensor:
    return torch.atan(x) * (2 / math.pi)


def _arctan_inverse(u: Tensor) -> Tensor:
    return torch.tan(_inside(u) * (math.pi / 2))


def _arctan_log_slope(x: Tensor) -> Tensor:
    return math.log(2 / math.pi) - torch.log1p(x.square())


TANH = Squashing(torch.tanh, lambda u: torch.atanh(_inside(u)), _tanh_log_slope)
""":math:`g(x) = \\tanh x`."""

ARCTAN = Squashing(_arctan, _arctan_inverse, _arctan_log_slope)
""":math:`g(x) = \\frac{2}{\\pi} \\arctan x`, slow enough for a Cauchy's tails."""
