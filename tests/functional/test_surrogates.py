"""Score function and straight-through Gumbel-softmax: values, gradients, frequencies."""

import numpy as np
import pytest
import torch
from oracles import assert_unbiased, gradients
from scipy.stats import chisquare

from torchrl_mixture import functional as F


def test_score_function_is_zero_and_carries_the_weighted_score():
    log_prob = torch.randn(5).double().requires_grad_()
    cost = torch.randn(5).double().requires_grad_()
    term = F.score_function(log_prob, cost)
    assert not term.any()
    to_log_prob, to_cost = gradients(term, [log_prob, cost])
    torch.testing.assert_close(to_log_prob, cost.detach())
    assert not to_cost.any()


def test_score_function_is_unbiased():
    logits = torch.tensor([0.3, -0.5, 1.0], dtype=torch.float64, requires_grad=True)
    values = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    (truth,) = gradients((torch.softmax(logits, -1) * values).sum(), [logits])
    log_weights = torch.log_softmax(logits, -1)
    uniform = torch.rand(1_500_000, dtype=torch.float64)
    component = F.choose_component(log_weights.detach(), uniform)
    # The gradient of one draw takes one of three values.
    each = torch.stack(
        [gradients(F.score_function(log_weights[k], values[k]), [logits])[0] for k in range(3)]
    )
    assert_unbiased(each[component], truth)


@pytest.mark.parametrize("temperature", [0.1, 1.0, torch.tensor(10.0)])
def test_choice_is_one_hot_and_distributed_as_the_weights(temperature):
    weights = torch.tensor([0.1, 0.6, 0.3])
    uniform = torch.rand(100_000, 3)
    choice = F.straight_through_gumbel(weights.log(), uniform, temperature)
    assert ((choice == 0) | (choice == 1)).all() and (choice.sum(-1) == 1).all()
    counts = choice.sum(0).numpy().astype(np.float64)
    assert chisquare(counts, 100_000 * np.array([0.1, 0.6, 0.3])).pvalue > 1e-4


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_gradient_is_that_of_the_relaxation(temperature):
    logits = torch.randn(6, 4).double().requires_grad_()
    uniform = torch.rand(6, 4).double()
    weight = torch.randn(6, 4).double()
    choice = F.straight_through_gumbel(torch.log_softmax(logits, -1), uniform, temperature)
    noisy = torch.log_softmax(logits, -1) - torch.log(-torch.log(uniform))
    power = noisy.exp() ** (1 / temperature)
    soft = power / power.sum(-1, keepdim=True)
    torch.testing.assert_close(*(gradients(y * weight, [logits])[0] for y in (choice, soft)))
    assert torch.equal(choice.argmax(-1), noisy.argmax(-1))


def test_temperature_matters():
    logits = torch.zeros(3).double().requires_grad_()
    uniform, weight = (
        torch.tensor([0.5, 0.6, 0.7]).double(),
        torch.tensor([1.0, -1.0, 2.0]).double(),
    )
    norms = [
        gradients(F.straight_through_gumbel(logits, uniform, t) * weight, [logits])[0].norm()
        for t in (0.02, 1.0, 50.0)
    ]
    # A cold choice is decided and a hot one indifferent: both gradients vanish.
    assert norms[1] > 10 * norms[0] and norms[1] > 10 * norms[2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_noise_is_finite(dtype):
    logits = torch.tensor([0.0, -1e4, 2.0], dtype=dtype, requires_grad=True)
    below_one = 1 - torch.finfo(dtype).eps / 2
    for uniform in ([0.0, 0.0, 0.0], [below_one, 0.0, below_one], [0.5, below_one, 0.0]):
        choice = F.straight_through_gumbel(
            torch.log_softmax(logits, -1), torch.tensor(uniform, dtype=dtype), 0.1
        )
        assert choice.sum() == 1 and choice[1] == 0
        assert gradients(choice[0], [logits])[0].isfinite().all()
    alone = F.straight_through_gumbel(torch.zeros(1), torch.zeros(1), 1.0)
    assert alone.tolist() == [1.0]
