"""Gymnasium environments as TorchRL environments, wrapped for speed."""

from __future__ import annotations

import difflib
import io
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any
from unittest.mock import patch

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import FlattenObservation, TransformObservation
from torchrl.data import Binary, Composite
from torchrl.envs import EnvBase, GymWrapper
from torchrl.envs.gym_like import default_info_dict_reader

from torchrl_mixture.envs import GYMNASIUM_TASKS, TENSOR_TASKS
from torchrl_mixture.trainers.refusals import ConfigError, one_line

GOAL_KEYS = {"observation", "achieved_goal", "desired_goal"}

HEADLESS = {"SDL_VIDEODRIVER": "dummy"}  # for Gymnasium's tasks drawn by pygame
if sys.platform == "linux":
    HEADLESS["MUJOCO_GL"] = "egl"


def _is_flat(space: gymnasium.Space) -> bool:
    return isinstance(space, Box) and len(space.shape) == 1


def _refuse_observations(name: str, space: gymnasium.Space, allowed: str) -> None:
    text = " ".join(str(space).split())  # a printed array has several lines
    raise ConfigError("env.name", f"{name}, with observations {text}", allowed)


def _check_actions(name: str, space: gymnasium.Space) -> None:
    if not (isinstance(space, Box) and len(space.shape) == 1 and space.is_bounded()):
        raise ConfigError("env.name", f"{name}, with actions {space}", "a flat, bounded Box")


def _with_flat_observations(name: str, env: gymnasium.Env) -> gymnasium.Env:
    """Put the parts of a dictionary into one vector, and refuse what is none."""
    if isinstance(env.observation_space, Dict):
        env = FlattenObservation(env)
    if not _is_flat(env.observation_space):
        _refuse_observations(name, env.observation_space, "a flat Box")
    return env


