"""Entropy estimates against integrals, their variances, and the distance from the others."""

import math

import numpy as np
import pytest
import torch
from oracles import central_difference, flat, gradients, random_parameters
from scipy import integrate, stats
from scipy.special import logsumexp, softmax
from torch.testing import assert_close

from torchrl_mixture import functional as F

REACH = {1: 12.0, 2: 7.0}
COUNT = {1: 500, 2: 200}


def log_densities(x, loc, scale):
    """Of values ``[*N, A]`` under each component, ``[*N, K]``, written out."""
    z = (x.unsqueeze(-2) - loc) / scale
    return -(0.5 * z.square() + scale.log() + 0.5 * math.log(2 * math.pi)).sum(-1)


def integrated(logits, loc, scale):
    """Entropy by Gauss-Legendre on a line or a square that holds all components."""
    size = loc.shape[-1]
    rule = np.polynomial.legendre.leggauss(COUNT[size])
    nodes, weights = (REACH[size] * torch.tensor(array) for array in rule)
    x = torch.cartesian_prod(*[nodes] * size).reshape(-1, size)
    cell = torch.cartesian_prod(*[weights] * size).reshape(-1, size).prod(-1)
    log_prob = torch.logsumexp(torch.log_softmax(logits, -1) + log_densities(x, loc, scale), -1)
    return -(log_prob.exp() * log_prob * cell).sum()


def draw(logits, loc, scale, *shape):
    """The mixture's and each component's own log-density of reparameterised draws of each."""
    x = loc + scale * torch.randn(*shape, *loc.shape, dtype=loc.dtype)
    # Drawn by, then scored by.
    joint = log_densities(x, loc.unsqueeze(-3), scale.unsqueeze(-3))
    mixture = torch.logsumexp(torch.log_softmax(logits, -1).unsqueeze(-2) + joint, -1)
    return mixture, joint.diagonal(dim1=-2, dim2=-1)


def stratified(logits, loc, scale, *shape):
    mixture, _ = draw(logits, loc, scale, *shape)
    return F.stratified_entropy(torch.log_softmax(logits, -1), mixture)


def two_sample(logits, loc, scale, *shape):
    _, own = draw(logits, loc, scale, *shape)
    second = draw(logits, loc, scale, *shape)
    return F.two_sample_entropy(torch.log_softmax(logits, -1), own, *second)


both = pytest.mark.parametrize("estimate", [stratified, two_sample])


def assert_mean(estimates, exact):
    """Equal by z-score; the standard error lets one per cent of the norm be seen."""
    error = estimates.std(0) / len(estimates) ** 0.5
    assert error.max() < 0.002 * exact.norm(), "too few draws"
    z = (estimates.mean(0) - exact).abs() / error
    assert z.max() < 4.5, z


def detached(parameters):
    return tuple(parameter.detach() for parameter in parameters)


def test_integral_equals_that_of_scipy():
    logits, loc, scale = detached(random_parameters(components=3, size=1))
    weights = softmax(logits.numpy())

    def integrand(x):
        density = weights @ stats.norm.pdf(x, loc.numpy()[:, 0], scale.numpy()[:, 0])
        return -density * math.log(density)

    expected, _ = integrate.quad(integrand, -9, 9, epsabs=1e-12, limit=300)
    assert float(integrated(logits, loc, scale)) == pytest.approx(expected, abs=1e-10)


def test_formulas_by_brute_force():
    log_weights = torch.log_softmax(torch.randn(4, 3).double(), -1)
    own, mixture, second = torch.randn(3, 2, 4, 3).double()
    one = F.stratified_entropy(log_weights, mixture)
    two = F.two_sample_entropy(log_weights, own, mixture, second)
    assert one.shape == two.shape == (2, 4)
    for s in range(2):
        for b in range(4):
            w = [math.exp(log_weights[b, i]) for i in range(3)]
            first = sum(w[i] * float(own[s, b, i]) for i in range(3))
            above = sum(w[i] * float(mixture[s, b, i]) for i in range(3))
            below = sum(w[i] * float(second[s, b, i]) for i in range(3))
            assert float(one[s, b]) == pytest.approx(-above)
            assert float(two[s, b]) == pytest.approx(-first - (above - below))


