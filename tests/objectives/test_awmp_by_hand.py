"""One batch worked out in NumPy: both targets, the gate, the prior's weights, the advantage."""

import numpy as np
import pytest
import torch
from objectives.awmp_cases import make_prior
from objectives.awmp_loss_cases import make_loss, make_value, shift_targets
from objectives.sacm_by_hand import SIZE, TERMINATED, A, ByHand, array, linear, make_batch
from objectives.sacm_cases import GAMMA, make_actor, make_critics
from torch.testing import assert_close

pytestmark = pytest.mark.usefixtures("float64")

ALPHA, TEMPERATURE, GATE_COEF = 0.4, 0.7, 0.3


def build(size, **kwargs):
    """A loss of linear networks."""
    loss = make_loss(
        actor=make_actor(size, num_cells=(), learn_weights=False, loc_spread=0.7),
        critics=make_critics(1, num_cells=()),
        value=make_value(num_cells=()),
        prior=make_prior(size, num_cells=()),
        **{
            "alpha_init": ALPHA,
            "gate_temperature": TEMPERATURE,
            "gate_entropy_coef": GATE_COEF,
            "reduction": "none",
            "scalar_output_mode": "non_tensor",
            **kwargs,
        },
    )
    shift_targets(loss)
    return loss


def softmax(values):
    return np.exp(values) / np.exp(values).sum(-1, keepdims=True)


def near(value, expected):
    assert_close(value, torch.tensor(expected))


class Mixture(ByHand):
    """With one temperature, a value network and a prior."""

    def __init__(self, loss, size):
        super().__init__(loss, size, learn_weights=False)
        self.value_net = linear(loss.value_network_params)[:2]
        self.target_net = linear(loss.target_value_network_params)[:2]
        self.prior_net = loss.prior_network.module[0]

    def options(self, critics, state, actions, own):
        """``[B, K]``: the smallest of the critics, less the temperature times the log-density."""
        values = [
            self.values(critics, state, actions[:, i]).min(0)[:, 0] for i in range(self.size)
        ]
        return np.stack(values, -1) - ALPHA * own

    def gate(self, state, actions, own):
        return softmax(self.options(self.targets, state, actions, own) / TEMPERATURE)

    def value_target(self, state, noise):
        """With a gate of the first draws, and values of the second."""
        first, second = noise
        _, actions, _, own = self.draw(state, first)
        gate = self.gate(state, actions, own)
        _, actions, _, own = self.draw(state, second)
        options = self.options(self.critics, state, actions, own)
        return (gate * (options - GATE_COEF * np.log(gate))).sum(-1)

    def prior(self, state, action):
        weight, bias = (p.detach().numpy() for p in self.prior_net.parameters())
        return softmax(np.concatenate([state, action], -1) @ weight.T + bias)

    def actor_weights(self, batch, actions, prior_action):
        state = array(batch, "observation")
        if prior_action == "replay":
            return self.prior(state, array(batch, "action"))
        own = [self.prior(state, actions[:, i])[:, i] for i in range(self.size)]
        return np.stack(own, -1) / sum(own)[:, None]


@pytest.fixture(params=[2, 3])
def size(request):
    return request.param


def noise(size, draws=1):
    """What the loss will draw first, and for several draws all of it."""
    torch.manual_seed(3)
    drawn = [torch.randn(SIZE, size, A).numpy() for _ in range(draws)]
    torch.manual_seed(3)
    return drawn[0] if draws == 1 else drawn


def affine(net, inputs):
    return (inputs @ net[0] + net[1])[:, 0]


def test_value_loss(size):
    loss, batch = build(size), make_batch(size)
    hand, drawn, state = Mixture(loss, size), noise(size, draws=2), array(batch, "observation")
    found, _ = loss.value_loss(batch)
    error = affine(hand.value_net, state) - hand.value_target(state, drawn)
    near(found, error**2)


def test_the_gate_is_of_the_target_critics(size):
    """The gate of the online critics, and the value of the target critics, would be others."""
    loss, batch = build(size), make_batch(size)
    hand, drawn, state = Mixture(loss, size), noise(size), array(batch, "observation")
    gated = loss._gated(batch)
    _, actions, _, own = hand.draw(state, drawn)
    near(gated.weights, hand.gate(state, actions, own))
    hand.targets = hand.critics
    assert np.abs(hand.gate(state, actions, own) - gated.weights.numpy()).max() > 0.1


