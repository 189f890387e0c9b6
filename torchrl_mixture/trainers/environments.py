"""Environments of every library by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.util import find_spec

from torchrl.envs import EnvBase

from torchrl_mixture import envs
from torchrl_mixture.trainers.environments_dm_control import make_task
from torchrl_mixture.trainers.environments_gymnasium import check_num_envs, gym_env, wrap
from torchrl_mixture.trainers.refusals import ConfigError


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
    return wrap(name, lambda: make_task(name), num_envs, render)


def paper_env(name: str, num_envs: int | None = None, *, render: bool = False) -> EnvBase:
    """Build one of the papers' tasks, see :mod:`torchrl_mixture.envs`.

    Arguments:
        name: a key of ``TENSOR_TASKS`` or ``GYMNASIUM_TASKS``, such as ``"MazeGrid"``.
        num_envs: as for :func:`gym_env`; tensor environments step their copies as one tensor.
        render: as for :func:`gym_env`.

    Returns:
        the environment, with keys ``"observation"`` and ``"action"``.

    Raises:
        ConfigError: if there is no such task, or if it cannot be drawn.

    Example:
        >>> paper_env("MultiGoal", num_envs=1_000).reset()["observation"].shape
        torch.Size([1000, 2])
    """
    check_num_envs(num_envs)
    if name in envs.GYMNASIUM_TASKS:
        render_mode = "rgb_array" if render else None
        make = envs.GYMNASIUM_TASKS[name]
        return wrap(name, lambda: make(render_mode=render_mode), num_envs, render)
    if name not in envs.TENSOR_TASKS:
        known = [*envs.TENSOR_TASKS, *envs.GYMNASIUM_TASKS]
        (nearest,) = difflib.get_close_matches(name, known, n=1, cutoff=0)
        allowed = f"a task of the papers, the nearest is {nearest}"
        raise ConfigError("env.name", name, allowed)
    if render and find_spec("matplotlib") is None:
        allowed = "a task that can be drawn here, or first: pip install 'torchrl_mixture[plots]'"
        raise ConfigError("env.name", name, allowed)
    return envs.TENSOR_TASKS[name](batch_size=[] if num_envs is None else [num_envs])


def evaluation_task(library: str, name: str) -> tuple[str, str]:
    """Give the task on which the policy of a task is tested.

    Returns of a task with a shifted reward are reported without the shift.

    Arguments:
        library: of the task that is trained on.
        name: its name.

    Returns:
        library and name.

    Example:
        >>> evaluation_task("torchrl_mixture", "ShiftedHopper")
        ('gymnasium', 'Hopper-v5')
        >>> evaluation_task("torchrl_mixture", "MazeGrid")
        ('torchrl_mixture', 'MazeGrid')
    """
    unshifted = name.removeprefix("Shifted")
    if library == "torchrl_mixture" and unshifted in envs.SHIFTS and unshifted != name:
        return "gymnasium", f"{unshifted}-v5"
    return library, name


LIBRARIES: dict[str, Callable[..., EnvBase]] = {
    "gymnasium": gym_env,
    "dm_control": dm_control_env,
    "torchrl_mixture": paper_env,
}


def make_env(
    library: str, name: str, num_envs: int | None = None, *, render: bool = False
) -> EnvBase:
    """Build an environment of a library by name.

    Arguments:
        library: ``"gymnasium"``, ``"dm_control"`` or ``"torchrl_mixture"``.
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
