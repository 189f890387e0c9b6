"""A task with goals that takes no time: a point in the plane that is sent to another one."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

PLANE = Box(-np.inf, np.inf, (2,), np.float64)
RADIUS = 0.3


class PointGoal(gymnasium.Env):
    """The observation is the position and the step; a move is at most 0.5 along each axis."""

    observation_space = Dict(
        observation=Box(-np.inf, np.inf, (3,), np.float64),
        achieved_goal=PLANE,
        desired_goal=PLANE,
    )
    action_space = Box(-1.0, 1.0, (2,), np.float32)
    success = "is_success"

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.position, self.goal = self.np_random.uniform(-2, 2, (2, 2))
        self.steps = 0
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self.position = self.position + 0.5 * action
        self.steps += 1
        reward = self.compute_reward(self.position, self.goal, {})
        return self._observation(), float(reward), False, False, {self.success: reward == 0}

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> np.ndarray:
        return -(np.linalg.norm(achieved - desired, axis=-1) > RADIUS).astype(np.float64)

    def _observation(self) -> dict[str, np.ndarray]:
        return {
            "observation": np.append(self.position, self.steps),
            "achieved_goal": self.position.copy(),
            "desired_goal": self.goal.copy(),
        }


class OneByOne(PointGoal):
    """Its reward takes one pair of goals, and says so."""

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> np.ndarray:
        if achieved.ndim > 1:
            raise ValueError("one goal at a time")
        return super().compute_reward(achieved, desired, info)


class Summed(PointGoal):
    """Its reward takes a batch for one goal."""

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> np.ndarray:
        return -np.float64(np.linalg.norm(achieved - desired) > RADIUS)


class Paid(PointGoal):
    """Its steps are paid for something else besides."""

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        observation, reward, *rest = super().step(action)
        return observation, reward + 0.5, *rest


class Ordered(PointGoal):
    """Its reward says which goal is which."""

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> np.ndarray:
        return achieved[..., 0] - 2 * desired[..., 0]


class Ending(PointGoal):
    """The goal ends the episode."""

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        observation, reward, _, *rest = super().step(action)
        return observation, reward, reward == 0, *rest


class Maze(PointGoal):
    """Gymnasium-Robotics' mazes name it so."""

    success = "success"


class Unwatched(PointGoal):
    """It does not say whether the goal is reached, under a name that is known."""

    success = "goal_reached"


for kind in (PointGoal, OneByOne, Summed, Paid, Ordered, Ending, Maze, Unwatched):
    gymnasium.register(f"{kind.__name__}-v0", entry_point=kind, max_episode_steps=10)
