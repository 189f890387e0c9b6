"""The settings that off-policy recipes share, and what they must satisfy together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from torchrl_mixture.trainers.config import setting
from torchrl_mixture.trainers.refusals import ConfigError


@dataclass
class EnvConfig:
    """The task."""

    name: str = "Pendulum-v1"  # of a task with bounded actions; in dm_control domain-task
    library: Literal["gymnasium", "dm_control", "torchrl_mixture"] = "gymnasium"
    num_envs: int = setting(1, above=0)  # copies stepped together in this process
    normalize_observations: bool = False  # by their running mean and standard deviation


@dataclass
class CollectorConfig:
    """How data are collected."""

    total_frames: int = setting(10_000, above=0, at_most=10**12, resumable=True)  # of the run
    frames_per_batch: int = setting(10, above=0)  # frames between two rounds of updates
    init_random_frames: int = setting(500, at_least=0)  # with uniform actions, without updates


@dataclass
class ReplayBufferConfig:
    """What is kept and how it is drawn."""

    size: int = setting(100_000, above=0, at_most=10**9)  # transitions kept
    n_steps: int = setting(1, above=0)  # rewards summed before the critics' estimate
    prioritized: bool = False  # draw by the critics' last errors
    priority_alpha: float = setting(0.6, above=0)  # exponent of the errors
    priority_beta: float = setting(0.4, at_least=0)  # exponent of the weights that correct it
    her_ratio: float = setting(0.0, at_least=0, at_most=1)  # of a minibatch, goals in hindsight


@dataclass
class OptimConfig:
    """How the networks are updated."""

    lr: float = setting(1e-3, above=0)  # Adam's step size for actor, critics and temperature
    utd_ratio: float = setting(1.0, above=0)  # updates for each frame
    batch_size: int = setting(32, above=0, at_most=10**6)  # transitions in an update
    gamma: float = setting(0.99, at_least=0, at_most=1)  # discount
    tau: float = setting(0.01, above=0, at_most=1)  # share of the critics that targets take on
    compile: bool = False  # compile the update: a minute to start, then up to three times faster


@dataclass
class EvaluationConfig:
    """When and how long the policy is tested."""

    interval: int = setting(1_000, above=0, resumable=True)  # frames between two evaluations
    episodes: int = setting(10, above=0, resumable=True)  # for each way of acting


@dataclass
class CheckpointConfig:
    """When the whole state of the run is saved."""

    interval: int = setting(5_000, above=0, resumable=True)  # frames; and when the run ends


@dataclass
class LoggerConfig:
    """Where the records go besides ``progress.csv``."""

    backend: Literal["csv", "tensorboard", "wandb"] = setting("csv", resumable=True)


@dataclass
class OffPolicyConfig:
    """The sections of an off-policy recipe; a recipe's own settings are a subclass of it."""

    env: EnvConfig = field(default_factory=EnvConfig)
    collector: CollectorConfig = field(default_factory=CollectorConfig)
    replay_buffer: ReplayBufferConfig = field(default_factory=ReplayBufferConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    seed: int = setting(0, at_least=0, at_most=2**31 - 1)
    resume: str = setting("", resumable=True)  # folder of a run to continue
    debug: bool = setting(False, resumable=True)  # show tracebacks


def with_goals(config: OffPolicyConfig) -> bool:
    """Say whether goals are kept apart and replaced in hindsight.

    Arguments:
        config: the settings; those that do not go with hindsight are refused here.

    Returns:
        whether ``replay_buffer.her_ratio`` is above 0.

    Raises:
        ConfigError: with hindsight, for another library than Gymnasium, for several copies of
            the environment, whose episodes would be stored as one, for n-step returns, and for
            priorities.

    Example:
        >>> with_goals(OffPolicyConfig())
        False
    """
    env, replay = config.env, config.replay_buffer
    if not replay.her_ratio:
        return False
    allowed = f"with replay_buffer.her_ratio={replay.her_ratio}"
    if env.library != "gymnasium":
        raise ConfigError("env.library", env.library, f"gymnasium {allowed}")
    if env.num_envs > 1:
        raise ConfigError("env.num_envs", env.num_envs, f"1 {allowed}")
    if replay.n_steps > 1:
        raise ConfigError("replay_buffer.n_steps", replay.n_steps, f"1 {allowed}")
    if replay.prioritized:
        raise ConfigError("replay_buffer.prioritized", True, f"false {allowed}")
    return True


def updates_per_batch(config: OffPolicyConfig) -> int:
    """Count the updates after each collected batch.

    Arguments:
        config: the settings; they are checked against each other here.

    Returns:
        the number of updates, at least one.

    Raises:
        ConfigError: where frames do not divide into batches, batches not into copies of the
            environment, the updates of a batch are not a whole number, or the first update would
            find no transition.

    Example:
        >>> updates_per_batch(OffPolicyConfig())
        10
    """
    batch, ratio = config.collector.frames_per_batch, config.optim.utd_ratio
    if batch % config.env.num_envs:
        allowed = f"a multiple of {config.env.num_envs} (env.num_envs)"
        raise ConfigError("collector.frames_per_batch", batch, allowed)
    for key in ("total_frames", "init_random_frames"):
        frames = getattr(config.collector, key)
        if frames % batch:
            allowed = f"a multiple of {batch} (collector.frames_per_batch)"
            raise ConfigError(f"collector.{key}", frames, allowed)
    warm_up, total = config.collector.init_random_frames, config.collector.total_frames
    if warm_up >= total:
        raise ConfigError("collector.init_random_frames", warm_up, f"less than {total} frames")
    waiting = config.env.num_envs * config.replay_buffer.n_steps
    if config.replay_buffer.n_steps > 1 and max(warm_up, batch) <= waiting:
        allowed = f"more than {waiting} frames, which wait for n_steps"
        raise ConfigError("collector.init_random_frames", warm_up, allowed)
    updates = round(batch * ratio)
    if not math.isclose(updates, batch * ratio):
        raise ConfigError("optim.utd_ratio", ratio, f"a multiple of 1/{batch} (frames_per_batch)")
    return updates
