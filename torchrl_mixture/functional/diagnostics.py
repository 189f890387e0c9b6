"""Numbers that show whether a mixture lives or has collapsed."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["component_information", "effective_components", "mean_pairwise_distance"]


def effective_components(log_weights: Tensor) -> Tensor:
    r"""Number of components in use over a batch.

    .. math::
        \exp H\Big(\frac1B \sum_b w(s_b)\Big)

    Arguments:
        log_weights: :math:`\log w`, ``[*B, K]``.

    Returns:
        A scalar between 1 and :math:`K`. Components that coincide count as many.

    Example:
        >>> effective_components(torch.tensor([[1.0, 0.0], [0.0, 1.0]]).log())
        tensor(2.)
    """
    mean = log_weights.exp().reshape(-1, log_weights.shape[-1]).mean(0)
    return torch.special.entr(mean).sum(-1).exp()


def component_information(log_weights: Tensor, responsibilities: Tensor) -> Tensor:
    r"""What an action tells about the component that drew it, :math:`I(k; a \mid s)`.

    .. math::
        \sum_k r_k(a) \log \frac{r_k(a)}{w_k}, \qquad a \sim p

    It is zero where components coincide and :math:`H(w)` where they do not overlap.

    Arguments:
        log_weights: :math:`\log w`, ``[*B, K]``.
        responsibilities: :math:`r(a)` of a draw of the mixture, ``[*B, K]``.

    Returns:
        ``[*B]``, in nats.

    Example:
        >>> halves = torch.tensor([0.5, 0.5])
        >>> component_information(halves.log(), halves)
        tensor(0.)
    """
    # xlogy makes a responsibility of zero count nothing, also where the weight underflows too.
    log_weights = log_weights.clamp(min=torch.finfo(log_weights.dtype).min)
    gain = torch.xlogy(responsibilities, responsibilities) - responsibilities * log_weights
    return gain.sum(-1)


def mean_pairwise_distance(distance: Tensor) -> Tensor:
    r"""Mean symmetrised divergence over the pairs of components.

    .. math::
        \frac{2}{K(K-1)} \sum_{i<j} D(p_i \| p_j) + D(p_j \| p_i)

    With the Kullback-Leibler divergence this is the mean Jeffreys divergence.

    Arguments:
        distance: :math:`D(p_i \| p_j)`, ``[*B, K, K]``.

    Returns:
        ``[*B]``, in nats; zero for one component.

    Example:
        >>> mean_pairwise_distance(torch.tensor([[0.0, 1.0], [3.0, 0.0]]))
        tensor(4.)
    """
    count = distance.shape[-1]
    return distance.sum((-2, -1)) * (2 / max(count * (count - 1), 1))
