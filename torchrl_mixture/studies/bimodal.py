"""Stationary points of the entropy-regularised objective on the bimodal bandit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from torchrl_mixture.studies.bimodal_objective import (
    entropy,
    expected_reward,
    num_modes,
    objective,
)

__all__ = [
    "ALPHAS",
    "POLICIES",
    "draw_starts",
    "find_stationary_point",
    "optimal_points",
    "parameters",
    "stationary_points",
]

Array = NDArray[np.float64]

ALPHAS = (
    *(0.05, 0.1, 0.2, 0.22, 0.24, 0.26, 0.28, 0.3),
    *(0.325, 0.35, 0.375, 0.4, 0.45, 0.5, 0.6),
)
"""The paper's temperatures."""

POLICIES: Mapping[str, Sequence[str]] = {
    "gaussian": ("mean_1", "log_std_1"),
    "mixture": ("mean_1", "mean_2", "log_std_1", "log_std_2", "weight_1"),
}
"""The names of each policy's parameters."""

# By kind of parameter: where a run starts, and the bounds. The paper has no lower bound for a
# log-std; ours keeps a line search where the integrals are exact, far from any stationary point.
_STARTS = {"mean": (-2.0, 2.0), "log_std": (-3.0, 0.0), "weight": (0.0, 1.0)}
_BOUNDS = {"mean": (-np.inf, np.inf), "log_std": (-7.0, 3.0), "weight": (0.0, 1.0)}

_MAX_GRADIENT = 1e-5
# SciPy's own tolerances end a run on a small step's gain, before the gradient is as small.
_TOLERANCES = {"ftol": 0.0, "gtol": 1e-8}


def _limits(policy: str, of: Mapping[str, tuple[float, float]]) -> tuple[Array, Array]:
    low, high = zip(*(of[name[:-2]] for name in POLICIES[policy]), strict=True)
    return np.array(low), np.array(high)


def _policy_of(params: Array) -> str:
    for policy, names in POLICIES.items():
        if params.shape == (len(names),):
            return policy
    raise ValueError(f"start must be 2 or 5 numbers, got shape {list(params.shape)}.")


def draw_starts(policy: str, num_trials: int = 100, seed: int = 0) -> Array:
    r"""Draw parameters to start from, as in the paper.

    .. math::
        \mu_k \sim U[-2, 2], \quad \log\sigma_k \sim U[-3, 0], \quad w \sim U[0, 1]

    Arguments:
        policy: "gaussian" or "mixture".
        num_trials: :math:`N`; more of them begin with fewer of the same seed.
        seed: of the draws.

    Returns:
        ``[N, 2]`` or ``[N, 5]``.

    Raises:
        ValueError: if the policy is unknown.

    Example:
        >>> draw_starts("mixture", num_trials=3).shape
        (3, 5)
    """
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {sorted(POLICIES)}, got {policy!r}.")
    low, high = _limits(policy, _STARTS)
    return np.random.default_rng(seed).uniform(low, high, (num_trials, len(low)))


def _weights(params: Array) -> Array:
    return np.ones(1) if len(params) == 2 else np.array([params[4], 1 - params[4]])


def _gradient_norm(params: Array, gradient: Array, low: Array, high: Array) -> float:
    """Greatest entry of the projected gradient, a component's in units of its weight.

    A component that is nearly absent has nearly no gradient, wherever it is.
    """
    projected = np.clip(params + gradient, low, high) - params
    weights = np.maximum(_weights(params), np.finfo(np.float64).tiny)
    projected[: 2 * len(weights)] /= np.tile(weights, 2)
    return float(np.abs(projected).max())


def _status(params: Array, gradient_norm: float) -> str:
    weights = _weights(params)
    log_stds = params[len(weights) : 2 * len(weights)]
    present = log_stds[weights > 0]  # without weight, a component is no part of the policy
    low, high = _BOUNDS["log_std"]
    # So near a bound, the projection hides any gradient.
    if (present > high - _MAX_GRADIENT).any():
        return "diverged"
    inside = (present > low + _MAX_GRADIENT).all()
    return "converged" if inside and gradient_norm < _MAX_GRADIENT else "unconverged"


