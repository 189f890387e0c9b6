"""Gymnasium and dm_control tasks as TorchRL environments, wrapped for speed."""

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
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TransformObservation
from torchrl.envs import EnvBase, GymWrapper

from torchrl_mixture.trainers.environments_dm_control import make_task
from torchrl_mixture.trainers.refusals import ConfigError, one_line

HEADLESS = {"SDL_VIDEODRIVER": "dummy"}  # for Gymnasium's tasks drawn by pygame
if sys.platform == "linux":
    HEADLESS["MUJOCO_GL"] = "egl"


def _check_spaces(name: str, env: gymnasium.Env) -> None:
    action, observation = env.action_space, env.observation_space
    if not (isinstance(action, Box) and len(action.shape) == 1 and action.is_bounded()):
        raise ConfigError("env.name", f"{name}, with actions {action}", "a flat, bounded Box")
    if not (isinstance(observation, Box) and len(observation.shape) == 1):
        space = " ".join(str(observation).split())  # a printed array has several lines
        raise ConfigError("env.name", f"{name}, with observations {space}", "a flat Box")


def _to_float32(env: gymnasium.Env) -> TransformObservation:
    bounds = (getattr(env.observation_space, side).astype(np.float32) for side in ("low", "high"))
    return TransformObservation(env, lambda seen: seen.astype(np.float32), Box(*bounds))


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


def _wrap(
    name: str, make: Callable[[], gymnasium.Env], num_envs: int | None, render: bool
) -> EnvBase:
    """Wrap one environment, or some copies stepped together, with float32 observations."""
    if num_envs is not None and num_envs < 1:
        raise ConfigError("env.num_envs", num_envs, "an integer at least 1")

    def make_float32() -> gymnasium.Env:
        env = make()
        _check_spaces(name, env)
        if render:
            _check_drawing(name, env)
        return env if env.observation_space.dtype == np.float32 else _to_float32(env)

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
        raise ConfigError("env.name", name, allowed) from error


def gym_env(name: str, num_envs: int | None = None, *, render: bool = False) -> EnvBase:
    """Build a Gymnasium environment with float32 observations.

    Observations are cast in NumPy, which costs a tenth of what a TorchRL transform does.

    Arguments:
        name: a name registered by Gymnasium or Gymnasium-Robotics, such as ``"Pendulum-v1"``.
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
    return _wrap(name, lambda: _make_gym(name, render), num_envs, render)


def dm_control_env(name: str, num_envs: int | None = None, *, render: bool = False) -> EnvBase:
    """Build a task of the DeepMind Control Suite.

    The task's observations are concatenated in its own order; actions and observations are
    float32. The time limit truncates an episode and does not terminate it. The tasks go through
    Gymnasium's interface, in which copies are stepped two to three times as fast as by TorchRL's
    ``SerialEnv`` of ``DMControlEnv``.

    Arguments:
        name: domain and task, such as ``"cartpole-swingup_sparse"``.
        num_envs: as for :func:`gym_env`.
        render: as for :func:`gym_env`.

    Returns:
        the environment, with keys ``"observation"`` and ``"action"``.

    Raises:
        ConfigError: if dm_control is not installed or cannot be imported, if there is no such
            task, or if it cannot be drawn.

    Example:
        >>> from importlib.util import find_spec
        >>> if find_spec("dm_control"):
        ...     assert dm_control_env("cheetah-run").reset()["observation"].shape == (17,)
    """
    return _wrap(name, lambda: make_task(name), num_envs, render)


LIBRARIES: dict[str, Callable[..., EnvBase]] = {
    "gymnasium": gym_env,
    "dm_control": dm_control_env,
}


def make_env(
    library: str, name: str, num_envs: int | None = None, *, render: bool = False
) -> EnvBase:
    """Build an environment of a library by name.

    Arguments:
        library: ``"gymnasium"`` or ``"dm_control"``.
        name: the environment's name in that library.
        num_envs: as for :func:`gym_env`.
        render: as for :func:`gym_env`.

    Returns:
        the environment, with keys ``"observation"`` and ``"action"``.

    Raises:
        ConfigError: if the library is another one, or refuses the name.

    Example:
        >>> make_env("gymnasium", "Pendulum-v1").reset()["observation"].shape
        torch.Size([3])
    """
    if library not in LIBRARIES:
        raise ConfigError("env.library", library, " | ".join(LIBRARIES))
    return LIBRARIES[library](name, num_envs, render=render)
