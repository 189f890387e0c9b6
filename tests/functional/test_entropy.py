"""Divergences against integrals, and the entropy bounds against the entropy."""

import math

import pytest
import torch
from oracles import gradients, grid_rule, random_parameters, torch_mixture
from scipy import integrate, stats

from torchrl_mixture import functional as F

SCIPY = {"normal": stats.norm, "cauchy": stats.cauchy}


def by_integral(integrand):
    """Over the line, by ``x = tan t``."""
    value, _ = integrate.quad(
        lambda t: integrand(math.tan(t)) / math.cos(t) ** 2,
        -math.pi / 2,
        math.pi / 2,
        epsabs=1e-11,
        limit=400,
    )
    return value


def pairwise(function, loc, scale):
    """Sum over the dimensions of a function of two components, ``[K, K]``."""
    loc, scale = loc.detach().numpy(), scale.detach().numpy()
    count, size = loc.shape
    return torch.tensor(
        [
            [
                sum(function(loc[i, d], scale[i, d], loc[j, d], scale[j, d]) for d in range(size))
                for j in range(count)
            ]
            for i in range(count)
        ],
        dtype=torch.float64,
    )


@pytest.mark.parametrize(
    ("name", "divergence"), [("normal", F.normal_kl), ("cauchy", F.cauchy_kl)]
)
def test_kl_divergence_equals_its_integral(name, divergence):
    _, loc, scale = random_parameters(components=2, size=2)
    family = SCIPY[name]

    def kl(m1, s1, m2, s2):
        def integrand(x):
            first = family.logpdf(x, m1, s1)
            return math.exp(first) * (first - family.logpdf(x, m2, s2))

        return by_integral(integrand)

    torch.testing.assert_close(
        divergence(loc, scale), pairwise(kl, loc, scale), rtol=1e-7, atol=1e-8
    )


def test_bhattacharyya_distance_equals_its_integral():
    _, loc, scale = random_parameters(components=2, size=2)

    def distance(m1, s1, m2, s2):
        return -math.log(
            by_integral(
                lambda x: math.exp(
                    0.5 * (stats.norm.logpdf(x, m1, s1) + stats.norm.logpdf(x, m2, s2))
                )
            )
        )

    got = F.normal_bhattacharyya(loc, scale)
    torch.testing.assert_close(got, pairwise(distance, loc, scale), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("divergence", [F.normal_kl, F.cauchy_kl, F.normal_bhattacharyya])
def test_divergences_of_a_batch(divergence):
    _, loc, scale = random_parameters(2, 3, components=4, size=2)
    distance = divergence(loc, scale)
    assert distance.shape == (2, 3, 4, 4)
    torch.testing.assert_close(distance[1, 2], divergence(loc[1, 2], scale[1, 2]))
    torch.testing.assert_close(distance.diagonal(dim1=-2, dim2=-1), torch.zeros(2, 3, 4).double())
    assert (distance > -1e-12).all()
    if divergence is not F.normal_kl:
        torch.testing.assert_close(distance, distance.mT)


def test_normal_kl_equals_that_of_torch():
    _, loc, scale = random_parameters(components=3, size=2)
    for i in range(3):
        for j in range(3):
            one = torch.distributions.Normal(loc[i], scale[i])
            other = torch.distributions.Normal(loc[j], scale[j])
            expected = torch.distributions.kl_divergence(one, other).sum()
            torch.testing.assert_close(F.normal_kl(loc, scale)[i, j], expected)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("size", "spread"), [(1, 0.1), (1, 1.0), (1, 4.0), (2, 1.0), (2, 4.0)])
def test_bounds_hold_the_entropy_between_them(size, spread, seed):
    torch.manual_seed(seed)
    logits, loc, scale = (p.detach() for p in random_parameters(components=3, size=size))
    loc, scale = spread * loc, scale.clamp_max(0.8)
    log_weights = torch.log_softmax(logits, -1)
    points, weights = grid_rule(F.NORMAL, size, 1200 if size == 1 else 500)
    log_prob = torch_mixture((logits, loc, scale)).log_prob(points)
    entropy = -(log_prob.exp() * log_prob * weights).nan_to_num().sum()
    own = (scale.log() + F.NORMAL.entropy).sum(-1)
    conditional = F.conditional_entropy(log_weights, own)
    lower = F.pairwise_entropy(log_weights, own, F.normal_bhattacharyya(loc, scale))
    upper = F.pairwise_entropy(log_weights, own, F.normal_kl(loc, scale))
    joint = conditional + F.weight_entropy(log_weights)
    chain = [conditional, lower, entropy, upper, joint]
    assert all(a <= b + 1e-9 for a, b in zip(chain, chain[1:], strict=False)), chain


def test_pairwise_entropy_by_brute_force():
    logits, loc, scale = random_parameters(2, components=3, size=2)
    log_weights, distance = torch.log_softmax(logits, -1), F.normal_kl(loc, scale)
    own = torch.randn(2, 3).double()
    got = F.pairwise_entropy(log_weights, own, distance)
    w = log_weights.exp()
    for b in range(2):
        expected = 0.0
        for i in range(3):
            overlap = sum(w[b, j] * torch.exp(-distance[b, i, j]) for j in range(3))
            expected += w[b, i] * (own[b, i] - torch.log(overlap))
        torch.testing.assert_close(got[b], expected)


def test_pairwise_entropy_is_tight_at_both_ends():
    log_weights = torch.log_softmax(torch.randn(3).double(), -1)
    own = torch.full((3,), 1.3).double()
    together = F.pairwise_entropy(log_weights, own, torch.zeros(3, 3).double())
    torch.testing.assert_close(together, own[0])
    apart = F.pairwise_entropy(log_weights, own, 1e3 * (1 - torch.eye(3).double()))
    torch.testing.assert_close(apart, own[0] + F.weight_entropy(log_weights))


def test_weight_entropy_and_its_gradient():
    logits = torch.randn(4, 3).double().requires_grad_()
    got = F.weight_entropy(torch.log_softmax(logits, -1))
    expected = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(*(gradients(h, [logits])[0] for h in (got, expected)))
    one_hot = torch.tensor([1.0, 0.0]).log()
    assert F.weight_entropy(one_hot) == 0


@pytest.mark.parametrize("logit", [-200.0, -1e4])
def test_weight_entropy_of_a_vanished_weight_has_a_finite_gradient(logit):
    logits = torch.tensor([0.0, logit], requires_grad=True)
    entropy = F.weight_entropy(torch.log_softmax(logits, -1))
    (gradient,) = gradients(entropy, [logits])
    torch.testing.assert_close(entropy.detach(), torch.tensor(0.0))
    torch.testing.assert_close(gradient, torch.zeros(2))
