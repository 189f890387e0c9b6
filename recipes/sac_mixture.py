"""Soft actor-critic with a mixture policy, on any Gymnasium task with bounded actions.

python recipes/sac_mixture.py
python recipes/sac_mixture.py env.name=HalfCheetah-v5 loss.gradient_estimator=marginal
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torchrl import torchrl_logger
from torchrl.checkpoint import Checkpoint
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import EnvBase
from torchrl.modules import MLP, ProbabilisticActor, ValueOperator
from torchrl.objectives import LossModule, SoftUpdate
from torchrl.trainers import Trainer

from torchrl_mixture import objectives
from torchrl_mixture.analysis import report_run
from torchrl_mixture.modules import mixture_actor
from torchrl_mixture.trainers import (
    AdamStepper,
    ConfigError,
    Evaluation,
    Evaluator,
    LogTrimmer,
    ProgressBar,
    Replay,
    RunRecord,
    gym_env,
    load_config,
    refusals,
    setting,
)


@dataclass
class EnvConfig:
    name: str = "Pendulum-v1"  # any registered task with flat observations and bounded actions
    library: Literal["gymnasium"] = "gymnasium"


@dataclass
class CollectorConfig:
    total_frames: int = setting(10_000, above=0, at_most=10**12)  # environment steps
    frames_per_batch: int = setting(10, above=0)  # steps between two rounds of updates
    init_random_frames: int = setting(500, at_least=0)  # steps with uniform actions, no updates


@dataclass
class ReplayBufferConfig:
    size: int = setting(100_000, above=0, at_most=10**9)  # transitions kept


@dataclass
class OptimConfig:
    lr: float = setting(1e-3, above=0)  # Adam's step size for actor, critics and temperature
    utd_ratio: float = setting(1.0, above=0)  # updates for each environment step
    batch_size: int = setting(32, above=0, at_most=10**6)  # transitions in an update
    gamma: float = setting(0.99, at_least=0, at_most=1)  # discount
    tau: float = setting(0.01, above=0, at_most=1)  # share of the critics that targets take on
    compile: bool = False  # compile the update: a minute to start, then about three times faster


@dataclass
class NetworkConfig:
    hidden_sizes: list[int] = setting([64, 64], above=0)  # of the actor and of each critic


@dataclass
class PolicyConfig:
    num_components: int = setting(5, above=0)
    learn_weights: bool = True  # false: all components stay equally likely
    loc_spread: float = setting(0.0, at_least=0)  # how far apart the components' means begin
    deterministic: Literal["heaviest", "densest"] = "heaviest"  # component that acts in a test


@dataclass
class LossConfig:
    gradient_estimator: objectives.EstimatorName = "half"  # of the actor's loss
    num_baseline_samples: int = setting(1, at_least=0)  # of half and likelihood
    temperature: float = setting(1.0, above=0)  # of gumbel: low is less biased, more variable
    loss_function: Literal["l2", "smooth_l1"] = "l2"  # of the critics
    alpha_init: float = setting(1.0, above=0)  # entropy temperature at the start
    fixed_alpha: bool = False  # false: adapt it until the entropy is minus the action size


@dataclass
class EvaluationConfig:
    interval: int = setting(1_000, above=0)  # frames from one evaluation to the next
    episodes: int = setting(10, above=0)


@dataclass
class LoggerConfig:
    backend: Literal["csv"] = "csv"  # progress.csv in the run's folder


@dataclass
class Config:
    env: EnvConfig = field(default_factory=EnvConfig)
    collector: CollectorConfig = field(default_factory=CollectorConfig)
    replay_buffer: ReplayBufferConfig = field(default_factory=ReplayBufferConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    seed: int = setting(0, at_least=0, at_most=2**31 - 1)


def make_actor(config: Config, env: EnvBase) -> ProbabilisticActor:
    """Build the mixture policy."""
    return mixture_actor(
        env.action_spec,
        config.policy.num_components,
        observation_spec=env.observation_spec,
        num_cells=config.network.hidden_sizes,
        activation_class=nn.ReLU,
        learn_weights=config.policy.learn_weights,
        loc_spread=config.policy.loc_spread,
        deterministic=config.policy.deterministic,
    )


def make_critic(config: Config, env: EnvBase) -> ValueOperator:
    """Build one critic of observation and action."""
    inputs = env.observation_spec["observation"].shape[-1] + env.action_spec.shape[-1]
    net = MLP(inputs, 1, num_cells=config.network.hidden_sizes, activation_class=nn.ReLU)
    return ValueOperator(net, in_keys=["observation", "action"])


def make_loss(config: Config, actor: ProbabilisticActor, critics: list[nn.Module]) -> LossModule:
    """Build the loss; `train` takes another function of this form to compare other losses."""
    loss = config.loss
    estimators = {
        "half": lambda: objectives.HalfReparam(loss.num_baseline_samples),
        "gumbel": lambda: objectives.GumbelSoftmax(loss.temperature),
        "likelihood": lambda: objectives.Likelihood(loss.num_baseline_samples),
        "marginal": objectives.Marginal,
        "implicit": objectives.Implicit,
    }
    return objectives.MixtureSACLoss(
        actor,
        critics,
        gradient_estimator=estimators[loss.gradient_estimator](),
        loss_function=loss.loss_function,
        alpha_init=loss.alpha_init,
        fixed_alpha=loss.fixed_alpha,
    )


def make_collector(config: Config, env: EnvBase, actor: ProbabilisticActor) -> Collector:
    """Build the collector of transitions."""
    return Collector(
        env,
        actor,
        frames_per_batch=config.collector.frames_per_batch,
        total_frames=config.collector.total_frames,
        init_random_frames=config.collector.init_random_frames,
        track_traj_ids=False,  # this and the next save a third of the time of a step
        use_buffers=False,
        auto_register_policy_transforms=False,
    )


def updates_per_batch(config: Config) -> int:
    """Count the updates after each collected batch, or refuse settings that do not fit."""
    batch, ratio = config.collector.frames_per_batch, config.optim.utd_ratio
    for key in ("total_frames", "init_random_frames"):
        frames = getattr(config.collector, key)
        if frames % batch:
            raise ConfigError(f"collector.{key}", frames, f"a multiple of {batch}")
    warm_up, total = config.collector.init_random_frames, config.collector.total_frames
    if warm_up >= total:
        raise ConfigError("collector.init_random_frames", warm_up, f"less than {total} frames")
    updates = round(batch * ratio)
    if updates < 1 or not math.isclose(updates, batch * ratio):
        raise ConfigError("optim.utd_ratio", ratio, f"a multiple of 1/{batch} (frames_per_batch)")
    return updates


def train(config: Config, make_loss: Callable[..., LossModule] = make_loss) -> Path:
    """Train, evaluate and record one run, and return its folder."""
    updates = updates_per_batch(config)
    env = gym_env(config.env.name)
    env.set_seed(config.seed)
    torch.manual_seed(config.seed)
    record = RunRecord("sac_mixture", config, config.seed)

    actor = make_actor(config, env)
    loss = make_loss(config, actor, [make_critic(config, env) for _ in range(2)])
    loss.make_value_estimator(gamma=config.optim.gamma)
    targets = SoftUpdate(loss, tau=config.optim.tau)
    stepper = AdamStepper(
        loss, lr=config.optim.lr, target_updater=targets, compile=config.optim.compile
    )
    storage = LazyTensorStorage(config.replay_buffer.size)
    buffer = ReplayBuffer(storage=storage, batch_size=config.optim.batch_size)
    test_env = gym_env(config.env.name, num_envs=config.evaluation.episodes)
    evaluator = Evaluator(test_env, actor, config.seed)

    def evaluate(frames: int) -> dict[str, float]:
        row = evaluator(frames)
        if frames and isinstance(loss, objectives.MixtureSACLoss):
            stored = torch.linspace(0, len(buffer) - 1, 1_000).long()  # random ones would disturb
            diagnostics = loss.mixture_diagnostics(buffer[stored])
            row |= {key: value.item() for key, value in diagnostics.items() if value.ndim == 0}
        return row

    trainer = Trainer(
        collector=make_collector(config, env, actor),
        total_frames=config.collector.total_frames,
        frame_skip=1,
        optim_steps_per_batch=updates,
        loss_module=loss,
        optimization_stepper=stepper,
        progress_bar=False,
    )
    Replay(buffer).register(trainer)
    LogTrimmer().register(trainer)
    ProgressBar(config.collector.total_frames).register(trainer)
    Evaluation(evaluate, record.add, config.evaluation.interval).register(trainer)
    trainer.train()
    Checkpoint(loss_module=loss, stepper=stepper).save(record.checkpoint_path)
    return record.path


def main() -> None:
    """Read the settings, train, and say what was learned."""
    torchrl_logger.setLevel("WARNING")
    torch.set_num_threads(1)  # networks this small are slower on several threads
    with refusals():
        print(report_run(train(load_config(Config, sys.argv[1:]))))


if __name__ == "__main__":
    main()
