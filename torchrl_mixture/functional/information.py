r"""What a component tells about the state and action that it is chosen for, under the advantage.

Shapes: ``logits`` are ``[*B, K]``, with one component :math:`h` a value (the paper's
:math:`\mathcal O` are the :math:`K` here), ``weights`` ``[*B]``; results are scalars, in nats.
:math:`N` is the number of transitions, the size of :math:`*B`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from torchrl_mixture.functional.entropy import weight_entropy

__all__ = [
    "advantage_weights",
    "effective_sample_size",
    "perturbation_divergence",
    "weighted_information",
]


def advantage_weights(advantage: Tensor, log_behaviour: Tensor) -> Tensor:
    r"""Importance weights of stored transitions for a policy proportional to :math:`\exp A`.

    .. math::
        \hat w_b = N \frac{e^{A_b} / \mu(a_b \mid s_b)}{\sum_i e^{A_i} / \mu(a_i \mid s_i)}

    The paper's equation 11 lacks the factor :math:`N`, which its equations 12 and 14 need: there
    the weights stand in an expectation over the data. The partition function of :math:`\exp A`
    is one number for all transitions and cancels, as there. A softmax: no exponential overflows,
    and the weights add up to :math:`N` however far the advantages are apart.

    Arguments:
        advantage: :math:`A`, ``[*B]``, finite.
        log_behaviour: :math:`\log \mu(a \mid s)` of the policy that collected the transition,
            ``[*B]``.

    Returns:
        ``[*B]``, with mean one.

    Source:
        Hou et al. (2020), equations 10 and 11.

    Example:
        >>> advantage_weights(torch.tensor([0.0, 0.0]), torch.tensor([0.75, 0.25]).log())
        tensor([0.5000, 1.5000])
    """
    log_ratio = advantage - log_behaviour
    return log_ratio.numel() * log_ratio.reshape(-1).softmax(0).reshape(log_ratio.shape)


def effective_sample_size(weights: Tensor) -> Tensor:
    r"""Number of transitions that count, the exponential of the entropy of their weights.

    .. math::
        \exp\Big(-\sum_b v_b \log v_b\Big), \qquad v_b = \frac{w_b}{\sum_i w_i}

    Its logarithm bounds the information that :func:`weighted_information` can find in the batch.
    Kish's :math:`1 / \sum_b v_b^2` is never greater.

    Arguments:
        weights: :math:`w`, ``[*B]``, non-negative, of any scale. The gradient is not finite where
            one of them is zero.

    Returns:
        A scalar between 1 and :math:`N`.

    Example:
        >>> effective_sample_size(torch.tensor([2.0, 2.0, 0.0]))
        tensor(2.)
    """
    return torch.special.entr(weights / weights.sum()).sum().exp()


def weighted_information(logits: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Mutual information of the component and the state-action pair, :math:`I(h; (s, a))`.

    .. math::
        \begin{aligned}
        I &= H(h) - H(h \mid s, a), & \hat P(h) &= \sum_b v_b P(h \mid s_b, a_b), \\
        H(h) &= -\sum_h \hat P(h) \log \hat P(h), &
        H(h \mid s, a) &= -\sum_b v_b \sum_h P(h \mid s_b, a_b) \log P(h \mid s_b, a_b)
        \end{aligned}

    with :math:`v_b = w_b / \sum_i w_i`. Both entropies are of one transition, and on one scale.
    The paper's equations 9 and 14 lack the minus of an entropy, so that its equation 6 would add
    the conditional one. The authors' code lacks the minus of both, sums the conditional entropy
    over the batch and multiplies the marginal one by 4: it looks for the least information.

    Of a batch the marginal entropy, and with it the information, is too low on average, the more
    so the fewer transitions count; it is at most :math:`\log` of
    :func:`effective_sample_size`. The gradient to the logits is finite also where a probability
    underflows.

    Arguments:
        logits: of :math:`P(h \mid s, a)`, ``[*B, K]``.
        weights: :math:`w`, ``[*B]``, non-negative, of any scale; constants.

    Returns:
        The information, between 0 and :math:`\log K` up to rounding; :math:`H(h)`;
        :math:`H(h \mid s, a)`.

    Source:
        Hou et al. (2020), equations 6, 12, 13 and 14.

    Example:
        >>> logits = torch.tensor([[200.0, 0.0], [0.0, 200.0], [0.0, 200.0]])
        >>> weighted_information(logits, torch.tensor([2.0, 1.0, 1.0]))
        (tensor(0.6931), tensor(0.6931), tensor(0.))
    """
    log_prob = logits.log_softmax(-1).reshape(-1, logits.shape[-1])
    share = (weights / weights.sum()).detach().reshape(-1)
    # Normalised anew, so that a single component has exactly probability one.
    log_marginal = (log_prob + share.log().unsqueeze(-1)).logsumexp(0).log_softmax(-1)
    marginal = weight_entropy(log_marginal)
    conditional = (share * weight_entropy(log_prob)).sum()
    return marginal - conditional, marginal, conditional


def perturbation_divergence(
    logits: Tensor, perturbed_logits: Tensor, weights: Tensor | None = None
) -> Tensor:
    r"""How much a perturbation of its input changes the distribution of the component.

    .. math::
        \sum_b v_b\, D_{KL}\big(P(\cdot \mid \tilde s_b, \tilde a_b) \,\|\,
            P(\cdot \mid s_b, a_b)\big), \qquad v_b = \frac{w_b}{\sum_i w_i}

    Both distributions receive gradient: :math:`\ell(\eta)` in the paper is a function of all that
    :math:`\eta` enters, and in the authors' code both do. That code has the distributions the
    other way round, and adds the transitions up.

    Arguments:
        logits: of :math:`P(h \mid s, a)`, ``[*B, K]``.
        perturbed_logits: of :math:`P(h \mid \tilde s, \tilde a)`, ``[*B, K]``.
        weights: :math:`w`, ``[*B]``, non-negative, of any scale; without them all count alike.

    Returns:
        A scalar, at least 0 up to rounding.

    Source:
        Hou et al. (2020), below equation 5.

    Example:
        >>> perturbation_divergence(torch.zeros(1, 2), torch.tensor([[20.0, 0.0]]))
        tensor(0.6931)
    """
    log_prob, log_perturbed = logits.log_softmax(-1), perturbed_logits.log_softmax(-1)
    divergence = (log_perturbed.exp() * (log_perturbed - log_prob)).sum(-1)
    if weights is None:
        return divergence.mean()
    return (weights / weights.sum() * divergence).sum()
