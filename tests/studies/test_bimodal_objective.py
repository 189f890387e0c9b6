"""The objective on the bimodal bandit, against quadrature, differences and closed forms."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from torchrl_mixture.envs.bandit_rewards import BIMODAL_CONSTANT
from torchrl_mixture.studies.bimodal_objective import (
    entropy,
    expected_reward,
    log_density,
    num_modes,
    objective,
)

WIDE, NARROW = math.log(20), math.log(0.01)
HARD = {
    "two modes": [-1.0, 1.0, -1.0, -1.0, 0.5],
    "wide about narrow": [0.0, 0.3, WIDE, NARROW, 0.7],
    "narrow first": [0.3, -8.0, NARROW, WIDE, 0.2],
    "far apart": [-40.0, 55.0, -2.0, 1.0, 0.4],
    "narrow and far apart": [-2.0, 2.0, NARROW, NARROW, 0.6],
    "touching": [-1.0, 1.5, -0.7, 0.3, 0.35],
    "nearly alike": [0.5, 0.5 + 1e-7, 0.1, 0.1 - 1e-9, 0.3],
    "alike": [0.5, 0.5, 0.1, 0.1, 0.3],
    "nearly absent": [-1.0, 1.0, -1.0, -1.0, 2**-40],
    "nearly absent, narrow": [0.2, 0.0, NARROW, WIDE, 2**-30],
    "as high as the other": [0.0, 0.0, WIDE, NARROW, 20 / 20.01],
    "wide and as good as absent": [0.0, 0.003, WIDE, NARROW, 1e-200],
    "absent": [-1.0, 1.0, -1.0, 0.5, 0.0],
    "alone": [-1.0, 1.0, -1.0, 0.5, 1.0],
    "at the bound": [-1.5, 1.0, 3.0, -5.0, 0.5],
}


@pytest.fixture(params=HARD)
def hard(request):
    return np.array(HARD[request.param])


def reward(action):
    return sum(stats.norm.pdf(action, mean, 0.5) for mean in (-1, 1)) / BIMODAL_CONSTANT


def brute(params, function, num_points=300_001):
    """Both components' expectations, by the trapezoid rule in units of their scales, [..., K]."""
    means, scales = params[:2], np.exp(params[2:4])
    unit = np.linspace(-10, 10, num_points)
    measure = stats.norm.pdf(unit) * 20 / (num_points - 1)
    parts = [function(means[k] + scales[k] * unit, unit) @ measure for k in (0, 1)]
    return np.stack(parts, -1)


def differences(function, params, units):
    """Central differences of fourth order, per unit of each parameter."""
    steps = 1e-3 * np.diag(units)
    near = np.array([function(params + h)[0] - function(params - h)[0] for h in steps])
    far = np.array([function(params + 2 * h)[0] - function(params - 2 * h)[0] for h in steps])
    return (8 * near - far) / 12e-3


def random_params(seed, num):
    """Random mixtures in all of the bounds."""
    rng = np.random.default_rng(seed)
    low, high = [-5, -5, math.log(0.01), math.log(0.01), 0.02], [5, 5, 3, 3, 0.98]
    return rng.uniform(low, high, (num, 5))


def test_a_normal_policy_in_closed_form():
    for mean, log_std in ((0.0, 0.5), (-1.3, -2.0), (7.0, 3.0)):
        value, gradient = entropy([mean, log_std])
        assert value == pytest.approx(stats.norm(mean, math.exp(log_std)).entropy(), abs=1e-12)
        assert gradient.tolist() == [0, 1]
    far = expected_reward([1000.0, 0.0])
    assert far[0] == 0 and (far[1] == 0).all()
    point = expected_reward([0.3, -20.0])[0]
    assert point == pytest.approx(reward(0.3), abs=1e-12)


