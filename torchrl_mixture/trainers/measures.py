"""What a task asks to be measured besides returns."""

from __future__ import annotations

from tensordict import TensorDictBase
from torchrl.data import ReplayBuffer

from torchrl_mixture.envs.maze_coverage import visited_squares
from torchrl_mixture.trainers.settings import OffPolicyConfig


def task_measures(config: OffPolicyConfig, buffer: ReplayBuffer) -> dict[str, float]:
    """Measure what was collected so far, in a way of the task's own.

    For ``MazeGrid`` and ``MazeGrid-goal`` this is ``coverage``, the share of the maze's squares
    that the stored transitions reached. It is that of the whole run as long as the buffer is not
    full.

    Arguments:
        config: the settings.
        buffer: every transition that is kept.

    Returns:
        columns of a row; none for other tasks.

    Source:
        Huang et al. (2023), figure 5.

    Example:
        >>> from torchrl_mixture.trainers import replay_buffer
        >>> task_measures(OffPolicyConfig(), replay_buffer(10, batch_size=1))
        {}
    """
    in_maze = config.env.library == "torchrl_mixture" and config.env.name.startswith("MazeGrid")
    if not in_maze or config.env.normalize_observations or not len(buffer):
        return {}
    transitions: TensorDictBase = buffer.storage[:]
    return {"coverage": visited_squares(transitions["next", "observation"]).float().mean().item()}
