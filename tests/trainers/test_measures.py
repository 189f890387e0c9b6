"""What a task asks to be measured on the stored transitions."""

import pytest
import torch
from tensordict import TensorDict

from torchrl_mixture.trainers import EnvConfig, OffPolicyConfig, replay_buffer
from torchrl_mixture.trainers.measures import task_measures


def stored(positions):
    positions = torch.tensor(positions)
    following = TensorDict({"observation": positions}, len(positions))
    buffer = replay_buffer(100, batch_size=1)
    # Where a transition began does not count: it was reached by the one before.
    buffer.extend(TensorDict({"observation": positions - 1, "next": following}, len(positions)))
    return buffer


def settings(name="MazeGrid", **kwargs):
    return OffPolicyConfig(env=EnvConfig(name=name, library="torchrl_mixture", **kwargs))


@pytest.mark.parametrize("name", ["MazeGrid", "MazeGrid-goal"])
def test_coverage_is_the_share_of_squares_that_were_reached(name):
    buffer = stored([[0.5, 0.5], [0.6, 0.5], [-4.5, 4.5], [2.5, -3.5]])
    assert task_measures(settings(name), buffer) == {"coverage": pytest.approx(0.03)}
    buffer.extend(stored([[1.5, 0.5]]).storage[:])
    assert task_measures(settings(name), buffer) == {"coverage": pytest.approx(0.04)}


def test_nothing_is_measured_elsewhere():
    buffer = stored([[0.5, 0.5]])
    assert task_measures(settings("MultiGoal"), buffer) == {}
    assert task_measures(OffPolicyConfig(), buffer) == {}
    assert task_measures(settings(), replay_buffer(10, batch_size=1)) == {}
    assert task_measures(settings(normalize_observations=True), buffer) == {}