@pytest.mark.parametrize("several_steps", [False, True])
def test_critics_loss(several_steps, size):
    """Every critic has the whole batch."""
    loss, batch = build(size), make_batch(size)
    hand, gamma = Mixture(loss, size), GAMMA
    if several_steps:
        steps = 1 + np.arange(SIZE) % 5
        batch["steps_to_next_obs"], gamma = torch.tensor(steps).unsqueeze(-1), GAMMA**steps
    following = affine(hand.target_net, array(batch, "next", "observation"))
    target = array(batch, "next", "reward")[:, 0] + gamma * ~TERMINATED * following
    observed = array(batch, "observation"), array(batch, "action")
    error = hand.values(hand.critics, *observed)[..., 0] - target
    found, metadata = loss.qvalue_v1_loss(batch)
    assert error.shape == (2, SIZE)
    near(found, (error**2).sum(0))
    near(metadata["td_error"], (error**2).max(0))
    near(loss(batch)["loss_qvalue"], (error**2).sum(0))
    near(batch["td_error"], (error**2).max(0))


@pytest.mark.parametrize("prior_action", ["replay", "sampled"])
def test_actor_and_temperature(prior_action, size):
    loss, batch = build(size, prior_action=prior_action), make_batch(size)
    hand, drawn, state = Mixture(loss, size), noise(size), array(batch, "observation")
    found, metadata = loss.actor_loss(batch)
    _, actions, _, own = hand.draw(state, drawn)
    weights = hand.actor_weights(batch, actions, prior_action)
    near(found, -(weights * hand.options(hand.critics, state, actions, own)).sum(-1))
    log_prob = (weights * own).sum(-1)
    near(metadata["log_prob"], log_prob)
    alpha_loss = loss.alpha_loss(metadata["log_prob"])
    near(alpha_loss, -np.log(ALPHA) * (log_prob - A))
    mean = weights.mean(0)
    near(metadata["prior_effective_components"], np.exp(-(mean * np.log(mean)).sum()))
    # The other choice of the prior's action would show.
    other = hand.actor_weights(batch, actions, {"replay": "sampled"}.get(prior_action, "replay"))
    assert np.abs(other - weights).max() > 0.1


def test_scalars(size):
    """In the order of the draws: the gate's, the value's, the diagnostics', the actor's."""
    loss, batch = build(size), make_batch(size)
    hand, drawn, state = Mixture(loss, size), noise(size), array(batch, "observation")
    output = loss(batch)
    _, actions, _, own = hand.draw(state, drawn)
    gate = hand.gate(state, actions, own)
    near(output["weight_entropy"], -(gate * np.log(gate)).sum(-1).mean())
    mean = gate.mean(0)
    near(output["effective_components"], np.exp(-(mean * np.log(mean)).sum()))
    assert 0 < output["component_information"] < np.log(size)
    torch.manual_seed(3)
    loss.value_loss(batch)
    entropy = -loss.actor_loss(batch)[1]["log_prob"].mean()
    assert_close(output["entropy"], entropy)
    near(output["alpha"], np.array(ALPHA))


def test_advantage(size):
    loss, batch = build(size), make_batch(size)
    hand, state = Mixture(loss, size), array(batch, "observation")
    values = hand.values(hand.targets, state, array(batch, "action")).min(0)
    before = set(batch.keys(True))
    advantage = loss.advantage(batch)
    near(advantage, values - affine(hand.target_net, state)[:, None])
    assert advantage.shape == (SIZE, 1) and not advantage.requires_grad
    assert set(batch.keys(True)) == before


def test_the_gates_weight_is_what_the_diagnostics_show(size):
    loss, batch = build(size), make_batch(size)
    hand, drawn, state = Mixture(loss, size), noise(size), array(batch, "observation")
    _, actions, _, own = hand.draw(state, drawn)
    found = loss.mixture_diagnostics(batch)
    near(found["component_weight"], hand.gate(state, actions, own).mean(0))
    assert found["component_loc"].shape == (size, A) and found["component_distance"] > 0