def find_stationary_point(start: ArrayLike, alpha: float) -> dict[str, Any]:
    r"""Climb the objective from a start, by SciPy's default method for bounded variables.

    That is L-BFGS-B. The log-stds are at most 3, weights in [0, 1]. A run has ended as

    - ``converged``: no entry of the projected gradient reaches 1e-5;
    - ``diverged``: a component with weight has its log-std at the bound;
    - ``unconverged``: neither.

    The objective has no maximum, as a scale that grows makes the entropy grow. A stationary point
    is therefore a local maximum at best, and often less than where the bound stops a run.

    Arguments:
        start: the parameters to begin with, ``[2]`` or ``[5]``; clipped to their bounds.
        alpha: the temperature :math:`\alpha`.

    Returns:
        ``policy``, ``alpha``, ``status``, ``objective``, ``expected_reward``, ``entropy``,
        ``gradient_norm`` (the greatest entry of the projected gradient; ours: a component's in
        units of its weight), ``num_modes``, and the parameters by name, the components in the
        order of their means.

    Raises:
        ModuleNotFoundError: if SciPy is not installed.
        ValueError: if ``start`` has another shape.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), appendix C.

    Example:
        >>> point = find_stationary_point([0.1, 0.1], alpha=0.3)
        >>> point["status"], point["expected_reward"]
        ('converged', 0.4854)
    """
    try:
        from scipy.optimize import minimize
    except ModuleNotFoundError as error:
        message = "no study: SciPy is missing, pip install 'torchrl_mixture[plots]'"
        raise ModuleNotFoundError(message) from error

    def cost(params: Array) -> tuple[float, Array]:
        value, gradient = objective(params, alpha)
        return -value, -gradient

    start = np.asarray(start, dtype=np.float64)
    policy = _policy_of(start)
    low, high = _limits(policy, _BOUNDS)
    bounds = list(zip(low, high, strict=True))
    params = minimize(cost, start, jac=True, bounds=bounds, options=_TOLERANCES).x
    if policy == "mixture" and params[0] > params[1]:
        params = np.array([*params[[1, 0, 3, 2]], 1 - params[4]])
    value, gradient = objective(params, alpha)
    gradient_norm = _gradient_norm(params, gradient, low, high)
    return {
        "policy": policy,
        "alpha": alpha,
        "status": _status(params, gradient_norm),
        "objective": value,
        "expected_reward": expected_reward(params)[0],
        "entropy": entropy(params)[0],
        "gradient_norm": gradient_norm,
        "num_modes": num_modes(params),
        **dict(zip(POLICIES[policy], params.tolist(), strict=True)),
    }


def parameters(point: Mapping[str, Any] | pd.Series) -> Array:
    """Give the parameters of a stationary point, as the objective takes them.

    Arguments:
        point: what :func:`find_stationary_point` returns, or a row of a study.

    Returns:
        ``[2]`` or ``[5]``.

    Example:
        >>> parameters(find_stationary_point([0.1, 0.1], alpha=0.3)).shape
        (2,)
    """
    return np.array([point[name] for name in POLICIES[point["policy"]]], dtype=np.float64)


def stationary_points(
    alphas: Sequence[float] = ALPHAS, num_trials: int = 100, seed: int = 0
) -> pd.DataFrame:
    """Look for stationary points of both policies, from random starts.

    All temperatures share the starts; ours, so that their shares of bimodal policies can be
    compared. With the paper's settings it takes about ten seconds.

    Arguments:
        alphas: the temperatures; the paper's by default.
        num_trials: starts for each policy.
        seed: of the starts.

    Returns:
        a row a run: ``trial`` and what :func:`find_stationary_point` returns.

    Raises:
        ModuleNotFoundError: if SciPy is not installed.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), section 3.3
        and appendix C.

    Example:
        >>> frame = stationary_points(alphas=[0.3], num_trials=4)
        >>> frame.groupby("policy").size().to_dict()
        {'gaussian': 4, 'mixture': 4}
    """
    rows = [
        {"trial": trial, **find_stationary_point(start, alpha)}
        for policy in POLICIES
        for alpha in alphas
        for trial, start in enumerate(draw_starts(policy, num_trials, seed))
    ]
    return pd.DataFrame(rows)


def optimal_points(frame: pd.DataFrame) -> pd.DataFrame:
    """Choose the stationary point with the greatest objective, for each policy and temperature.

    Arguments:
        frame: what :func:`stationary_points` returns.

    Returns:
        its rows, at most one for each; none where no run has converged.

    Example:
        >>> frame = stationary_points(alphas=[0.3, 0.6], num_trials=4)
        >>> optimal_points(frame)["alpha"].unique().tolist()
        [0.3]
    """
    converged = frame[frame["status"] == "converged"]
    best = converged.groupby(["policy", "alpha"])["objective"].idxmax()
    return frame.loc[best].reset_index(drop=True)