def test_the_objective_is_reward_and_entropy():
    params = HARD["touching"]
    (value, gradient), (bonus, to_bonus) = expected_reward(params), entropy(params)
    assert objective(params, 0.0)[0] == value
    assert objective(params, 0.7)[0] == pytest.approx(value + 0.7 * bonus, abs=1e-14)
    np.testing.assert_allclose(objective(params, 0.7)[1], gradient + 0.7 * to_bonus, atol=1e-14)


@pytest.mark.parametrize("params", [[0.3, -0.2], [-1.1, -3.0], [0.0, 3.0]], ids=str)
def test_expected_reward_of_a_normal_policy_by_quadrature(params):
    mean, std = params[0], math.exp(params[1])
    expected = integrate.quad(
        lambda z: reward(mean + std * z) * stats.norm.pdf(z),
        -10,
        10,
        points=[(m - mean) / std for m in (-1.0, 1.0) if abs(m - mean) < 10 * std],
        limit=500,
        epsabs=1e-12,
    )[0]
    assert expected_reward(params)[0] == pytest.approx(expected, abs=1e-11)


def test_expected_reward_by_brute_force(hard):
    each = brute(hard, lambda action, _: reward(action))
    assert expected_reward(hard)[0] == pytest.approx(each @ [hard[4], 1 - hard[4]], abs=1e-11)


def test_entropy_and_its_gradient_by_brute_force(hard):
    def moments(action, unit):
        return -log_density(hard, action) * np.stack([unit**0, unit, unit**2 - 1])

    weights = np.array([hard[4], 1 - hard[4]])
    each, to_means, to_scales = brute(hard, moments)
    value, gradient = entropy(hard)
    assert value == pytest.approx(each @ weights, abs=1e-10)
    expected = [*(weights * to_means / np.exp(hard[2:4])), *(weights * to_scales)]
    np.testing.assert_allclose(gradient[:4], expected, rtol=1e-10, atol=1e-10)
    assert gradient[4] == pytest.approx(each[0] - each[1], rel=1e-10, abs=1e-10)


def test_objective_by_quadrature_on_the_line():
    """Without the change of variables that the code makes."""
    for params in (HARD["two modes"], HARD["wide about narrow"], HARD["touching"]):
        means, stds = np.array(params[:2]), np.exp(params[2:4])
        points = np.unique(np.concatenate([means + c * stds for c in range(-9, 10)]))

        def integrand(action, params=params):
            log_prob = log_density(params, action)
            return float(np.exp(log_prob) * (reward(action) - 0.3 * log_prob))

        pieces = [
            integrate.quad(integrand, *ends, epsabs=1e-13, limit=200)[0]
            for ends in zip(points[:-1], points[1:], strict=True)
        ]
        assert objective(params, 0.3)[0] == pytest.approx(sum(pieces), abs=1e-10)


def test_random_mixtures_by_brute_force():
    for params in random_params(seed=3, num=12):
        each = brute(params, lambda action, _, p=params: -log_density(p, action))
        assert entropy(params)[0] == pytest.approx(each @ [params[4], 1 - params[4]], abs=1e-10)


