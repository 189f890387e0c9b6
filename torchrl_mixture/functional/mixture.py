r"""The density of a mixture of factorised components, in log space.

Shapes: ``value`` is ``[*B, A]``, ``log_weights`` ``[*B, K]``, ``loc`` and ``scale``
``[*B, K, A]``; leading dimensions broadcast.
"""

from __future__ import annotations

import torch
from torch import Tensor

from torchrl_mixture.functional.families import NORMAL, Family

__all__ = [
    "choose_component",
    "component_log_prob",
    "mixture_cdf",
    "mixture_log_prob",
    "responsibilities",
    "take_component",
]


def component_log_prob(
    value: Tensor, loc: Tensor, scale: Tensor, family: Family = NORMAL
) -> Tensor:
    r"""Log-density of a value under each component.

    .. math::
        \log p_k(x) = \sum_d \ell\left(\frac{x_d - \mu_{kd}}{\sigma_{kd}}\right) - \log\sigma_{kd}

    Arguments:
        value: :math:`x`, ``[*B, A]``.
        loc: :math:`\mu`, ``[*B, K, A]``.
        scale: :math:`\sigma`, ``[*B, K, A]``, positive.
        family: the components' density :math:`e^\ell`.

    Returns:
        ``[*B, K]``, in nats.

    Example:
        >>> component_log_prob(torch.zeros(1), torch.zeros(2, 1), torch.ones(2, 1))
        tensor([-0.9189, -0.9189])
    """
    z = (value.unsqueeze(-2) - loc) / scale
    return (family.log_density(z) - scale.log()).sum(-1)


def mixture_log_prob(
    value: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor, family: Family = NORMAL
) -> Tensor:
    r"""Log-density of a value under the mixture.

    .. math::
        \log p(x) = \log \sum_k w_k\, p_k(x)

    Arguments:
        value: :math:`x`, ``[*B, A]``.
        log_weights: :math:`\log w`, ``[*B, K]``, normalised.
        loc: :math:`\mu`, ``[*B, K, A]``.
        scale: :math:`\sigma`, ``[*B, K, A]``, positive.
        family: the components' density.

    Returns:
        ``[*B]``, in nats.

    Example:
        >>> halves = torch.tensor([0.5, 0.5]).log()
        >>> mixture_log_prob(torch.zeros(1), halves, torch.zeros(2, 1), torch.ones(2, 1))
        tensor(-0.9189)
    """
    return torch.logsumexp(log_weights + component_log_prob(value, loc, scale, family), -1)


def responsibilities(
    value: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor, family: Family = NORMAL
) -> Tensor:
    r"""Probability that each component produced the value.

    .. math::
        r_k(x) = \frac{w_k\, p_k(x)}{\sum_j w_j\, p_j(x)}

    Arguments:
        value: :math:`x`, ``[*B, A]``.
        log_weights: :math:`\log w`, ``[*B, K]``.
        loc: :math:`\mu`, ``[*B, K, A]``.
        scale: :math:`\sigma`, ``[*B, K, A]``, positive.
        family: the components' density.

    Returns:
        ``[*B, K]``, summing to one.

    Example:
        >>> loc = torch.tensor([[-1.0], [1.0]])
        >>> responsibilities(torch.zeros(1), torch.zeros(2), loc, torch.ones(2, 1))
        tensor([0.5000, 0.5000])
    """
    return torch.softmax(log_weights + component_log_prob(value, loc, scale, family), -1)


def mixture_cdf(
    value: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor, family: Family = NORMAL
) -> Tensor:
    r"""Probability of a draw below the value, for one dimension.

    .. math::
        F(x) = \sum_k w_k\, \Phi\left(\frac{x - \mu_k}{\sigma_k}\right)

    Arguments:
        value: :math:`x`, ``[*B, 1]``.
        log_weights: :math:`\log w`, ``[*B, K]``.
        loc: :math:`\mu`, ``[*B, K, 1]``.
        scale: :math:`\sigma`, ``[*B, K, 1]``, positive.
        family: the components' density.

    Returns:
        ``[*B]``.

    Example:
        >>> float(mixture_cdf(torch.zeros(1), torch.zeros(1), torch.zeros(1, 1), torch.ones(1, 1)))
        0.5
    """
    z = ((value.unsqueeze(-2) - loc) / scale).squeeze(-1)
    tail = family.tail(z)
    return (log_weights.exp() * torch.where(z > 0, 1 - tail, tail)).sum(-1)


def choose_component(log_weights: Tensor, uniform: Tensor) -> Tensor:
    r"""Component that a uniform number falls on, by the inverse CDF of the weights.

    .. math::
        k = \#\{j : w_1 + \dots + w_j < 1 - u\}

    A component of weight zero is never chosen.

    Arguments:
        log_weights: :math:`\log w`, ``[*B, K]``.
        uniform: :math:`u` in [0, 1), ``[*S, *B]``.

    Returns:
        int64 indices, ``[*S, *B]``.

    Example:
        >>> choose_component(torch.tensor([0.25, 0.75]).log(), torch.tensor([0.1, 0.9]))
        tensor([1, 0])
    """
    cumulative = log_weights.exp().cumsum(-1)
    # 1 - u is never zero and the last sum need not round to one, so that the threshold lies in
    # (0, total] and the first sum to reach it belongs to a component with a positive weight.
    threshold = (1 - uniform) * cumulative[..., -1]
    return (cumulative < threshold.unsqueeze(-1)).sum(-1)


def take_component(values: Tensor, component: Tensor) -> Tensor:
    """Rows of the components that were chosen.

    Arguments:
        values: ``[*B, K, A]``.
        component: indices, ``[*S, *B]``.

    Returns:
        ``[*S, *B, A]``.

    Example:
        >>> take_component(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor(1))
        tensor([3., 4.])
    """
    size = values.shape[-1]
    values = values.expand(*component.shape, *values.shape[-2:])
    index = component[..., None, None].expand(*component.shape, 1, size)
    return values.gather(-2, index).squeeze(-2)
