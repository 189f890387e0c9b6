"""Where hand-made policies go, which goals that are, and values of critics that are known."""

import pytest
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.modules import ValueOperator

from torchrl_mixture.envs import MultiGoal
from torchrl_mixture.modules import mixture_actor
from torchrl_mixture.objectives import MixtureSACLoss
from torchrl_mixture.studies import (
    action_grid,
    action_values,
    distinct_goals,
    frequent_goals,
    goal_counts,
    goal_of_policy,
    play_paths,
)

EAST, WEST, NORTH = (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0)


def walker(directions):
    """A policy of which each copy goes its own way."""
    actions = torch.tensor(directions)
    return TensorDictModule(lambda position: actions.clone(), ["observation"], ["action"])


def test_paths_of_straight_walks():
    env = MultiGoal(batch_size=[3], init_sigma=0.0)
    positions, goals = play_paths(env, walker([EAST, (0.0, 0.5), (0.0, 0.0)]))
    # A goal is at 5 and reached at a distance below 1: 4 is too far, 4.5 is not.
    assert goals.tolist() == [0, 2, -1] and goals.dtype == torch.int64
    assert positions.shape == (3, 31, 2)
    assert positions[0, :6].tolist() == [[float(x), 0.0] for x in range(6)]
    assert positions[1, :10].tolist() == [[0.0, y / 2] for y in range(10)]
    assert positions[0, 6:].isnan().all() and positions[1, 10:].isnan().all()
    assert (positions[2] == 0).all()


def test_the_longest_episode_is_the_last_position():
    env = MultiGoal(batch_size=[2], init_sigma=0.0)
    positions, goals = play_paths(env, walker([WEST, NORTH]))
    assert positions.shape == (2, 6, 2) and not positions.isnan().any()
    assert goals.tolist() == [1, 2]


def test_a_copys_second_episode_does_not_count():
    env, steps = MultiGoal(batch_size=[2], init_sigma=0.0), [0]

    def turn(position):
        steps[0] += 1
        first = EAST if steps[0] <= 5 else WEST
        return torch.tensor([first, (0.0, 0.0)])

    positions, goals = play_paths(env, TensorDictModule(turn, ["observation"], ["action"]))
    assert goals.tolist() == [0, -1]
    assert positions[0, 6:].isnan().all()


def test_a_goal_that_is_reached_with_the_last_step_counts():
    env = MultiGoal(batch_size=[2], init_sigma=0.0, max_steps=5)
    _, goals = play_paths(env, walker([EAST, (0.79, 0.0)]))
    assert goals.tolist() == [0, -1]


def test_paths_begin_at_the_start_and_follow_the_callers_exploration():
    env = MultiGoal(batch_size=[4])
    actor = mixture_actor(env.action_spec, 2, observation_spec=env.observation_spec)

    def positions(way):
        env.set_seed(3)
        with set_exploration_type(way):
            return play_paths(env, actor).positions

    env.set_seed(3)
    start = env.reset()["observation"]
    first, second = (positions(ExplorationType.DETERMINISTIC) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(first[:, 0], start, rtol=0, atol=0)
    one, two = (positions(ExplorationType.RANDOM) for _ in range(2))
    assert not torch.equal(one[:, 1], two[:, 1])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, r"shape \[\] and max_steps=30"),
        ({"batch_size": [2], "max_steps": None}, r"\[2\] and max_steps=None"),
        ({"batch_size": [2, 2]}, r"shape \[2, 2\]"),
    ],
)
def test_refused_tasks(options, told):
    with pytest.raises(ValueError, match=r"env must have .* \[N\] and a limit of steps.*" + told):
        play_paths(MultiGoal(**options), walker([EAST]))


@pytest.mark.parametrize(
    ("goals", "expected"),
    [
        ([3, 3, 1], 3),
        ([3, 1, 1, 3, 0], 1),  # of equals the lower
        ([-1, 2, 2, -1], -1),  # none is the lowest
        ([-1, 2, 2], 2),
        ([-1, -1, -1, 0, 0, 1, 1], -1),
    ],
)
def test_goal_of_a_policy(goals, expected):
    assert goal_of_policy(torch.tensor(goals)) == expected


def test_counts_and_distinct_goals():
    goals = torch.tensor([0, 3, 3, -1, -1, -1])
    assert goal_counts(goals, 4).tolist() == [1, 0, 0, 2, 3]
    assert goal_counts(torch.tensor([-1]), 2).tolist() == [0, 0, 1]
    policies = [torch.tensor(one) for one in ([2, 2, 0], [2, 2], [-1, -1, 1], [0, 0, 3])]
    assert distinct_goals(policies) == [0, 2]


def test_frequent_goals_have_the_share_at_least():
    goals = torch.tensor([1] * 10 + [3] * 9 + [0] * 70 + [-1] * 11)
    assert frequent_goals(goals) == [0, 1]
    assert frequent_goals(goals, share=0.5) == [0]
    assert frequent_goals(torch.tensor([-1] * 5)) == []
    # 7 of 100 are 7 %, though 0.07 * 100 is above 7 in float64.
    assert frequent_goals(torch.tensor([2] * 7 + [-1] * 93), share=0.07) == [2]


class Joined(nn.Module):
    """A network of several inputs."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, *inputs):
        return self.net(torch.cat(inputs, -1))


@pytest.mark.parametrize("latent", [None, 1])
def test_values_are_the_least_of_the_critics(latent):
    weights = torch.tensor([[1.0, 2.0, 3.0, -1.0, 10.0, 20.0], [2.0, -1.0, 0.5, 4.0, 30.0, 5.0]])
    keys = ["observation", "action"] + (["latent"] if latent is not None else [])
    weights = weights[:, : 4 if latent is None else 6]
    env = MultiGoal()
    actor = mixture_actor(env.action_spec, 2, observation_spec=env.observation_spec)
    critics = [ValueOperator(Joined(nn.Linear(len(w), 1, bias=False)), keys) for w in weights]
    for one, its in zip(critics, weights, strict=True):
        one.module.net.weight.data = its[None]
    loss = MixtureSACLoss(actor, critics)
    states, actions = torch.tensor([[-2.5, 0.0], [0.0, 0.5]]), action_grid(3)
    z = None if latent is None else torch.eye(2)[latent]
    values = action_values(loss, states, actions, z)
    assert values.shape == (2, 3, 3) and not values.requires_grad
    for state in range(2):
        for row, second in enumerate((-1.0, 0.0, 1.0)):
            for column, first in enumerate((-1.0, 0.0, 1.0)):
                inputs = [*states[state].tolist(), first, second]
                inputs += [] if z is None else [0.0, 1.0]
                by_hand = (weights * torch.tensor(inputs)).sum(-1).min()
                assert values[state, row, column] == pytest.approx(by_hand.item(), abs=1e-5)
