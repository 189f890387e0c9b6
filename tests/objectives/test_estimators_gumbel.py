"""The bias of the straight-through Gumbel-softmax, integrated over all of its noise."""

import math

import numpy as np
import pytest
import torch
from objectives.estimator_oracle import (
    PARAMETERS,
    Problem,
    all_draws,
    exact,
    expectation,
    fed,
    per_draw,
)
from scipy import stats

from torchrl_mixture.objectives import GumbelSoftmax

TEMPERATURES = (2.0, 1.0, 0.5, 0.25, 0.1, 0.03, 0.01)
SHAPE = {"logits": [0.3, -0.4], "scale": [[0.5], [0.8]]}
NEAR = Problem(loc=[[-0.2], [0.3]], **SHAPE)
APART = Problem(loc=[[-1.0], [0.8]], **SHAPE)
FAR = Problem(loc=[[-2.0], [2.2]], **SHAPE)
TANH_APART = Problem(loc=[[-1.0], [0.8]], **SHAPE, kind="tanh")


class Quadratic(Problem):
    def q(self, action):
        return (0.4 * action - 0.7 * action**2).sum(-1)


def relaxed_draws(problem, temperature):
    """Uniforms and noise of two components, and their probabilities, ``[N, ...]``.

    The choice depends on the difference of the two Gumbels, which is logistic. The integrand
    jumps where the choice switches, and varies over a temperature beside it.
    """
    log_weights = torch.tensor(problem.logits, dtype=torch.float64).log_softmax(-1)
    edges = {0.0, 30.0, *(min(temperature * 2.0**j, 30.0) for j in range(-1, 12))}
    start = torch.tensor(sorted(edges), dtype=torch.float64)
    node, weight = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(8))
    distance = (start[:-1, None] + (1 + node) / 2 * start.diff()[:, None]).flatten()
    width = (weight / 2 * start.diff()[:, None]).flatten()
    switch = log_weights[1] - log_weights[0]
    difference = torch.cat((switch - distance, switch + distance))
    log_density = torch.nn.functional.logsigmoid(torch.stack((difference, -difference))).sum(0)
    gumbel = torch.stack((difference.clamp_min(0), (-difference).clamp_min(0)), -1)

    noise = torch.linspace(-8.0, 8.0, 41, dtype=torch.float64)
    density = torch.exp(-(noise**2) / 2) / math.sqrt(2 * math.pi) * (noise[1] - noise[0])
    first, left, right = torch.cartesian_prod(
        torch.arange(len(difference)), *[torch.arange(len(noise))] * 2
    ).T
    probability = (log_density.exp() * width.repeat(2))[first] * density[left] * density[right]
    pair = torch.stack((noise[left], noise[right]), -1).unsqueeze(-1)
    return torch.exp(-torch.exp(-gumbel))[first], pair, probability


def integrated(problem, temperature):
    """Mean cost and gradients, and the variance of the gradient to the first logit."""
    uniform, noise, probability = relaxed_draws(problem, temperature)
    with fed([uniform], [noise]):
        cost, grads = per_draw(GumbelSoftmax(temperature), problem, len(probability))
    mean = expectation(probability, cost, grads)
    square = (probability * grads[0][:, 0] ** 2).sum()
    return mean, (square - mean[1][0] ** 2).item()


def relative_weight_bias(problem, temperature):
    grad = exact(problem)[1][0][0]
    return (integrated(problem, temperature)[0][1][0] / grad - 1).item()


@pytest.mark.parametrize("problem", [NEAR, APART, TANH_APART], ids=["near", "apart", "tanh"])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_cost_and_gradients_of_locations_and_scales_have_no_bias(problem, temperature):
    (cost, _, *grads), _ = integrated(problem, temperature)
    objective, (_, *expected) = exact(problem)
    torch.testing.assert_close(cost, objective, rtol=1e-4, atol=1e-5)
    for name, got, wanted in zip(PARAMETERS[1:], grads, expected, strict=True):
        assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-4), name


@pytest.mark.parametrize(
    ("problem", "temperature", "low", "high"),
    [
        (NEAR, 2.0, -0.68, -0.56),
        (NEAR, 1.0, -0.50, -0.39),
        (NEAR, 0.25, -0.39, -0.29),
        (FAR, 2.0, -1.02, -0.93),
        (FAR, 0.1, -0.65, -0.55),
        (APART, 1.0, -0.95, -0.83),
        (TANH_APART, 1.0, -1.15, -0.95),  # of the wrong sign
    ],
)
def test_weight_gradient_is_biased(problem, temperature, low, high):
    assert low < relative_weight_bias(problem, temperature) < high


