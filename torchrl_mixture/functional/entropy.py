r"""Bounds on the entropy of a mixture, from the entropies of its components.

Shapes: ``log_weights`` ``[*B, K]``, ``loc`` and ``scale`` ``[*B, K, A]``, ``component_entropy``
``[*B, K]``; results ``[*B]``, in nats. A divergence between components is unchanged by an
invertible squashing, and is therefore computed before it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "cauchy_kl",
    "conditional_entropy",
    "normal_bhattacharyya",
    "normal_kl",
    "pairwise_entropy",
    "weight_entropy",
]


def weight_entropy(log_weights: Tensor) -> Tensor:
    r"""Entropy of the choice of a component.

    .. math::
        H(w) = -\sum_k w_k \log w_k

    Arguments:
        log_weights: :math:`\log w`, ``[*B, K]``, normalised.

    Returns:
        ``[*B]``, between 0 and :math:`\log K`.

    Example:
        >>> weight_entropy(torch.tensor([0.5, 0.5]).log())
        tensor(0.6931)
    """
    # Not entr(w): where w underflows its slope is infinite, and the gradient would be NaN.
    finite = log_weights.clamp_min(torch.finfo(log_weights.dtype).min)
    return -(finite.exp() * finite).sum(-1)


def conditional_entropy(log_weights: Tensor, component_entropy: Tensor) -> Tensor:
    r"""Mean entropy of the components: a lower bound on that of the mixture.

    .. math::
        H(x \mid k) = \sum_k w_k H(p_k) \le H(p) \le H(x \mid k) + H(w)

    Arguments:
        log_weights: :math:`\log w`, ``[*B, K]``.
        component_entropy: :math:`H(p_k)`, ``[*B, K]``.

    Returns:
        ``[*B]``.

    Example:
        >>> conditional_entropy(torch.tensor([0.5, 0.5]).log(), torch.tensor([1.0, 2.0]))
        tensor(1.5000)
    """
    return (log_weights.exp() * component_entropy).sum(-1)


def pairwise_entropy(log_weights: Tensor, component_entropy: Tensor, distance: Tensor) -> Tensor:
    r"""Entropy estimate from the distances between components.

    .. math::
        \hat H_D = \sum_i w_i H(p_i) - \sum_i w_i \log \sum_j w_j\, e^{-D(p_i \| p_j)}

    With the Kullback-Leibler divergence it bounds :math:`H(p)` from above, with the
    Bhattacharyya distance from below; both are tight where components coincide or lie far apart.

    Arguments:
        log_weights: :math:`\log w`, ``[*B, K]``.
        component_entropy: :math:`H(p_k)`, ``[*B, K]``.
        distance: :math:`D(p_i \| p_j)`, ``[*B, K, K]``.

    Returns:
        ``[*B]``.

    Source:
        Kolchinsky & Tracey (2017), arXiv:1706.02419, equation 10; used by Baram et al. (2021),
        arXiv:2103.10176.

    Example:
        >>> pairwise_entropy(torch.zeros(1), torch.ones(1), torch.zeros(1, 1))
        tensor(1.)
    """
    overlap = torch.logsumexp(log_weights.unsqueeze(-2) - distance, -1)
    return (log_weights.exp() * (component_entropy - overlap)).sum(-1)


def _pairs(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Differences of locations, and the two scales, ``[*B, K, K, A]``."""
    return loc.unsqueeze(-2) - loc.unsqueeze(-3), scale.unsqueeze(-2), scale.unsqueeze(-3)


def normal_kl(loc: Tensor, scale: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence between normal components.

    .. math::
        D(p_i \| p_j) = \sum_d \log\frac{\sigma_{jd}}{\sigma_{id}}
            + \frac{\sigma_{id}^2 + (\mu_{id} - \mu_{jd})^2}{2\sigma_{jd}^2} - \frac12

    Arguments:
        loc: :math:`\mu`, ``[*B, K, A]``.
        scale: :math:`\sigma`, ``[*B, K, A]``, positive.

    Returns:
        ``[*B, K, K]``, first :math:`i`, then :math:`j`.

    Example:
        >>> normal_kl(torch.tensor([[0.0], [1.0]]), torch.ones(2, 1))
        tensor([[0.0000, 0.5000],
                [0.5000, 0.0000]])
    """
    difference, first, second = _pairs(loc, scale)
    ratio = first / second
    return (0.5 * (ratio.square() + (difference / second).square() - 1) - ratio.log()).sum(-1)


def normal_bhattacharyya(loc: Tensor, scale: Tensor) -> Tensor:
    r"""Bhattacharyya distance between normal components.

    .. math::
        D(p_i, p_j) = \sum_d \frac{(\mu_{id} - \mu_{jd})^2}{4(\sigma_{id}^2 + \sigma_{jd}^2)}
            + \frac12 \log\frac{\sigma_{id}^2 + \sigma_{jd}^2}{2\sigma_{id}\sigma_{jd}}

    Arguments:
        loc: :math:`\mu`, ``[*B, K, A]``.
        scale: :math:`\sigma`, ``[*B, K, A]``, positive.

    Returns:
        ``[*B, K, K]``, symmetric.

    Example:
        >>> normal_bhattacharyya(torch.tensor([[0.0], [2.0]]), torch.ones(2, 1))
        tensor([[0.0000, 0.5000],
                [0.5000, 0.0000]])
    """
    difference, first, second = _pairs(loc, scale)
    total = first.square() + second.square()
    log_ratio = torch.log(0.5 * (first / second + second / first))
    return (0.25 * difference.square() / total + 0.5 * log_ratio).sum(-1)


def cauchy_kl(loc: Tensor, scale: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence between Cauchy components, which is symmetric.

    .. math::
        D(p_i \| p_j) = \sum_d
            \log\frac{(\sigma_{id} + \sigma_{jd})^2 + (\mu_{id} - \mu_{jd})^2}
                     {4\sigma_{id}\sigma_{jd}}

    Arguments:
        loc: :math:`\mu`, ``[*B, K, A]``.
        scale: :math:`\sigma`, ``[*B, K, A]``, positive.

    Returns:
        ``[*B, K, K]``.

    Source:
        Chyzak & Nielsen (2019), arXiv:1905.10965, theorem 1.

    Example:
        >>> cauchy_kl(torch.tensor([[0.0], [2.0]]), torch.ones(2, 1))
        tensor([[0.0000, 0.6931],
                [0.6931, 0.0000]])
    """
    difference, first, second = _pairs(loc, scale)
    total = (first + second).square() + difference.square()
    return (total.log() - first.log() - second.log() - 2 * math.log(2)).sum(-1)
