"""The mountain car: its steps against Gymnasium's, start, end, rewards and picture."""

import classic_oracles as oracles
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scipy import stats

from torchrl_mixture.envs.mountain_car import MountainCar

ORACLES = {"continuous": oracles.continuous_car, "discrete": oracles.discrete_car}
GOALS = {"continuous": 0.45, "discrete": 0.5}
LOW, HIGH = [-1.2, -0.07], [0.6, 0.07]
each_dynamics = pytest.mark.parametrize("dynamics", ORACLES)
each_task = pytest.mark.parametrize("shaped", [True, False])


@pytest.fixture(scope="module")
def pairs():
    return {name: oracles.random_pairs(step, HIGH, low=LOW) for name, step in ORACLES.items()}


def far_from_thresholds(after, goal):
    """Not about to reach the wall or the goal, or to turn round at the goal."""
    position, velocity = after.unbind(-1)
    wall = (position + 1.2).abs()
    turns = (velocity.abs() < 1e-4) & (position > goal - 1e-4)
    return ~(((wall > 1e-6) & (wall < 1e-4)) | ((position - goal).abs() < 1e-4) | turns)


@each_dynamics
@each_task
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_one_step_is_gymnasiums(pairs, dynamics, shaped, dtype, tolerance):
    here = pairs[dynamics]
    after, reward, terminated = oracles.transition(
        MountainCar(shaped, dynamics, dtype=dtype), here
    )
    theirs = torch.as_tensor(here.outcome.state)
    clear = torch.ones(len(after), dtype=torch.bool)
    if dtype == torch.float32:
        goal = GOALS[dynamics]
        clear = far_from_thresholds(after, goal) & far_from_thresholds(theirs, goal)
        assert (~clear).sum() <= 20
    assert (after - theirs)[clear].abs().max() <= tolerance
    assert np.array_equal(terminated[clear], here.outcome.terminated[clear])
    expected = here.outcome.shaped_reward if shaped else here.outcome.reward
    assert (reward - torch.as_tensor(expected)).abs().max() <= tolerance
    at_wall = (theirs == torch.tensor([-1.2, 0.0], dtype=torch.float64)).all(-1)
    assert terminated.sum() > 300 and at_wall.sum() > 50
    assert (theirs[:, 1].abs() == 0.07).sum() > 50


@pytest.mark.parametrize(("dynamics", "frequency"), [("continuous", 0.02), ("discrete", 0.05)])
def test_an_episode_is_gymnasiums(dynamics, frequency, float64):
    """Forces that swing the car to both ends, and are greater than the box at times."""
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 1000)
    actions = 4 * np.sin(frequency * np.arange(1000)) + noise
    env, step = MountainCar(dynamics=dynamics), ORACLES[dynamics]
    env.set_seed(0)
    assert oracles.greatest_difference(env, step, actions) <= 1e-8


@each_dynamics
@each_task
def test_the_episode_ends_at_the_goal_unless_the_car_rolls_back(dynamics, shaped, float64):
    goal = GOALS[dynamics]
    env = MountainCar(shaped, dynamics, batch_size=[4])
    start = [[goal - 0.01, 0.02], [goal + 0.05, -0.02], [goal - 0.05, 0.02], [0.6, 0.0]]
    tensordict = env.begin_in(torch.tensor(start))
    after = env.step(tensordict.set("action", torch.ones(4, 1)))["next"]
    assert after["terminated"][:, 0].tolist() == [True, False, False, True]
    assert after["done"].equal(after["terminated"]) and not after["truncated"].any()
    position = after["observation"][:, 0]
    expected = position - 0.6 if shaped else -torch.ones(4)
    torch.testing.assert_close(after["reward"][:, 0], expected)


def test_the_ends_stop_the_car(float64):
    """The left one takes its speed as well, unless that is away from it."""
    state = torch.tensor([[-1.19, -0.07], [0.59, 0.07], [-1.2, 0.0], [-1.4, 0.07]])
    after = MountainCar().transition(state, torch.tensor([[-1.0], [1.0], [-1.0], [1.0]]))[0]
    assert after[0].tolist() == [-1.2, 0.0]
    assert after[1].tolist() == [0.6, 0.07]
    assert after[2, 0] > -1.2 and after[2, 1] > 0
    assert after[3].tolist() == [-1.2, 0.07]


@each_dynamics
def test_no_constant_force_takes_the_car_out_of_the_valley_and_swinging_does(dynamics):
    env = MountainCar(dynamics=dynamics)
    pushed = swung = torch.tensor([-0.5, 0.0])
    ends = []
    for _ in range(300):
        pushed, _, reached = env.transition(pushed, torch.ones(1))
        assert not reached
        swung, _, reached = env.transition(swung, torch.where(swung[1:] < 0, -1.0, 1.0))
        ends.append(bool(reached))
    assert any(ends)


def test_the_start_is_uniform_and_at_rest():
    env = MountainCar(batch_size=[5000], dtype=torch.float64)
    env.set_seed(0)
    position, velocity = env.reset()["observation"].unbind(-1)
    assert stats.kstest(position.numpy(), stats.uniform(-0.6, 0.2).cdf).pvalue > 0.01
    assert (velocity == 0).all()


def test_unknown_dynamics_are_refused():
    message = r"dynamics must be one of \['continuous', 'discrete'\], got 'x'\."
    with pytest.raises(ValueError, match=message):
        MountainCar(dynamics="x")


@each_dynamics
def test_the_picture_shows_the_car_on_the_hill_and_the_flag(dynamics):
    axes = Figure().add_subplot()
    MountainCar(dynamics=dynamics).draw(axes, torch.tensor([-0.2, 0.0]))
    hill, pole = (line.get_xydata() for line in axes.lines)
    assert pole[:, 0].tolist() == [GOALS[dynamics]] * 2
    on_hill = np.interp(-0.2, *hill.T)
    rectangle = axes.patches[-1]
    middle = rectangle.get_patch_transform().transform((0.5, 0.0))
    assert np.hypot(*(middle - [-0.2, on_hill])) < 0.02
    slope = np.gradient(hill[:, 1], hill[:, 0])[np.abs(hill[:, 0] + 0.2).argmin()]
    assert np.tan(np.radians(rectangle.angle)) == pytest.approx(slope, abs=0.02)
