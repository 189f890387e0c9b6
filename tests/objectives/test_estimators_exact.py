"""Bias of the estimators in one dimension, integrated over all of their noise."""

import pytest
import torch
from objectives.estimator_oracle import (
    PARAMETERS,
    Problem,
    all_draws,
    exact,
    expectation,
    fed,
    feed,
    per_draw,
    standard_noise,
)
from scipy import integrate, stats

from torchrl_mixture.objectives import HalfReparam, Implicit, Likelihood, Marginal

TWO = {"logits": [0.3, -0.4], "scale": [[0.5], [0.8]]}
THREE = {"logits": [0.3, -0.4, 0.9], "scale": [[0.5], [0.7], [0.4]]}
PROBLEMS = {
    f"{kind}-{name}": Problem(shape["logits"], loc, shape["scale"], kind)
    for kind in ("normal", "tanh", "arctan")
    for name, shape, loc in (
        ("K2-coincident", {**TWO, "scale": [[0.6], [0.6]]}, [[0.2], [0.2]]),
        ("K2-near", TWO, [[-0.2], [0.3]]),
        ("K2-apart", TWO, [[-1.0], [0.8]]),
        ("K2-far", TWO, [[-2.0], [2.2]]),
        ("K3-near", THREE, [[-0.3], [0.1], [0.6]]),
        ("K3-apart", THREE, [[-1.5], [0.1], [1.2]]),
    )
}
SINGLE_DRAW = {
    "half": HalfReparam(num_baseline_samples=0),
    "likelihood": Likelihood(num_baseline_samples=0),
    "implicit": Implicit(),
}


@pytest.fixture(params=PROBLEMS.values(), ids=PROBLEMS.keys())
def problem(request):
    return request.param


