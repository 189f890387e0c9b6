"""The papers' tasks: tensor environments, and wrappers over Gymnasium's.

Recipes take them by name, with ``env.library=torchrl_mixture``: see ``TENSOR_TASKS`` and
``GYMNASIUM_TASKS``.
"""

from torchrl_mixture.envs.acrobot import Acrobot
from torchrl_mixture.envs.bandit_rewards import (
    RandomRewards,
    bimodal_reward,
    continuous_bandit_reward,
)
from torchrl_mixture.envs.bandits import (
    Bandit,
    BimodalBandit,
    ContinuousBandit,
    RandomMultimodalBandit,
)
from torchrl_mixture.envs.base import TensorEnv
from torchrl_mixture.envs.maze_coverage import Coverage, visited_squares
from torchrl_mixture.envs.maze_grid import MazeGrid, maze_distances
from torchrl_mixture.envs.mountain_car import MountainCar
from torchrl_mixture.envs.multi_direction_ant import MultiDirectionAnt
from torchrl_mixture.envs.multi_goal import MultiGoal, plot_trajectories
from torchrl_mixture.envs.pendulum import AnglePendulum, Pendulum
from torchrl_mixture.envs.registry import GYMNASIUM_TASKS, TENSOR_TASKS
from torchrl_mixture.envs.shifted_reward import SHIFTS, ShiftedReward, shifted_task

__all__ = [
    "GYMNASIUM_TASKS",
    "SHIFTS",
    "TENSOR_TASKS",
    "Acrobot",
    "AnglePendulum",
    "Bandit",
    "BimodalBandit",
    "ContinuousBandit",
    "Coverage",
    "MazeGrid",
    "MountainCar",
    "MultiDirectionAnt",
    "MultiGoal",
    "Pendulum",
    "RandomMultimodalBandit",
    "RandomRewards",
    "ShiftedReward",
    "TensorEnv",
    "bimodal_reward",
    "continuous_bandit_reward",
    "maze_distances",
    "plot_trajectories",
    "shifted_task",
    "visited_squares",
]
