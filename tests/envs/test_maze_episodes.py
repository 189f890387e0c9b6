"""The maze: its episodes, goal, observations, coverage and picture."""

import math

import maze_oracle as oracle
import pytest
import torch

from torchrl_mixture.envs.maze_coverage import Coverage, visited_squares
from torchrl_mixture.envs.maze_grid import MazeGrid, cell_centre


def test_every_episode_begins_in_the_middle():
    assert (MazeGrid(batch_size=[50]).reset()["observation"] == 0).all()


def test_actions_are_clipped():
    env = MazeGrid(dtype=torch.float64)
    action = torch.tensor([3.0, -0.5], dtype=torch.float64)
    after = env.step(env.reset().set("action", action))["next", "observation"]
    assert after.tolist() == [0.25, -0.125]


def test_without_a_goal_there_is_no_reward_and_only_the_limit_ends_an_episode():
    data = MazeGrid(batch_size=[100]).rollout(60, break_when_any_done=False)["next"]
    assert (data["reward"] == 0).all()
    assert not data["terminated"].any()
    assert data["truncated"].squeeze(-1).any(0).nonzero().squeeze(-1).tolist() == [49]


@pytest.mark.parametrize(("cell", "radius"), [((4, 4), 0.5), ((0, 0), 0.25), ((3, 1), 1.0)])
def test_goal_pays_one_and_ends_the_episode_on_arrival(cell, radius):
    env = MazeGrid(cell, goal_radius=radius, dtype=torch.float64)
    tensordict, distance = env.reset(), math.inf
    path = oracle.shortest_path((2, 2), cell)
    for (i, j), (i_next, j_next) in zip(path, path[1:], strict=False):
        action = torch.tensor([i_next - i, j_next - j], dtype=torch.float64)
        for _ in range(8):
            tensordict = env.step(tensordict.set("action", action))["next"]
            distance = math.dist(tensordict["observation"].tolist(), cell_centre(cell))
            expected = distance < radius  # a multiple of 1/4: at the radius itself not yet
            assert tensordict["terminated"].item() is expected
            assert tensordict["reward"].item() == expected
            if expected:
                assert distance == radius - 0.25
                return
    pytest.fail("the goal was not reached")


def test_goal_does_not_reach_through_walls():
    env = MazeGrid((4, 4), goal_radius=1.0)
    beside = torch.tensor([[2.99, 4.0], [4.5, 2.99], [2.99, 2.99]])
    _, reward, terminated = env.transition(beside, torch.zeros(3, 2))
    assert not reward.any()
    assert not terminated.any()


@pytest.mark.parametrize("cell", [(5, 0), (0, -1), (2, 2), (0.5, 1)])
def test_goal_in_no_cell_or_at_the_start_is_refused(cell):
    with pytest.raises(ValueError, match=r"goal_cell must be None or two integers from 0 to 4"):
        MazeGrid(cell)


@pytest.mark.parametrize("radius", [0.0, -1.0, 1.5, math.nan])
def test_goal_radius_out_of_range_is_refused(radius):
    with pytest.raises(ValueError, match="goal_radius must be greater than 0 and at most 1, got"):
        MazeGrid((4, 4), goal_radius=radius)


# Observations.


def test_long_observation_is_that_of_the_formula():
    env = MazeGrid(fourier=True, dtype=torch.float64)
    x, y = 1.3, -4.1
    waves = [wave(2**k * z / 5) for k in range(6) for wave in (math.sin, math.cos) for z in (x, y)]
    expected = [x / 100, y / 100, x / 5, y / 5, *waves]
    observed = env.observe(torch.tensor([x, y], dtype=torch.float64))
    assert observed.tolist() == pytest.approx(expected, abs=1e-14)
    assert env.observation_spec["observation"].shape == (28,)


@pytest.mark.parametrize("fourier", [False, True])
def test_observations_lie_in_their_spec_also_in_the_corners(fourier):
    env = MazeGrid(fourier=fourier, batch_size=[4])
    corners = torch.tensor([[-5.0, -5.0], [5.0, 5.0], [-5.0, 5.0], [5.0, -5.0]])
    tensordict = env.begin_in(0.99 * corners)
    for _ in range(50):
        tensordict = env.step(tensordict.set("action", corners))["next"]
        assert env.observation_spec["observation"].is_in(tensordict["observation"])
    assert (env.state.abs() > 4.9999).all()


# Coverage.


def test_coverage_is_that_of_a_set():
    positions = 10 * torch.rand(40, 5, 2) - 5
    seen, coverage = set(), Coverage()
    for batch in positions:
        seen |= {(math.floor(x) + 5, math.floor(y) + 5) for x, y in batch.tolist()}
        assert coverage.update(batch).item() == pytest.approx(len(seen) / 100)
    assert {tuple(square) for square in coverage.visited.nonzero().tolist()} == seen
    assert visited_squares(positions).equal(coverage.visited)
    assert 0.5 < len(seen) / 100 < 1


def test_borders_the_outside_and_nan_cover_nothing():
    odd = [[1.0, 0.5], [0.5, -2.0], [0.0, 0.0], [5.5, 0.5], [0.5, -5.1], [math.nan, 0.5]]
    assert not visited_squares(torch.tensor(odd)).any()


def test_whole_maze_covered_is_one():
    line = torch.arange(-5, 5) + 0.5
    assert Coverage().update(torch.cartesian_prod(line, line)) == 1


# The picture.


@pytest.mark.parametrize("goal_cell", [None, (0, 4)])
def test_picture_has_walls_doors_goal_and_position(goal_cell):
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    MazeGrid(goal_cell).draw(axes, torch.tensor([0.5, -1.5]))
    *walls, position = [line.get_xydata() for line in axes.lines]
    assert position.tolist() == [[0.5, -1.5]]
    length = sum(math.dist(*wall) for wall in walls)
    assert length == pytest.approx(40 + 80 - 24 * 0.4)
    assert [circle.center for circle in axes.patches] == ([(-4.0, 4.0)] if goal_cell else [])
