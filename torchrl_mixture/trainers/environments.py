"""Gymnasium environments as TorchRL environments, wrapped for speed."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import TransformObservation
from torchrl.envs import EnvBase, GymWrapper

from torchrl_mixture.trainers.config import ConfigError


def _check_spaces(name: str, env: gymnasium.Env) -> None:
    action, observation = env.action_space, env.observation_space
    if not (isinstance(action, Box) and len(action.shape) == 1 and action.is_bounded()):
        raise ConfigError("env.name", f"{name}, with actions {action}", "a flat, bounded Box")
    if not (isinstance(observation, Box) and len(observation.shape) == 1):
        raise ConfigError("env.name", f"{name}, with observations {observation}", "a flat Box")


def _to_float32(env: gymnasium.Env) -> TransformObservation:
    bounds = (getattr(env.observation_space, side).astype(np.float32) for side in ("low", "high"))
    return TransformObservation(env, lambda seen: seen.astype(np.float32), Box(*bounds))


def gym_env(name: str, num_envs: int | None = None) -> EnvBase:
    """Build a Gymnasium environment with float32 observations.

    Observations are cast in NumPy, which costs a tenth of what a TorchRL transform does.

    Arguments:
        name: a name registered by Gymnasium or Gymnasium-Robotics, such as ``"Pendulum-v1"``.
        num_envs: make this many copies, stepped in this process one after another, with batch
            shape ``[num_envs]``; ``None`` makes one environment with batch shape ``[]``.

    Returns:
        the environment, with keys ``"observation"`` and ``"action"``.

    Raises:
        ConfigError: if there is no such environment, if it cannot be made, or if its actions or
            observations are not flat boxes, those of the actions bounded.

    Example:
        >>> gym_env("Pendulum-v1", num_envs=4).reset()["observation"].shape
        torch.Size([4, 3])
    """
    if name not in gymnasium.registry:  # imported when asked for: it takes a second
        import gymnasium_robotics

        gymnasium.register_envs(gymnasium_robotics)
    try:
        env = gymnasium.make(name)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        given = f"{name} ({str(error).strip().splitlines()[0]})"
        raise ConfigError("env.name", given, "an environment registered in Gymnasium") from error
    _check_spaces(name, env)
    wrappers = [] if env.observation_space.dtype == np.float32 else [_to_float32]
    if num_envs is None:
        for wrapper in wrappers:
            env = wrapper(env)
        return GymWrapper(env)
    env.close()
    return GymWrapper(
        gymnasium.make_vec(
            name,
            num_envs,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED},
            wrappers=wrappers,
        )
    )
