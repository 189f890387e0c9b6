"""One batch worked out in NumPy: the target's choice, the twins, the actor's loss, gradients."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torch.testing import assert_close
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.modules import ValueOperator

from torchrl_mixture.modules import MeanActors
from torchrl_mixture.objectives import GamidLoss

pytestmark = pytest.mark.usefixtures("float64")

K, A, OBSERVED, SIZE, GAMMA = 2, 2, 3, 12, 0.9
LOW, HIGH = np.array([-1.0, -2.0]), np.array([1.0, 0.5])
CENTRE, HALF = np.array([0.0, -0.75]), np.array([1.0, 1.25])
TEMPERATURE, VARIANCE = 0.4, 0.6
TERMINATED = np.arange(SIZE) % 4 == 0


class Linear(nn.Linear):
    def forward(self, *inputs):
        return super().forward(torch.cat(inputs, -1))


class ByHand:
    """Linear actors and critics in NumPy; nothing of the library."""

    def __init__(self, loss):
        def layer(params):
            leaves = {key[-1]: value.detach().numpy() for key, value in params.items(True, True)}
            return leaves["weight"], leaves["bias"]

        self.actor, self.target_actor = (
            layer(params.exclude(("0", "module", "centre"), ("0", "module", "half_width")))
            for params in (loss.actor_network_params, loss.target_actor_network_params)
        )
        self.critics = layer(loss.qvalue_network_params)
        self.targets = layer(loss.target_qvalue_network_params)

    @staticmethod
    def means(actor, state):
        weight, bias = actor
        return CENTRE + HALF * np.tanh(np.einsum("koa,bo->bka", weight, state) + bias[:, 0])

    @staticmethod
    def values(critics, state, action):
        """``[E, ...]`` of one action a state, or of one for each component."""
        weight, bias = critics
        if action.ndim == 3:
            state = np.repeat(state[:, None], action.shape[1], axis=1)
        inputs = np.concatenate([state, action], -1)
        out = np.tensordot(weight[:, 0], inputs, axes=(1, -1))
        return out + bias.reshape(-1, *[1] * (out.ndim - 1))

    def choice(self, state, actor=None, critics=None):
        means = self.means(self.target_actor if actor is None else actor, state)
        scores = self.values(self.targets if critics is None else critics, state, means)
        return means, scores.min(0).argmax(-1)

    def target(self, batch, noise):
        state = batch["next", "observation"].numpy()
        means, best = self.choice(state)
        action = np.clip(means[np.arange(SIZE), best] + noise, LOW, HIGH)
        value = self.values(self.targets, state, action).min(0)
        reward = batch["next", "reward"].numpy()[:, 0]
        return reward + GAMMA * ~TERMINATED * value, value

    def objective(self, actor, held, state):
        """The actor's loss; in the divergence of a mean the others are those of ``held``."""
        means, others = self.means(actor, state), self.means(held, state)
        divergence = np.zeros((SIZE, K))
        for i in range(K):
            squared = (((means[:, i] - others[:, 1 - i]) / HALF) ** 2).sum(-1)
            divergence[:, i] = squared / (2 * VARIANCE)
        values = self.values(self.critics, state, means)[0]
        return -(values + TEMPERATURE * divergence).sum(-1), values, divergence


def build(**kwargs):
    spec = Bounded(torch.tensor(LOW), torch.tensor(HIGH))
    actor = MeanActors(
        spec, K, observation_spec=Composite(observation=Unbounded((OBSERVED,))), num_cells=()
    )
    critics = [
        ValueOperator(Linear(OBSERVED + A, 1), in_keys=["observation", "action"]) for _ in range(2)
    ]
    kwargs = {"temperature": TEMPERATURE, "variance": VARIANCE, "loss_function": "l2", **kwargs}
    loss = GamidLoss(actor, critics, action_spec=spec, **kwargs)
    loss.make_value_estimator(gamma=GAMMA)
    for params in (loss.target_actor_network_params, loss.target_qvalue_network_params):
        shift(params)
    return loss


