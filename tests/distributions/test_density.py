"""Densities: they integrate to one, agree with each other, and stay finite at the edges."""

import numpy as np
import pytest
import torch
from mixture_cases import CASES, every_case, parameters_of, squashed_cases
from oracles import FAMILIES, central_difference, gradients, torch_mixture
from scipy import integrate

from torchrl_mixture.distributions import CauchyMixture, NormalMixture, TanhNormalMixture


def density(mixture):
    return lambda *point: float(mixture.log_prob(torch.tensor(point).double()).exp().detach())


@every_case
@pytest.mark.parametrize("components", [1, 3])
def test_integrates_to_one(case, components):
    mixture = case.random(components=components)
    low, high = (float(edge) for edge in case.edges(1))
    total, _ = integrate.quad(density(mixture), low, high, limit=300)
    # The densities of Cauchys stay positive up to the edge, where 1e-6 of the box is held flat.
    assert total == pytest.approx(1, abs=1e-6)


@squashed_cases
def test_integrates_to_one_in_two_dimensions(case):
    mixture = case.random(size=2)
    low, high = case.edges(2)
    node, weight = (torch.tensor(a) for a in np.polynomial.legendre.leggauss(300))
    # x = sin(t pi/2) crowds the nodes at the edges, where a tanh's density changes fastest.
    point = torch.sin(node * torch.pi / 2)
    weight = weight * torch.cos(node * torch.pi / 2) * torch.pi / 2
    half = (high - low) / 2
    grid = torch.cartesian_prod(point, point) * half + (low + high) / 2
    mass = torch.cartesian_prod(weight, weight).prod(-1) * half.prod()
    assert float((mixture.log_prob(grid).exp() * mass).sum().detach()) == pytest.approx(
        1, abs=1e-5
    )


@every_case
@pytest.mark.parametrize("size", [1, 2, 3])
def test_equals_change_of_variables(case, size):
    mixture = case.random(2, size=size)
    line = torch_mixture(parameters_of(mixture), case.kind.family)
    x = line.sample((5,)).clamp(-3, 3).requires_grad_()
    if not case.squashed:
        torch.testing.assert_close(mixture.log_prob(x), line.log_prob(x))
        return
    low, high = case.edges(size)
    squash = (
        torch.tanh if isinstance(mixture, NormalMixture) else lambda x: x.atan() / (torch.pi / 2)
    )
    value = low + (high - low) * (1 + squash(x)) / 2
    (slope,) = gradients(value, [x])
    expected = line.log_prob(x) - slope.log().sum(-1)
    torch.testing.assert_close(mixture.log_prob(value), expected, rtol=1e-8, atol=1e-7)


@every_case
def test_gradient_to_parameters_and_value(case):
    mixture = case.random(components=2, size=2)
    value = mixture.sample()
    inputs = [value.requires_grad_(), *parameters_of(mixture)]

    def log_prob(value, *parameters):
        return case.make(parameters).log_prob(value)

    slopes = central_difference(log_prob, inputs, 1e-6)
    for got, slope in zip(gradients(log_prob(*inputs), inputs), slopes, strict=True):
        torch.testing.assert_close(got, slope, rtol=1e-5, atol=1e-5)


@every_case
def test_component_log_probs_and_responsibilities(case):
    mixture = case.random(2, size=2)
    value = mixture.sample((4,))
    joint = mixture.component_log_prob(value)
    assert joint.shape == (4, 2, 3)
    log_prob = torch.logsumexp(mixture.log_weights + joint, -1)
    torch.testing.assert_close(mixture.log_prob(value), log_prob)
    share = torch.exp(mixture.log_weights + joint - log_prob.unsqueeze(-1))
    torch.testing.assert_close(mixture.responsibilities(value), share)
    for k in range(3):
        torch.testing.assert_close(mixture.component(k).log_prob(value), joint[..., k])


@every_case
def test_component_by_an_index_for_each_element(case):
    mixture = case.random(2, 3, size=2)
    index = torch.tensor([[0, 2, 1], [1, 1, 0]])
    chosen = mixture.component(index)
    assert type(chosen) is case.kind and chosen.num_components == 1
    assert chosen.batch_shape == (2, 3) and chosen.event_shape == (2,)
    value = mixture.sample()
    joint = mixture.component_log_prob(value)
    expected = joint.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(chosen.log_prob(value), expected)
    assert torch.equal(mixture.component(torch.tensor(1)).loc, mixture.component(1).loc)