class _Success(gymnasium.Wrapper):
    """Say under one name, as a vector of one, whether the goal is reached after a step."""

    def __init__(self, name: str, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.name = name

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        *result, info = self.env.step(action)
        reached = info.get("is_success", info.get("success"))  # the mazes call it success
        if reached is None:
            allowed = "a task that says is_success or success of its steps"
            raise ConfigError("env.name", self.name, allowed)
        return *result, {"is_success": np.array([reached], dtype=bool)}


def _with_goals(name: str, env: gymnasium.Env) -> gymnasium.Env:
    """Keep a dictionary with goals as it is, and refuse what is none."""
    space = env.observation_space
    parts = space.spaces if isinstance(space, Dict) else {}
    if set(parts) != GOAL_KEYS or not all(_is_flat(part) for part in parts.values()):
        _refuse_observations(name, space, " and ".join(sorted(GOAL_KEYS)))
    return _Success(name, env)


def _box32(space: Any) -> Box:
    return Box(space.low.astype(np.float32), space.high.astype(np.float32))


def _to_float32(env: gymnasium.Env) -> gymnasium.Env:
    """Cast a vector or a dictionary of vectors."""
    space = env.observation_space
    if isinstance(space, Dict):
        boxes = Dict({key: _box32(part) for key, part in space.items()})
        return TransformObservation(
            env, lambda seen: {key: seen[key].astype(np.float32) for key in boxes}, boxes
        )
    if space.dtype == np.float32:
        return env
    return TransformObservation(env, lambda seen: seen.astype(np.float32), _box32(space))


def _check_drawing(name: str, env: gymnasium.Env) -> None:
    """Draw once, or say why it cannot be drawn."""
    headless = not {"DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"} & {*os.environ}
    reason = ""
    with (
        patch.dict(os.environ, HEADLESS if headless else {}),  # read at the first picture
        patch.object(sys, "unraisablehook", lambda _: None),  # a viewer's half-made remains
    ):
        try:
            env.reset()
            env.render()
        except Exception as error:  # graphics libraries raise errors of every kind
            reason = one_line(error)
    if reason:
        raise ConfigError("env.name", f"{name} ({reason})", "a task that can be drawn here")


def check_num_envs(num_envs: int | None) -> None:
    """Refuse no copies, or fewer."""
    if num_envs is not None and num_envs < 1:
        raise ConfigError("env.num_envs", num_envs, "an integer at least 1")


def wrap(
    name: str,
    make: Callable[[], gymnasium.Env],
    num_envs: int | None,
    render: bool,
    with_observations: Callable[[str, gymnasium.Env], gymnasium.Env] = _with_flat_observations,
) -> EnvBase:
    """Wrap one environment, or some copies stepped together, with float32 observations."""
    check_num_envs(num_envs)

    def make_float32() -> gymnasium.Env:
        env = make()
        _check_actions(name, env.action_space)
        env = with_observations(name, env)
        if render:
            _check_drawing(name, env)
        return _to_float32(env)

    if num_envs is None:
        return GymWrapper(make_float32())
    copies = [make_float32] * num_envs
    return GymWrapper(SyncVectorEnv(copies, autoreset_mode=AutoresetMode.DISABLED))


def _make_gym(name: str, render: bool) -> gymnasium.Env:
    """Make a registered environment or say why it cannot be made."""
    if name not in gymnasium.registry:  # imported when asked for: it takes a second
        with redirect_stderr(io.StringIO()):  # it prints a notice about its oldest tasks
            import gymnasium_robotics
        gymnasium.register_envs(gymnasium_robotics)
    options: dict[str, Any] = {"render_mode": "rgb_array"} if render else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # an older version was asked for
            return gymnasium.make(name, **options)
    except (gymnasium.error.Error, ImportError) as error:
        if name in gymnasium.registry:
            reason = np.ravel(error.args)[0]  # some of Gymnasium's are tuples in a tuple
            allowed = "an environment that can be made here"
            raise ConfigError("env.name", f"{name} ({reason})", allowed) from error
        allowed = "an environment registered in Gymnasium"
        for nearest in difflib.get_close_matches(name, gymnasium.registry, n=1, cutoff=0):
            allowed = f"{allowed}, the nearest is {nearest}"
        if name in TENSOR_TASKS or name in GYMNASIUM_TASKS:
            allowed = "env.library=torchrl_mixture with this name"
        raise ConfigError("env.name", name, allowed) from error


def gym_env(name: str, num_envs: int | None = None, *, render: bool = False) -> EnvBase:
    """Build a Gymnasium environment with float32 observations.

    Observations are cast in NumPy, which costs a tenth of what a TorchRL transform does.

    Arguments:
        name: a name registered by Gymnasium or Gymnasium-Robotics, such as ``"Pendulum-v1"``. The
            parts of a dictionary of observations, as the Fetch tasks have it, are concatenated in
            its order: achieved goal, desired goal, observation.
        num_envs: make this many copies, stepped in this process one after another, with batch
            shape ``[num_envs]``; ``None`` makes one environment with batch shape ``[]``.
        render: let the environment's ``render()`` return its picture, ``[H, W, 3]``, uint8.

    Returns:
        the environment, with keys ``"observation"`` and ``"action"``.

    Raises:
        ConfigError: if there is no such environment, if it cannot be made or drawn, or if its
            actions or observations are not flat boxes, those of the actions bounded.

    Example:
        >>> gym_env("Pendulum-v1", num_envs=4).reset()["observation"].shape
        torch.Size([4, 3])
    """
    return wrap(name, lambda: _make_gym(name, render), num_envs, render)


def goal_env(name: str, num_envs: int | None = None, *, render: bool = False) -> EnvBase:
    """Build a Gymnasium environment with goals, such as the Fetch tasks.

    Arguments:
        name: a name registered by Gymnasium-Robotics, such as ``"FetchReach-v4"``.
        num_envs: as for :func:`gym_env`.
        render: as for :func:`gym_env`.

    Returns:
        the environment, with keys ``"observation"``, ``"achieved_goal"``, ``"desired_goal"``,
        all float32, ``"action"``, and ``("next", "is_success")``, bool ``[*B, 1]``: whether the
        goal is reached after the step.

    Raises:
        ConfigError: as :func:`gym_env`, and if the observations are not those three; at the first
            step if the environment does not say whether the goal is reached.

    Example:
        >>> goal_env("FetchReach-v4").reset()["desired_goal"].shape
        torch.Size([3])
    """
    env = wrap(name, lambda: _make_gym(name, render), num_envs, render, _with_goals)
    success = Binary(shape=(*env.batch_size, 1), dtype=torch.bool)
    spec = Composite(is_success=success, shape=env.batch_size)
    return env.set_info_dict_reader(default_info_dict_reader(["is_success"], spec))
