"""Bounds and estimates of a mixture's entropy beside the entropy, as components move apart."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from torchrl_mixture.distributions import NormalMixture, TanhNormalMixture
from torchrl_mixture.functional import TANH

__all__ = ["BOUNDS", "DISTANCES", "ESTIMATES", "compare_entropies", "integrated_entropy"]

BOUNDS = ("lower", "bhattacharyya", "kl", "upper")
"""Columns of the bounds, in their order; the entropy lies between the second and the third."""

ESTIMATES = {"stratified": 3, "two_sample": 2, "monte_carlo": 6}
"""How many samples each estimate has.

Together 12 log-densities of one component each, for two components. A sample of the stratified
estimate is 2 draws with 2 log-densities each; one of the two-sample estimate another 2 draws
with their own log-density each; one of Monte Carlo is a draw with 2.
"""

DISTANCES = tuple(0.5 * step for step in range(15))
"""Distances of the components' means in units of the first one's scale, 0 to 7."""

_KINDS = {"normal": NormalMixture, "tanh": TanhNormalMixture}
_REACH = 7.5  # scales; what lies beyond weighs 6e-14
_STEP = 0.2  # narrowest scales; the rule's error falls exponentially with its inverse


def integrated_entropy(mixture: NormalMixture) -> Tensor:
    r"""Entropy by the trapezoid rule, over values before squashing; to 1e-8 in this study.

    .. math::
        H(p) = -\int p(x) \left(\log p(x) - \textstyle\sum_d \log g'(x_d)\right) \mathrm dx

    Where scales differ by a factor of a hundred the grid becomes large in two dimensions.

    Arguments:
        mixture: one mixture without batch axes, of one or two dimensions: a
            :class:`~torchrl_mixture.distributions.NormalMixture`, or a
            :class:`~torchrl_mixture.distributions.TanhNormalMixture`.

    Returns:
        A scalar, in nats.

    Raises:
        ValueError: if the mixture has batch axes or more than two dimensions.

    Example:
        >>> one = NormalMixture(torch.zeros(1), torch.zeros(1, 1), torch.ones(1, 1))
        >>> integrated_entropy(one)  # log(2 pi e) / 2
        tensor(1.4189)
    """
    size = mixture.event_shape[0]
    if mixture.batch_shape or size > 2:
        raise ValueError(
            f"mixture must be one of [K, A] with A at most 2, got loc {tuple(mixture.loc.shape)}."
        )
    before = NormalMixture(mixture.logits, mixture.loc, mixture.scale)
    low = (mixture.loc - _REACH * mixture.scale).amin(0).tolist()
    high = (mixture.loc + _REACH * mixture.scale).amax(0).tolist()
    step = _STEP * float(mixture.scale.min())
    axes = [
        torch.linspace(a, b, int((b - a) / step) + 2, dtype=mixture.loc.dtype)
        for a, b in zip(low, high, strict=True)
    ]
    x = torch.cartesian_prod(*axes).reshape(-1, size)
    cell = torch.stack([axis[1] - axis[0] for axis in axes]).prod()
    log_prob = before.log_prob(x)
    score = log_prob
    if isinstance(mixture, TanhNormalMixture):
        half_width = 0.5 * torch.as_tensor(mixture.high - mixture.low, dtype=x.dtype)
        score = log_prob - (TANH.log_slope(x) + half_width.log()).sum(-1)
    return -(log_prob.exp() * score).sum() * cell


def _make(
    kind: str, size: int, distance: float, weights: Sequence[float], scales: Sequence[float]
) -> NormalMixture:
    """Two components on the diagonal, their means to either side of the origin."""
    half = 0.5 * distance * scales[0] / size**0.5
    loc = torch.tensor([[-half] * size, [half] * size], dtype=torch.float64)
    scale = torch.tensor(scales, dtype=torch.float64).unsqueeze(-1).expand_as(loc)
    return _KINDS[kind](torch.tensor(weights, dtype=torch.float64).log(), loc, scale)


def _compare(mixture: NormalMixture, num_repeats: int) -> dict[str, float]:
    row = {
        "exact": integrated_entropy(mixture),
        "lower": mixture.entropy_lower_bound(),
        "bhattacharyya": mixture.entropy_pairwise("bhattacharyya"),
        "kl": mixture.entropy_pairwise("kl"),
        "upper": mixture.entropy_upper_bound(),
    }
    many = mixture.expand((num_repeats,))
    draw = {
        "stratified": many.entropy_stratified,
        "two_sample": many.entropy_two_sample,
        "monte_carlo": many.entropy_mc,
    }
    for name, num_samples in ESTIMATES.items():
        estimates = draw[name](num_samples)
        row[f"{name}_mean"] = estimates.mean()
        row[f"{name}_variance"] = estimates.var()
    return {name: float(value) for name, value in row.items()}


def compare_entropies(
    distances: Sequence[float] = DISTANCES,
    weights: Sequence[float] = (0.5, 0.5),
    scales: Sequence[float] = (0.5, 0.5),
    num_repeats: int = 4000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compute entropy, bounds and estimates of two components at several distances.

    On the line and in the plane, where the means lie on the diagonal; unsquashed, and squashed by
    a tanh. With the defaults, in which only equal weights are the paper's, it takes 3 seconds.

    Arguments:
        distances: of the two means before squashing, in units of the first component's scale.
        weights: of the two components, summing to one.
        scales: of the two components before squashing.
        num_repeats: how often each estimate is made.
        seed: of the draws.

    Returns:
        a row a kind (``"normal"``, ``"tanh"``), size (1, 2) and distance, with columns ``kind``,
        ``size``, ``distance``, ``exact`` (integrated), the :data:`BOUNDS`, and
        ``<estimate>_mean`` and ``<estimate>_variance`` for each of :data:`ESTIMATES`, of which
        each evaluates as many log-densities.

    Raises:
        ValueError: if there are not two weights that sum to one and two scales, all positive.

    Example:
        >>> frame = compare_entropies(distances=[0.0, 2.0], num_repeats=10)
        >>> frame[frame["kind"] == "normal"][["size", "distance", "exact"]].values.tolist()
        [[1.0, 0.0, 0.7258], [1.0, 2.0, 1.0626], [2.0, 0.0, 1.4516], [2.0, 2.0, 1.7884]]
    """
    if len(weights) != 2 or min(weights) <= 0 or abs(sum(weights) - 1) > 1e-6:
        raise ValueError(f"weights must be two positive numbers that sum to 1, got {weights}.")
    if len(scales) != 2 or min(scales) <= 0:
        raise ValueError(f"scales must be two positive numbers, got {scales}.")
    rows = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for kind in _KINDS:
            for size in (1, 2):
                for distance in distances:
                    mixture = _make(kind, size, distance, weights, scales)
                    row = {"kind": kind, "size": size, "distance": distance}
                    rows.append({**row, **_compare(mixture, num_repeats)})
    return pd.DataFrame(rows)
