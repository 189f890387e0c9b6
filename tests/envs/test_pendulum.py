"""The pendulums: their steps against Gymnasium's and scalars, starts, rewards and pictures."""

import math

import classic_oracles as oracles
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scipy import stats

from torchrl_mixture.envs.pendulum import AnglePendulum, Pendulum, wrap_angle

each_precision = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)]
)


@pytest.fixture(scope="module")
def pairs():
    return oracles.random_pairs(oracles.pendulum, [math.pi, 8.0], torque=2.0)


@pytest.fixture(scope="module")
def angle_pairs():
    return oracles.random_pairs(oracles.angle_pendulum, [math.pi, 8.0], torque=2.0)


# Steps.


@each_precision
@pytest.mark.parametrize("shaped", [True, False])
def test_one_step_is_gymnasiums(pairs, shaped, dtype, tolerance):
    env = Pendulum(shaped, dtype=dtype)
    after, reward, terminated = oracles.transition(env, pairs)
    assert oracles.apart(after, pairs.outcome.state, angles=[0]).max() <= tolerance
    assert (after[:, 1].abs() == 8).sum() > 200
    assert not terminated.any()
    if shaped:
        expected = pairs.outcome.shaped_reward
        assert (reward - torch.as_tensor(expected)).abs().max() <= tolerance
        return
    margin = 1e-4 if dtype == torch.float32 else 0
    clear = np.abs(np.abs(pairs.state[:, 0]) - 0.25) >= margin
    assert (~clear).sum() <= 10
    assert np.array_equal(reward.numpy()[clear], pairs.outcome.reward[clear])
    assert 500 < reward.sum() < 1500


@each_precision
def test_one_step_of_the_angle_pendulum_is_that_of_scalars(angle_pairs, dtype, tolerance):
    after, reward, terminated = oracles.transition(AnglePendulum(dtype=dtype), angle_pairs)
    assert oracles.apart(after, angle_pairs.outcome.state, angles=[0]).max() <= tolerance
    assert (reward - torch.as_tensor(angle_pairs.outcome.reward)).abs().max() <= tolerance
    assert (after[:, 1].abs() == 8).sum() > 200
    assert not terminated.any()


def test_an_episode_is_gymnasiums(float64):
    actions = np.random.default_rng(1).uniform(-2, 2, 200)
    assert oracles.greatest_difference(Pendulum(), oracles.pendulum, actions, [0]) <= 1e-8


def test_an_episode_of_the_angle_pendulum_is_that_of_scalars(float64):
    """It goes over the top only near the end: where it lingers there, rounding grows past 1e-8."""
    actions = np.random.default_rng(1).uniform(-2, 2, 1000)
    env = AnglePendulum()
    assert oracles.greatest_difference(env, oracles.angle_pendulum, actions, [0]) <= 1e-8


def test_the_velocity_is_clipped_before_or_after_the_angle_has_moved_by_it(float64):
    state, action = torch.tensor([math.pi / 2, 8.0]), torch.tensor([2.0])
    for env, moved in ((Pendulum(), 0.4), (AnglePendulum(), 0.4 + 0.05**2 * 21)):
        after = env.transition(state, action)[0]
        torch.testing.assert_close(after, torch.tensor([math.pi / 2 + moved, 8.0]))


def test_the_unshaped_reward_is_of_the_angle_that_the_action_is_taken_from():
    env = Pendulum()
    state = torch.tensor([[0.24, 8.0], [0.26, -8.0], [-0.24, -8.0], [-0.26, 8.0], [math.pi, 0.0]])
    after, reward, _ = env.transition(state, torch.zeros(5, 1))
    assert reward.tolist() == [1, 0, 1, 0, 0]
    assert (after[:4, 0].abs() < 0.25).tolist() == [False, True, False, True]


@pytest.mark.parametrize("shaped", [True, False])
def test_the_reward_of_an_angle_of_several_turns_is_that_of_the_same_direction(shaped, float64):
    env, action = Pendulum(shaped), torch.zeros(1)
    near = env.transition(torch.tensor([0.1, 1.0]), action)
    far = env.transition(torch.tensor([0.1 - 6 * math.pi, 1.0]), action)
    torch.testing.assert_close(far, near)