def test_forms_are_the_same_where_both_draws_are():
    log_weights = torch.log_softmax(torch.randn(4, 3).double(), -1)
    own, mixture = torch.randn(2, 5, 4, 3).double()
    two = F.two_sample_entropy(log_weights, own, mixture, own)
    assert_close(two, F.stratified_entropy(log_weights, mixture))


@both
@pytest.mark.parametrize(("components", "size"), [(1, 1), (2, 1), (3, 2)])
def test_mean_equals_the_integrated_entropy(estimate, components, size):
    parameters = detached(random_parameters(components=components, size=size))
    assert_mean(estimate(*parameters, 400_000 // components), integrated(*parameters))


def test_mean_is_not_the_pairwise_bound():
    logits, loc, scale = detached(random_parameters(components=3, size=1))
    log_weights, own = torch.log_softmax(logits, -1), (scale.log() + F.NORMAL.entropy).sum(-1)
    bound = F.pairwise_entropy(log_weights, own, F.normal_kl(loc, scale))
    for estimate in (stratified, two_sample):
        draws = estimate(logits, loc, scale, 50_000)
        assert (bound - draws.mean()) / (draws.std() / 50_000**0.5) > 20


@both
def test_mean_gradient_equals_differences_of_the_integral(estimate):
    parameters = detached(random_parameters(components=3, size=2))
    truth = flat(central_difference(integrated, parameters))
    copies = [p.expand(400, *p.shape).clone().requires_grad_() for p in parameters]
    found = gradients(estimate(*copies, 300).mean(0), copies)
    assert_mean(torch.cat([gradient.flatten(1) for gradient in found], -1), truth)


def variance(values, mass):
    return mass @ values**2 - (mass @ values) ** 2


def variances(log_weights, loc, scale, squash=False):
    """Variances of the two estimates for ``A = 1``, by quadrature over each component."""
    z = np.linspace(-9, 9, 4_001)
    mass = stats.norm.pdf(z) * (z[1] - z[0])
    one = two = 0.0
    for i, (mean, spread) in enumerate(zip(loc, scale, strict=True)):
        x = mean + spread * z
        slope = 2 * (math.log(2) - x - np.logaddexp(0, -2 * x)) if squash else 0.0
        joint = stats.norm.logpdf(x[:, None], loc, scale)
        own, mixture = joint[:, i] - slope, logsumexp(log_weights + joint, axis=1) - slope
        squared = math.exp(2 * log_weights[i])
        one += squared * variance(mixture, mass)
        two += squared * (variance(own, mass) + variance(mixture - own, mass))
    return one, two


NARROW_ON_WIDE = (np.log([0.8, 0.2]), np.array([0.0, 0.0]), np.array([1.0, 0.3]))


@pytest.mark.parametrize("seed", range(2))
def test_variances_equal_the_formula(seed):
    torch.manual_seed(seed)
    logits, loc, scale = detached(random_parameters(components=2, size=1))
    log_weights = torch.log_softmax(logits, -1)
    expected = variances(log_weights.numpy(), loc.numpy()[:, 0], scale.numpy()[:, 0])
    for estimate, exact in zip((stratified, two_sample), expected, strict=True):
        squares = (estimate(logits, loc, scale, 200_000) - integrated(logits, loc, scale)) ** 2
        error = squares.std() / 200_000**0.5
        assert error < 0.01 * exact
        assert abs(squares.mean() - exact) < 4.5 * error


def test_stratified_variance_may_be_the_greater_for_unequal_weights():
    one, two = variances(*NARROW_ON_WIDE)
    assert one == pytest.approx(0.467, abs=1e-3)
    assert two == pytest.approx(0.382, abs=1e-3)
    logits, loc, scale = (torch.tensor(array) for array in NARROW_ON_WIDE)
    parameters = (logits, loc.unsqueeze(-1), scale.unsqueeze(-1))
    drawn = [estimate(*parameters, 200_000).var() for estimate in (stratified, two_sample)]
    assert drawn[0] > 1.15 * drawn[1]


def test_stratified_variance_may_be_the_greater_under_squashing():
    log_weights, loc, scale = np.log([0.5, 0.5]), np.array([-2.4, -0.9]), np.array([0.23, 1.1])
    one, two = variances(log_weights, loc, scale, squash=True)
    assert one > 1.2 * two
    one, two = variances(log_weights, loc, scale)
    assert one < two


def test_stratified_variance_is_not_the_greater_for_two_normals_of_equal_weight():
    generator = np.random.default_rng(0)
    for _ in range(50):
        loc, scale = 2 * generator.standard_normal(2), np.exp(generator.uniform(-3, 1, 2))
        one, two = variances(np.log([0.5, 0.5]), loc, scale)
        assert one < two + 1e-9


@pytest.mark.parametrize("squash", [False, True])
def test_stratified_variance_from_as_many_draws_is_never_the_greater(squash):
    generator = np.random.default_rng(1)
    for _ in range(50):
        loc, scale = 2 * generator.standard_normal(3), np.exp(generator.uniform(-3, 1, 3))
        log_weights = np.log(generator.dirichlet(np.ones(3)))
        one, two = variances(log_weights, loc, scale, squash)
        assert one / 2 < two + 1e-9


def printed_lower_bound(distance):
    """Equation 26 for two unit normals of equal weight, without its constant.

    The cross entropy between normals is (log 2 pi + 1 + d^2) / 2.
    """
    own = 0.5 * math.log(2 * math.pi * math.e)
    overlap = math.exp(-own) + math.exp(-own - 0.5 * distance**2)
    return own + overlap


def test_lower_bound_of_appendix_a_rises_where_components_overlap():
    distances = [4.0, 3.0, 2.0, 1.0, 0.5, 0.0]
    printed = [printed_lower_bound(distance) for distance in distances]
    entropies = [
        float(integrated(torch.zeros(2).double(), loc, torch.ones(2, 1).double()))
        for loc in (torch.tensor([[-d / 2], [d / 2]]).double() for d in distances)
    ]
    assert all(a < b for a, b in zip(printed, printed[1:], strict=False))
    assert all(a > b for a, b in zip(entropies, entropies[1:], strict=False))
    # Nor is it a bound once its constant is left out.
    assert printed[-1] > entropies[-1] + 0.4


def divergence_from_the_others(weights, loc, scale, i):
    """KL from a component to the mixture of the others in one dimension, by SciPy."""
    others = [j for j in range(len(weights)) if j != i]
    log_share = np.log(weights[others] / weights[others].sum())

    def integrand(x):
        log_prob = stats.norm.logpdf(x, loc, scale)
        return math.exp(log_prob[i]) * (log_prob[i] - logsumexp(log_share + log_prob[others]))

    edges = loc[i] - 9 * scale[i], loc[i] + 9 * scale[i]
    return integrate.quad(integrand, *edges, epsabs=1e-8, limit=200)[0]


@pytest.mark.parametrize("components", [2, 3, 5])
def test_complementary_distance_bounds_the_divergence_from_above(components):
    gaps = []
    for _ in range(4):
        logits, loc, scale = detached(random_parameters(components=components, size=1))
        got = F.complementary_distance(torch.log_softmax(logits, -1), F.normal_kl(loc, scale))
        arrays = softmax(logits.numpy()), loc.numpy()[:, 0], scale.numpy()[:, 0]
        for i in range(components):
            gaps.append(float(got[i]) - divergence_from_the_others(*arrays, i))
    if components == 2:
        assert max(map(abs, gaps)) < 1e-6
    else:
        assert min(gaps) > -1e-7 and max(gaps) > 0.05


def test_complementary_distance_by_brute_force():
    log_weights = torch.log_softmax(torch.randn(2, 3, 4).double(), -1)
    distance = torch.rand(2, 3, 4, 4).double()
    got = F.complementary_distance(log_weights, distance)
    assert got.shape == (2, 3, 4)
    w = log_weights.exp()
    for i in range(4):
        others = [j for j in range(4) if j != i]
        expected = sum(w[..., j] * distance[..., i, j] for j in others)
        assert_close(got[..., i], expected / sum(w[..., j] for j in others))


def test_complementary_distance_of_components_alike_is_their_distance():
    log_weights = torch.log_softmax(torch.randn(5).double(), -1)
    distance = 3.0 * (1 - torch.eye(5).double())
    assert_close(F.complementary_distance(log_weights, distance), torch.full((5,), 3.0).double())


def test_complementary_distance_of_one_component_is_zero():
    got = F.complementary_distance(torch.zeros(3, 1), torch.zeros(3, 1, 1))
    assert got.equal(torch.zeros(3, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("logit", [40.0, 1e4, 1e30])
def test_complementary_distance_where_one_weight_is_one(logit, dtype):
    logits = torch.tensor([logit, 0.0, math.log(3)], dtype=dtype).requires_grad_()
    distance = torch.tensor([[0.0, 1.0, 5.0], [2.0, 0.0, 7.0], [3.0, 9.0, 0.0]], dtype=dtype)
    distance.requires_grad_()
    got = F.complementary_distance(torch.log_softmax(logits, -1), distance)
    assert got.dtype == dtype
    if logit < 1e30:  # beyond, log 3 is lost beside it
        share = torch.tensor([1 / 4, 3 / 4], dtype=dtype)
        rtol = 1e-3 if dtype == torch.float32 else 1e-10
        assert_close(got[0], share @ distance[0, 1:], rtol=rtol, atol=0.0)
    assert_close(got[1:], distance[1:, 0])
    assert all(g.isfinite().all() for g in gradients(got, [logits, distance]))


def test_complementary_distance_where_the_others_have_no_weight_at_all():
    log_weights = torch.tensor([1.0, 0.0, 0.0]).log().requires_grad_()
    distance = torch.tensor([[0.0, 1.0, 5.0], [2.0, 0.0, 7.0], [3.0, 9.0, 0.0]])
    got = F.complementary_distance(log_weights, distance)
    assert_close(got, torch.tensor([3.0, 2.0, 3.0]))
    assert gradients(got, [log_weights])[0].isfinite().all()


def test_complementary_distance_gradient_equals_differences():
    logits, loc, scale = random_parameters(components=4, size=2)

    def total(logits, loc, scale):
        got = F.complementary_distance(torch.log_softmax(logits, -1), F.normal_kl(loc, scale))
        return (got * torch.arange(1.0, 5.0).double()).sum()

    found = gradients(total(logits, loc, scale), [logits, loc, scale])
    assert_close(flat(found), flat(central_difference(total, [logits, loc, scale])))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_estimates_where_a_weight_vanishes(dtype):
    logits = torch.tensor([0.0, -1e4], dtype=dtype, requires_grad=True)
    log_prob = torch.tensor([[-1.0, -1e4], [-2.0, -1e4]], dtype=dtype, requires_grad=True)
    log_weights = torch.log_softmax(logits, -1)
    one = F.stratified_entropy(log_weights, log_prob)
    two = F.two_sample_entropy(log_weights, log_prob, log_prob, log_prob)
    expected = torch.tensor([1.0, 2.0], dtype=dtype)
    for got in (one, two):
        assert_close(got, expected)
        assert all(g.isfinite().all() for g in gradients(got, [logits, log_prob]))


@pytest.mark.parametrize("function", ["complementary_distance", "stratified_entropy"])
def test_vmap_and_compile_equal_eager(function):
    torch._dynamo.reset()
    function = getattr(F, function)
    last = (3, 3) if function is F.complementary_distance else (3,)
    log_weights = torch.log_softmax(torch.randn(5, 3), -1)
    other = torch.rand(5, *last)
    eager = function(log_weights, other)
    assert_close(torch.vmap(function)(log_weights, other), eager)
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    assert_close(compiled(log_weights, other), eager)
