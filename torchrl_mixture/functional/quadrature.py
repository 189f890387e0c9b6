"""Expectations under a normal component, one dimension at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from torchrl_mixture.functional.families import NORMAL

__all__ = ["normal_expectation"]

_REACH = 9.0  # scales; what lies beyond weighs 2e-19
_NODES = 513


def normal_expectation(function: Callable[[Tensor], Tensor], loc: Tensor, scale: Tensor) -> Tensor:
    r"""Mean of a smooth function of a normal variable, by the trapezoid rule.

    .. math::
        \int f(\mu + \sigma z)\, \varphi(z)\, \mathrm dz

    For functions analytic in a strip, such as tanh and the logarithm of its slope, the rule
    converges exponentially: 1e-12 up to :math:`\sigma = 10`, 1e-5 at 30.

    Arguments:
        function: :math:`f`, elementwise.
        loc: :math:`\mu`, ``[*B]``.
        scale: :math:`\sigma`, ``[*B]``, positive.

    Returns:
        ``[*B]``.

    Example:
        >>> normal_expectation(torch.square, torch.tensor(1.0), torch.tensor(2.0))
        tensor(5.)
    """
    z = torch.linspace(-_REACH, _REACH, _NODES, dtype=loc.dtype, device=loc.device)
    weights = torch.softmax(NORMAL.log_density(z), 0)
    return (function(loc.unsqueeze(-1) + scale.unsqueeze(-1) * z) * weights).sum(-1)
