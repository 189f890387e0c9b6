r"""The gate of an advantage-weighted mixture policy: a softmax of what its components are worth.

Shapes: ``values``, ``log_prob``, ``option_values`` and ``log_gate`` are ``[*B, K]``, with one
component :math:`h` (the paper's :math:`g`) an entry.
"""

from __future__ import annotations

from torch import Tensor

from torchrl_mixture.functional.entropy import weight_entropy

__all__ = ["gate_log_prob", "gated_value", "soft_option_values"]


def soft_option_values(values: Tensor, log_prob: Tensor, alpha: Tensor | float) -> Tensor:
    r"""Values of following each component, entropy included, from one draw of each.

    .. math::
        \hat Q_{\mathcal G}(s, h) = Q(s, a_h) - \alpha \log \pi_h(a_h \mid s),
        \qquad a_h \sim \pi_h(\cdot \mid s)

    An unbiased estimate of the paper's integral over the component's actions.

    Arguments:
        values: :math:`Q(s, a_h)`, ``[*B, K]``.
        log_prob: :math:`\log \pi_h(a_h \mid s)` of each draw under its own component,
            ``[*B, K]``.
        alpha: the temperature :math:`\alpha` of the components' entropy.

    Returns:
        ``[*B, K]``.

    Source:
        Hou et al. (2020), equation 17.

    Example:
        >>> import torch
        >>> soft_option_values(torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 0.0]), 0.5)
        tensor([1.5000, 2.0000])
    """
    return values - alpha * log_prob


def gate_log_prob(option_values: Tensor, temperature: Tensor | float) -> Tensor:
    r"""Log-probabilities of the components under the gate.

    .. math::
        \log \rho(h \mid s) = \frac{Q_{\mathcal G}(s, h)}{T}
            - \log \sum_j \exp \frac{Q_{\mathcal G}(s, j)}{T}

    The paper's equation 16 has :math:`T = 1`. The gate that maximises :func:`gated_value` is the
    one whose :math:`T` is the coefficient of its entropy there. Of values that are estimates the
    gate is one too: it favours the components whose draws came out high, the more so the smaller
    :math:`T` is.

    Arguments:
        option_values: :math:`Q_{\mathcal G}`, ``[*B, K]``.
        temperature: :math:`T`, positive, in units of the value.

    Returns:
        ``[*B, K]``.

    Source:
        Hou et al. (2020), equation 16.

    Example:
        >>> import torch
        >>> gate_log_prob(torch.tensor([1.0, 3.0]).log(), 1.0).exp()
        tensor([0.2500, 0.7500])
    """
    return (option_values / temperature).log_softmax(-1)


def gated_value(
    option_values: Tensor, log_gate: Tensor, gate_entropy_coef: Tensor | float
) -> Tensor:
    r"""Value of a state under a gate, with the gate's entropy.

    .. math::
        V(s) = \sum_h \rho(h \mid s)
            \left[Q_{\mathcal G}(s, h) - \alpha_g \log \rho(h \mid s)\right]

    Its maximum over gates is :math:`\alpha_g \log \sum_h \exp(Q_{\mathcal G}(s, h) / \alpha_g)`.

    Arguments:
        option_values: :math:`Q_{\mathcal G}`, ``[*B, K]``, finite.
        log_gate: :math:`\log \rho`, ``[*B, K]``, normalised.
        gate_entropy_coef: :math:`\alpha_g`.

    Returns:
        ``[*B]``.

    Source:
        Hou et al. (2020), equations 18 and 21; the latter writes :math:`\alpha_h` for
        :math:`\alpha_g`.

    Example:
        >>> import torch
        >>> gated_value(torch.tensor([1.0, 3.0]), torch.tensor([0.5, 0.5]).log(), 1.0)
        tensor(2.6931)
    """
    mean = (log_gate.exp() * option_values).sum(-1)
    return mean + gate_entropy_coef * weight_entropy(log_gate)