def shift(params, scale=0.7):
    """Move weights and biases, so that targets differ from what they follow."""
    for name, value in params.items(True, True):
        if name[-1] in ("weight", "bias"):
            value.data.add_(scale * torch.randn_like(value))


def make_batch():
    done = torch.tensor(TERMINATED).unsqueeze(-1)
    following = {
        "observation": torch.randn(SIZE, OBSERVED),
        "reward": torch.randn(SIZE, 1),
        "terminated": done,
        "done": done | (torch.arange(SIZE).unsqueeze(-1) == 1),
    }
    action = torch.tensor(LOW) + torch.tensor(HIGH - LOW) * torch.rand(SIZE, A)
    content = {"observation": torch.randn(SIZE, OBSERVED), "action": action, "next": following}
    return TensorDict(content, [SIZE])


def clipped_noise(policy_noise, noise_clip=0.5):
    torch.manual_seed(3)
    return (policy_noise * torch.randn(SIZE, A).numpy()).clip(-noise_clip, noise_clip)


def near(value, expected):
    assert_close(value, torch.tensor(expected))


@pytest.mark.parametrize("policy_noise", [0.0, 0.2, 2.0])
def test_one_batch(policy_noise):
    loss, batch = build(policy_noise=policy_noise, reduction="none"), make_batch()
    hand = ByHand(loss)
    noise = clipped_noise(policy_noise)
    torch.manual_seed(3)
    output = loss(batch)

    _, best = hand.choice(batch["next", "observation"].numpy())
    assert 0 < best.sum() < SIZE  # both components are chosen somewhere
    target, value = hand.target(batch, noise)
    near(output["next_state_value"], value)
    near(output["target_value"], target)
    state = batch["observation"].numpy()
    predicted = hand.values(hand.critics, state, batch["action"].numpy())
    near(output["pred_value"], predicted)
    near(output["loss_qvalue"], ((predicted - target) ** 2).sum(0))
    near(batch["td_error"], ((predicted - target) ** 2).max(0))

    objective, values, divergence = hand.objective(hand.actor, hand.actor, state)
    near(output["loss_actor"], objective)
    near(output["state_action_value_actor"], values)
    near(output["divergence"], divergence.sum(-1).mean())
    means = hand.means(hand.actor, state)
    distance = np.linalg.norm((means[:, 0] - means[:, 1]) / HALF, axis=-1)
    near(output["component_distance"], distance.mean())
    share = values.argmax(-1).mean()
    assert 0 < share < 1
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    near(output["effective_components"], np.exp(entropy))
    assert not any(
        output[key].requires_grad
        for key in output.keys()
        if key not in ("loss_actor", "loss_qvalue")
    )


def test_three_components_diagnostics():
    """Three means of known places: sums and means of what pairs have."""
    loss = build()
    means = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]]) * torch.tensor(HALF)
    loss._means = lambda tensordict: means.requires_grad_()
    output = loss(make_batch()[:1])
    squared = {(0, 1): 25.0, (0, 2): 1.0, (1, 2): 18.0}
    near(output["component_distance"], sum(np.sqrt(list(squared.values()))) / 3)
    expected = 0.0
    for i in range(3):
        others = [value for pair, value in squared.items() if i in pair]
        expected -= np.log(np.exp(-np.array(others) / (2 * VARIANCE)).sum() / 2)
    near(output["divergence"], expected)
    near(output["effective_components"], 1.0)


@pytest.mark.parametrize("part", ["target_actor_network_params", "target_qvalue_network_params"])
def test_the_target_uses_targets(part):
    loss, batch = build(policy_noise=0.0), make_batch()
    before = loss(batch.copy())
    state = batch["next", "observation"].numpy()
    choice = ByHand(loss).choice(state)[1]
    shift(getattr(loss, part), 2.0)
    hand = ByHand(loss)
    assert (hand.choice(state)[1] != choice).any()  # the choice itself changes somewhere
    output = loss(batch.copy())
    near(output["target_value"], hand.target(batch, 0.0)[0])
    assert not output["target_value"].isclose(before["target_value"])[1:4].any()
    for key in ("pred_value", "loss_actor", "divergence", "state_action_value_actor"):
        assert output[key].equal(before[key])


