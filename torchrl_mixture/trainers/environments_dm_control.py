"""Tasks of the DeepMind Control Suite behind Gymnasium's interface."""

from __future__ import annotations

import difflib
import warnings
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from torchrl_mixture.trainers.refusals import ConfigError, RunError, one_line

FRAME_SIZE = 480  # pixels, as Gymnasium draws its MuJoCo tasks


class ControlTask(gymnasium.Env):
    """A task of the suite with its observations in one vector.

    Arguments:
        task: what ``dm_control.suite.load`` returns, with ``flat_observation=True``.

    Example:
        >>> from importlib.util import find_spec
        >>> if find_spec("dm_control"):
        ...     task = make_task("cartpole-swingup_sparse")
        ...     assert task.reset(seed=0)[0].shape == (5,)
    """

    def __init__(self, task: Any) -> None:
        from dm_control.rl.control import PhysicsError

        self._task, self._physics_error = task, PhysicsError
        action, observation = task.action_spec(), task.observation_spec()["observations"]
        self.action_space = Box(
            action.minimum.astype(np.float32), action.maximum.astype(np.float32)
        )
        self.observation_space = Box(-np.inf, np.inf, observation.shape, np.float32)
        self.render_mode = "rgb_array"
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": round(1 / task.control_timestep()),
        }

    @staticmethod
    def _observation(step: Any) -> np.ndarray:
        return step.observation["observations"].astype(np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        if seed is not None:  # a task draws its initial states from this one generator
            self._task.task._random = np.random.RandomState(seed)
        return self._observation(self._task.reset()), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        try:
            step = self._task.step(action)
        except self._physics_error as error:
            raise RunError(f"the simulation cannot go on: {one_line(error)}.") from error
        truncated = step.last() and step.discount == 1.0  # the time limit leaves the discount
        terminated = step.last() and not truncated
        return self._observation(step), step.reward, terminated, truncated, {}

    def render(self) -> np.ndarray:
        return self._task.physics.render(FRAME_SIZE, FRAME_SIZE)

    def close(self) -> None:
        self._task.close()


def _suite() -> ModuleType:
    """Import the suite or say that it is not installed."""
    try:
        with warnings.catch_warnings():
            # Without a display glfw only warns. As an error the warning is not printed, and
            # dm_control goes on to the next graphics library.
            warnings.filterwarnings("error", module="glfw")
            from dm_control import suite
    except ModuleNotFoundError as error:
        allowed = "pip install 'torchrl_mixture[dmc]' first"
        raise ConfigError("env.library", f"dm_control ({one_line(error)})", allowed) from error
    return suite


def make_task(name: str) -> ControlTask:
    """Make a task of the suite.

    Arguments:
        name: domain and task, such as ``"cartpole-swingup_sparse"``.

    Returns:
        the task, with actions ``[A]`` and observations ``[O]``, float32.

    Raises:
        ConfigError: if dm_control is not installed or has no such task.

    Example:
        >>> from importlib.util import find_spec
        >>> if find_spec("dm_control"):
        ...     assert make_task("walker-walk").action_space.shape == (6,)
    """
    suite = _suite()
    known = ["-".join(task) for task in suite.ALL_TASKS]
    if name not in known:
        (nearest,) = difflib.get_close_matches(name, known, n=1, cutoff=0)
        allowed = f"a domain-task of the suite, the nearest is {nearest}"
        raise ConfigError("env.name", name, allowed)
    task = suite.load(
        *name.split("-"),
        task_kwargs={"random": 0},  # lqr draws its physics when it is made
        environment_kwargs={"flat_observation": True},
    )
    task.task._random = np.random.RandomState()
    return ControlTask(task)
