"""A bandit of two modes, the lower one near: what each temperature makes of two means."""

import pytest
import torch
from scipy.optimize import minimize_scalar
from tensordict import TensorDict
from torch import nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.modules import ValueOperator

from torchrl_mixture.modules import GreedyComponent, MeanActors
from torchrl_mixture.objectives import GamidLoss

SPEC = Bounded(-1.0, 1.0, (1,))
START = (0.1, 0.2)


class TwoModes(nn.Module):
    """Half the height at 0.5, the whole at -0.7, zero between; neither is exactly a maximum."""

    def __init__(self):
        super().__init__()
        self.centre = nn.Parameter(torch.tensor([0.5, -0.7]))
        self.height = nn.Parameter(torch.tensor([0.5, 1.0]))

    def forward(self, observation, action):
        bumps = self.height * torch.exp(-((action - self.centre) ** 2) / 0.2)
        return bumps.sum(-1, keepdim=True) + 0 * observation


def mode(low, high):
    critic = TwoModes()

    def cost(action):
        return -critic(torch.zeros(1), torch.tensor([action])).item()

    return minimize_scalar(cost, bounds=(low, high), method="bounded").x


def build(temperature):
    spec = Composite(observation=Unbounded((1,)))
    actor = MeanActors(SPEC, 2, observation_spec=spec, num_cells=())
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.zero_()
        actor.module.layers[0].bias.copy_(torch.tensor(START).atanh()[:, None, None])
    critics = [ValueOperator(TwoModes(), in_keys=["observation", "action"]) for _ in range(2)]
    loss = GamidLoss(actor, critics, action_spec=SPEC, temperature=temperature, variance=0.5)
    policy = GreedyComponent(actor, loss.qvalue_network, loss.qvalue_network_params)
    return actor, loss, policy


def one_state():
    return TensorDict({"observation": torch.zeros(1, 1)}, [1])


def train(loss, schedule):
    optimizer = torch.optim.Adam(loss.actor_network_params.parameters(), lr=0.02)
    for temperature in schedule:
        loss.temperature = temperature
        optimizer.zero_grad()
        loss.actor_loss(one_state())[0].backward()
        optimizer.step()


def outcome(actor, policy):
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        data = policy(one_state())
    return actor(one_state())["means"].flatten().tolist(), data["action"].item()


def test_without_divergence_both_take_the_near_mode():
    actor, loss, policy = build(0.0)
    train(loss, [0.0] * 250)
    means, action = outcome(actor, policy)
    assert means == pytest.approx([mode(0.2, 1.0)] * 2, abs=1e-3)
    assert action in means


def test_divergence_finds_the_far_mode_and_the_choice_takes_it():
    actor, loss, policy = build(3.0)
    train(loss, [max(0.0, 3.0 * (1 - step / 100)) for step in range(400)])
    means, action = outcome(actor, policy)
    modes = [mode(-1.0, -0.2), mode(0.2, 1.0)]
    assert sorted(means) == pytest.approx(modes, abs=1e-3)
    assert action == pytest.approx(modes[0], abs=1e-3)


def test_the_target_takes_the_better_mode():
    actor, loss, _ = build(0.5)
    modes = torch.tensor([[mode(0.2, 1.0)], [mode(-1.0, -0.2)]], dtype=torch.float32)
    loss.policy_noise = 0.0
    targets = loss.target_actor_network_params.items(True, True)
    (bias,) = [value for key, value in targets if key[-1] == "bias"]
    bias.data.copy_(modes.atanh().unsqueeze(-1))
    done = torch.zeros(1, 1, dtype=torch.bool)
    following = {**one_state(), "reward": torch.zeros(1, 1), "done": done, "terminated": done}
    batch = one_state().update({"action": torch.zeros(1, 1), "next": following})
    best = TwoModes()(torch.zeros(1), modes[1]).detach()
    torch.testing.assert_close(loss(batch)["next_state_value"], best)
