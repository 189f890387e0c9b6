"""Bias of the estimators in two and three dimensions, by sampling."""

import pytest
import torch
from objectives.estimator_oracle import PARAMETERS, Problem, exact, per_draw

from torchrl_mixture.objectives import HalfReparam, Implicit, Likelihood, Marginal

PROBLEMS = {
    "A2-K3-normal": Problem(
        [0.4, -0.3, 0.1],
        [[-0.8, 0.3], [0.4, -0.5], [0.6, 0.8]],
        [[0.6, 0.5], [0.5, 0.7], [0.6, 0.6]],
    ),
    "A2-K2-tanh": Problem(
        [0.4, -0.3], [[-0.7, 0.3], [0.5, -0.4]], [[0.6, 0.5], [0.5, 0.7]], "tanh"
    ),
    "A3-K2-tanh": Problem(
        [0.4, -0.3],
        [[-0.7, 0.3, 0.1], [0.5, -0.4, 0.5]],
        [[0.6, 0.5, 0.7], [0.5, 0.7, 0.6]],
        "tanh",
    ),
}
ESTIMATORS = {
    "half-0": HalfReparam(0),
    "half-1": HalfReparam(1),
    "half-5": HalfReparam(5),
    "likelihood-0": Likelihood(0),
    "likelihood-1": Likelihood(1),
    "likelihood-5": Likelihood(5),
    "marginal": Marginal(),
    "implicit": Implicit(),
}
SPACING = {2: 0.05, 3: 0.25}
CHUNK, MOST_CHUNKS = 100_000, 60


@pytest.fixture(scope="module", params=PROBLEMS)
def problem_and_exact(request):
    problem = PROBLEMS[request.param]
    size = len(problem.loc[0])
    objective, grads = exact(problem, SPACING[size])
    check = exact(problem, 1.5 * SPACING[size])[1]
    for got, again in zip(grads, check, strict=True):
        assert (got - again).norm() < 1e-4 * got.norm()
    return problem, objective, grads


def moments(estimator, problem, grads):
    """Means and standard errors of the gradients, once these are 0.5 % of the gradients' norm."""
    first = [torch.zeros_like(grad) for grad in grads]
    second = [torch.zeros_like(grad) for grad in grads]
    for chunk in range(1, MOST_CHUNKS + 1):
        draws = per_draw(estimator, problem, CHUNK)[1]
        for total, square, draw in zip(first, second, draws, strict=True):
            total += draw.sum(0)
            square += draw.square().sum(0)
        num = chunk * CHUNK
        mean = [total / num for total in first]
        error = [
            ((square / num - each.square()) / num).sqrt()
            for square, each in zip(second, mean, strict=True)
        ]
        if all(e.max() < 0.005 * grad.norm() for e, grad in zip(error, grads, strict=True)):
            return mean, error
    raise AssertionError(f"the standard errors are still {[e.max().item() for e in error]}")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_mean_gradient_is_the_integrated_gradient(problem_and_exact, name):
    problem, _, grads = problem_and_exact
    mean, error = moments(ESTIMATORS[name], problem, grads)
    for parameter, got, wanted, deviation in zip(PARAMETERS, mean, grads, error, strict=True):
        assert ((got - wanted) / deviation).abs().max() < 4.5, parameter
