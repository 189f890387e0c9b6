"""The environments of a recipe's settings."""

from __future__ import annotations

from typing import Any

from torchrl.envs import EnvBase

from torchrl_mixture.trainers.environments import evaluation_task, make_env
from torchrl_mixture.trainers.environments_normalization import (
    normalize_like,
    normalize_observations,
)
from torchrl_mixture.trainers.settings import OffPolicyConfig


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
    env: EnvBase = make_env(
        settings.library, settings.name, settings.num_envs if settings.num_envs > 1 else None
    )
    test_task = evaluation_task(settings.library, settings.name)
    test_env: EnvBase = make_env(*test_task, config.evaluation.episodes)
    saved = {}
    if settings.normalize_observations:
        env = normalize_observations(env)
        test_env = normalize_like(test_env, env.transform)
        saved["observation_norm"] = env.transform
    env.set_seed(config.seed)
    return env, test_env, saved
