"""The gate's softmax and the value under it, against SciPy and the optimum."""

import pytest
import scipy.optimize
import scipy.special
import torch
from torch.testing import assert_close

from torchrl_mixture import functional as F

pytestmark = pytest.mark.usefixtures("float64")


def test_soft_option_values():
    values, log_prob = torch.tensor([[1.0, 2.0]]), torch.tensor([[-3.0, 4.0]])
    assert_close(F.soft_option_values(values, log_prob, 0.5), torch.tensor([[2.5, 0.0]]))


@pytest.mark.parametrize("temperature", [0.1, 1.0, 7.0])
def test_gate_is_a_softmax(temperature):
    options = torch.randn(4, 5, 3)
    expected = scipy.special.log_softmax(options.numpy() / temperature, axis=-1)
    assert_close(F.gate_log_prob(options, temperature), torch.tensor(expected))


def test_gated_value_by_hand():
    gate, options = [0.2, 0.3, 0.5], [1.0, -2.0, 3.0]
    expected = sum(p * q for p, q in zip(gate, options, strict=True))
    expected += 0.7 * scipy.special.entr(gate).sum()
    value = F.gated_value(torch.tensor([options]), torch.tensor([gate]).log(), 0.7)
    assert_close(value, torch.tensor([expected]))


def test_the_gate_of_the_entropys_coefficient_is_the_best():
    """By a search over all gates."""
    options, coef = torch.tensor([0.3, -0.2, 0.6]), 0.4

    def loss(logits):
        log_gate = torch.tensor(logits).log_softmax(-1)
        return -F.gated_value(options, log_gate, coef).item()

    found = scipy.optimize.minimize(loss, [0.0, 0.0, 0.0])
    value = F.gated_value(options, F.gate_log_prob(options, coef), coef)
    assert value.item() == pytest.approx(-found.fun, abs=1e-8)
    assert value.item() == pytest.approx(coef * scipy.special.logsumexp(options / coef))
    other = F.gated_value(options, F.gate_log_prob(options, 2 * coef), coef)
    assert other < value - 1e-3


def test_values_and_gradients_are_finite_far_apart():
    options = torch.tensor([[1e6, 0.0, -1e6]], requires_grad=True)
    log_gate = F.gate_log_prob(options, 1e-3)
    value = F.gated_value(options, log_gate, 1e-3)
    assert_close(value, torch.tensor([1e6]))
    value.backward()
    assert_close(options.grad, torch.tensor([[1.0, 0.0, 0.0]]))
