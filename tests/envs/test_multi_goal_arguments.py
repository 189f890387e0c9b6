"""What MultiGoal is built with, and paths that reach no goal."""

import math

import pytest
import torch
from matplotlib.figure import Figure

from torchrl_mixture.envs.multi_goal import MultiGoal, plot_trajectories


def test_goals_are_exact_in_float64():
    env = MultiGoal("two", dtype=torch.float64)
    assert env.goals.tolist() == [[-3.4, -3.4], [3.5, 3.5]]
    assert MultiGoal([[0.1, 0.2]], dtype=torch.float64).goals.tolist() == [[0.1, 0.2]]


def test_paths_to_no_goal_are_grey():
    axes = Figure().add_subplot()
    plot_trajectories(axes, torch.zeros(2, 3, 2), torch.tensor([-1, 2]))
    assert [line.get_color() for line in axes.lines] == ["gray", "C2"]


@pytest.mark.parametrize("sigma", [-0.1, math.nan, math.inf])
def test_bad_spread_of_the_start_is_refused(sigma):
    with pytest.raises(ValueError, match="init_sigma must be at least 0 and finite, got"):
        MultiGoal(init_sigma=sigma)
