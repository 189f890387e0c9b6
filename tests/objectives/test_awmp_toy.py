"""A task of one state, whose soft values are known in closed form."""

import math

import numpy as np
import pytest
import scipy.special
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn
from torch.testing import assert_close
from torchrl.data import Unbounded
from torchrl.modules import ValueOperator

from torchrl_mixture.modules import mixture_actor
from torchrl_mixture.objectives import AWMPLoss

pytestmark = pytest.mark.usefixtures("float64")

K, ALPHA, GATE_COEF = 2, 0.5, 0.3
PLACE = 0.7


class Known(nn.Module):
    """A critic that is a given function of the action."""

    def __init__(self, function):
        super().__init__()
        self.function, self.height = function, nn.Parameter(torch.tensor(0.0))

    def forward(self, observation, action):
        return self.function(action) + self.height


class Owner(nn.Module):
    """A prior by the side of zero on which the action lies."""

    def forward(self, observation, action):
        return torch.cat([-100 * action, 100 * action], -1)


class Undecided(nn.Module):
    """A prior by which every component owns every action."""

    def forward(self, observation, action):
        return action.new_zeros(*action.shape[:-1], K)


def make_loss(function, outputs, prior=None, **kwargs):
    """A policy whose parameters are a bias: locations and log-scales."""
    net, value = nn.Linear(1, 2 * K), nn.Linear(1, 1)
    with torch.no_grad():
        net.weight.zero_()
        net.bias.copy_(torch.tensor(outputs))
        value.weight.zero_()
    actor = mixture_actor(
        Unbounded((1,)), K, net=net, learn_weights=False, base="normal", scale_mapping="exp"
    )
    keys = ["observation", "action"]
    critics = [ValueOperator(Known(function), in_keys=keys) for _ in range(2)]
    prior = TensorDictModule(prior or Owner(), keys, ["prior_logits"])
    prior.num_components = K
    kwargs = {
        "alpha_init": ALPHA,
        "fixed_alpha": True,
        "loss_function": "l2",
        "gate_entropy_coef": GATE_COEF,
        **kwargs,
    }
    loss = AWMPLoss(
        actor,
        critics,
        ValueOperator(value, in_keys=["observation"]),
        prior_network=prior,
        **kwargs,
    )
    return loss, net.bias, value.bias


def batch_of(size):
    """As many actions on either side."""
    content = {"observation": torch.ones(size, 1), "action": torch.linspace(-1, 1, size)[:, None]}
    return TensorDict(content, [size])


def train(loss, parameters, steps=200):
    batch, optimizer = batch_of(64), torch.optim.Adam(parameters, 3e-2)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-2 * (1 - step / steps)
        optimizer.zero_grad()
        (loss.actor_loss(batch)[0] + loss.value_loss(batch)[0]).backward()
        optimizer.step()


def quadratic(action):
    return -((action - PLACE) ** 2) / 2


@pytest.mark.parametrize("prior_action", ["replay", "sampled"])
def test_one_peak(prior_action):
    """Every component becomes the best policy, all values of which are the soft value."""
    start = [0.1, 1.3, 0.0, -1.0]
    prior = Undecided() if prior_action == "sampled" else Owner()
    loss, bias, value = make_loss(quadratic, start, prior, prior_action=prior_action)
    train(loss, [bias, value])
    assert_close(bias[:K].detach(), torch.full((K,), PLACE), atol=0.02, rtol=0)
    assert_close(bias[K:].exp().detach(), torch.full((K,), math.sqrt(ALPHA)), atol=0.02, rtol=0)
    # alpha log int exp(Q / alpha), and the entropy of a gate that is uniform.
    expected = ALPHA / 2 * math.log(2 * math.pi * ALPHA) + GATE_COEF * math.log(K)
    assert value.item() == pytest.approx(expected, abs=0.01)


WIDTH = 0.4


def two_peaks(action):
    """Of the same height but for their position: quadratic around -1 and 1, the right lower."""
    left, right = -((action + 1) ** 2) / 2, -((action - 1) ** 2) / 2 - 0.2
    return torch.maximum(left, right) / WIDTH**2 * ALPHA


def test_the_prior_keeps_components_on_their_own_side():
    """Algorithm 1's prior of the sampled action parts them; each finds its own side's peak."""
    start = [-0.4, 0.4, -1.5, -1.5]
    loss, bias, _ = make_loss(two_peaks, start, prior_action="sampled")
    train(loss, [bias])
    # The other peak is five widths away, so that each is nearly a quadratic alone.
    assert_close(bias[:K].detach(), torch.tensor([-1.0, 1.0]), atol=0.05, rtol=0)
    assert_close(bias[K:].exp().detach(), torch.full((K,), WIDTH), atol=0.05, rtol=0)


NARROW = 0.05


def test_the_gates_value_of_two_peaks():
    """Against quadrature over the gate's draws: each component stands on its own peak."""
    loss, _, _ = make_loss(two_peaks, [-1.0, 1.0, math.log(NARROW), math.log(NARROW)])
    nodes, masses = np.polynomial.hermite_e.hermegauss(80)
    masses = masses / masses.sum()
    # A draw costs value as its square, and pays as the square by its density.
    known = ALPHA * (nodes**2 / 2 + math.log(NARROW) + math.log(2 * math.pi) / 2)
    own = known - ALPHA * (NARROW / WIDTH) ** 2 * nodes**2 / 2
    options = np.stack(np.meshgrid(own, own - 0.2 / WIDTH**2 * ALPHA, indexing="ij"), -1)
    weights = masses[:, None] * masses
    gate = scipy.special.softmax(options, -1)
    # The values are of further draws: their mean does not depend on the gate.
    means = (weights[..., None] * options).sum((0, 1))
    expected = (weights * (gate * (means - GATE_COEF * np.log(gate))).sum(-1)).sum()
    same_draws = (weights * (gate * (options - GATE_COEF * np.log(gate))).sum(-1)).sum()
    targets = loss._value_target(batch_of(40_000))
    standard_error = targets.std() / math.sqrt(len(targets))
    assert abs(targets.mean() - expected) < 4.5 * standard_error
    assert standard_error < 0.01 * abs(expected)
    assert abs(same_draws - expected) > 10 * standard_error


def lucky(temperature, coef):
    """How far the value's target lies above the soft value where all components are alike."""
    loss, _, _ = make_loss(
        lambda action: 0 * action,
        [0.0, 0.0, 0.0, 0.0],
        gate_temperature=temperature,
        gate_entropy_coef=coef,
    )
    targets = loss._value_target(batch_of(20_000))
    exact = ALPHA * math.log(2 * math.pi * math.e) / 2
    return (targets - exact).mean().item(), targets.std().item() / math.sqrt(20_000)


@pytest.mark.parametrize("temperature", [1e-3, 1.0])
def test_the_gates_luck_is_not_taken_for_value(temperature):
    """Of the draws that made a sharp gate the value would be higher by alpha / pi."""
    above, error = lucky(temperature, 0.0)
    assert abs(above) < 4.5 * error
    assert ALPHA / math.pi > 10 * error
