"""Mean, mode, deterministic sample and the entropy bounds."""

import math

import pytest
import torch
from mixture_cases import CASES, every_case, parameters_of
from oracles import gradients, random_parameters
from scipy import integrate, stats

from torchrl_mixture.distributions import CauchyMixture, NormalMixture, TanhNormalMixture

with_mean = pytest.mark.parametrize("name", [name for name in CASES if name != "cauchy"])


@with_mean
def test_mean_equals_its_integral(name):
    case = CASES[name]
    mixture = case.random(size=1)
    low, high = (float(edge) for edge in case.edges(1))
    expected, _ = integrate.quad(
        lambda a: a * float(mixture.log_prob(torch.tensor([a]).double()).exp().detach()),
        low,
        high,
        limit=300,
    )
    assert float(mixture.mean.detach()) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_mean_of_a_tanh_normal_before_squashing_by_scipy():
    logits, loc, scale = (p.detach() for p in random_parameters(components=3, size=2))
    mean = TanhNormalMixture(logits, loc, 3 * scale, low=-2.0, high=3.0).mean
    weights = torch.softmax(logits, -1)
    for d in range(2):
        expected = sum(
            float(weights[k])
            * integrate.quad(
                lambda x, m=float(loc[k, d]), s=3 * float(scale[k, d]): (
                    (0.5 + 2.5 * math.tanh(x)) * stats.norm.pdf(x, m, s)
                ),
                -40,
                40,
                points=[0.0],
                limit=200,
            )[0]
            for k in range(3)
        )
        assert float(mean[d]) == pytest.approx(expected, rel=1e-9)


@with_mean
def test_mean_of_draws(name):
    mixture = CASES[name].random(2, size=2)
    draws = mixture.sample((20_000,))
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - mixture.mean).abs() < 5 * error).all()


def test_cauchys_have_no_mean():
    assert CASES["cauchy"].random(2, size=2).mean.isnan().all()


@every_case
def test_saturated_mean_is_finite(case):
    loc = torch.tensor([[-20.0], [20.0]]).requires_grad_()
    mixture = case.make((torch.zeros(2), loc, torch.ones(2, 1)))
    if case.kind is not CauchyMixture:
        assert mixture.mean.isfinite().all()
        low, high = (torch.nan_to_num(edge, posinf=20.0, neginf=-20.0) for edge in case.edges(1))
        torch.testing.assert_close(mixture.mean.double(), (low + high) / 2, rtol=1e-5, atol=1e-5)
        assert gradients(mixture.mean, [loc])[0].isfinite().all()


# Component 0 is the heaviest but wide; component 1 is thin: at its location the density is higher.
RULES = {"heaviest": 0, "densest": 1}


@every_case
@pytest.mark.parametrize(("rule", "index"), RULES.items())
def test_deterministic_rules(case, rule, index):
    logits = torch.tensor([[1.0, 0.5], [0.5, 1.0]]).double()
    loc = torch.tensor([[[-1.0, 0.3], [1.0, -0.2]]] * 2).double()
    scale = torch.tensor([[[1.0, 1.0], [0.1, 0.1]], [[0.1, 0.1], [1.0, 1.0]]]).double()
    mixture = case.make((logits, loc, scale), deterministic=rule)
    # In the second row the roles are exchanged.
    expected = torch.stack([loc[0, index], loc[1, 1 - index]])
    expected = mixture._squash(expected)
    assert torch.equal(mixture.mode, expected)
    assert torch.equal(mixture.deterministic_sample, expected)
    assert mixture.support.check(mixture.mode).all()


@every_case
def test_densest_location_is_that_of_the_brute_force_search(case):
    mixture = case.random(20, components=4, size=2, deterministic="densest")
    heights = torch.stack(
        [
            torch.logsumexp(
                mixture.log_weights
                + (mixture.family.log_density(z) - mixture.scale.log()).sum(-1),
                -1,
            )
            for z in ((mixture.loc[:, k : k + 1] - mixture.loc) / mixture.scale for k in range(4))
        ],
        -1,
    )
    best = heights.argmax(-1)
    assert len(best.unique()) > 1
    expected = mixture._squash(mixture.loc[torch.arange(20), best])
    assert torch.equal(mixture.mode, expected)


def test_heaviest_is_the_default_and_survives_expand_and_component():
    mixture = CASES["tanh"].random(components=3, size=2, deterministic="densest")
    assert CASES["tanh"].random().deterministic == "heaviest"
    assert mixture.expand((4,)).deterministic == "densest"
    assert mixture.component(0).deterministic == "densest"


