"""From an environment, a policy and a loss to TorchRL's trainer: the builder recipes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from tensordict.utils import NestedKey
from torch import Tensor
from torchrl.checkpoint import Checkpoint, GlobalRNGState
from torchrl.collectors import BaseCollector, Collector
from torchrl.data import ReplayBuffer
from torchrl.envs import EnvBase
from torchrl.objectives import LossModule
from torchrl.trainers import Trainer, TrainerHookBase

from torchrl_mixture.trainers.checkpoints import load_trainer
from torchrl_mixture.trainers.evaluation import EpisodeEvaluator, Evaluation, derived_seed
from torchrl_mixture.trainers.hooks import FiniteCheck, LogTrimmer, ProgressBar
from torchrl_mixture.trainers.loggers import row_logger
from torchrl_mixture.trainers.measures import task_measures
from torchrl_mixture.trainers.replay import GOAL_KEYS, Replay, make_buffer, transition_keys
from torchrl_mixture.trainers.runs import Run
from torchrl_mixture.trainers.settings import OffPolicyConfig, updates_per_batch, with_goals
from torchrl_mixture.trainers.stepper import AdamStepper

CHECKED_KEYS: tuple[NestedKey, ...] = (
    "action",  # first: a policy's NaN reaches the observations
    "observation",
    ("next", "observation"),
    ("next", "reward"),
)
Diagnostics: TypeAlias = Callable[[TensorDictBase], Mapping[str, Tensor]]
DIAGNOSED = 1_000  # stored transitions that the diagnostics look at


def off_policy_trainer(
    run: Run,
    *,
    env: EnvBase,
    policy: TensorDictModuleBase,
    loss: LossModule,
    stepper: AdamStepper,
    evaluator: EpisodeEvaluator,
    collector: Callable[..., BaseCollector] = Collector,
    diagnostics: Diagnostics | None = None,
    saved: Mapping[str, Any] | None = None,
    keys: Sequence[NestedKey] | None = None,
    hooks: Sequence[TrainerHookBase] = (),
) -> Trainer:
    """Build TorchRL's trainer with the hooks of this package, at the state where a run begins.

    Arguments:
        run: from :func:`open_run`.
        env: the training environment.
        policy: the policy that collects data; with the best evaluation it is saved apart.
        loss: the loss, its value estimator made.
        stepper: the loss's stepper, its target updater made.
        evaluator: measures the policies; the first of its ways of acting decides which is best.
        collector: makes the collector from environment, policy and TorchRL's keyword arguments;
            ``functools.partial(MixtureCollector, hold="episode")`` holds a component.
        diagnostics: maps stored transitions to further columns; vectors are left out.
        saved: by name, what is saved besides because the policy needs it to act.
        keys: what is stored of a transition; by default what the settings need.
        hooks: further hooks, such as schedules; those with a state are saved and restored.

    Returns:
        the trainer, for :func:`train_run`.

    Raises:
        Refusal: if the run cannot go on from its checkpoint.
    """
    config, saved = run.config, dict(saved or {})
    replay = Replay(
        make_buffer(config),
        keys or transition_keys(config),
        n_steps=config.replay_buffer.n_steps,
        gamma=config.optim.gamma,
    )
    trainer = _PolicyTrainer(
        policy,
        collector=make_collector(config, env, policy, collector),
        total_frames=config.collector.total_frames,
        frame_skip=1,
        optim_steps_per_batch=updates_per_batch(config),
        loss_module=loss,
        optimization_stepper=stepper,
        progress_bar=False,
        checkpoint=Checkpoint(rng=GlobalRNGState(), **saved),
        checkpoint_rotation=run.checkpoints,
        save_trainer_interval=config.checkpoint.interval - 1,  # it saves what exceeds it
    )
    checked = (*CHECKED_KEYS, *GOAL_KEYS) if with_goals(config) else CHECKED_KEYS
    FiniteCheck(checked, run.checkpoints.latest).register(trainer)
    for hook in hooks:  # before the storing: what they add to a batch can be stored
        hook.register(trainer)
    replay.register(trainer)
    LogTrimmer().register(trainer)
    ProgressBar(config.collector.total_frames).register(trainer)
    Evaluation(
        _evaluate(config, evaluator, diagnostics, replay.buffer),
        _record(run, Checkpoint(policy=policy, **saved), evaluator.columns[0]),
        config.evaluation.interval,
    ).register(trainer)
    if run.start is not None:
        load_trainer(trainer, run.start)
        env.set_seed(derived_seed(config.seed, run.frames))
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            trainer.collector.reset()  # a new episode; the random state stays the checkpoint's
    return trainer


class _PolicyTrainer(Trainer):
    """TorchRL's trainer, whose checkpoints have the policy that acts, not the loss's network."""

    def __init__(self, policy: TensorDictModuleBase, **kwargs: Any) -> None:
        self._policy = policy
        super().__init__(**kwargs)

    def _checkpoint_policy(self) -> TensorDictModuleBase:
        return self._policy


def _evaluate(
    config: OffPolicyConfig,
    evaluator: EpisodeEvaluator,
    diagnostics: Diagnostics | None,
    buffer: ReplayBuffer,
) -> Callable[[int], dict[str, float]]:
    """Add what stored transitions tell to what the evaluator measures."""

    def evaluate(frames: int) -> dict[str, float]:
        row = evaluator(frames) | task_measures(config, buffer)
        if diagnostics is not None and len(buffer):
            last = len(buffer) - 1
            stored = torch.linspace(0, last, DIAGNOSED, dtype=torch.float64).long()
            found = diagnostics(buffer[stored])  # not drawn: training is not disturbed
            row |= {key: value.item() for key, value in found.items() if value.ndim == 0}
        return row

    return evaluate


def _record(run: Run, best: Checkpoint, column: str) -> Callable[[dict[str, float]], None]:
    """Write a row wherever rows go, and keep the policy if it is the best by a column."""
    log = row_logger(run.config.logger.backend, run.record.path)

    def record(row: dict[str, float]) -> None:
        run.record.add(row)
        log(row)
        run.checkpoints.save_best(best, row[column], int(row["frames"]))

    return record


def make_collector(
    config: OffPolicyConfig,
    env: EnvBase,
    policy: TensorDictModuleBase,
    collector: Callable[..., BaseCollector] = Collector,
) -> BaseCollector:
    """Build the collector of a recipe's settings."""
    return collector(
        env,
        policy,
        frames_per_batch=config.collector.frames_per_batch,
        total_frames=config.collector.total_frames,
        init_random_frames=config.collector.init_random_frames,
        track_traj_ids=False,  # this and the next save a third of the time of a step
        use_buffers=False,
        auto_register_policy_transforms=False,
    )
