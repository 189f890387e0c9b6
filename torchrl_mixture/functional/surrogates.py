"""Terms whose value is zero or discrete and whose gradient is what matters."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["score_function", "straight_through_gumbel"]


def score_function(log_prob: Tensor, cost: Tensor) -> Tensor:
    r"""A term of value zero whose gradient is the likelihood-ratio gradient.

    .. math::
        \nabla_\theta \mathbb E_{x \sim p_\theta}[c(x)]
            = \mathbb E\left[c(x)\, \nabla_\theta \log p_\theta(x)\right]

    Arguments:
        log_prob: :math:`\log p_\theta(x)` of the draw, ``[*B]``.
        cost: :math:`c(x)`, less a baseline that does not depend on the draw, ``[*B]``; no
            gradient goes through it.

    Returns:
        Zeros, ``[*B]``.

    Source:
        Williams (1992).

    Example:
        >>> log_prob = torch.tensor(-1.0, requires_grad=True)
        >>> term = score_function(log_prob, torch.tensor(3.0))
        >>> term.backward()
        >>> term.item(), log_prob.grad.item()
        (0.0, 3.0)
    """
    return (log_prob - log_prob.detach()) * cost.detach()


def straight_through_gumbel(
    log_weights: Tensor, uniform: Tensor, temperature: float | Tensor
) -> Tensor:
    r"""One-hot choice of a component whose gradient is that of its relaxation.

    .. math::
        y = \operatorname{softmax}\left(\frac{\log w + g}{\tau}\right), \qquad
        z = \operatorname{onehot}(\arg\max y) + y - \operatorname{stopgrad}(y)

    with Gumbel noise :math:`g = -\log(-\log u)`. The choice is distributed as the weights; the
    gradient is biased. The temperature divides inside the exponential (in the published formula
    it stands outside, where it cancels).

    Arguments:
        log_weights: :math:`\log w`, ``[*B, K]``.
        uniform: :math:`u` in [0, 1), ``[*B, K]``.
        temperature: :math:`\tau`, positive.

    Returns:
        ``[*B, K]``, one-hot.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), section 4.2;
        Jang et al. (2016), arXiv:1611.01144.

    Example:
        >>> straight_through_gumbel(torch.zeros(2), torch.tensor([0.9, 0.1]), 1.0)
        tensor([1., 0.])
    """
    # At 0 and 1 the noise would be infinite: no choice at all, or a choice without a softmax.
    dtype = torch.finfo(uniform.dtype)
    gumbel = -torch.log(-torch.log(uniform.clamp(dtype.tiny, 1 - dtype.eps)))
    noisy = log_weights + gumbel
    soft = torch.softmax(noisy / temperature, -1)
    hard = torch.zeros_like(soft).scatter(-1, noisy.detach().argmax(-1, keepdim=True), 1.0)
    return hard + (soft - soft.detach())
