"""The acrobot: its steps against Gymnasium's, start, end, rewards and picture."""

import math

import classic_oracles as oracles
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from torchrl_mixture.envs.acrobot import Acrobot

BOX = np.array([math.pi, math.pi, 4 * math.pi, 9 * math.pi])


# From the greatest speeds a float32 step is off by up to 5e-3: it is more than 5 rad long, and the
# method magnifies rounding.
SPEEDS = {torch.float64: 1.0, torch.float32: 0.5}  # of the box


@pytest.fixture(scope="module")
def pairs():
    return {
        share: oracles.random_pairs(oracles.acrobot, BOX * [1, 1, share, share])
        for share in SPEEDS.values()
    }


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("shaped", [True, False])
def test_one_step_is_gymnasiums(pairs, shaped, dtype, tolerance):
    here = pairs[SPEEDS[dtype]]
    after, reward, terminated = oracles.transition(Acrobot(shaped, dtype=dtype), here)
    assert oracles.apart(after, here.outcome.state, angles=[0, 1]).max() <= tolerance
    margin = 1e-4 if dtype == torch.float32 else 0
    clear = np.abs(here.outcome.shaped_reward) >= margin
    assert (~clear).sum() <= 10
    assert np.array_equal(terminated.numpy()[clear], here.outcome.terminated[clear])
    assert terminated.sum() > 1000
    if shaped:
        assert (reward - torch.as_tensor(here.outcome.shaped_reward)).abs().max() <= tolerance
    else:
        assert np.array_equal(reward.numpy()[clear], here.outcome.reward[clear])
        assert set(reward.tolist()) == {-1.0, 0.0}


def test_speeds_are_clipped(pairs):
    here = pairs[SPEEDS[torch.float64]]
    after = oracles.transition(Acrobot(dtype=torch.float64), here)[0]
    for column in (2, 3):
        assert (after[:, column].abs() == BOX[column]).sum() > 500


def test_an_episode_is_gymnasiums(float64):
    """With torques that do not swing it over: where it goes round, rounding grows without end."""
    actions = np.random.default_rng(0).uniform(-1, 1, 1000)
    assert oracles.greatest_difference(Acrobot(), oracles.acrobot, actions, [0, 1]) <= 1e-8


def test_it_starts_hanging_at_rest_and_stays_without_a_torque():
    env = Acrobot(batch_size=[3])
    tensordict = env.reset()
    assert torch.equal(tensordict["observation"], torch.zeros(3, 4))
    for _ in range(20):
        tensordict = env.step(tensordict.set("action", torch.zeros(3, 1)))["next"]
    assert torch.equal(tensordict["observation"], torch.zeros(3, 4))


@pytest.mark.parametrize("shaped", [True, False])
def test_the_episode_ends_where_the_free_end_is_high_enough(shaped, float64):
    """Both links upright; the second level, at the goal's height; both level, lower."""
    env = Acrobot(shaped, batch_size=[4])
    up, level = math.pi, math.pi / 2
    angles = torch.tensor([[up, 0.0], [up, -level + 0.1], [up, -level - 0.1], [level, 0.0]])
    tensordict = env.begin_in(torch.cat((angles, torch.zeros(4, 2)), -1))
    after = env.step(tensordict.set("action", torch.zeros(4, 1)))["next"]
    assert after["terminated"][:, 0].tolist() == [True, True, False, False]
    assert after["done"].equal(after["terminated"]) and not after["truncated"].any()
    first, second = after["observation"][:, :2].unbind(-1)
    height = -first.cos() - (first + second).cos()
    expected = height - 1 if shaped else torch.tensor([0.0, 0.0, -1.0, -1.0])
    torch.testing.assert_close(after["reward"][:, 0], expected)


def test_the_shaped_reward_is_greatest_upright_and_least_hanging(float64):
    env = Acrobot(shaped=True, batch_size=[2])
    state = torch.tensor([[math.pi, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    reward = env.transition(state, torch.zeros(2, 1))[1]
    torch.testing.assert_close(reward, torch.tensor([1.0, -3.0]))


def test_no_state_of_the_box_leaves_it_in_float32():
    angles = torch.tensor([-math.pi, -3.141592, 0.0, 3.141592, math.pi])
    speeds = [torch.linspace(-bound, bound, 9) for bound in BOX[2:].tolist()]
    state = torch.cartesian_prod(angles, angles, *speeds)
    env = Acrobot(batch_size=[len(state)])
    for torque in (-1.0, 0.0, 1.0):
        after = env.transition(state, torch.full((len(state), 1), torque))[0]
        assert env.observation_spec["observation"].is_in(env.observe(after))


def test_the_picture_shows_both_links_and_the_goals_height():
    axes = Figure().add_subplot()
    Acrobot().draw(axes, torch.tensor([math.pi / 2, math.pi / 2, 0.0, 0.0]))
    links = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 3]
    np.testing.assert_allclose(links, [[[0, 0], [1, 0], [1, 1]]], atol=1e-6)
    assert any(set(line.get_ydata()) == {1.0} for line in axes.lines)
