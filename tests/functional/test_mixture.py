"""Densities, responsibilities, CDF and the choice of a component."""

import numpy as np
import pytest
import torch
from oracles import FAMILIES, random_parameters, torch_mixture
from scipy.stats import chisquare

from torchrl_mixture import functional as F

families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())


def log_form(parameters):
    logits, loc, scale = parameters
    return torch.log_softmax(logits, -1), loc, scale


@families
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_densities_equal_those_of_torch(family, batch):
    parameters = random_parameters(*batch, components=4, size=3)
    mixture = torch_mixture(parameters, family)
    value = mixture.sample((5,))
    log_weights, loc, scale = log_form(parameters)
    by_component = mixture.component_distribution.log_prob(value.unsqueeze(-2))
    assert by_component.shape == (5, *batch, 4)
    torch.testing.assert_close(F.component_log_prob(value, loc, scale, family), by_component)
    log_prob = F.mixture_log_prob(value, log_weights, loc, scale, family)
    torch.testing.assert_close(log_prob, mixture.log_prob(value))
    bayes = (log_weights + by_component).exp() / mixture.log_prob(value).exp().unsqueeze(-1)
    got = F.responsibilities(value, log_weights, loc, scale, family)
    torch.testing.assert_close(got, bayes)


@families
def test_cdf_equals_that_of_torch_and_keeps_its_lower_tail(family):
    parameters = random_parameters(2, components=3, size=1)
    log_weights, loc, scale = log_form(parameters)
    components = torch_mixture(parameters, family).component_distribution.base_dist
    value = torch.linspace(-4, 4, 41).double().reshape(-1, 1, 1)
    expected = (log_weights.exp() * components.cdf(value.unsqueeze(-2)).squeeze(-1)).sum(-1)
    got = F.mixture_cdf(value, log_weights, loc, scale, family)
    torch.testing.assert_close(got, expected)
    far = F.mixture_cdf(torch.full((1, 1), -8.0).double(), log_weights, loc, scale, family)
    assert (far > 0).all()


@families
def test_families_are_consistent(family):
    z = torch.linspace(-6, 6, 25).double().requires_grad_()
    (slope,) = torch.autograd.grad(family.log_density(z).sum(), z)
    torch.testing.assert_close(family.score(z), slope)
    mirrored = family.tail(z.detach().abs().requires_grad_(False))
    torch.testing.assert_close(family.tail(z), mirrored)
    one = (
        torch.distributions.Normal(0.0, 1.0)
        if family is F.NORMAL
        else torch.distributions.Cauchy(0.0, 1.0)
    )
    torch.testing.assert_close(family.tail(z), 1 - one.cdf(z.abs()))
    assert family.entropy == pytest.approx(float(one.entropy()))


def test_component_frequencies():
    weights = torch.tensor([0.05, 0.25, 0.0, 0.3, 0.4], dtype=torch.float64)
    component = F.choose_component(weights.log(), torch.rand(200_000, dtype=torch.float64))
    counts = np.bincount(component, minlength=5)
    assert counts[2] == 0
    keep = weights.numpy() > 0
    assert chisquare(counts[keep], 200_000 * weights.numpy()[keep]).pvalue > 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weights", [[0, 1, 0], [0, 0.5, 0, 0.5, 0], [0.1] * 10, [0, 0.3, 0.7, 0]])
def test_component_without_weight_is_never_chosen(weights, dtype):
    weights = torch.tensor(weights, dtype=dtype)
    below_one = 1 - torch.finfo(dtype).eps / 2
    uniform = torch.cat(
        [torch.tensor([0.0, below_one, 0.5], dtype=dtype), torch.rand(500).to(dtype)]
    )
    assert uniform[1] < 1
    component = F.choose_component(weights.log(), uniform)
    assert component.dtype == torch.int64
    assert (weights[component] > 0).all()
    alive = weights.nonzero()
    assert component[0] == alive[-1] and component[1] == alive[0]


def test_choice_reaches_every_component_in_its_share_of_the_unit_interval():
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    counts = torch.bincount(F.choose_component(weights.log(), uniform))
    assert counts.tolist() == [200, 500, 300]


def test_choice_broadcasts_and_takes_rows():
    log_weights = torch.log_softmax(torch.randn(2, 3, 4), -1)
    component = F.choose_component(log_weights, torch.rand(5, 2, 3))
    values = torch.randn(2, 3, 4, 6)
    rows = F.take_component(values, component)
    assert rows.shape == (5, 2, 3, 6)
    for s, i, j in [(0, 0, 0), (4, 1, 2), (2, 0, 1)]:
        assert torch.equal(rows[s, i, j], values[i, j, component[s, i, j]])