@every_case
def test_cdf_is_the_integral_of_the_density(case):
    mixture = case.random()
    low, high = (max(-8.0, float(case.edges(1)[0])), min(8.0, float(case.edges(1)[1])))
    points = torch.linspace(low, high, 6).double()[1:-1].unsqueeze(-1)
    cdf = mixture.cdf(points).detach()
    for i in range(len(points) - 1):
        part, _ = integrate.quad(density(mixture), float(points[i]), float(points[i + 1]))
        assert float(cdf[i + 1] - cdf[i]) == pytest.approx(part, abs=1e-8)
    below, _ = integrate.quad(density(mixture), float(case.edges(1)[0]), float(points[0]))
    assert float(cdf[0]) == pytest.approx(below, abs=1e-6)


@every_case
def test_cdf_needs_one_dimension(case):
    with pytest.raises(ValueError, match=r"one dimension.*\(2,\)"):
        case.random(size=2).cdf(torch.zeros(2))


@squashed_cases
def test_cdf_reaches_zero_and_one_at_the_edges(case):
    _, low, high = case.random(), *case.edges(1)
    logits, loc, scale = torch.zeros(2), torch.full((2, 1), 20.0), torch.ones(2, 1)
    for side in (-1, 1):
        mixture = case.make((logits.double(), side * loc.double(), scale.double()))
        for beyond in (0.0, 0.5):
            assert float(mixture.cdf(low - beyond)) == 0
            assert float(mixture.cdf(high + beyond)) == 1


@squashed_cases
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-6])
def test_finite_at_and_beyond_the_edges(case, dtype, scale):
    for shift in (0.0, -20.0, 20.0):
        loc = (torch.randn(3, 2, dtype=dtype) + shift).requires_grad_()
        logits = torch.randn(3, dtype=dtype, requires_grad=True)
        scales = torch.full((3, 2), scale, dtype=dtype, requires_grad=True)
        mixture = case.make((logits, loc, scales))
        low, high = (edge.to(dtype) for edge in case.edges(2))
        width = high - low
        value = torch.stack(
            [low, high, low - width, high + width, low + 1e-7 * width, high - 1e-7 * width]
        )
        value.requires_grad_()
        log_prob = mixture.log_prob(value)
        assert log_prob.isfinite().all()
        for gradient in gradients(log_prob, [value, logits, loc, scales]):
            assert gradient.isfinite().all()
        assert mixture.component_log_prob(value).isfinite().all()
        torch.testing.assert_close(
            mixture.responsibilities(value).sum(-1), torch.ones(6, dtype=dtype)
        )


@squashed_cases
def test_edges_are_scored_as_if_just_inside(case):
    mixture = case.random(size=2)
    low, high = case.edges(2)
    inside = 1e-6 * (high - low) / 2
    for edge, just_inside in ((low, low + inside), (high, high - inside)):
        torch.testing.assert_close(
            mixture.log_prob(edge), mixture.log_prob(just_inside), rtol=1e-6, atol=1e-6
        )
    middle = (low + high) / 2
    assert (mixture.log_prob(middle) - mixture.log_prob(middle + inside)).abs() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_log_prob_of_one_component_far_away_does_not_underflow(name, dtype):
    case = CASES[name]
    logits = torch.tensor([0.0, -1e4], dtype=dtype, requires_grad=True)
    loc = torch.tensor([[-20.0], [20.0]], dtype=dtype)
    mixture = case.make((logits, loc, torch.full_like(loc, 1e-3)))
    value = mixture.component(1).sample()
    log_prob = mixture.log_prob(value)
    assert log_prob.isfinite().all()
    assert gradients(log_prob, [logits])[0].isfinite().all()


def test_standard_arctan_cauchy_is_uniform():
    case = CASES["arctan, box"]
    mixture = case.make(
        (torch.zeros(1).double(), torch.zeros(1, 1).double(), torch.ones(1, 1).double())
    )
    value = torch.linspace(-1.9, 2.9, 20).double().unsqueeze(-1)
    torch.testing.assert_close(mixture.log_prob(value).exp(), torch.full((20,), 0.2).double())


def test_families_of_the_classes():
    assert NormalMixture.family is TanhNormalMixture.family is FAMILIES["normal"]
    assert CauchyMixture.family is FAMILIES["cauchy"]
