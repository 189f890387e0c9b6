"""Entropy estimates of the distributions against integrals over their values."""

import math

import numpy as np
import pytest
import torch
from mixture_cases import CASES, every_case, parameters_of
from oracles import gradients, random_parameters, torch_mixture
from scipy import integrate
from torch.testing import assert_close

from torchrl_mixture import functional as F
from torchrl_mixture.distributions import NormalMixture, TanhNormalMixture

METHODS = ("entropy_stratified", "entropy_two_sample")
methods = pytest.mark.parametrize("method", METHODS)
normal_cases = pytest.mark.parametrize(
    "case", [case for case in CASES.values() if issubclass(case.kind, NormalMixture)]
)


def integrated(case, mixture):
    """Entropy for one dimension, by SciPy over what values were before squashing, ``tan t``."""
    line = torch_mixture(parameters_of(mixture), case.kind.family)
    low, high = (float(edge) for edge in case.edges(1))

    def log_slope(x):
        if not case.squashed:
            return 0.0
        if issubclass(case.kind, NormalMixture):
            unit = 2 * (math.log(2) - abs(x) - math.log1p(math.exp(-2 * abs(x))))
        else:
            unit = math.log(2 / math.pi) - math.log1p(x * x)
        return unit + math.log((high - low) / 2)

    def integrand(t):
        x = math.tan(t)
        log_prob = float(line.log_prob(torch.tensor([x]).double()))
        return -math.exp(log_prob) * (log_prob - log_slope(x)) / math.cos(t) ** 2

    return integrate.quad(integrand, -math.pi / 2, math.pi / 2, epsabs=1e-9, limit=300)[0]


def integrated_in_the_plane(mixture):
    """Entropy for two dimensions, over what values were before squashing; box from -1 to 1."""
    nodes, weights = (9 * torch.tensor(a) for a in np.polynomial.legendre.leggauss(200))
    x = torch.cartesian_prod(nodes, nodes)
    cell = torch.cartesian_prod(weights, weights).prod(-1)
    log_prob = NormalMixture(*parameters_of(mixture)).log_prob(x)
    score = log_prob
    if isinstance(mixture, TanhNormalMixture):
        score = log_prob + 2 * torch.cosh(x).log().sum(-1)
    return -(log_prob.exp() * score * cell).sum()


def assert_mean(estimates, exact):
    """Equal by z-score; the standard error lets one per cent, or 0.01 nats, be seen."""
    error = float(estimates.std()) / len(estimates) ** 0.5
    assert error < 0.002 * max(abs(exact), 1.0), "too few draws"
    assert abs(float(estimates.mean()) - exact) < 4.5 * error


@torch.no_grad()
@methods
@every_case
def test_mean_equals_the_integral_over_the_values(case, method):
    logits, loc, scale = random_parameters(components=2, size=1)
    mixture = case.make((logits, 0.4 * loc, scale))
    assert_mean(getattr(mixture.expand((50_000,)), method)(4), integrated(case, mixture))


@torch.no_grad()
@methods
@pytest.mark.parametrize("name", ["normal", "tanh"])
def test_mean_equals_the_integral_over_the_plane(name, method):
    logits, loc, scale = random_parameters(components=3, size=2)
    mixture = CASES[name].make((logits, 0.4 * loc, scale))
    exact = float(integrated_in_the_plane(mixture))
    estimates = getattr(mixture.expand((40_000,)), method)(4)
    assert_mean(estimates, exact)


@methods
def test_mean_gradient_equals_that_of_the_integral(method):
    mixture = CASES["tanh"].random(components=2, size=2)
    truth = gradients(integrated_in_the_plane(mixture), parameters_of(mixture))
    copies = [
        p.detach().expand(400, *p.shape).clone().requires_grad_() for p in parameters_of(mixture)
    ]
    found = gradients(getattr(TanhNormalMixture(*copies), method)(400), copies)
    truth = torch.cat([gradient.flatten() for gradient in truth])
    estimates = torch.cat([gradient.flatten(1) for gradient in found], -1)
    error = estimates.std(0) / 400**0.5
    assert error.max() < 0.002 * truth.norm(), "too few draws"
    assert ((estimates.mean(0) - truth).abs() / error).max() < 4.5


@torch.no_grad()
@every_case
def test_stratified_is_minus_the_weighted_score_of_the_draws(case):
    mixture = case.random(4, components=3, size=2)
    torch.manual_seed(5)
    got = mixture.entropy_stratified(6)
    torch.manual_seed(5)
    value, log_prob, own = mixture.rsample_components_and_log_prob((6,))
    assert value.shape == (6, 4, 3, 2) and log_prob.shape == own.shape == (6, 4, 3)
    assert got.shape == (4,)
    assert_close(got, -(mixture.weights * log_prob).sum(-1).mean(0))
    for k in range(3):
        at = value[:, :, k]
        assert_close(mixture.log_prob(at), log_prob[..., k], rtol=1e-5, atol=1e-5)
        assert_close(mixture.component_log_prob(at)[..., k], own[..., k], rtol=1e-5, atol=1e-5)


@methods
@every_case
def test_estimates_reach_all_parameters(case, method):
    mixture = case.random(3, components=2, size=2)
    for gradient in gradients(getattr(mixture, method)(), parameters_of(mixture)):
        assert gradient.isfinite().all() and (gradient.flatten(1) != 0).any(-1).all()


