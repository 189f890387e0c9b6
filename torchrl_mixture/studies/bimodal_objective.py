r"""The entropy-regularised objective on the bimodal bandit, without sampling.

.. math::
    J(\theta) = \mathbb E_{a \sim \pi_\theta}\left[r(a) - \alpha \log \pi_\theta(a)\right]

A policy is a normal distribution, with parameters :math:`(\mu, \log\sigma)`, or a mixture of two,
with :math:`(\mu_1, \mu_2, \log\sigma_1, \log\sigma_2, w)`, where :math:`w` is the weight of the
first. Actions are not bounded.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from torchrl_mixture.envs.bandit_rewards import BIMODAL_CONSTANT, BIMODAL_MEANS, BIMODAL_STD

__all__ = ["entropy", "expected_reward", "log_density", "num_modes", "objective"]

Array = NDArray[np.float64]

_HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)

# Gauss-Legendre panels for an expectation under one component, in units of its scale: they end
# at these points, and at these distances from where both components are equally likely.
_OWN_ENDS = np.arange(-9.0, 9.1, 3.0)
_CROSSING_ENDS = np.array([-40.0, -12.0, -4.0, 0.0, 4.0, 12.0, 40.0])
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(16)


def _split(params: ArrayLike) -> tuple[Array, Array, Array]:
    """Means, log-scales and weights, ``[K]`` each."""
    values = np.asarray(params, dtype=np.float64)
    if values.shape == (2,):
        return values[:1], values[1:], np.ones(1)
    if values.shape != (5,):
        raise ValueError(f"params must be 2 or 5 numbers, got shape {list(values.shape)}.")
    if not 0 <= values[4] <= 1:
        raise ValueError(f"the last of params, a weight, must be in [0, 1], got {values[4]}.")
    return values[:2], values[2:4], np.array([values[4], 1 - values[4]])


def log_density(params: ArrayLike, action: ArrayLike) -> Array:
    r"""Give a policy's log-density, :math:`\log\pi_\theta(a)`.

    Arguments:
        params: :math:`\theta`, ``[2]`` or ``[5]``.
        action: :math:`a`, ``[*B]``.

    Returns:
        ``[*B]``.

    Raises:
        ValueError: if ``params`` has another shape or a weight outside [0, 1].

    Example:
        >>> float(np.exp(log_density([0.0, 0.0], 0.0)))
        0.3989
    """
    means, log_scales, weights = _split(params)
    z = (np.asarray(action, dtype=np.float64)[..., None] - means) / np.exp(log_scales)
    with np.errstate(divide="ignore"):
        logs = np.log(weights) - 0.5 * z * z - log_scales - _HALF_LOG_2PI
    return np.logaddexp.reduce(logs, -1)


def expected_reward(params: ArrayLike) -> tuple[float, Array]:
    r"""Give the expected reward and its gradient, in closed form.

    .. math::
        \mathbb E_{a \sim \pi_\theta}[r(a)] = \frac 1c \sum_k w_k
            \sum_{m \in \{-1, 1\}} \mathcal N(\mu_k;\, m,\, \sigma_k^2 + 0.5^2)

    Arguments:
        params: :math:`\theta`, ``[2]`` or ``[5]``.

    Returns:
        the value, and the gradient with respect to ``params``.

    Raises:
        ValueError: if ``params`` has another shape or a weight outside [0, 1].

    Example:
        >>> expected_reward([0.0, 0.0])[0]
        0.5994
    """
    means, log_scales, weights = _split(params)
    scale2 = np.exp(2 * log_scales)
    variance = scale2 + BIMODAL_STD**2
    offset = means - np.array(BIMODAL_MEANS)[:, None]
    z2 = offset**2 / variance
    modes = np.exp(-0.5 * z2) / np.sqrt(2 * np.pi * variance) / BIMODAL_CONSTANT
    rewards = modes.sum(0)
    to_means = -(modes * offset).sum(0) / variance
    to_log_scales = (modes * (z2 - 1)).sum(0) * scale2 / variance
    parts = [weights * to_means, weights * to_log_scales]
    if len(weights) == 2:
        parts.append(rewards[:1] - rewards[1:])
    return float(weights @ rewards), np.concatenate(parts)


def _panel_ends(slope: Array, gap: Array, log_ratio: Array) -> Array:
    r"""Choose panels on which a mixture's log-density is smooth.

    It is a quadratic but near the points where both components are equally likely, the roots of
    :math:`(s u + g)^2 - u^2 + 2 \ell` for the action :math:`\mu + \sigma u`. A panel is never
    much longer than its distance from a root, in units of the length over which the log-ratio
    of the components changes by one.

    Arguments:
        slope: :math:`s`, each component's scale in units of the other's, ``[K]``.
        gap: :math:`g`, its mean less the other's, in units of the other's scale, ``[K]``.
        log_ratio: :math:`\ell`, of its weight over its scale to the other's, ``[K]``.

    Returns:
        ``[K, P]``, sorted.
    """
    a, b, c = slope**2 - 1, slope * gap, gap**2 + 2 * log_ratio
    with np.errstate(all="ignore"):
        discriminant = b * b - a * c
        # This form of the roots stays exact where the quadratic is nearly linear.
        q = -(b + np.copysign(np.sqrt(np.maximum(discriminant, 0)), b))
        roots = np.stack([q / a, np.where(discriminant > 0, c / q, q / a)])
        width = 1 / np.sqrt(np.maximum(np.abs(discriminant), np.abs(a)))
        crossings = roots[..., None] + width[:, None] * _CROSSING_ENDS
    # A component of weight zero, or both alike, have no crossings.
    crossings = np.nan_to_num(crossings, nan=_OWN_ENDS[0]).clip(_OWN_ENDS[0], _OWN_ENDS[-1])
    own = np.broadcast_to(_OWN_ENDS, (len(a), len(_OWN_ENDS)))
    return np.sort(np.concatenate([own, *crossings], -1), -1)


def entropy(params: ArrayLike) -> tuple[float, Array]:
    r"""Give a policy's differential entropy and its gradient.

    .. math::
        H(\pi_\theta) = -\sum_k w_k \int \varphi(u) \log \pi_\theta(\mu_k + \sigma_k u)\,
            \mathrm du

    A mixture's is integrated numerically, to 1e-10 where scales are above 1e-3.

    Arguments:
        params: :math:`\theta`, ``[2]`` or ``[5]``.

    Returns:
        the value in nats, and the gradient with respect to ``params``.

    Raises:
        ValueError: if ``params`` has another shape or a weight outside [0, 1].

    Example:
        >>> entropy([0.0, 0.0])[0]
        1.4189
    """
    means, log_scales, weights = _split(params)
    if len(weights) == 1:
        return float(log_scales[0] + _HALF_LOG_2PI + 0.5), np.array([0.0, 1.0])
    scales = np.exp(log_scales)
    slope, gap = scales / scales[::-1], (means - means[::-1]) / scales[::-1]
    with np.errstate(divide="ignore"):
        log_factors = np.log(weights) - log_scales
    ends = _panel_ends(slope, gap, log_factors - log_factors[::-1])
    half = 0.5 * np.diff(ends, axis=-1)[..., None]
    u = (ends[:, :-1, None] + half + half * _NODES).reshape(2, -1)
    measure = (half * _NODE_WEIGHTS).reshape(2, -1) * np.exp(-0.5 * u * u - _HALF_LOG_2PI)
    own = log_factors[:, None] - 0.5 * u * u
    other = log_factors[::-1, None] - 0.5 * (slope[:, None] * u + gap[:, None]) ** 2
    integrand = measure * (_HALF_LOG_2PI - np.logaddexp(own, other))
    each = integrand.sum(-1)
    # The integral of grad(pi) is zero, so that only grad(pi) log(pi) counts.
    to_means = weights * (integrand * u).sum(-1) / scales
    to_log_scales = weights * (integrand * (u * u - 1)).sum(-1)
    gradient = np.concatenate([to_means, to_log_scales, each[:1] - each[1:]])
    return float(weights @ each), gradient


def objective(params: ArrayLike, alpha: float) -> tuple[float, Array]:
    r"""Give the objective :math:`J` and its gradient.

    .. math::
        J(\theta) = \mathbb E_{a \sim \pi_\theta}[r(a)] + \alpha H(\pi_\theta)

    Arguments:
        params: :math:`\theta`, ``[2]`` or ``[5]``.
        alpha: the temperature :math:`\alpha`.

    Returns:
        the value, and the gradient with respect to ``params``.

    Raises:
        ValueError: if ``params`` has another shape or a weight outside [0, 1].

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), equation 8.

    Example:
        >>> value, gradient = objective([-1.0, 1.0, -1.0, -1.0, 0.5], alpha=0.3)
        >>> value
        1.1405
    """
    reward, reward_gradient = expected_reward(params)
    entropy_, entropy_gradient = entropy(params)
    return reward + alpha * entropy_, reward_gradient + alpha * entropy_gradient


def num_modes(params: ArrayLike) -> int:
    r"""Count the modes of a policy's density.

    They lie between the means, where the density falls as long as

    .. math::
        \log\frac{w_1 \mathcal N_1(a)\, (a - \mu_1)\, \sigma_2^2}
                 {w_2 \mathcal N_2(a)\, (\mu_2 - a)\, \sigma_1^2} > 0,

    which goes from minus to plus infinity. Its changes of sign are counted on 4,001 points.

    Arguments:
        params: :math:`\theta`, ``[2]`` or ``[5]``.

    Returns:
        1 or 2.

    Raises:
        ValueError: if ``params`` has another shape or a weight outside [0, 1].

    Example:
        >>> num_modes([-0.9, 0.9, 0.0, 0.0, 0.5]), num_modes([-1.1, 1.1, 0.0, 0.0, 0.5])
        (1, 2)
    """
    means, log_scales, weights = _split(params)
    if len(weights) == 1:
        return 1
    distance2 = (means[1] - means[0]) ** 2 * np.exp(-2 * log_scales)
    # The share of the way from the first mean to the second is 1 / (1 + exp(-logit)).
    logit = np.linspace(-40, 40, 4001)
    shares = 1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(logit))
    with np.errstate(divide="ignore"):
        log_ratio = np.log(weights[0]) - np.log(weights[1]) - 3 * (log_scales[0] - log_scales[1])
    log_ratio = log_ratio + logit
    log_ratio += 0.5 * (distance2[1] * shares[1] ** 2 - distance2[0] * shares[0] ** 2)
    falls = np.concatenate([[False], log_ratio > 0, [True]])
    return int((~falls[:-1] & falls[1:]).sum())
