r"""Which latent value a policy acted with, as a discriminator sees it.

Shapes: ``logits`` and ``latent`` are ``[*B, Z]``.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["latent_accuracy", "latent_log_prob"]


def latent_log_prob(logits: Tensor, latent: Tensor) -> Tensor:
    r"""Log-probability of a latent value under a discriminator, its discriminability.

    .. math::
        \log q(z) = l_z - \log \sum_{z'} \exp l_{z'}

    Arguments:
        logits: :math:`l`, ``[*B, Z]``.
        latent: :math:`z`, one-hot, ``[*B, Z]``.

    Returns:
        ``[*B]``, in nats, at most 0.

    Source:
        Cohen et al. (2019), equation 12.

    Example:
        >>> import torch
        >>> latent_log_prob(torch.zeros(4), torch.tensor([0.0, 1.0, 0.0, 0.0]))
        tensor(-1.3863)
    """
    return (logits.log_softmax(-1) * latent).sum(-1)


def latent_accuracy(logits: Tensor, latent: Tensor) -> Tensor:
    r"""Share of a batch in which the likeliest latent value is the one that acted.

    .. math::
        \frac{1}{|B|} \sum_b \left[\arg\max_{z'} l_{bz'} = z_b\right]

    Arguments:
        logits: :math:`l`, ``[*B, Z]``.
        latent: :math:`z`, one-hot, ``[*B, Z]``.

    Returns:
        ``[]``.

    Example:
        >>> import torch
        >>> latent_accuracy(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.eye(2))
        tensor(0.5000)
    """
    correct = logits.argmax(-1) == latent.argmax(-1)
    return correct.to(logits.dtype).mean()
