r"""Estimates of the entropy of a mixture from draws of every component, and a diagnostic.

Shapes: ``log_weights`` ``[*B, K]``; log-densities of draws ``[*S, *B, K]``, the last axis being
the component that drew; estimates ``[*S, *B]``, in nats. Log-densities contain the squashing's
slope where there is one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["complementary_distance", "stratified_entropy", "two_sample_entropy"]


def stratified_entropy(log_weights: Tensor, mixture_log_prob: Tensor) -> Tensor:
    r"""Estimate of the entropy from one draw of every component; unbiased.

    .. math::
        \hat H = -\sum_i w_i \log p(a_i), \qquad a_i \sim p_i

    Its mean is :math:`-\sum_i w_i \int p_i \log p = H(p)`, for any number of draws. With
    reparameterised draws, the mean of its gradient is that of :math:`H(p)`, with respect to
    weights, locations and scales. (The paper calls it a biased estimate of the pairwise
    :math:`\hat H_D`, which is itself an upper bound: it is not biased, and what it estimates is
    the entropy.) Its variance is at most that of as many draws of the mixture where weights are
    equal, since no chance is left in which component draws.

    Arguments:
        log_weights: :math:`\log w`, ``[*B, K]``, normalised.
        mixture_log_prob: :math:`\log p(a_i)`, the mixture's, ``[*S, *B, K]``.

    Returns:
        ``[*S, *B]``.

    Source:
        Baram et al. (2021), arXiv:2103.10176, equation 8.

    Example:
        >>> stratified_entropy(torch.tensor([0.5, 0.5]).log(), torch.tensor([-1.0, -2.0]))
        tensor(1.5000)
    """
    return -(log_weights.exp() * mixture_log_prob).sum(-1)


def two_sample_entropy(
    log_weights: Tensor,
    own_log_prob: Tensor,
    second_mixture_log_prob: Tensor,
    second_own_log_prob: Tensor,
) -> Tensor:
    r"""Estimate of the entropy from two independent draws of every component; unbiased.

    .. math::
        \hat H = -\sum_i w_i \log p_i(\tilde a_i) - \Big[\sum_i w_i \log p(\hat a_i)
            - \sum_i w_i \log p_i(\hat a_i)\Big], \qquad \tilde a_i, \hat a_i \sim p_i

    The paper's form before it lets both draws be the same, by which two of the three sums cancel
    and :func:`stratified_entropy` is left. Both are unbiased, since the mean of those two sums
    is the same. (The paper takes this form for an estimate of the pairwise :math:`\hat H_D`, but
    a ratio at one draw is not the exponential of a mean logarithm.) Gradients are unbiased too.

    With :math:`X_i = \log p_i(a_i)` and :math:`U_i = \log p(a_i) - X_i` the variances are

    .. math::
        \sum_i w_i^2 \left(\operatorname{Var} X_i + \operatorname{Var} U_i\right)
        \quad\text{and}\quad
        \sum_i w_i^2 \operatorname{Var}(X_i + U_i) \text{ of the stratified estimate.}

    The paper has the latter as never greater. It is not for two normal components of equal
    weight, but it may be for other weights and under squashing: for :math:`0.8\, \mathcal N(0, 1)
    + 0.2\, \mathcal N(0, 0.3^2)` it is 0.47 against 0.38. It is at most twice as great, so that
    from as many draws the stratified estimate is never worse.

    Arguments:
        log_weights: :math:`\log w`, ``[*B, K]``, normalised.
        own_log_prob: :math:`\log p_i(\tilde a_i)`, each component's own density of its first
            draw, ``[*S, *B, K]``.
        second_mixture_log_prob: :math:`\log p(\hat a_i)`, ``[*S, *B, K]``.
        second_own_log_prob: :math:`\log p_i(\hat a_i)`, ``[*S, *B, K]``.

    Returns:
        ``[*S, *B]``.

    Source:
        Baram et al. (2021), arXiv:2103.10176, section 3.3, with the expression before the
        cancellation, and its signs.

    Example:
        >>> draws = torch.tensor([[-1.0], [-2.0], [-2.5]])
        >>> two_sample_entropy(torch.zeros(1), *draws)
        tensor(0.5000)
    """
    difference = second_mixture_log_prob - second_own_log_prob
    return -(log_weights.exp() * (own_log_prob + difference)).sum(-1)


def complementary_distance(log_weights: Tensor, distance: Tensor) -> Tensor:
    r"""Mean distance of each component from the others: an upper bound with convex divergences.

    .. math::
        D_i = \sum_{j \ne i} \frac{w_j}{1 - w_i} D(p_i \| p_j)
            \ge D_{KL}\Big(p_i \,\Big\|\, \sum_{j \ne i} \frac{w_j}{1 - w_i}\, p_j\Big)

    The inequality is for the Kullback-Leibler divergence, by convexity, with equality for
    :math:`K = 2`. The paper's equation 27 has :math:`w_j` without :math:`1 - w_i`; its equation
    28 multiplies by :math:`1 - w_i` itself, and needs the others' weights to sum to one.

    A diagnostic, not a loss: the paper goes from :math:`-\log(w_i + (1 - w_i) e^{-D_i})`, at most
    :math:`-\log w_i`, to :math:`D_i`, which grows without end.

    Arguments:
        log_weights: :math:`\log w`, ``[*B, K]``.
        distance: :math:`D(p_i \| p_j)`, ``[*B, K, K]``, finite.

    Returns:
        ``[*B, K]``, in nats; zero for one component, which has no others.

    Source:
        Baram et al. (2021), arXiv:2103.10176, equation 27, for one state.

    Example:
        >>> distance = torch.tensor([[0.0, 1.0, 4.0], [1.0, 0.0, 1.0], [4.0, 1.0, 0.0]])
        >>> complementary_distance(torch.tensor([0.5, 0.25, 0.25]).log(), distance)
        tensor([2.5000, 1.0000, 3.0000])
    """
    count = log_weights.shape[-1]
    if count == 1:
        return torch.zeros_like(log_weights)
    itself = torch.eye(count, dtype=torch.bool, device=log_weights.device)
    # Clamped for the row whose others all have a weight of exactly zero.
    log_others = log_weights.clamp_min(torch.finfo(log_weights.dtype).min).unsqueeze(-2)
    share = torch.softmax(log_others.masked_fill(itself, -math.inf), -1)
    return (share * distance).sum(-1)