@torch.no_grad()
def test_two_sample_variance_is_that_of_independent_draws():
    loc = torch.tensor([[-0.5], [0.5]]).double()
    mixture = NormalMixture(torch.zeros(2).double(), loc, torch.ones(2, 1).double())
    many = mixture.expand((200_000,))
    one, two = (getattr(many, method)().var() for method in METHODS)
    _, log_prob, own = many.rsample_components_and_log_prob()
    assert_close(one, 0.25 * log_prob.var(0).sum(), rtol=0.03, atol=0)
    assert_close(two, 0.25 * (own.var(0) + (log_prob - own).var(0)).sum(), rtol=0.03, atol=0)
    assert two > 1.2 * one


@torch.no_grad()
@normal_cases
@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
def test_bounds_hold_the_entropy_between_them(case, spread):
    for _ in range(2):
        logits, loc, scale = random_parameters(components=3, size=1)
        mixture = case.make((logits, spread * loc, scale.clamp_max(0.8)))
        chain = [
            mixture.entropy_lower_bound(),
            mixture.entropy_pairwise("bhattacharyya"),
            integrated(case, mixture),
            mixture.entropy_pairwise("kl"),
            mixture.entropy_upper_bound(),
        ]
        chain = [float(value) for value in chain]
        assert all(a <= b + 1e-7 for a, b in zip(chain, chain[1:], strict=False)), chain


@every_case
def test_one_component_leaves_minus_the_score(case):
    mixture = case.random(4, components=1, size=2)
    results = []
    for method in ("entropy_mc", *METHODS):
        torch.manual_seed(3)
        entropy = getattr(mixture, method)(5)
        results.append((entropy, *gradients(entropy, parameters_of(mixture))))
    for of_method in results[1:]:
        assert_close(of_method, results[0])
    assert mixture.complementary_distance().equal(torch.zeros(4, 1).double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", [*METHODS, "complementary_distance"])
@every_case
def test_extremes_have_finite_values_and_gradients(case, method, dtype):
    heavy = torch.finfo(dtype).max / 4
    for spread, scale, logit in (
        (20.0, 1.0, 0.0),
        (20.0, 1e-4, 0.0),
        (1.0, 1e-4, 0.0),
        (0.0, 1e-4, 0.0),
        (0.0, 1.0, 0.0),
        (1.0, 0.5, -200.0),
        (1.0, 0.5, -heavy),
    ):
        loc = torch.tensor([[-spread], [spread], [spread]], dtype=dtype, requires_grad=True)
        logits = torch.tensor([0.0, logit, logit], dtype=dtype, requires_grad=True)
        scales = torch.full((3, 1), scale, dtype=dtype, requires_grad=True)
        got = getattr(case.make((logits, loc, scales)), method)()
        assert got.dtype == dtype and got.isfinite().all()
        assert all(g.isfinite().all() for g in gradients(got, (logits, loc, scales)))


@torch.no_grad()
def test_complementary_distance_does_not_change_under_squashing():
    line, box = (CASES[name] for name in ("normal", "tanh, box"))
    parameters = random_parameters(4, components=3, size=2)
    for distance, divergence in (("kl", F.normal_kl), ("bhattacharyya", F.normal_bhattacharyya)):
        got = [case.make(parameters).complementary_distance(distance) for case in (line, box)]
        assert got[0].shape == (4, 3)
        assert_close(got[0], got[1])
        w, between = torch.softmax(parameters[0], -1), divergence(*parameters[1:])
        expected = (w[:, 1] * between[:, 0, 1] + w[:, 2] * between[:, 0, 2]) / (1 - w[:, 0])
        assert_close(got[0][:, 0], expected)


@torch.no_grad()
def test_complementary_distance_is_the_divergence_of_squashed_components():
    mixture = CASES["arctan, box"].random(components=2, size=1)
    one, other = mixture.component(0), mixture.component(1)

    def integrand(a):
        value = torch.tensor([a]).double()
        return float(one.log_prob(value).exp() * (one.log_prob(value) - other.log_prob(value)))

    expected = integrate.quad(integrand, -2.0, 3.0, limit=300)[0]
    assert float(mixture.complementary_distance()[0]) == pytest.approx(expected, abs=1e-5)


def test_unknown_distances_are_named():
    with pytest.raises(ValueError, match="'kl' or 'bhattacharyya', got 'l2'"):
        CASES["tanh"].random().complementary_distance("l2")
    with pytest.raises(ValueError, match="must be 'kl', got 'bhattacharyya'"):
        CASES["arctan"].random().complementary_distance("bhattacharyya")


@methods
def test_vmap_draws_for_each_member(method):
    parameters = random_parameters(5, components=2, size=2)

    def estimate(*parameters):
        return getattr(TanhNormalMixture(*parameters), method)(3)

    same = [p[:1].expand_as(p) for p in parameters]
    assert len(torch.vmap(estimate, randomness="different")(*same).unique()) == 5


@methods
def test_compiled_equals_eager(method):
    torch._dynamo.reset()
    parameters = random_parameters(4, components=3, size=2)

    def estimate(*parameters):
        return getattr(TanhNormalMixture(*parameters), method)(2)

    results = []
    for function in (estimate, torch.compile(estimate, backend="aot_eager", fullgraph=True)):
        torch.manual_seed(1)
        entropy = function(*parameters)
        results.append((entropy, *gradients(entropy, parameters)))
    for eager, compiled in zip(*results, strict=True):
        assert_close(compiled, eager)
