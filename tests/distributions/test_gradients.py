"""Gradients through draws against gradients of expectations and of the surrogates' formulas."""

import pytest
import torch
from mixture_cases import CASES, every_case, parameters_of, squashed_cases
from oracles import (
    assert_unbiased,
    cauchy_mean,
    central_difference,
    flat,
    gradients,
    normal_mean,
    random_parameters,
    repeated_gradients,
)

from torchrl_mixture import functional as F
from torchrl_mixture.distributions import TanhNormalMixture


def reward(u):
    """Of an action in [-1, 1]^A."""
    return u[..., 0].square() + 2 * u.prod(-1)


def exact_reward(case, mixture):
    """The mean of ``reward`` of the unit-box action, by one-dimensional quadrature."""
    if case.kind is TanhNormalMixture:
        mean, squash = normal_mean, torch.tanh
    else:
        mean, squash = cauchy_mean, lambda x: x.atan() * (2 / torch.pi)
    square = mean(lambda x: squash(x).square(), mixture.loc[:, 0], mixture.scale[:, 0])
    return mixture.weights @ (square + 2 * mean(squash, mixture.loc, mixture.scale).prod(-1))


@pytest.mark.parametrize("name", ["tanh, tensors", "arctan, tensors"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_rsample_of_a_squashed_mixture_is_unbiased(name, size):
    case = CASES[name]
    mixture = case.random(components=2, size=size)
    low, high = case.edges(size)
    truth = flat(gradients(exact_reward(case, mixture), parameters_of(mixture)))

    def mean():
        value = mixture.rsample((10_000,))
        return reward(2 * (value - low) / (high - low) - 1).mean()

    assert_unbiased(repeated_gradients(mean, parameters_of(mixture), 100), truth)


@pytest.mark.parametrize("name", ["tanh, box", "arctan, box"])
@pytest.mark.parametrize("estimator", ["component", "components"])
def test_draws_within_components_are_unbiased_for_locations_and_scales(name, estimator):
    """With one value of every component, weighted, for the logits too."""
    case = CASES[name]
    single = case.random(components=2, size=2)
    mixture = single.expand((5_000,))
    leaves = parameters_of(single)
    low, high = case.edges(2)

    def mean():
        if estimator == "component":
            value = mixture.rsample_component_and_log_prob()[1]
            return reward(2 * (value - low) / (high - low) - 1).mean()
        value = mixture.rsample_components_and_log_prob()[0]
        return (mixture.weights * reward(2 * (value - low) / (high - low) - 1)).sum(-1).mean()

    truth = gradients(exact_reward(case, single), leaves)
    estimates = repeated_gradients(mean, leaves, 150)
    if estimator == "component":
        assert not estimates[:, :2].any()
        assert_unbiased(estimates[:, 2:], flat(truth[1:]))
    else:
        assert_unbiased(estimates, flat(truth))


def test_score_of_the_draw_has_the_gradient_of_the_entropy():
    parameters = random_parameters(components=2, size=1)
    mixture = CASES["normal"].make(parameters)
    x = torch.linspace(-12, 12, 4001).double().unsqueeze(-1)
    log_prob = mixture.log_prob(x)
    entropy = -(log_prob.exp() * log_prob).sum() * float(x[1] - x[0])
    truth = flat(gradients(entropy, parameters))
    estimates = repeated_gradients(lambda: mixture.entropy_mc(8000), parameters, 100)
    assert_unbiased(estimates, truth)


def relaxed_surrogate(case, mixture, temperature):
    """The draw by its definition, at the noise of the global generator's present state."""
    with torch.no_grad():
        noise = mixture._noise(mixture.loc.shape)
        uniform = torch.rand(mixture.logits.shape, dtype=torch.float64)
    gumbel = -torch.log(-torch.log(uniform))

    def soften(logits):
        return torch.softmax((torch.log_softmax(logits, -1) + gumbel) / temperature, -1)

    with torch.no_grad():
        fixed = soften(mixture.logits)
    hard = torch.nn.functional.one_hot(fixed.argmax(-1), fixed.shape[-1]).double()

    def value(logits, loc, scale):
        other = case.make((logits, loc, scale))
        choice = hard + soften(logits) - fixed
        return (choice.unsqueeze(-1) * other._squash(loc + scale * noise)).sum(-2)

    return value


@every_case
@pytest.mark.parametrize("temperature", [0.3, 1.0, torch.tensor(3.0)])
@pytest.mark.parametrize("seed", range(3))
def test_relaxed_draw_has_the_gradient_of_its_surrogate(case, temperature, seed):
    mixture = case.random(components=3, size=2)
    torch.manual_seed(seed)
    value, log_prob = mixture.rsample_relaxed_and_log_prob(temperature)
    torch.manual_seed(seed)
    surrogate = relaxed_surrogate(case, mixture, temperature)
    parameters = parameters_of(mixture)
    torch.testing.assert_close(value, surrogate(*parameters))
    torch.testing.assert_close(log_prob, mixture.log_prob(value), rtol=1e-6, atol=1e-6)

    def value_sum(*inputs):
        return surrogate(*inputs).sum()

    def score(*inputs):
        return case.make(inputs).log_prob(surrogate(*inputs))

    for output, function in ((value, value_sum), (log_prob, score)):
        slopes = central_difference(function, parameters, 1e-6)
        for got, slope in zip(gradients(output, parameters), slopes, strict=True):
            torch.testing.assert_close(got, slope, rtol=1e-4, atol=1e-4 * float(slope.abs().max()))


@every_case
def test_relaxed_value_is_exactly_one_components_draw(case):
    mixture = case.random(50, components=3, size=2)
    torch.manual_seed(3)
    value, _ = mixture.rsample_relaxed_and_log_prob(0.7)
    torch.manual_seed(3)
    draws = mixture._squash(mixture.loc + mixture.scale * mixture._noise(mixture.loc.shape))
    assert (value.unsqueeze(-2) == draws).all(-1).any(-1).all()


@squashed_cases
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_relaxed_draw_is_finite_at_saturated_actions(case, dtype):
    loc = torch.tensor([[-20.0, 20.0], [20.0, -20.0]], dtype=dtype).expand(64, 2, 2)
    logits = torch.zeros(64, 2, dtype=dtype, requires_grad=True)
    parameters = (logits, loc.clone().requires_grad_(), torch.ones_like(loc).requires_grad_())
    value, log_prob = case.make(parameters).rsample_relaxed_and_log_prob(1.0)
    assert log_prob.isfinite().all()
    for gradient in gradients(value.sum(-1) + log_prob, parameters):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("gradient_needed", [False, True])
def test_implicit_function_is_called_where_a_gradient_is_needed(gradient_needed, monkeypatch):
    calls = []
    original = F.implicit_reparameterization
    monkeypatch.setattr(
        F, "implicit_reparameterization", lambda *args: calls.append(1) or original(*args)
    )
    mixture = CASES["tanh"].random(components=2)
    with torch.set_grad_enabled(gradient_needed):
        mixture.rsample()
        mixture.rsample_and_log_prob()
        CASES["tanh"].random(components=1).rsample()
    assert len(calls) == (2 if gradient_needed else 0)


@every_case
def test_second_derivative_raises_for_more_than_one_component(case):
    mixture = case.random(components=2, size=2)
    first = gradients_with_graph(mixture.rsample().sum(), mixture.loc)
    with pytest.raises(RuntimeError, match="first order"):
        first.sum().backward()
    single = case.random(components=1, size=2)
    second = gradients_with_graph(single.rsample().square().sum(), single.loc)
    second.sum().backward()
    assert single.loc.grad.isfinite().all()


def gradients_with_graph(output, parameter):
    return torch.autograd.grad(output, parameter, create_graph=True)[0]
