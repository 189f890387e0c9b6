"""How far each of some Gaussians of equal spread lies from the rest."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["component_divergence"]


def component_divergence(mean: Tensor, variance: float | Tensor = 1.0) -> Tensor:
    r"""Divergence of each component from the equally weighted mixture of the others.

    .. math::
        D_i = -\log \frac{1}{K - 1} \sum_{j \ne i}
            \exp\left(-\frac{\lVert \mu_i - \mu_j \rVert^2}{2 \sigma^2}\right)

    The variational approximation of :math:`D_{KL}(p_i \,\|\, \tfrac{1}{K-1} \sum_{j \ne i} p_j)`
    for normal components of covariance :math:`\sigma^2 I`. It is exact for :math:`K = 2` and an
    upper bound for more. The other components are held constant: component :math:`j` receives no
    gradient from :math:`D_i`. Two components that coincide do not push each other; where all do,
    divergence and gradient are zero.

    The paper's equation 4 lacks the factor 1/2 and its algorithm 1 the weights. A variance of 1/2
    gives its gradient, and ``component_divergence(mean, 0.5) - math.log(K - 1)`` its value.

    Arguments:
        mean: :math:`\mu`, ``[*B, K, A]``.
        variance: :math:`\sigma^2`, a number or a scalar, in the squared unit of the means.

    Returns:
        ``[*B, K]``, in nats; zero for one component, which has no others.

    Source:
        Dey and Sharon (2025), equations 1 and 3, after Hershey and Olsen (2007).

    Example:
        >>> component_divergence(torch.tensor([[0.0], [2.0]]))
        tensor([2., 2.])
    """
    count = mean.shape[-2]
    if count == 1:
        return torch.zeros_like(mean[..., 0])
    squared = (mean.unsqueeze(-2) - mean.detach().unsqueeze(-3)).square().sum(-1)
    itself = torch.eye(count, dtype=torch.bool, device=mean.device)
    log_overlap = (-squared / (2 * variance)).masked_fill(itself, -math.inf)
    return math.log(count - 1) - log_overlap.logsumexp(-1)
