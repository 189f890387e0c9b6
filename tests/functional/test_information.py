"""Advantage weights, information and the effect of a perturbation: batches by hand, extremes."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import entropy
from torch.testing import assert_close

from torchrl_mixture import functional as F

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
SHAPES = pytest.mark.parametrize("shape", [(1,), (7,), (2, 7)])


def test_weights_of_a_batch_by_hand():
    """Ratios 2/0.5, 1/0.25, 3/0.75 and 1/0.125, with mean 5."""
    advantage = np.log([2.0, 1.0, 3.0, 1.0])
    log_behaviour = np.log([0.5, 0.25, 0.75, 0.125])
    weights = F.advantage_weights(torch.tensor(advantage), torch.tensor(log_behaviour))
    assert_close(weights, torch.tensor([0.8, 0.8, 0.8, 1.6], dtype=torch.float64))


@SHAPES
@DTYPES
def test_weights_have_mean_one(shape, dtype):
    advantage, log_behaviour = torch.randn(2, *shape, dtype=dtype).mul(3).unbind()
    weights = F.advantage_weights(advantage, log_behaviour)
    assert weights.shape == shape and weights.dtype == dtype
    assert_close(weights.mean(), torch.ones((), dtype=dtype))
    ratio = torch.exp(advantage.double()) / torch.exp(log_behaviour.double())
    assert_close(weights.double(), ratio / ratio.mean(), rtol=1e-5, atol=1e-6)
    shifted = F.advantage_weights(advantage + 5, log_behaviour)  # the partition function cancels
    assert_close(shifted, weights, rtol=1e-4, atol=1e-5)
    on_meta = F.advantage_weights(advantage.to("meta"), log_behaviour.to("meta"))
    assert on_meta.device.type == "meta" and on_meta.shape == shape


@DTYPES
@pytest.mark.parametrize("offset", [-1e4, 0.0, 1e4])
def test_weights_of_extreme_advantages(offset, dtype):
    advantage = torch.tensor([0.0, 1.0, -1e4, 1.0], dtype=dtype) + offset
    log_behaviour = torch.tensor([0.0, 50.0, -50.0, 0.0], dtype=dtype)
    weights = F.advantage_weights(advantage, log_behaviour)
    ratio = np.exp(np.array([-1.0, -50.0, -9951.0, 0.0]))
    expected = torch.tensor(4 * ratio / ratio.sum(), dtype=dtype)
    assert_close(weights, expected, rtol=2e-3 if dtype == torch.float32 else 1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(40,), (5, 8)])
def test_effective_sample_size_is_between_kish_and_all(shape):
    weights = torch.rand(*shape, dtype=torch.float64) ** 4
    size = F.effective_sample_size(weights)
    expected = math.exp(entropy(weights.numpy().ravel()))  # SciPy normalises
    assert_close(size, torch.tensor(expected, dtype=torch.float64))
    kish = weights.sum().square() / weights.square().sum()
    assert kish < size < 40
    assert_close(F.effective_sample_size(3 * weights), size)


@pytest.mark.parametrize(("weights", "size"), [([1.0] * 5, 5), ([0, 7, 0], 1), ([0.5, 0.5, 0], 2)])
def test_effective_sample_size_counts(weights, size):
    assert_close(F.effective_sample_size(torch.tensor(weights)), torch.tensor(float(size)))


def by_hand(logits, weights):
    """The three of them from probabilities, with the definition of an entropy spelt out."""
    prob = softmax(logits.reshape(-1, logits.shape[-1]), axis=-1)
    share = weights.ravel() / weights.sum()
    mean = share @ prob
    marginal = -np.sum(mean * np.log(mean))
    conditional = -np.sum(share[:, None] * prob * np.log(prob))
    return marginal - conditional, marginal, conditional


@pytest.mark.parametrize("shape", [(6,), (2, 5)])
@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("scale", [0.01, 1.0, 5.0])
def test_information_of_a_batch_in_numpy(scale, count, shape):
    logits = scale * torch.randn(*shape, count, dtype=torch.float64)
    weights = 3 * torch.rand(shape, dtype=torch.float64)
    values = F.weighted_information(logits, weights)
    expected = by_hand(logits.numpy(), weights.numpy())
    assert_close(values, tuple(torch.tensor(value) for value in expected))
    assert 0 < values[0] < math.log(count)
    assert values[0] < F.effective_sample_size(weights).log()


def test_information_of_numbers():
    """Probabilities 3/4 and 1/4 or the reverse, of equal weight in sum, and a weight of zero."""
    prob = torch.tensor([[0.75, 0.25], [0.25, 0.75], [0.25, 0.75], [0.5, 0.5]])
    values = F.weighted_information(prob.log(), torch.tensor([2.0, 1.0, 1.0, 0.0]))
    conditional = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    expected = (math.log(2) - conditional, math.log(2), conditional)
    assert_close(values, tuple(torch.tensor(value) for value in expected))


def test_information_is_the_mean_divergence_from_the_marginal():
    logits = 2 * torch.randn(30, 4, dtype=torch.float64)
    weights = torch.rand(30, dtype=torch.float64)
    prob, share = softmax(logits.numpy(), axis=-1), (weights / weights.sum()).numpy()
    expected = share @ rel_entr(prob, share @ prob).sum(-1)
    assert_close(F.weighted_information(logits, weights)[0], torch.tensor(expected))


@DTYPES
def test_bounds_are_reached(dtype):
    certain = 100 * torch.eye(4, dtype=dtype)
    ones, zero = torch.ones(4, dtype=dtype), torch.zeros((), dtype=dtype)
    assert_close(F.weighted_information(certain, ones), (zero + math.log(4),) * 2 + (zero,))
    same = torch.randn(1, 4, dtype=dtype).expand(6, 4)
    information, marginal, conditional = F.weighted_information(same, torch.rand(6, dtype=dtype))
    assert_close(information, zero, atol=1e-6, rtol=0)
    assert_close(marginal, conditional)
    one = F.weighted_information(torch.randn(5, 1, dtype=dtype), torch.rand(5, dtype=dtype))
    assert all(value == 0 for value in one)  # exactly
    single = F.weighted_information(torch.randn(1, 4, dtype=dtype), ones[:1])
    assert_close(single[0], zero, atol=1e-6, rtol=0)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_gradients_to_the_logits(index):
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(5, dtype=torch.float64)
    weights[2] = 0.0
    assert torch.autograd.gradcheck(lambda x: F.weighted_information(x, weights)[index], logits)
    moving = weights.clone().requires_grad_()
    F.weighted_information(logits, moving)[index].backward()
    assert moving.grad is None


@DTYPES
@pytest.mark.parametrize("logit", [30.0, 1e4, 1e8])
def test_gradients_of_saturated_logits_are_finite(logit, dtype):
    values = logit * torch.tensor([[1, -1, 0], [1, -1, -1], [1, -1, 1], [0, 0, 0]], dtype=dtype)
    logits = values.requires_grad_()
    weights = torch.tensor([0.0, 4.0, 1e-30, 0.0], dtype=dtype)
    outputs = (
        *F.weighted_information(logits, weights),
        F.perturbation_divergence(logits, -logits),
    )
    for output in outputs:
        (gradient,) = torch.autograd.grad(output, logits, retain_graph=True)
        assert output.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize("shape", [(6,), (2, 5)])
def test_divergence_is_of_the_perturbed_from_the_clean(shape):
    logits, perturbed = 2 * torch.randn(2, *shape, 3, dtype=torch.float64)
    weights = torch.rand(shape, dtype=torch.float64)
    each = rel_entr(softmax(perturbed.numpy(), axis=-1), softmax(logits.numpy(), axis=-1)).sum(-1)
    value = F.perturbation_divergence(logits, perturbed)
    assert_close(value, torch.tensor(each.mean()))
    value = F.perturbation_divergence(logits, perturbed, weights)
    assert_close(value, torch.tensor(np.average(each, weights=weights.numpy())))


def test_divergence_of_extremes():
    """With certainty of the first, the divergence is minus its log-probability."""
    logits = torch.tensor([[0.0, 1e4], [2.0, 0.0]])
    perturbed = torch.tensor([[1e4, 0.0]]).expand(2, 2)
    exact = -log_softmax(logits.numpy(), axis=-1)[:, 0]
    assert_close(F.perturbation_divergence(logits, perturbed), torch.tensor(exact.mean()))
    assert F.perturbation_divergence(logits, logits) == 0
    assert F.perturbation_divergence(torch.randn(4, 1), torch.randn(4, 1)) == 0


def test_both_distributions_receive_the_divergences_gradient():
    logits, perturbed = torch.randn(2, 4, 3, dtype=torch.float64)
    logits, perturbed = logits.requires_grad_(), perturbed.requires_grad_()
    weights = torch.rand(4, dtype=torch.float64)
    assert torch.autograd.gradcheck(F.perturbation_divergence, (logits, perturbed, weights))
    gradients = torch.autograd.grad(
        F.perturbation_divergence(logits, perturbed), [logits, perturbed]
    )
    clean, noisy = softmax(logits.detach().numpy(), -1), softmax(perturbed.detach().numpy(), -1)
    assert_close(gradients[0], torch.tensor((clean - noisy) / 4))
    ratio = np.log(noisy / clean)
    inner = noisy * (ratio - (noisy * ratio).sum(-1, keepdims=True))
    assert_close(gradients[1], torch.tensor(inner / 4))
