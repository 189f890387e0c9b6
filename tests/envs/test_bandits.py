"""The bandits' rewards against their definitions, and their one step."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, stats

from torchrl_mixture.envs.bandit_rewards import (
    BIMODAL_CONSTANT,
    RandomRewards,
    bimodal_reward,
    continuous_bandit_reward,
)
from torchrl_mixture.envs.bandits import BimodalBandit, ContinuousBandit, RandomMultimodalBandit

BANDITS = {
    "bimodal": BimodalBandit,
    "bimodal, wide": lambda **options: BimodalBandit(bound=20.0, **options),
    "random": lambda **options: RandomMultimodalBandit(3, **options),
    "continuous": ContinuousBandit,
}
BOUNDS = {"bimodal": 3.0, "bimodal, wide": 20.0, "random": 3.0, "continuous": 1.0}


@pytest.fixture(scope="module")
def rewards():
    return RandomRewards.draw(num_bandits=100, seed=0, dtype=torch.float64)


def act(env, action):
    """Begin an episode and take one step of it."""
    return env.step(env.reset().set("action", torch.as_tensor(action)))["next"]


def reward_of(env, action):
    """What the environment says it pays."""
    return env.reward(env.state, torch.as_tensor(action))


# The bimodal bandit.


def bimodal_sum(action):
    return sum(stats.norm.pdf(action, mean, 0.5) for mean in (-1, 1))


def test_bimodal_constant_is_the_greatest_sum():
    best = optimize.minimize_scalar(
        lambda a: -bimodal_sum(a), bounds=(0.9, 1.1), method="bounded", options={"xatol": 1e-9}
    )
    assert pytest.approx(-best.fun, abs=1e-12) == BIMODAL_CONSTANT
    assert best.x == pytest.approx(0.99933, abs=1e-5)


def test_bimodal_reward_is_the_sum_of_two_normal_densities():
    action = torch.linspace(-5, 5, 101, dtype=torch.float64)
    expected = bimodal_sum(action.numpy()) / BIMODAL_CONSTANT
    np.testing.assert_allclose(bimodal_reward(action), expected, rtol=1e-12)
    assert float(bimodal_reward(torch.tensor(0.0))) == pytest.approx(0.2706, abs=5e-5)


# The random bandits.


def test_the_greatest_reward_of_a_random_bandit_is_one(rewards):
    """Every local peak of a grid is refined, so that none can be missed."""
    for bandit in range(100):
        peaks = stats.norm(rewards.means[bandit].numpy(), rewards.stds[bandit].numpy())
        grid = np.linspace(-3.2, 3.2, 4001)
        values = np.concatenate(
            [peaks.pdf(part[:, None]).sum(-1) for part in np.split(grid, [2000])]
        )
        maxima = 1 + np.flatnonzero((values[1:-1] >= values[:-2]) & (values[1:-1] >= values[2:]))
        found = []
        for index in maxima[values[maxima] > 0.999 * values.max()]:
            best = optimize.minimize_scalar(
                lambda a, peaks=peaks: -peaks.pdf(a).sum(),
                bounds=(grid[index - 1], grid[index + 1]),
                method="bounded",
                options={"xatol": 1e-10},
            )
            found.append(-best.fun)
        assert max(found) / float(rewards.scale[bandit]) == pytest.approx(1, abs=1e-9)


def test_of_two_peaks_of_nearly_the_same_height_the_higher_is_found(float64):
    """The second lies between the points of the grid, which favours the first."""
    stds = torch.tensor([[0.1, 0.1 * (1 - 1e-4)]])
    rewards = RandomRewards(torch.tensor([[0.0, 1.502]]), stds, torch.ones(1))
    assert float(rewards.peak()) * float(stds[0, 1]) == pytest.approx(
        1 / math.sqrt(2 * math.pi), rel=1e-10
    )


def test_random_reward_is_the_sum_of_its_normal_densities(rewards):
    action = torch.rand(7, 100, dtype=torch.float64) * 6 - 3
    means, stds, scale = (t.numpy() for t in (rewards.means, rewards.stds, rewards.scale))
    densities = stats.norm.pdf(action.numpy()[..., None], means, stds)
    np.testing.assert_allclose(rewards(action), densities.sum(-1) / scale, rtol=1e-12)


def test_means_and_stds_of_random_bandits_are_uniform(rewards):
    assert rewards.means.shape == rewards.stds.shape == (100, 30)
    for values, low, width in ((rewards.means, -3, 6), (rewards.stds, 0.1, 0.9)):
        assert stats.kstest(values.flatten(), stats.uniform(low, width).cdf).pvalue > 0.01
    unit = torch.stack([rewards.means.flatten(), rewards.stds.flatten()])
    assert abs(float(torch.corrcoef(unit)[0, 1])) < 0.05


@pytest.mark.parametrize("num_bandits", [1, 7])
def test_a_longer_family_begins_with_a_shorter_one(rewards, num_bandits):
    shorter = RandomRewards.draw(num_bandits, seed=0, dtype=torch.float64)
    assert torch.equal(shorter.means, rewards.means[:num_bandits])
    assert torch.equal(shorter.stds, rewards.stds[:num_bandits])
    torch.testing.assert_close(shorter.scale, rewards.scale[:num_bandits], rtol=1e-12, atol=0)


def test_a_seed_makes_the_family():
    first = RandomRewards.draw(2, seed=5)
    torch.rand(3)
    assert torch.equal(RandomRewards.draw(2, seed=5).means, first.means)
    assert not torch.equal(RandomRewards.draw(2, seed=6).means, first.means)


def test_each_copy_plays_its_own_bandit(rewards, float64):
    env = RandomMultimodalBandit([5, 0, 99], batch_size=[4, 3])
    action = torch.rand(4, 3) * 6 - 3
    expected = torch.stack(
        [
            RandomRewards(rewards.means[n, None], rewards.stds[n, None], rewards.scale[n])(
                a[:, None]
            )
            for n, a in zip([5, 0, 99], action.T, strict=True)
        ],
        1,
    )
    torch.testing.assert_close(act(env, action[..., None])["reward"], expected)


def test_all_copies_play_one_bandit(rewards, float64):
    env = RandomMultimodalBandit(42, batch_size=[5])
    action = torch.rand(5) * 6 - 3
    expected = rewards(action[:, None].expand(5, 100))[:, 42]
    torch.testing.assert_close(act(env, action[:, None])["reward"][:, 0], expected)


def test_by_default_a_hundred_bandits_and_the_environments_seed_changes_none():
    env = RandomMultimodalBandit()
    assert env.batch_size == (100,)
    before = reward_of(env, torch.zeros(100))
    env.set_seed(7)
    env.reset()
    assert torch.equal(reward_of(env, torch.zeros(100)), before)
    assert before.unique().numel() == 100
    other = RandomMultimodalBandit(seed=1)
    assert not torch.isclose(reward_of(other, torch.zeros(100)), before).any()


def test_a_bandit_of_the_family_does_not_depend_on_which_others_are_played(float64):
    alone = RandomMultimodalBandit(2, seed=3)
    among = RandomMultimodalBandit([8, 2], seed=3)
    action = torch.tensor(0.4)
    torch.testing.assert_close(reward_of(alone, action), reward_of(among, action.expand(2))[1])


# The continuous bandit.


def test_heights_of_the_continuous_bandit(float64):
    action = torch.linspace(-1, 1, 20_001)
    reward = continuous_bandit_reward(action)
    assert float(reward.max()) == pytest.approx(1.1)
    assert float(action[reward.argmax()]) == pytest.approx(-0.6)
    right = action > 0
    assert float(reward[right].max()) == pytest.approx(0.5, abs=1e-6)
    assert float(action[right][reward[right].argmax()]) == pytest.approx(0.875, abs=2e-4)


def test_the_continuous_bandit_falls_off_a_cliff(float64):
    edge = torch.tensor([0.875 - 1e-9, 0.875, 1.0])
    torch.testing.assert_close(continuous_bandit_reward(edge), torch.tensor([0.5, 0.0, 0.0]))


def test_widths_and_areas_of_the_continuous_bandit(float64):
    def reward(action):
        return float(continuous_bandit_reward(torch.tensor(action)))

    half = math.sqrt(1.1 / 18) / 2
    assert half == pytest.approx(0.1236, abs=5e-5)
    for side in (-1, 1):
        assert reward(-0.6 + side * 0.999 * half) > 0
        assert reward(-0.6 + side * 1.001 * half) == 0
    assert reward(-0.126) == 0 and reward(-0.124) > 0
    left = integrate.quad(reward, -1, -0.3, points=[-0.6 - half, -0.6 + half])[0]
    right = integrate.quad(reward, -0.3, 1, points=[-0.125, 0.875])[0]
    assert left == pytest.approx(0.1813, abs=5e-5)
    assert right == pytest.approx(1 / 3, abs=1e-6)


# The environments.


@pytest.mark.parametrize("name", BANDITS)
@pytest.mark.parametrize("batch_size", [[], [4], [2, 3]], ids=str)
def test_an_episode_is_one_step_and_terminates(name, batch_size):
    env = BANDITS[name](batch_size=batch_size)
    first = env.reset()
    assert first["observation"].shape == (*batch_size, 1)
    after = act(env, env.action_spec.rand())
    assert after["terminated"].all() and after["done"].all() and not after["truncated"].any()
    for observation in (first["observation"], after["observation"]):
        assert (observation == 1).all() and env.observation_spec["observation"].is_in(observation)
    assert env.rollout(5).batch_size == (*batch_size, 1)


@pytest.mark.parametrize("name", BANDITS)
def test_the_reward_is_the_function_of_the_action(name, float64):
    env = BANDITS[name](batch_size=[50])
    assert env.action_spec.low.unique().tolist() == [-BOUNDS[name]]
    assert env.action_spec.high.unique().tolist() == [BOUNDS[name]]
    functions = {
        "random": lambda a: RandomRewards.draw(4, seed=0)(a[:, None].expand(-1, 4))[:, 3],
        "continuous": continuous_bandit_reward,
    }
    action = torch.linspace(-BOUNDS[name], BOUNDS[name], 50)
    reward = act(env, action[:, None])["reward"]
    assert reward.shape == (50, 1)
    torch.testing.assert_close(reward[:, 0], functions.get(name, bimodal_reward)(action))


@pytest.mark.parametrize("name", BANDITS)
def test_an_action_outside_the_box_is_clipped(name):
    env = BANDITS[name](batch_size=[2])
    bound = BOUNDS[name]
    outside = act(env, [[-bound - 2], [bound + 2]])["reward"]
    assert torch.equal(outside, act(env, [[-bound], [bound]])["reward"])


@pytest.mark.parametrize("name", BANDITS)
def test_bad_actions_are_refused(name):
    env = BANDITS[name](batch_size=[2])
    with pytest.raises(ValueError, match="action must be finite, got nan"):
        act(env, [[0.0], [math.nan]])
    with pytest.raises(ValueError, match=r"action must have shape \[2, 1\], got \[2, 3\]"):
        act(env, torch.zeros(2, 3))


@pytest.mark.parametrize("bound", [0.0, -1.0, math.inf, math.nan])
def test_a_bad_bound_is_refused(bound):
    with pytest.raises(ValueError, match="bound must be positive and finite, got"):
        BimodalBandit(bound)


@pytest.mark.parametrize("bandits", [-1, [3, -2], []])
def test_bad_bandits_are_refused(bandits):
    with pytest.raises(ValueError, match="bandits must be numbers from 0 on, got"):
        RandomMultimodalBandit(bandits)


@pytest.mark.parametrize("batch_size", [[], [3], [2, 3]], ids=str)
def test_a_batch_that_does_not_fit_the_bandits_is_refused(batch_size):
    with pytest.raises(ValueError, match="must end with the number of bandits, 2, got"):
        RandomMultimodalBandit([0, 1], batch_size=batch_size)


@pytest.mark.parametrize("name", BANDITS)
def test_the_picture_is_the_reward_over_the_box(name, float64):
    from matplotlib.figure import Figure

    env = BANDITS[name](batch_size=[2])
    axes = Figure().add_subplot()
    env.plot(axes, 1)
    action, reward = (torch.as_tensor(data) for data in axes.lines[0].get_data())
    assert [float(action[0]), float(action[-1])] == [-BOUNDS[name], BOUNDS[name]]
    torch.testing.assert_close(reward, env.reward(env.state[1].expand(len(action), 1), action))


def test_the_picture_is_of_the_bandit_that_the_copy_plays(float64):
    from matplotlib.figure import Figure

    env = RandomMultimodalBandit([1, 6])
    for copy, number in enumerate([1, 6]):
        alone = RandomMultimodalBandit(number)
        curves = []
        for bandit, index in ((env, copy), (alone, ())):
            axes = Figure().add_subplot()
            bandit.plot(axes, index)
            curves.append(torch.as_tensor(axes.lines[0].get_ydata()))
        torch.testing.assert_close(*curves)