@pytest.mark.parametrize("part", ["actor_network_params", "qvalue_network_params"])
def test_the_target_ignores_what_is_learned(part):
    loss, batch = build(policy_noise=0.0), make_batch()
    before = loss(batch.copy())
    shift(getattr(loss, part))
    output = loss(batch.copy())
    assert output["target_value"].equal(before["target_value"])
    assert not output["loss_actor"].isclose(before["loss_actor"])


def test_the_choice_is_made_before_the_noise():
    """Noise that would make the other mean the better one leaves the choice."""
    loss, batch = build(policy_noise=1.0, noise_clip=1.0), make_batch()
    hand = ByHand(loss)
    noise = clipped_noise(1.0, 1.0)
    state = batch["next", "observation"].numpy()
    means, best = hand.choice(state)
    noisy = np.clip(means + noise[:, None], LOW, HIGH)
    scores = hand.values(hand.targets, state, noisy).min(0)
    assert (scores.argmax(-1) != best).any()
    torch.manual_seed(3)
    value = loss(batch)["next_state_value"].numpy()
    assert np.allclose(value, scores[np.arange(SIZE), best])


def test_gradient_of_the_actor_by_differences():
    loss, batch = build(), make_batch()
    hand, state = ByHand(loss), batch["observation"].numpy()
    loss.actor_loss(batch)[0].backward()
    gradients = [
        leaf.grad.numpy()
        for name, leaf in loss.actor_network_params.items(True, True)
        if name[-1] in ("weight", "bias")
    ]
    held = [part.copy() for part in hand.actor]
    assert {gradient.shape for gradient in gradients} == {part.shape for part in held}
    for number, part in enumerate(held):
        (gradient,) = [g for g in gradients if g.shape == part.shape]
        for index in np.ndindex(part.shape):
            shifted = []
            for sign in (1, -1):
                moved = [other.copy() for other in held]
                moved[number][index] += sign * 1e-5
                shifted.append(hand.objective(moved, held, state)[0].mean())
            difference = (shifted[0] - shifted[1]) / 2e-5
            assert gradient[index] == pytest.approx(difference, abs=1e-8, rel=1e-6)


def test_no_gradient_reaches_the_critics_or_from_them():
    loss, batch = build(), make_batch()
    loss.actor_loss(batch)[0].backward()
    assert all(p.grad is None for p in loss.qvalue_network_params.parameters())
    loss.zero_grad()
    loss.value_loss(batch)[0].backward()
    assert all(p.grad is None for p in loss.actor_network_params.parameters())
    assert all(p.grad.any() for p in loss.qvalue_network_params.parameters())


def test_terminal_states_do_not_bootstrap():
    loss, batch = build(reduction="none"), make_batch()
    terminated = torch.tensor(TERMINATED)
    batch["next", "observation"][terminated] = 1e6
    output, reward = loss(batch), batch["next", "reward"].squeeze(-1)
    assert output["target_value"][terminated].equal(reward[terminated])
    assert not output["target_value"][~terminated].isclose(reward[~terminated]).any()


@pytest.mark.parametrize(("name", "value"), [("temperature", 1.3), ("variance", 0.25)])
def test_scheduled_numbers(name, value):
    loss, batch = build(), make_batch()
    before = loss(batch.copy())["loss_actor"]
    buffer = getattr(loss, name)
    setattr(loss, name, value)
    assert getattr(loss, name) is buffer and buffer == value
    after = loss(batch.copy())["loss_actor"]
    assert not after.isclose(before)
    hand = ByHand(loss)
    _, values, divergence = hand.objective(hand.actor, hand.actor, batch["observation"].numpy())
    temperature, variance = float(loss.temperature), float(loss.variance)
    scaled = divergence * VARIANCE / variance
    near(after, -(values + temperature * scaled).sum(-1).mean())


@pytest.mark.parametrize("name", ["temperature", "variance"])
def test_whole_numbers_can_be_scheduled(name):
    loss = build(**{name: 1})
    setattr(loss, name, 0.25)
    assert getattr(loss, name) == 0.25