@every_case
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("size", [1, 3])
def test_entropy_bounds_in_order(case, spread, size):
    logits, loc, scale = (p.detach() for p in random_parameters(5, components=3, size=size))
    mixture = case.make((logits, spread * loc, scale))
    with torch.no_grad():
        log_prob = -mixture.rsample_and_log_prob((20_000,))[1]
    entropy, error = log_prob.mean(0), log_prob.std(0) / 20_000**0.5
    chain = [mixture.entropy_lower_bound(), entropy]
    if isinstance(mixture, NormalMixture):
        chain.insert(1, mixture.entropy_pairwise("bhattacharyya"))
    chain += [mixture.entropy_pairwise("kl"), mixture.entropy_upper_bound()]
    for below, above in zip(chain, chain[1:], strict=False):
        noise = 5 * error if below is entropy or above is entropy else 1e-9
        assert (below <= above + noise).all()
    assert all(bound.shape == (5,) for bound in chain)


@every_case
@pytest.mark.parametrize("size", [1, 2])
def test_entropy_of_one_component_is_met_by_every_bound(case, size):
    mixture = case.random(components=1, size=size)
    with torch.no_grad():
        log_prob = mixture.rsample_and_log_prob((50_000,))[1]
    bounds = [mixture.entropy_lower_bound(), mixture.entropy_upper_bound()]
    bounds.append(mixture.entropy_pairwise("kl"))
    for bound in bounds:
        torch.testing.assert_close(bound, bounds[0])
    error = log_prob.std() / len(log_prob) ** 0.5
    assert (bounds[0] + log_prob.mean()).abs() < 5 * error


@every_case
def test_entropy_of_one_component_equals_its_integral(case):
    mixture = case.random(components=1, size=1)
    low, high = (float(edge) for edge in case.edges(1))

    def integrand(a):
        log_prob = float(mixture.log_prob(torch.tensor([a]).double()).detach())
        return -math.exp(log_prob) * log_prob

    expected, _ = integrate.quad(integrand, low, high, limit=300)
    # The last 1e-6 of the half-width, where the density is held flat, is part of the integral.
    assert float(mixture.entropy_lower_bound().detach()) == pytest.approx(expected, abs=1e-4)


@every_case
def test_entropy_mc_is_minus_the_mean_score(case):
    mixture = case.random(4, components=3, size=2)
    torch.manual_seed(5)
    got = mixture.entropy_mc(6)
    torch.manual_seed(5)
    _, log_prob = mixture.rsample_and_log_prob((6,))
    torch.testing.assert_close(got, -log_prob.mean(0))
    assert all(gradient.any() for gradient in gradients(got, parameters_of(mixture)))


@every_case
def test_no_entropy_that_passes_for_exact(case):
    assert case.kind.entropy is torch.distributions.Distribution.entropy
    with pytest.raises(NotImplementedError):
        case.random().entropy()


def test_unknown_distances_are_named():
    with pytest.raises(ValueError, match="'kl' or 'bhattacharyya', got 'l2'"):
        CASES["tanh"].random().entropy_pairwise("l2")
    with pytest.raises(ValueError, match="must be 'kl', got 'bhattacharyya'"):
        CASES["arctan"].random().entropy_pairwise("bhattacharyya")


def test_upper_bound_of_a_vanished_weight_has_a_finite_gradient():
    logits = torch.tensor([0.0, -1e4], requires_grad=True)
    mixture = CASES["tanh"].kind(logits, torch.zeros(2, 1), torch.ones(2, 1))
    assert gradients(mixture.entropy_upper_bound(), [logits])[0].isfinite().all()


@pytest.mark.parametrize("bound", ["lower_bound", "upper_bound", "pairwise"])
@every_case
def test_bounds_have_finite_gradients(case, bound):
    for spread, scale in ((20.0, 1.0), (20.0, 1e-4), (0.0, 1e-4)):
        loc = torch.tensor([[-spread], [spread]], requires_grad=True)
        parameters = (torch.zeros(2, requires_grad=True), loc, torch.full((2, 1), scale))
        parameters[2].requires_grad_()
        value = getattr(case.make(parameters), f"entropy_{bound}")()
        assert value.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients(value, parameters))


@every_case
def test_component_distance_is_the_mean_jeffreys_divergence(case):
    mixture = case.random(3, components=3, size=2)
    base = (
        torch.distributions.Normal if case.kind.family.entropy < 2 else torch.distributions.Cauchy
    )
    if base is torch.distributions.Cauchy:
        assert mixture.component_distance().shape == (3,)
        return
    components = [base(mixture.loc[:, k], mixture.scale[:, k]) for k in range(3)]
    kl = torch.distributions.kl_divergence
    expected = sum(
        (kl(components[i], components[j]) + kl(components[j], components[i])).sum(-1)
        for i, j in [(0, 1), (0, 2), (1, 2)]
    )
    torch.testing.assert_close(mixture.component_distance(), expected / 3)
