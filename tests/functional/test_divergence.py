"""The divergence of each component from the rest: against integrals, differences, extremes."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import logsumexp
from torch.testing import assert_close

from torchrl_mixture import functional as F


def log_normal(x, mean, variance):
    return -((x - mean) ** 2).sum(-1) / (2 * variance) - mean.shape[-1] / 2 * math.log(
        2 * math.pi * variance
    )


def integrated(mean, variance, i):
    """KL from component i to the mixture of the others, summed over a grid around its mean."""
    size = mean.shape[-1]
    axis = np.linspace(-9, 9, 2001 if size == 1 else 121) * math.sqrt(variance)
    x = mean[i] + np.stack(np.meshgrid(*[axis] * size), -1).reshape(-1, size)
    log_prob = log_normal(x[:, None], mean, variance)
    log_mixture = logsumexp(np.delete(log_prob, i, axis=1), axis=1) - math.log(len(mean) - 1)
    cell = (axis[1] - axis[0]) ** size
    return cell * (np.exp(log_prob[:, i]) * (log_prob[:, i] - log_mixture)).sum()


def integrated_adaptively(mean, variance, i):
    """The same in one dimension by SciPy."""

    def integrand(x):
        log_prob = log_normal(np.array([[x]]), mean, variance)
        log_mixture = logsumexp(np.delete(log_prob, i)) - math.log(len(mean) - 1)
        return math.exp(log_prob[i]) * (log_prob[i] - log_mixture)

    edges = mean[i, 0] - 9 * math.sqrt(variance), mean[i, 0] + 9 * math.sqrt(variance)
    return quad(integrand, *edges, epsabs=1e-9, limit=200)[0]


def draw(count, size, generator, spread=2.0):
    return spread * generator.standard_normal((count, size))


@pytest.mark.parametrize("variance", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("size", [1, 2])
def test_two_components_match_the_integral(size, variance):
    generator = np.random.default_rng(size)
    for _ in range(10):
        mean = draw(2, size, generator)
        divergence = F.component_divergence(torch.tensor(mean), variance)
        for i in range(2):
            assert float(divergence[i]) == pytest.approx(integrated(mean, variance, i), abs=1e-6)
    if size == 1:
        adaptive = integrated_adaptively(mean, variance, 0)
        assert float(divergence[0]) == pytest.approx(adaptive, abs=1e-6)


@pytest.mark.parametrize("count", [3, 4, 5, 6])
@pytest.mark.parametrize("size", [1, 2])
def test_more_components_lie_above_the_integral(count, size):
    generator = np.random.default_rng(count)
    gaps = []
    for _ in range(25 if size == 1 else 8):
        mean, variance = draw(count, size, generator), generator.uniform(0.2, 3)
        divergence = F.component_divergence(torch.tensor(mean), variance)
        gaps += [float(divergence[i]) - integrated(mean, variance, i) for i in range(count)]
    assert min(gaps) > -1e-7
    assert max(gaps) > 0.05


def test_more_components_lie_above_the_adaptive_integral():
    generator = np.random.default_rng(3)
    for count in (3, 4, 5, 6):
        mean, variance = draw(count, 1, generator), generator.uniform(0.2, 3)
        adaptive = integrated_adaptively(mean, variance, 0)
        assert integrated(mean, variance, 0) == pytest.approx(adaptive, abs=1e-7)
        assert float(F.component_divergence(torch.tensor(mean), variance)[0]) > adaptive - 1e-7


def test_the_bound_is_tight_where_one_neighbour_is_near():
    mean = np.array([[0.0], [3.0], [-20.0], [40.0]])
    exact = integrated_adaptively(mean, 1.0, 0)
    assert exact == pytest.approx(4.5 + math.log(3), abs=1e-6)
    assert float(F.component_divergence(torch.tensor(mean))[0]) == pytest.approx(exact, abs=1e-6)


def test_gradient_with_the_others_held_constant():
    mean = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    divergence = F.component_divergence(mean, 0.7)
    step = 1e-6
    for i in range(4):
        (gradient,) = torch.autograd.grad(divergence[:, i].sum(), mean, retain_graph=True)
        others = [j for j in range(4) if j != i]
        assert (gradient[:, others] == 0).all()
        for a in range(3):
            shifted = []
            for sign in (1, -1):
                moved = mean.detach().clone()
                moved[:, i, a] += sign * step
                shifted.append(F.component_divergence(moved, 0.7)[:, i])
            assert_close(gradient[:, i, a], (shifted[0] - shifted[1]) / (2 * step))


def test_gradient_of_the_sum_is_that_of_each_alone():
    mean = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    (of_sum,) = torch.autograd.grad(F.component_divergence(mean).sum(), mean)
    for i in range(4):
        (gradient,) = torch.autograd.grad(F.component_divergence(mean)[i], mean)
        assert_close(of_sum[i], gradient[i])


@pytest.mark.parametrize("count", [2, 3, 5])
def test_ascent_moves_the_means_apart(count):
    mean = torch.randn(8, count, 2, dtype=torch.float64, requires_grad=True)
    before = F.component_divergence(mean).sum(-1)
    (gradient,) = torch.autograd.grad(before.sum(), mean)
    moved = (mean + 0.01 * gradient).detach()
    assert (F.component_divergence(moved).sum(-1) > before).all()
    if count == 2:
        distance = [(m[:, 0] - m[:, 1]).norm(dim=-1) for m in (mean, moved)]
        assert (distance[1] > distance[0]).all()


@pytest.mark.parametrize("count", [2, 3, 6])
def test_the_printed_form(count):
    mean = torch.randn(count, 2, dtype=torch.float64)
    for i in range(count):
        squared = [((mean[i] - mean[j]) ** 2).sum().item() for j in range(count) if j != i]
        printed = -math.log(sum(math.exp(-value) for value in squared))
        ours = F.component_divergence(mean, 0.5)[i] - math.log(count - 1)
        assert float(ours) == pytest.approx(printed, abs=1e-12)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_coincident_means(count):
    mean = torch.full((4, count, 2), 0.3, requires_grad=True)
    divergence = F.component_divergence(mean, 1e-4)
    assert_close(divergence, torch.zeros(4, count))
    divergence.sum().backward()
    assert (mean.grad == 0).all()


@pytest.mark.parametrize("variance", [1e-4, 1.0, torch.tensor(1e-4)])
@pytest.mark.parametrize("distance", [1e-8, 1.0, 1e3])
@pytest.mark.parametrize("count", [2, 4])
def test_extremes(count, distance, variance):
    places = distance * torch.arange(count).float()
    mean = places.unsqueeze(-1).requires_grad_()
    divergence = F.component_divergence(mean, variance)
    divergence.sum().backward()
    assert divergence.isfinite().all() and mean.grad.isfinite().all()
    nearest = distance**2 / (2 * float(variance)) + math.log(count - 1)
    if distance >= 1 and float(variance) < 1:
        assert_close(divergence[0], torch.tensor(nearest))
        assert_close(mean.grad[0, 0], torch.tensor(-distance / float(variance)))


def test_infinitesimal_variance_in_a_batch_of_extremes():
    mean = torch.tensor([[[0.0], [0.0], [1e3]], [[1e3], [-1e3], [1e-3]]], requires_grad=True)
    divergence = F.component_divergence(mean, 1e-4)
    divergence.sum().backward()
    assert divergence.isfinite().all() and mean.grad.isfinite().all()
    assert_close(divergence[0, 0], torch.tensor(math.log(2)))  # one of two others coincides


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_types(batch, dtype):
    mean = torch.randn(*batch, 4, 2, dtype=dtype)
    divergence = F.component_divergence(mean, 0.5)
    assert divergence.shape == (*batch, 4) and divergence.dtype == dtype
    flat = [F.component_divergence(m, 0.5) for m in mean.reshape(-1, 4, 2)]
    assert_close(divergence, torch.stack(flat).reshape(*batch, 4))
    on_meta = F.component_divergence(mean.to("meta"), 0.5)
    assert on_meta.shape == (*batch, 4) and on_meta.device.type == "meta"


def test_one_component_has_no_others():
    mean = torch.randn(3, 1, 2, dtype=torch.float64)
    divergence = F.component_divergence(mean)
    assert divergence.equal(torch.zeros(3, 1, dtype=torch.float64))
    assert F.component_divergence(mean.to("meta")).shape == (3, 1)