def test_weight_bias_vanishes_with_the_temperature_for_a_quadratic_cost():
    problem = Quadratic(loc=[[-1.0], [0.8]], **SHAPE, alpha=0.0)
    bias = [abs(relative_weight_bias(problem, each)) for each in TEMPERATURES]
    at_one, *falling = bias[1:]
    assert 0.4 < at_one < 0.55
    assert all(later < earlier for earlier, later in zip(falling, falling[1:], strict=False))
    assert bias[-1] == pytest.approx(bias[-2] / 3, rel=0.05)
    assert bias[-1] < 0.03


@pytest.mark.parametrize("problem", [NEAR, APART, FAR, TANH_APART])
def test_weight_gradient_tends_to_the_trapezium_rule_between_the_components(problem):
    limit = trapezium(problem)
    gap = [abs(integrated(problem, each)[0][1][0].item() - limit) for each in (0.1, 0.03, 0.01)]
    assert gap[2] < gap[1] < gap[0]
    assert gap[2] < 0.01 * abs(limit) + 0.002
    assert abs(limit / exact(problem)[1][0][0].item() - 1) > 0.2  # and that is not the gradient


def trapezium(problem):
    r"""``w_1 w_2 E[(a_1 - a_2) (c'(a_1) + c'(a_2)) / 2]``, in place of ``c(a_1) - c(a_2)``."""
    weights = torch.tensor(problem.logits, dtype=torch.float64).softmax(-1)
    _, noise, probability = all_draws(problem, num=240)
    noise, probability = noise[:240, 0], probability[:240] / weights[0]
    actions, slopes = [], []
    for row in range(2):
        x = problem.loc[row][0] + problem.scale[row][0] * noise
        policy = problem.policy([part.detach() for part in problem.parameters(len(noise))])
        action = policy._squash(x.unsqueeze(-1)).requires_grad_()
        value = problem.alpha * policy.log_prob(action) - problem.q(action)
        slopes.append(torch.autograd.grad(value.sum(), action)[0].squeeze(-1))
        actions.append(action.detach().squeeze(-1))
    # The two draws are independent: the mean of a product is the product of means.
    mean = [(probability * part).sum() for part in (*actions, *slopes)]
    own = [(probability * a * s).sum() for a, s in zip(actions, slopes, strict=True)]
    total = own[0] - own[1] + mean[0] * mean[3] - mean[1] * mean[2]
    return (weights[0] * weights[1] * total / 2).item()


@pytest.mark.parametrize("problem", [NEAR, FAR, TANH_APART], ids=["near", "far", "tanh"])
def test_variance_grows_as_one_over_the_temperature(problem):
    variance = [integrated(problem, each)[1] for each in TEMPERATURES]
    assert all(
        later > 1.5 * earlier for earlier, later in zip(variance, variance[1:], strict=False)
    )
    assert variance[-1] / variance[-2] == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("kind", ["normal", "tanh"])
def test_action_is_distributed_as_the_mixture(kind, float64):
    logits, loc, scale = [0.3, -0.9, 0.5], [-1.0, 0.2, 1.1], [0.2, 0.5, 0.3]
    problem = Problem(logits, [[each] for each in loc], [[each] for each in scale], kind)
    policy = problem.policy([part.detach() for part in problem.parameters(20_000)])
    value, _ = policy.rsample_relaxed_and_log_prob(0.7)
    x = value.squeeze(-1).numpy()
    if kind == "tanh":
        x = np.arctanh((x - 0.25) / 1.75)
    weights = np.exp(logits) / np.exp(logits).sum()
    result = stats.kstest(x, lambda at: stats.norm.cdf(at[:, None], loc, scale) @ weights)
    assert result.pvalue > 1e-3
    plain = policy.sample().squeeze(-1).numpy()
    assert stats.ks_2samp(value.squeeze(-1).numpy(), plain).pvalue > 1e-3


def test_action_is_that_of_one_component():
    problem = Problem([0.3, -0.4], [[-1.0, 0.2], [0.8, 0.1]], [[0.5, 0.1], [0.8, 0.2]])
    policy = problem.policy(problem.parameters(1))
    noise = torch.tensor([[[0.3, -1.2], [0.9, 0.4]]], dtype=torch.float64)
    for uniform, component in (([0.9, 0.1], 0), ([0.1, 0.9], 1)):
        with fed([torch.tensor([uniform], dtype=torch.float64)], [noise]):
            value, log_prob = policy.rsample_relaxed_and_log_prob(0.5)
        own = (policy.loc + policy.scale * noise)[:, component]
        torch.testing.assert_close(value, own)
        torch.testing.assert_close(log_prob, policy.log_prob(own))