# Angles.


def near(angle):
    """Floating-point numbers around some, three to either side."""
    above = below = angle
    found = [angle]
    for _ in range(3):
        above = torch.nextafter(above, torch.full_like(above, 100))
        below = torch.nextafter(below, torch.full_like(below, -100))
        found += [above, below]
    return torch.cat(found)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_wrapped_angles_stay_in_the_box_whatever_is_rounded(dtype):
    odd = near((torch.arange(-9, 10, 2) * torch.pi).to(dtype))
    zero = near(torch.zeros(1, dtype=dtype))
    angle = torch.cat((odd, zero, torch.linspace(-30, 30, 10_001).to(dtype)))
    wrapped = wrap_angle(angle)
    assert wrapped.abs().max() <= torch.tensor(torch.pi).to(dtype)
    turns = (angle.double() - wrapped.double()) / (2 * torch.pi)
    assert (turns - turns.round()).abs().max() < 10 * torch.finfo(dtype).eps


def test_an_angle_that_is_inside_keeps_its_place(float64):
    angle = torch.linspace(-math.pi, math.pi, 1001)[1:-1]
    torch.testing.assert_close(wrap_angle(angle), angle, rtol=0, atol=1e-15)


@pytest.mark.parametrize("task", [Pendulum, AnglePendulum])
def test_at_the_bottom_the_observation_stays_in_the_box_in_float32(task):
    """Float32's pi is greater than pi."""
    angle = near(torch.tensor([-math.pi, math.pi]))
    state = torch.cartesian_prod(angle, torch.tensor([-8.0, -1e-6, 0.0, 1e-6, 8.0]))
    env = task(batch_size=[len(state)])
    after = env.transition(state, torch.zeros(len(state), 1))[0]
    assert (after[:, 0].abs() <= torch.tensor(math.pi)).all()
    assert env.observation_spec["observation"].is_in(env.observe(after))


# Starts and observations.


def test_the_start_is_uniform():
    env = Pendulum(batch_size=[5000], dtype=torch.float64)
    env.set_seed(0)
    env.reset()
    angle, velocity = env.state.unbind(-1)
    assert stats.kstest(angle.numpy(), stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 0.01
    assert stats.kstest(velocity.numpy(), stats.uniform(-1, 2).cdf).pvalue > 0.01
    assert abs(float(torch.corrcoef(env.state.T)[0, 1])) < 0.05


def test_the_observation_is_the_direction_and_the_velocity(float64):
    env = Pendulum(batch_size=[3])
    state = torch.tensor([[0.0, 0.5], [math.pi / 2, -1.0], [2.0, 8.0]])
    expected = [[1, 0, 0.5], [0, 1, -1], [math.cos(2), math.sin(2), 8]]
    torch.testing.assert_close(env.begin_in(state)["observation"], torch.tensor(expected))


def test_the_angle_pendulum_starts_hanging_and_shows_its_state(float64):
    env = AnglePendulum(batch_size=[2])
    assert env.reset()["observation"].tolist() == [[-math.pi, 0], [-math.pi, 0]]
    assert torch.equal(env.observe(env.state), env.state)
    assert env.rollout(50)["next", "reward"].min() >= -1


# Pictures.


@pytest.mark.parametrize(
    ("task", "options", "cones"),
    [(Pendulum, {}, 1), (Pendulum, {"shaped": True}, 0), (AnglePendulum, {}, 0)],
)
def test_the_picture_shows_the_rod_and_the_cone_that_pays(task, options, cones):
    axes = Figure().add_subplot()
    task(**options).draw(axes, torch.tensor([math.pi / 6, 0.0]))
    rods = [line.get_xydata().tolist() for line in axes.lines if line.get_linewidth() > 5]
    np.testing.assert_allclose(rods, [[[0, 0], [-0.5, math.sqrt(0.75)]]], atol=1e-6)
    assert len(axes.patches) == cones
    for wedge in axes.patches:
        half = math.degrees(0.25)
        assert (wedge.theta1, wedge.theta2) == pytest.approx((90 - half, 90 + half))
