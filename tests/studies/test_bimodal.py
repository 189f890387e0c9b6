"""What the paper says of the bimodal bandit, found again by the study."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from torchrl_mixture.studies import bimodal
from torchrl_mixture.studies.bimodal import (
    ALPHAS,
    POLICIES,
    draw_starts,
    find_stationary_point,
    optimal_points,
    parameters,
    stationary_points,
)
from torchrl_mixture.studies.bimodal_objective import expected_reward, objective

MIDDLE, MODE = [0.1, 0.1], [0.9, -1.3]


@pytest.fixture(scope="module")
def frame():
    return stationary_points(alphas=[0.05, 0.3, 0.325, 0.45, 0.5], num_trials=12)


def of(frame, policy, alpha):
    return frame[(frame["policy"] == policy) & (frame["alpha"] == alpha)]


def bisect(exists, low, high):
    """Where something that exists at ``low`` ceases to."""
    assert exists(low) and not exists(high)
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (middle, high) if exists(middle) else (low, middle)
    return low


def converges(start, alpha):
    return find_stationary_point(start, alpha)["status"] == "converged"


# The runs.


def test_the_papers_temperatures():
    paper = {0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6} | {0.22, 0.24, 0.26, 0.28}
    assert set(ALPHAS) == paper | {0.325, 0.35, 0.375, 0.45}
    assert list(ALPHAS) == sorted(ALPHAS) and len(ALPHAS) == 15


@pytest.mark.parametrize("policy", POLICIES)
def test_starts_fill_the_papers_ranges(policy):
    ranges = {"mean": (-2, 2), "log_std": (-3, 0), "weight": (0, 1)}
    starts = draw_starts(policy, 4000)
    assert starts.shape == (4000, len(POLICIES[policy]))
    for column, name in zip(starts.T, POLICIES[policy], strict=True):
        low, high = ranges[name[:-2]]
        assert low <= column.min() < low + 0.01 and high - 0.01 < column.max() <= high
        assert column.mean() == pytest.approx((low + high) / 2, abs=0.1)
    np.testing.assert_array_equal(draw_starts(policy, 5), starts[:5])
    assert not np.isclose(draw_starts(policy, 5, seed=1), starts[:5]).any()


def test_a_run_reports_the_point_it_ends_in(frame):
    for _, row in frame.iterrows():
        params = parameters(row)
        value, _ = objective(params, row["alpha"])
        assert row["objective"] == pytest.approx(value, abs=1e-12)
        total = row["expected_reward"] + row["alpha"] * row["entropy"]
        assert row["objective"] == pytest.approx(total, abs=1e-12)
        assert row["expected_reward"] == pytest.approx(expected_reward(params)[0], abs=1e-14)
        if row["policy"] == "mixture":
            assert row["mean_1"] <= row["mean_2"]


def test_converged_runs_are_stationary_inside_the_bound(frame):
    converged = frame[frame["status"] == "converged"]
    assert set(converged["alpha"]) == {0.05, 0.3, 0.325, 0.45}
    for _, row in converged.iterrows():
        params = parameters(row)
        gradient = objective(params, row["alpha"])[1]
        count = len(params) // 2
        weights = np.array([1.0]) if count == 1 else np.array([params[4], 1 - params[4]])
        present = np.tile(weights > 0, 2)
        assert (params[count : 2 * count][weights > 0] < 2.9).all()
        # Inwards from a bound of the weight the gradient may point only outwards.
        shares = np.tile(weights, 2)[present]
        assert np.abs(gradient[: 2 * count][present] / shares).max() < 1e-5
        if count == 2:
            outwards = {0.0: -1, 1.0: 1}.get(params[4])
            slope = gradient[4]
            assert abs(slope) < 1e-5 if outwards is None else slope * outwards > -1e-5


def test_diverged_runs_end_at_the_bound(frame):
    diverged = frame[frame["status"] == "diverged"]
    assert (diverged[["log_std_1", "log_std_2"]].max(axis=1) > 3 - 1e-5).all()
    assert set(of(frame, "gaussian", 0.325)["status"]) == {"diverged"}


def test_a_nearly_absent_component_does_not_pass_as_stationary():
    start = draw_starts("mixture")[23]
    point = find_stationary_point(start, 0.05)
    weight = min(point["weight_1"], 1 - point["weight_1"])
    assert 0 < weight < 1e-5  # the plain gradient is small, with a mode where there is no reward
    assert np.abs(objective(parameters(point), 0.05)[1]).max() < 1e-5
    assert point["status"] == "unconverged" and point["gradient_norm"] > 1e-2


def test_an_absent_component_is_no_part_of_the_policy_wherever_it_stands():
    point = find_stationary_point([0.64, 0.9, -7.0, -1.3, 0.0], 0.1)
    assert point["weight_1"] == 0 and point["log_std_1"] == -7
    assert point["status"] == "converged"
    assert point["objective"] == pytest.approx(find_stationary_point(MODE, 0.1)["objective"])


def test_scipys_own_tolerances_stop_too_early(frame, monkeypatch):
    assert set(of(frame, "mixture", 0.05)["status"]) == {"converged"}
    monkeypatch.setattr(bimodal, "_TOLERANCES", {})
    statuses = stationary_points(alphas=[0.05], num_trials=12)["status"].tolist()
    assert statuses[:12] == ["converged"] * 12
    assert statuses[12:].count("unconverged") >= 4


def test_a_run_that_stops_just_short_of_the_bound_has_diverged(monkeypatch):
    end = optimize.OptimizeResult(x=np.array([0.0, 3 - 3e-6]))
    monkeypatch.setattr(optimize, "minimize", lambda *_, **__: end)
    point = find_stationary_point(MIDDLE, 0.4)
    assert point["gradient_norm"] < 1e-5 and point["status"] == "diverged"


def test_a_study_has_a_row_for_each_run_and_repeats_itself(frame):
    again = stationary_points(alphas=[0.3], num_trials=3)
    assert again.groupby(["policy", "alpha", "trial"]).size().tolist() == [1] * 6
    same = frame[(frame["alpha"] == 0.3) & (frame["trial"] < 3)].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, same)


def test_the_best_row_of_each_policy_and_temperature(frame):
    best = optimal_points(frame).set_index(["policy", "alpha"])
    assert set(best.loc["gaussian"].index) == {0.05, 0.3}
    assert set(best.loc["mixture"].index) == {0.05, 0.3, 0.325, 0.45}
    for (policy, alpha), row in best.iterrows():
        runs = of(frame, policy, alpha)
        assert row["objective"] == runs[runs["status"] == "converged"]["objective"].max()
    assert optimal_points(frame[frame["alpha"] == 0.5]).empty


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"policy must be one of \['gaussian', 'mixture'\]"):
        draw_starts("normal")
    with pytest.raises(ValueError, match=r"start must be 2 or 5 numbers, got shape \[3\]"):
        find_stationary_point([0, 0, 0], 0.3)


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ModuleNotFoundError, match=r"SciPy is missing, pip install"):
        find_stationary_point(MIDDLE, 0.3)


# Proposition 3.4: copies of a stationary policy are a stationary mixture, whatever the weight.


@pytest.mark.parametrize("start", [MIDDLE, MODE], ids=["middle", "mode"])
@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.3])
def test_copies_of_a_stationary_policy_are_a_stationary_mixture(start, alpha):
    found = parameters(find_stationary_point(start, alpha))
    solved = optimize.root(lambda p: objective(p, alpha)[1], found, tol=1e-14).x
    np.testing.assert_allclose(solved, found, atol=1e-5)
    mean, log_std = solved
    for weight in (0.0, 0.1, 0.5, 0.93, 1.0):
        copies = [mean, mean, log_std, log_std, weight]
        assert np.abs(objective(copies, alpha)[1]).max() < 1e-10


def test_copies_of_any_other_policy_are_not():
    mean, log_std = parameters(find_stationary_point(MIDDLE, 0.2)) + [0.05, 0.1]
    for weight in (0.0, 0.1, 0.5, 0.93, 1.0):
        copies = [mean, mean, log_std, log_std, weight]
        assert np.abs(objective(copies, 0.2)[1]).max() > 1e-3


# The paper's thresholds and optima.


def test_gaussians_exist_up_to_0310(frame):
    assert (of(frame, "gaussian", 0.3)["status"] == "converged").any()
    assert (of(frame, "gaussian", 0.325)["status"] == "diverged").all()
    assert bisect(lambda alpha: converges(MIDDLE, alpha), 0.3, 0.325) == pytest.approx(
        0.3103, abs=1e-4
    )


def test_no_gaussian_is_stationary_beyond_0313():
    """The gain in entropy exceeds what a wider policy can lose, wherever it stands."""
    losses = [
        -expected_reward([mean, log_std])[1][1]
        for mean in np.linspace(0, 3, 76)
        for log_std in np.linspace(-3, 3, 121)
    ]
    assert 0.3103 < max(losses) < 0.313


def test_the_best_gaussian_leaves_its_mode_at_0207():
    def gain(alpha):
        mode, middle = (find_stationary_point(start, alpha) for start in (MODE, MIDDLE))
        assert mode["mean_1"] > 0.9 and abs(middle["mean_1"]) < 1e-6
        return mode["objective"] - middle["objective"]

    assert optimize.brentq(gain, 0.15, 0.25) == pytest.approx(0.2076, abs=1e-4)


def test_mixtures_with_two_modes_exist_up_to_0475(frame):
    assert (of(frame, "mixture", 0.45)["status"] == "converged").any()
    assert set(of(frame, "mixture", 0.5)["status"]) == {"diverged"}
    assert converges([-1.1, 1.1, -0.5, -0.5, 0.5], 0.475)
    assert not converges([-1.1, 1.1, -0.48, -0.46, 0.51], 0.477)


@pytest.mark.parametrize(
    ("policy", "alpha", "reward", "params"),
    [
        ("gaussian", 0.3, 0.4854, [0.0, 0.5164]),
        ("mixture", 0.3, 0.8021, [-1.0006, 1.0006, -0.9722, -0.9722, 0.5]),
        ("mixture", 0.45, 0.6801, [-1.0636, 1.0636, -0.5846, -0.5846, 0.5]),
    ],
)
def test_the_optima_of_figure_1(frame, policy, alpha, reward, params):
    best = of(optimal_points(frame), policy, alpha).squeeze()
    assert best["expected_reward"] == pytest.approx(reward, abs=1e-4)
    assert parameters(best) == pytest.approx(params, abs=1e-4)
    assert best["num_modes"] == (2 if policy == "mixture" else 1)


def test_beyond_the_gaussians_every_stationary_mixture_has_two_modes(frame):
    converged = frame[(frame["policy"] == "mixture") & (frame["status"] == "converged")]
    assert (converged[converged["alpha"] > 0.31]["num_modes"] == 2).all()
    assert set(converged[converged["alpha"] == 0.05]["num_modes"]) == {1, 2}


@pytest.mark.slow
def test_all_of_the_papers_study():
    frame = stationary_points()
    best = optimal_points(frame).set_index(["policy", "alpha"])
    assert best.loc["gaussian"].index.max() == 0.3
    assert best.loc["mixture"].index.max() == 0.45
    assert (best.loc["mixture"]["num_modes"] == 2).all()
    assert (frame["status"] == "unconverged").sum() <= 10
    mixture, gaussian = (best.loc[policy]["objective"] for policy in ("mixture", "gaussian"))
    assert (mixture.reindex(gaussian.index) > gaussian).all()
