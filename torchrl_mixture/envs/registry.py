"""The papers' tasks by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import gymnasium

from torchrl_mixture.envs.acrobot import Acrobot
from torchrl_mixture.envs.bandits import BimodalBandit, ContinuousBandit, RandomMultimodalBandit
from torchrl_mixture.envs.base import TensorEnv
from torchrl_mixture.envs.maze_grid import MazeGrid
from torchrl_mixture.envs.mountain_car import MountainCar
from torchrl_mixture.envs.multi_direction_ant import MultiDirectionAnt
from torchrl_mixture.envs.multi_goal import MultiGoal
from torchrl_mixture.envs.pendulum import AnglePendulum, Pendulum
from torchrl_mixture.envs.shifted_reward import SHIFTS, shifted_task

NUM_RANDOM_BANDITS = 100  # those of the paper; the family goes on

TENSOR_TASKS: Mapping[str, Callable[..., TensorEnv]] = MappingProxyType(
    {
        "BimodalBandit": BimodalBandit,
        "ContinuousBandit": ContinuousBandit,
        **{
            f"RandomMultimodalBandit-{index}": partial(RandomMultimodalBandit, index)
            for index in range(NUM_RANDOM_BANDITS)
        },
        "MultiGoal": MultiGoal,
        "MultiGoal-two": partial(MultiGoal, goals="two"),
        "MultiGoal-constructor": partial(MultiGoal, coefficients="constructor"),
        "MazeGrid": MazeGrid,
        "MazeGrid-goal": partial(MazeGrid, goal_cell=(4, 4)),
        "Pendulum": Pendulum,
        "ShapedPendulum": partial(Pendulum, shaped=True),
        "AnglePendulum": AnglePendulum,
        "Acrobot": Acrobot,
        "ShapedAcrobot": partial(Acrobot, shaped=True),
        "MountainCar": MountainCar,
        "ShapedMountainCar": partial(MountainCar, shaped=True),
    }
)

GYMNASIUM_TASKS: Mapping[str, Callable[..., gymnasium.Env]] = MappingProxyType(
    {
        "MultiDirectionAnt": MultiDirectionAnt,
        **{f"Shifted{name}": partial(shifted_task, name) for name in SHIFTS},
    }
)
