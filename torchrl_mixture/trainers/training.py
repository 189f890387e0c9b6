"""From an environment, a policy and a loss to a run: the builder that recipes share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
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

from torchrl_mixture.trainers.checkpoints import RunCheckpoints, load_trainer, newest_checkpoint
from torchrl_mixture.trainers.evaluation import EpisodeEvaluator, Evaluation, derived_seed
from torchrl_mixture.trainers.hooks import FiniteCheck, LogTrimmer, ProgressBar
from torchrl_mixture.trainers.loggers import check_backend, row_logger
from torchrl_mixture.trainers.records import RunRecord
from torchrl_mixture.trainers.refusals import ConfigError, RunError
from torchrl_mixture.trainers.replay import TRANSITION_KEYS, Replay, replay_buffer
from torchrl_mixture.trainers.settings import OffPolicyConfig, updates_per_batch
from torchrl_mixture.trainers.stepper import AdamStepper

CHECKED_KEYS: tuple[NestedKey, ...] = (
    "action",  # first: a policy's NaN reaches the observations
    "observation",
    ("next", "observation"),
    ("next", "reward"),
)
Diagnostics: TypeAlias = Callable[[TensorDictBase], Mapping[str, Tensor]]
DIAGNOSED = 1_000  # stored transitions that the diagnostics look at


@dataclass
class Run:
    """A run's settings, its folder, and where in it the run begins.

    Arguments:
        config: the settings.
        record: the folder.
        checkpoints: the checkpoints in it.
        frames: the frames that were done before; 0 for a new run.
        start: the checkpoint to go on from; ``None`` for a new run.
    """

    config: OffPolicyConfig
    record: RunRecord
    checkpoints: RunCheckpoints
    frames: int = 0
    start: Path | None = None

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Hold the folder; a continued run first brings it to where the run begins.

        Raises:
            Refusal: if another process trains there, or the folder cannot be written.
        """
        self.record.lock()
        try:
            if self.start is not None:
                self.record.resume(self.config)
                self.checkpoints.clean()
                self.record.log(
                    f"Continuing {self.record.path} from {self.start.name}, frame {self.frames}; "
                    "the environment begins a new episode."
                )
            yield
        finally:
            self.record.unlock()


def open_run(name: str, config: OffPolicyConfig) -> Run:
    """Make the folder of a new run, or find where the run to continue begins.

    Arguments:
        name: the recipe's name.
        config: the settings; ``config.resume`` names the folder of a run to continue.

    Raises:
        Refusal: if settings contradict each other or need what is not there, if the folder
            cannot be written, or if there is nothing to continue from or to.
    """
    updates_per_batch(config)
    make_buffer(config)
    check_backend(config.logger.backend)
    if not config.resume:
        record = RunRecord.create(name, config, config.seed)
        return Run(config, record, RunCheckpoints(record.checkpoints, record.warn))
    if Path(config.resume).resolve().parent.name != name:
        raise ConfigError(
            "resume", config.resume, f"the folder of a run of {name}, in runs/{name}"
        )
    start, frames = newest_checkpoint(Path(config.resume) / "checkpoints")
    total = config.collector.total_frames
    if frames >= total:
        allowed = f"more than the {frames} frames that {config.resume} has done"
        raise ConfigError("collector.total_frames", total, allowed)
    record = RunRecord.reopen(config.resume, frames)
    checkpoints = RunCheckpoints(record.checkpoints, record.warn)
    return Run(config, record, checkpoints, frames, start)


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
    keys: Sequence[NestedKey] = TRANSITION_KEYS,
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
        keys: what is stored of a transition.
        hooks: further hooks, such as schedules; those with a state are saved and restored.

    Returns:
        the trainer, for :func:`train_run`.

    Raises:
        Refusal: if the run cannot go on from its checkpoint.
    """
    config, saved = run.config, dict(saved or {})
    replay = Replay(
        make_buffer(config), keys, n_steps=config.replay_buffer.n_steps, gamma=config.optim.gamma
    )
    trainer = Trainer(
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
    FiniteCheck(CHECKED_KEYS, run.checkpoints.latest).register(trainer)
    replay.register(trainer)
    LogTrimmer().register(trainer)
    ProgressBar(config.collector.total_frames).register(trainer)
    for hook in hooks:
        hook.register(trainer)
    Evaluation(
        _evaluate(evaluator, diagnostics, replay.buffer),
        _record(run, Checkpoint(policy=policy, **saved), evaluator.columns[0]),
        config.evaluation.interval,
    ).register(trainer)
    if run.start is not None:
        _continue(trainer, run, env)
    return trainer


def _evaluate(
    evaluator: EpisodeEvaluator, diagnostics: Diagnostics | None, buffer: ReplayBuffer
) -> Callable[[int], dict[str, float]]:
    """Add the diagnostics of stored transitions to what the evaluator measures."""

    def evaluate(frames: int) -> dict[str, float]:
        row = evaluator(frames)
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


def make_buffer(config: OffPolicyConfig) -> ReplayBuffer:
    """Build the replay buffer of a recipe's settings."""
    settings = config.replay_buffer
    exponents = (settings.priority_alpha, settings.priority_beta)
    return replay_buffer(
        settings.size,
        config.optim.batch_size,
        priorities=exponents if settings.prioritized else None,
    )


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


def _continue(trainer: Trainer, run: Run, env: EnvBase) -> None:
    """Restore the trainer from the run's checkpoint and begin a new episode."""
    assert run.start is not None
    load_trainer(trainer, run.start)
    env.set_seed(derived_seed(run.config.seed, run.frames))
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        trainer.collector.reset()


AT_ONCE: dict[signal.Signals, Callable[[int, FrameType | None], Any] | signal.Handlers] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


@contextmanager
def stopping(trainer: Trainer) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop a trainer after the current batch, with a last checkpoint.

    The second signal interrupts at once, also where the shell had SIGINT ignored, as it does for
    what a script starts in the background.

    Arguments:
        trainer: the trainer that is asked to stop.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        asked = signal.Signals(number)
        signal.signal(asked, AT_ONCE[asked])
        trainer.request_stop(asked.name)

    previous = {number: signal.signal(number, stop) for number in AT_ONCE}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def train_run(trainer: Trainer, run: Run) -> bool:
    """Train to the end, or until a signal asks to stop.

    Arguments:
        trainer: from :func:`off_policy_trainer`.
        run: the run.

    Returns:
        whether the end was reached.

    Raises:
        Refusal: if another process trains in the folder, or it cannot be written.
        RunError: if data, losses or parameters are not finite.
        KeyboardInterrupt: at a second signal.
    """
    try:
        with run.going_on(), stopping(trainer):
            trainer.train()
    except RunError as error:
        run.record.append(str(error))
        raise
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Interrupted at frame {trainer.collected_frames}; the last checkpoint is "
            f"{run.checkpoints.latest() or 'none'}."
        ) from None
    if trainer.collected_frames >= trainer.total_frames:
        return True
    stopped = f"Stopped at frame {trainer.collected_frames} of {trainer.total_frames}"
    if run.checkpoints.latest() is None:
        run.record.log(f"{stopped}; there is no checkpoint to go on from.")
    else:
        _, frames = newest_checkpoint(run.record.checkpoints)
        run.record.log(f"{stopped}; resume={run.record.path} goes on from frame {frames}.")
    return False