@pytest.mark.parametrize("columns", [[0, 2], [0, 1, 2, 3, 4]], ids=["gaussian", "mixture"])
def test_the_gradient_is_that_of_finite_differences(columns):
    for params in random_params(seed=4, num=40)[:, columns]:
        stds = np.exp(params[len(params) // 2 :][: len(params) // 2])
        units = np.ones(len(params))
        units[: len(stds)] = stds
        if len(params) == 5:
            units[4] = min(params[4], 1 - params[4])
        gradient = objective(params, 0.3)[1] * units
        expected = differences(lambda p: objective(p, 0.3), params, units)
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-10, err_msg=str(params))


def test_two_components_that_coincide_are_one():
    for weight in (0.0, 0.2, 0.5, 1.0):
        params = [0.7, 0.7, -0.4, -0.4, weight]
        value, gradient = objective(params, 0.3)
        one, slope = objective([0.7, -0.4], 0.3)
        assert value == pytest.approx(one, abs=1e-12)
        shares = [weight * slope[0], (1 - weight) * slope[0]]
        shares += [weight * slope[1], (1 - weight) * slope[1], 0]
        np.testing.assert_allclose(gradient, shares, atol=1e-12)


def test_components_far_apart_add_the_entropy_of_their_choice():
    apart = entropy([-500.0, 500.0, 0.2, -0.7, 0.3])[0]
    choice = -0.3 * math.log(0.3) - 0.7 * math.log(0.7)
    assert apart == pytest.approx(
        0.3 * entropy([0, 0.2])[0] + 0.7 * entropy([0, -0.7])[0] + choice
    )


# One minus a weight of 1e-200 is 1.
@pytest.mark.parametrize("name", sorted(HARD.keys() - {"wide and as good as absent"}))
def test_swapping_the_components_swaps_the_gradient(name):
    hard = np.array(HARD[name])
    swapped = np.array([*hard[[1, 0, 3, 2]], 1 - hard[4]])
    value, gradient = objective(hard, 0.3)
    other, other_gradient = objective(swapped, 0.3)
    assert value == pytest.approx(other, rel=1e-12)
    expected = [*other_gradient[[1, 0, 3, 2]], -other_gradient[4]]
    np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-10)


def test_log_density_is_that_of_scipy(hard):
    action = np.linspace(-6, 6, 41).reshape(1, 41)
    with np.errstate(divide="ignore"):
        parts = [
            np.log(w) + stats.norm.logpdf(action, mean, math.exp(log_std))
            for w, mean, log_std in zip([hard[4], 1 - hard[4]], hard[:2], hard[2:4], strict=True)
        ]
    np.testing.assert_allclose(log_density(hard, action), np.logaddexp(*parts), rtol=1e-12)
    one = log_density([0.5, -1.0], action)
    np.testing.assert_allclose(one, stats.norm.logpdf(action, 0.5, math.exp(-1)), rtol=1e-12)


def test_modes_are_those_of_the_density():
    counts = []
    for params in random_params(seed=6, num=300):
        means, stds = params[:2], np.exp(params[2:4])
        grid = np.unique(
            np.concatenate(
                [m + s * np.linspace(-5, 5, 4001) for m, s in zip(means, stds, strict=True)]
            )
        )
        density = log_density(params, grid)
        rises = np.diff(density) > 0
        counts.append(num_modes(params))
        assert counts[-1] == (rises[:-1] & ~rises[1:]).sum(), params
    assert 30 < counts.count(1) < 270
    assert num_modes([0.0, 0.0]) == 1


@pytest.mark.parametrize("std", [1e-3, 1.0, 20.0])
def test_equal_halves_have_two_modes_beyond_two_standard_deviations(std):
    log_std = math.log(std)
    for distance, modes in ((0, 1), (1e-9, 1), (1.99, 1), (2.01, 2), (400, 2)):
        half = distance * std / 2
        assert num_modes([-half, half, log_std, log_std, 0.5]) == modes


def test_a_spike_is_a_mode_of_its_own():
    spike = math.log(1e-3)
    assert num_modes([0.0, 10.0, 0.0, spike, 0.5]) == num_modes([10.0, 0.0, spike, 0.0, 0.5]) == 2
    assert num_modes([0.0, 1e-4, 0.0, spike, 0.5]) == 1


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_an_absent_component_has_no_mode(weight):
    assert num_modes([-3.0, 3.0, 0.0, -1.0, weight]) == 1
    assert num_modes([-3.0, 3.0, 0.0, -1.0, abs(weight - 1e-3)]) == 2


@pytest.mark.parametrize("function", [entropy, expected_reward, num_modes])
def test_bad_parameters_are_refused(function):
    with pytest.raises(ValueError, match=r"params must be 2 or 5 numbers, got shape \[3\]"):
        function([0.0, 0.0, 0.0])
    for weight in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"a weight, must be in \[0, 1\], got"):
            function([0.0, 0.0, 0.0, 0.0, weight])
