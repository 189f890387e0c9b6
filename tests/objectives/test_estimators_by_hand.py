"""One draw with known noise: cost and gradients of every estimator, written out in NumPy."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from objectives.estimator_oracle import HIGH, LOW, PARAMETERS, Problem, fed, per_draw
from scipy.special import log_ndtr, ndtr

from torchrl_mixture.objectives import (
    GumbelSoftmax,
    HalfReparam,
    Implicit,
    Likelihood,
    Marginal,
)

LOGITS, LOC, SCALE = [0.4, -0.3], [[-0.6], [0.5]], [[0.5], [0.9]]
NOISE = (0.7, -1.1)  # of the two components; a single draw takes that of its component
OTHER = -0.4  # noise of the baseline's draw, from component 0
CHOOSE = {0: 0.9, 1: 0.1}  # the weights are 0.67 and 0.33, and a small u chooses the last


@pytest.fixture(params=["normal", "tanh"])
def problem(request):
    return Problem(LOGITS, LOC, SCALE, request.param)


def at(problem, x):
    """What the formulas need at the pre-squash point ``x``: cost, its slope, and scores."""
    weights = np.exp(problem.logits) / np.exp(problem.logits).sum()
    loc, scale = np.array(problem.loc)[:, 0], np.array(problem.scale)[:, 0]
    z = (x - loc) / scale
    parts = weights * np.exp(-(z**2) / 2) / (scale * math.sqrt(2 * math.pi))
    share = parts / parts.sum()
    score = -(share * z / scale).sum()
    action, slope, log_slope_slope = x, 1.0, 0.0
    if problem.kind == "tanh":
        half, squashed = (HIGH - LOW) / 2, math.tanh(x)
        action = (HIGH + LOW) / 2 + half * squashed
        slope, log_slope_slope = half * (1 - squashed**2), -2 * squashed
    q = math.sin(1.7 * action + 0.4) + 0.05 * action**3 + 0.4 * math.cos(-action)
    q_slope = 1.7 * math.cos(1.7 * action + 0.4) + 0.15 * action**2 - 0.4 * math.sin(action)
    log_density = math.log(parts.sum() / slope)
    density_slope = score - log_slope_slope
    return SimpleNamespace(
        weights=weights,
        share=share,
        z=z,
        density=parts.sum(),
        action=action,
        squash_slope=slope,
        cost=problem.alpha * log_density - q,
        cost_slope=problem.alpha * density_slope - q_slope * slope,
        # The derivatives of the log-density to logits, locations and scales where x stays.
        direct=(share - weights, share * z / scale, share * (z**2 - 1) / scale),
    )


def chosen(component):
    x = LOC[component][0] + SCALE[component][0] * NOISE[component]
    return x, np.eye(2)[component]


def uniforms(*components):
    return torch.tensor([CHOOSE[component] for component in components], dtype=torch.float64)


def normals(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(1, -1)


def assert_cost_and_gradients(got, cost, gradients):
    assert got[0].item() == pytest.approx(cost, rel=1e-12)
    for name, grad, expected in zip(PARAMETERS, got[1], gradients, strict=True):
        np.testing.assert_allclose(grad.flatten(), expected, rtol=1e-10, atol=1e-14, err_msg=name)


def baseline_of(problem, num_baseline_samples):
    point = at(problem, LOC[0][0] + SCALE[0][0] * OTHER)
    return point.cost if num_baseline_samples else 0.0


def with_baseline(estimator, problem, component, num_baseline_samples):
    uniform, normal = [uniforms(component)], [normals(NOISE[component])]
    if num_baseline_samples:
        shape = (num_baseline_samples, 1)
        uniform.append(uniforms(*[0] * num_baseline_samples).reshape(shape))
        normal.append(normals(*[OTHER] * num_baseline_samples).reshape(*shape, 1))
    with fed(uniform, normal):
        return per_draw(estimator, problem, 1)


@pytest.mark.parametrize("num_baseline_samples", [0, 1, 4])
@pytest.mark.parametrize("component", [0, 1])
def test_half_adds_the_score_of_the_choice_to_the_path(problem, component, num_baseline_samples):
    x, one_hot = chosen(component)
    point = at(problem, x)
    logits, loc, scale = (problem.alpha * part for part in point.direct)
    excess = point.cost - baseline_of(problem, num_baseline_samples)
    gradients = (
        logits + excess * (one_hot - point.weights),
        loc + one_hot * point.cost_slope,
        scale + one_hot * point.cost_slope * NOISE[component],
    )
    estimator = HalfReparam(num_baseline_samples)
    got = with_baseline(estimator, problem, component, num_baseline_samples)
    assert_cost_and_gradients(got, point.cost, gradients)


@pytest.mark.parametrize("num_baseline_samples", [0, 1, 4])
@pytest.mark.parametrize("component", [0, 1])
def test_likelihood_is_the_excess_cost_times_the_score(problem, component, num_baseline_samples):
    point = at(problem, chosen(component)[0])
    excess = point.cost - baseline_of(problem, num_baseline_samples)
    estimator = Likelihood(num_baseline_samples)
    got = with_baseline(estimator, problem, component, num_baseline_samples)
    assert_cost_and_gradients(got, point.cost, [excess * part for part in point.direct])


def test_baseline_is_the_mean_cost_of_its_draws(problem):
    noise = [0.2, -0.9, 1.4]
    costs = [at(problem, LOC[0][0] + SCALE[0][0] * each).cost for each in noise]
    x, _ = chosen(1)
    point = at(problem, x)
    first, others = uniforms(1), uniforms(0, 0, 0).reshape(3, 1)
    with fed([first, others], [normals(NOISE[1]), normals(*noise).reshape(3, 1, 1)]):
        got = per_draw(Likelihood(3), problem, 1)
    excess = point.cost - np.mean(costs)
    assert_cost_and_gradients(got, point.cost, [excess * part for part in point.direct])


def test_marginal_weights_the_costs_of_all_components(problem):
    points = [at(problem, chosen(component)[0]) for component in (0, 1)]
    weights = points[0].weights
    costs = np.array([point.cost for point in points])
    slopes = weights * np.array([point.cost_slope for point in points])
    logits, loc, scale = (
        problem.alpha * (weights @ np.array([point.direct[i] for point in points]))
        for i in range(3)
    )
    gradients = (
        logits + weights * (costs - weights @ costs),
        loc + slopes,
        scale + slopes * np.array(NOISE),
    )
    with fed([], [normals(*NOISE).unsqueeze(-1)]):
        got = per_draw(Marginal(), problem, 1)
    assert_cost_and_gradients(got, weights @ costs, gradients)


@pytest.mark.parametrize("component", [0, 1])
def test_implicit_moves_the_draw_with_its_distribution_function(problem, component):
    x, _ = chosen(component)
    point = at(problem, x)
    below = ndtr(point.z)
    moves = (
        -point.weights * (below - point.weights @ below) / point.density,
        point.share,
        point.share * point.z,
    )
    gradients = [
        problem.alpha * direct + point.cost_slope * move
        for direct, move in zip(point.direct, moves, strict=True)
    ]
    with fed([uniforms(component)], [normals(NOISE[component])]):
        got = per_draw(Implicit(), problem, 1)
    assert_cost_and_gradients(got, point.cost, gradients)


@pytest.mark.parametrize("temperature", [1.0, 0.25])
@pytest.mark.parametrize("component", [0, 1])
def test_gumbel_moves_the_action_with_the_relaxed_choice(problem, component, temperature):
    uniform = np.array([0.8, 0.3]) if component == 0 else np.array([0.2, 0.7])
    points = [at(problem, chosen(each)[0]) for each in (0, 1)]
    x, one_hot = chosen(component)
    point = at(problem, x)
    relaxed = np.exp((np.log(point.weights) - np.log(-np.log(uniform))) / temperature)
    relaxed /= relaxed.sum()
    assert relaxed.argmax() == component
    jacobian = (np.diag(relaxed) - np.outer(relaxed, relaxed)) / temperature
    moved = jacobian @ np.array([each.action for each in points])
    logits, loc, scale = (problem.alpha * part for part in point.direct)
    gradients = (
        logits + moved * point.cost_slope / point.squash_slope,
        loc + one_hot * point.cost_slope,
        scale + one_hot * point.cost_slope * NOISE[component],
    )
    with fed([torch.from_numpy(uniform).unsqueeze(0)], [normals(*NOISE).unsqueeze(-1)]):
        got = per_draw(GumbelSoftmax(temperature), problem, 1)
    assert_cost_and_gradients(got, point.cost, gradients)


def test_implicit_weight_gradient_in_the_far_tail_keeps_its_digits():
    problem = Problem([0.0, 0.0], [[0.0], [1.0]], [[1.0], [1.0]], "normal", alpha=0.0)
    x = 1.0 + 20.0  # both survival functions are below 1e-80, and both CDFs round to one
    above = np.exp(log_ndtr(-np.array([x, x - 1.0])))
    point = at(problem, x)
    move = 0.5 * (above - above.mean()) / point.density
    with fed([uniforms(1)], [normals(20.0)]):
        _, grads = per_draw(Implicit(), problem, 1)
    np.testing.assert_allclose(grads[0][0], point.cost_slope * move, rtol=1e-9)


@pytest.mark.parametrize("kind", ["normal", "tanh", "arctan"])
@pytest.mark.parametrize("size", [1, 3])
def test_one_component_is_plain_reparameterization(kind, size):
    problem = Problem([0.7], [[0.3, -0.2, 0.9][:size]], [[0.5, 0.8, 0.4][:size]], kind)
    noise = torch.rand(40, size, dtype=torch.float64)
    plain = problem.parameters(40)
    x = plain[1].squeeze(1) + plain[2].squeeze(1) * (
        torch.tan((noise - 0.5) * math.pi) if kind == "arctan" else noise
    )
    policy = problem.policy(plain)
    action = policy._squash(x)
    log_prob = policy.log_prob(action)
    cost = problem.alpha * log_prob - problem.q(action)
    _, loc, scale = torch.autograd.grad(cost.sum(), plain, allow_unused=True)
    for estimator in (HalfReparam(), GumbelSoftmax(0.5), Marginal(), Implicit()):
        relaxed = isinstance(estimator, GumbelSoftmax)
        each = noise.unsqueeze(1) if relaxed or isinstance(estimator, Marginal) else noise
        choice = [torch.full((40, 1), 0.5, dtype=torch.float64)] if relaxed else []
        queues = ([each, *choice], []) if kind == "arctan" else (choice, [each])
        with fed(*queues):
            got, grads = per_draw(estimator, problem, 40)
        torch.testing.assert_close(got, cost.detach(), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(grads[0], torch.zeros_like(grads[0]))
        torch.testing.assert_close(grads[1], loc, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(grads[2], scale, rtol=1e-8, atol=1e-10)
