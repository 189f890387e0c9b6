"""A latent's log-probability and how often it is the likeliest: closed form, extremes."""

import math

import pytest
import torch
from scipy.special import logsumexp, softmax
from torch.testing import assert_close

from torchrl_mixture import functional as F


def one_hot(indices, count, dtype=torch.float64):
    return torch.eye(count, dtype=dtype)[torch.as_tensor(indices)]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_log_prob_is_the_log_softmax_at_the_latent(count):
    logits = 3 * torch.randn(20, count, dtype=torch.float64)
    indices = torch.arange(20) % count
    value = F.latent_log_prob(logits, one_hot(indices, count))
    exact = logits.numpy()[range(20), indices] - logsumexp(logits.numpy(), axis=-1)
    assert_close(value, torch.tensor(exact))
    assert (value <= 0).all()


def test_gradient_is_the_latent_less_the_softmax():
    logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    latent = one_hot(torch.arange(6) % 4, 4)
    F.latent_log_prob(logits, latent).sum().backward()
    assert_close(logits.grad, latent - torch.tensor(softmax(logits.detach().numpy(), axis=-1)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits(dtype):
    values = torch.tensor([1e4, -1e4, 0.0], dtype=dtype)
    logits = values.expand(3, 3).clone().requires_grad_()
    log_prob = F.latent_log_prob(logits, one_hot([0, 1, 2], 3, dtype))
    assert_close(log_prob, torch.tensor([0.0, -2e4, -1e4], dtype=dtype))
    log_prob.sum().backward()
    expected = torch.tensor([[0.0, 0, 0], [-1, 1, 0], [-1, 0, 1]], dtype=dtype)
    assert_close(logits.grad, expected)


@pytest.mark.parametrize("logit", [-1e4, 0.0, 1e4])
def test_equal_logits_are_a_guess(logit):
    log_prob = F.latent_log_prob(torch.full((4,), logit), one_hot(2, 4, torch.float32))
    assert_close(log_prob, torch.tensor(-math.log(4)))


@pytest.mark.parametrize("batch", [(), (7,), (2, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_types(batch, dtype):
    logits = torch.randn(*batch, 3, dtype=dtype)
    latent = one_hot(torch.randint(3, batch), 3, dtype)
    log_prob, accuracy = F.latent_log_prob(logits, latent), F.latent_accuracy(logits, latent)
    assert log_prob.shape == batch and log_prob.dtype == dtype
    assert accuracy.shape == () and accuracy.dtype == dtype
    flat = zip(logits.reshape(-1, 3), latent.reshape(-1, 3), strict=True)
    each = [F.latent_log_prob(*row) for row in flat]
    assert_close(log_prob, torch.stack(each).reshape(batch))
    on_meta = F.latent_log_prob(logits.to("meta"), latent.to("meta"))
    assert on_meta.device.type == "meta" and on_meta.shape == batch


def test_accuracy_counts_the_likeliest():
    logits = torch.tensor([[0.1, 0.0, -1.0], [-5.0, -3.0, -4.0], [9.0, 8.0, 9.5], [1.0, 2.0, 0.0]])
    assert F.latent_accuracy(logits, one_hot([0, 1, 0, 1], 3)) == 0.75
    assert F.latent_accuracy(logits, one_hot([1, 2, 0, 2], 3)) == 0.0
    assert F.latent_accuracy(logits, one_hot([0, 1, 2, 1], 3)) == 1.0
    assert F.latent_accuracy(logits[None], one_hot([[0, 1, 0, 0]], 3)) == 0.5
