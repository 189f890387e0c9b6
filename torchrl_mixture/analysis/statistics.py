"""Intervals that say how far a mean or a share can be trusted."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["bootstrap_interval", "wilson_interval"]

_CHUNK = 2**21  # numbers in the largest tensor of the bootstrap: 16 MiB


def bootstrap_interval(
    values: Tensor, *, num_resamples: int = 10_000, seed: int = 0
) -> tuple[Tensor, Tensor]:
    r"""95 % interval of a mean, by the percentile bootstrap.

    .. math::
        \left[q_{0.025}, q_{0.975}\right] \text{ of } \frac1n \sum_{i=1}^n x_{j_i}, \qquad
        j_i \sim U\{1, \dots, n\}

    All rows are resampled with the same indices, so that intervals of several rows can be
    compared. With few values it is narrow: by a factor of about :math:`\sqrt{(n - 1) / n}`.

    Arguments:
        values: :math:`x`, independent along the last axis, ``[*B, n]``.
        num_resamples: means that the quantiles are taken of.
        seed: of the resampling; the global generator is not touched.

    Returns:
        lower and upper ends, ``[*B]``, in the type of ``values``, or in PyTorch's default type
        where those are integers or bool.

    Raises:
        ValueError: where there are no values along the last axis.

    Source:
        Efron (1979).

    Example:
        >>> low, high = bootstrap_interval(torch.arange(100.0))
        >>> bool(low < 49.5 < high)
        True
    """
    if not values.ndim or not values.shape[-1]:
        raise ValueError(f"values must be [*B, n] with n > 0, got shape {tuple(values.shape)}.")
    rows = values.double().reshape(-1, values.shape[-1])
    quantiles = torch.tensor([0.025, 0.975], dtype=torch.float64, device=values.device)
    ends = [
        torch.quantile(_resampled_means(chunk, num_resamples, seed), quantiles, dim=-1)
        for chunk in rows.split(max(1, _CHUNK // num_resamples))
    ]
    dtype = values.dtype if values.is_floating_point() else torch.get_default_dtype()
    low, high = torch.cat(ends, -1).to(dtype).reshape(2, *values.shape[:-1])
    return low, high


def _resampled_means(rows: Tensor, num_resamples: int, seed: int) -> Tensor:
    """Means of resamples ``[rows, num_resamples]``; every row of the same resamples."""
    generator = torch.Generator().manual_seed(seed)
    size = rows.shape[-1]
    length = max(1, _CHUNK // size)
    means = []
    for first in range(0, num_resamples, length):
        shape = (min(length, num_resamples - first), size)
        index = torch.randint(size, shape, generator=generator)
        # How often each value is drawn: the means are then one matrix product.
        counts = torch.zeros(shape, dtype=torch.float64).scatter_add_(
            1, index, torch.ones(shape, dtype=torch.float64)
        )
        means.append(rows @ counts.to(rows.device).mT / size)
    return torch.cat(means, -1)


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    r"""95 % interval of a share, from the number of successes.

    .. math::
        \frac{p + \frac{z^2}{2n} \pm z \sqrt{\frac{p(1-p)}{n} + \frac{z^2}{4n^2}}}
             {1 + \frac{z^2}{n}}, \qquad p = \frac{\text{successes}}{n}, \quad z = 1.95996

    Unlike the normal approximation it has a width where all trials end alike.

    Arguments:
        successes: from 0 to ``trials``.
        trials: :math:`n`.

    Returns:
        lower and upper ends, in [0, 1].

    Raises:
        ValueError: where there is no trial, or not between 0 and ``trials`` successes.

    Source:
        Wilson (1927).

    Example:
        >>> [round(end, 4) for end in wilson_interval(0, 20)]
        [0.0, 0.1611]
    """
    if trials < 1:
        raise ValueError(f"trials must be at least 1, got {trials}.")
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must be from 0 to {trials}, got {successes}.")
    z2 = 1.959963984540054**2
    share = successes / trials
    center = share + z2 / (2 * trials)
    reach = math.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2)))
    low, high = ((center + sign * reach) / (1 + z2 / trials) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)  # at the ends the rounding may go beyond