def assert_unbiased(problem, estimate, rtol=1e-7):
    objective, grads = exact(problem)
    names = ("cost", *PARAMETERS)
    for name, got, expected in zip(names, estimate, (objective, *grads), strict=True):
        # A gradient that vanishes, as the logits' of coincident components, needs a scale.
        torch.testing.assert_close(
            got, expected, rtol=rtol, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("name", SINGLE_DRAW)
def test_mean_gradient_is_the_integrated_gradient(problem, name):
    uniform, noise, probability = all_draws(problem)
    with feed(problem, [uniform], [noise]):
        cost, grads = per_draw(SINGLE_DRAW[name], problem, len(probability))
    assert_unbiased(problem, expectation(probability, cost, grads))


@pytest.mark.parametrize("kind", ["normal", "tanh", "arctan"])
@pytest.mark.parametrize("name", SINGLE_DRAW)
def test_mean_gradient_of_one_component_is_the_integrated_gradient(kind, name):
    problem = Problem([0.7], [[0.3]], [[0.6]], kind)
    _, noise, probability = all_draws(problem)
    with feed(problem, [], [noise]):
        cost, grads = per_draw(SINGLE_DRAW[name], problem, len(probability))
    assert_unbiased(problem, expectation(probability, cost, grads))


def test_mean_marginal_gradient_is_the_integrated_gradient(problem):
    noise, probability = standard_noise(problem)
    # A sum over components of terms with one noise each: the same noise for all gives its mean.
    shared = noise.reshape(-1, 1, 1).expand(-1, len(problem.logits), 1)
    with feed(problem, [], [shared]):
        cost, grads = per_draw(Marginal(), problem, len(probability))
    assert_unbiased(problem, expectation(probability, cost, grads))


@pytest.mark.parametrize("estimator", [HalfReparam(1), Likelihood(1)], ids=["half", "likelihood"])
@pytest.mark.parametrize("kind", ["normal", "tanh"])
def test_baseline_of_one_draw_adds_no_bias_integrated_over_both_draws(estimator, kind):
    problem = PROBLEMS[f"{kind}-K2-near"]
    uniform, noise, probability = all_draws(problem, num=120)
    num = len(probability)
    first = [part.repeat_interleave(num, 0) for part in (uniform, noise)]
    second = [part.repeat(num, *[1] * (part.ndim - 1)).unsqueeze(0) for part in (uniform, noise)]
    with fed([first[0], second[0]], [first[1], second[1]]):
        cost, grads = per_draw(estimator, problem, num * num)
    estimate = expectation(torch.outer(probability, probability).flatten(), cost, grads)
    assert_unbiased(problem, estimate)


@pytest.mark.parametrize("kind", [HalfReparam, Likelihood])
@pytest.mark.parametrize("num_baseline_samples", [1, 3])
def test_fixed_baseline_adds_no_bias(kind, num_baseline_samples):
    problem = PROBLEMS["tanh-K3-apart"]
    uniform, noise, probability = all_draws(problem)
    shape = (num_baseline_samples, len(probability))
    chosen = torch.linspace(0.1, 0.9, num_baseline_samples).double()[:, None].expand(shape)
    other = chosen.unsqueeze(-1) * 2 - 1.3
    with fed([uniform, chosen], [noise, other]):
        cost, grads = per_draw(kind(num_baseline_samples), problem, len(probability))
    assert_unbiased(problem, expectation(probability, cost, grads))


class Linear(Problem):
    def q(self, action):
        return -action.squeeze(-1)


@pytest.mark.parametrize("separation", [1.0, 2.0, 4.0, 6.0])
def test_implicit_weight_gradient_has_the_predicted_second_moment(separation):
    loc, scale = [[-separation / 2], [separation / 2]], [[1.0], [1.0]]
    problem = Linear([0.4, 0.0], loc, scale, alpha=0.0)
    uniform, noise, probability = all_draws(problem)
    with feed(problem, [uniform], [noise]):
        _, (logits, _, _) = per_draw(Implicit(), problem, len(probability))
    weight = float(torch.tensor(0.4, dtype=torch.float64).sigmoid())

    def integrand(x):
        left, right = (stats.norm(at, 1.0) for (at,) in loc)
        density = weight * left.pdf(x) + (1 - weight) * right.pdf(x)
        return (left.cdf(x) - right.cdf(x)) ** 2 / density

    integral = integrate.quad(integrand, -12.0, 12.0, epsabs=1e-10, epsrel=1e-10)[0]
    predicted = (weight * (1 - weight)) ** 2 * integral
    assert (probability @ logits[:, 0] ** 2).item() == pytest.approx(predicted, rel=1e-6)


@pytest.mark.parametrize("name", ["normal-K2-apart", "tanh-K3-near"])
def test_oracle_agrees_with_adaptive_quadrature_and_differences(name):
    problem = PROBLEMS[name]
    parameters = [row[0].detach() for row in problem.parameters(1)]

    def objective(logits, loc, scale):
        def integrand(x):
            parts = stats.norm.pdf(x, loc[:, 0].numpy(), scale[:, 0].numpy())
            density = float(logits.softmax(-1).numpy() @ parts)
            action = torch.tensor([x], dtype=torch.float64)
            slope = 1.0
            if problem.kind == "tanh":
                slope = 1.75 * (1 - torch.tanh(action).item() ** 2)
                action = 0.25 + 1.75 * torch.tanh(action)
            log_density = torch.log(torch.tensor(density / slope, dtype=torch.float64))
            return density * float(problem.alpha * log_density - problem.q(action))

        return integrate.quad(integrand, -6, 6, epsabs=1e-11, epsrel=1e-11, limit=200)[0]

    value, grads = exact(problem)
    assert objective(*parameters) == pytest.approx(value.item(), rel=1e-8)
    for which, grad in enumerate(grads):
        for entry in range(grad.numel()):
            moved = []
            for step in (1e-4, -1e-4):
                trial = [part.clone() for part in parameters]
                trial[which].view(-1)[entry] += step
                moved.append(objective(*trial))
            slope = (moved[0] - moved[1]) / 2e-4
            assert slope == pytest.approx(grad.view(-1)[entry].item(), rel=1e-5, abs=1e-6)
