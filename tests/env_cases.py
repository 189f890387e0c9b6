"""Tensor environments, and what they promise; a new one is one line."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torchrl_mixture.envs import (
    Acrobot,
    AnglePendulum,
    BimodalBandit,
    ContinuousBandit,
    MazeGrid,
    MountainCar,
    MultiGoal,
    Pendulum,
    RandomMultimodalBandit,
    TensorEnv,
)


class Case(NamedTuple):
    make: Callable[..., TensorEnv]
    max_steps: int | None  # by default
    random_start: bool


CASES = {
    "Pendulum": Case(Pendulum, 200, random_start=True),
    "ShapedPendulum": Case(partial(Pendulum, shaped=True), 200, random_start=True),
    "AnglePendulum": Case(AnglePendulum, 1000, random_start=False),
    "Acrobot": Case(Acrobot, 1000, random_start=False),
    "ShapedAcrobot": Case(partial(Acrobot, shaped=True), 1000, random_start=False),
    "MountainCar": Case(MountainCar, 1000, random_start=True),
    "ShapedMountainCar": Case(partial(MountainCar, shaped=True), 1000, random_start=True),
    "DiscreteMountainCar": Case(
        partial(MountainCar, dynamics="discrete"), 1000, random_start=True
    ),
    "MultiGoal": Case(MultiGoal, 30, random_start=True),
    "ConstructorMultiGoal": Case(
        partial(MultiGoal, coefficients="constructor"), 30, random_start=True
    ),
    "TwoMultiGoal": Case(partial(MultiGoal, "two"), 30, random_start=True),
    "MazeGrid": Case(MazeGrid, 50, random_start=False),
    "SparseMazeGrid": Case(partial(MazeGrid, (4, 4)), 50, random_start=False),
    "FourierMazeGrid": Case(partial(MazeGrid, fourier=True), 50, random_start=False),
    "BimodalBandit": Case(BimodalBandit, None, random_start=False),
    "RandomMultimodalBandit": Case(partial(RandomMultimodalBandit, 3), None, random_start=False),
    "ContinuousBandit": Case(ContinuousBandit, None, random_start=False),
}
