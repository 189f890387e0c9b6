"""The environments of a recipe's settings."""

from __future__ import annotations

from typing import Any

from torchrl.envs import EnvBase

from torchrl_mixture.trainers.environments import evaluation_task, make_env
from torchrl_mixture.trainers.environments_gymnasium import goal_env
from torchrl_mixture.trainers.environments_normalization import (
    normalize_like,
    normalize_observations,
)
from torchrl_mixture.trainers.settings import OffPolicyConfig, with_goals


def policy_keys(config: OffPolicyConfig) -> list[str]:
    """What actor and critics read of a state; with hindsight they read the goal apart.

    Arguments:
        config: the settings.

    Returns:
        keys of the environment, in the order in which they are concatenated.

    Raises:
        ConfigError: for settings that do not go with hindsight.

    Example:
        >>> policy_keys(OffPolicyConfig())
        ['observation']
    """
    return ["observation", "desired_goal"] if with_goals(config) else ["observation"]


def make_test_env(
    config: OffPolicyConfig, num_envs: int | None = None, *, render: bool = False
) -> EnvBase:
    """Build the environment in which a policy is tested, its observations as they are.

    Arguments:
        config: the settings.
        num_envs: as for :func:`gym_env`.
        render: as for :func:`gym_env`.

    Returns:
        the environment, with its goals apart where the settings have hindsight.

    Raises:
        ConfigError: if the task cannot be made or drawn.

    Example:
        >>> make_test_env(OffPolicyConfig(), 3).batch_size
        torch.Size([3])
    """
    if with_goals(config):
        return goal_env(config.env.name, num_envs, render=render)
    task = evaluation_task(config.env.library, config.env.name)
    return make_env(*task, num_envs, render=render)


def make_envs(config: OffPolicyConfig) -> tuple[EnvBase, EnvBase, dict[str, Any]]:
    """Build the training environment, seeded, and those for evaluation.

    Arguments:
        config: the settings.

    Returns:
        the training environment, of batch shape ``[]`` for one copy; one environment for each
        episode of an evaluation; and by name what must be saved because a policy needs it.

    Raises:
        ConfigError: if the task cannot be made or a mixture policy cannot act in it.

    Example:
        >>> env, test_env, saved = make_envs(OffPolicyConfig())
        >>> env.batch_size, test_env.batch_size, saved
        (torch.Size([]), torch.Size([10]), {})
    """
    settings = config.env
    num_envs = settings.num_envs if settings.num_envs > 1 else None
    env: EnvBase = (
        goal_env(settings.name)
        if with_goals(config)
        else make_env(settings.library, settings.name, num_envs)
    )
    test_env = make_test_env(config, config.evaluation.episodes)
    saved = {}
    if settings.normalize_observations:
        env = normalize_observations(env)
        test_env = normalize_like(test_env, env.transform)
        saved["observation_norm"] = env.transform
    env.set_seed(config.seed)
    return env, test_env, saved
