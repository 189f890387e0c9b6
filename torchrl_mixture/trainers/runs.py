"""A run: where it begins, who holds its folder, and how it ends."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from torchrl.trainers import Trainer

from torchrl_mixture.trainers.checkpoints import RunCheckpoints, newest_checkpoint
from torchrl_mixture.trainers.loggers import check_backend
from torchrl_mixture.trainers.records import RunRecord
from torchrl_mixture.trainers.refusals import ConfigError, RunError
from torchrl_mixture.trainers.replay import make_buffer
from torchrl_mixture.trainers.settings import OffPolicyConfig, updates_per_batch

AT_ONCE: dict[signal.Signals, Callable[[int, FrameType | None], Any] | signal.Handlers] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


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
