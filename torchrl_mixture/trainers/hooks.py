"""Hooks of an off-policy :class:`~torchrl.trainers.Trainer`: replay, log, progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.utils import NestedKey
from torchrl.data import ReplayBuffer
from torchrl.trainers import Trainer, TrainerHookBase
from tqdm import tqdm

TRANSITION_KEYS: tuple[NestedKey, ...] = (
    "observation",
    "action",
    ("next", "observation"),
    ("next", "reward"),
    ("next", "done"),
    ("next", "terminated"),
    ("next", "truncated"),
)


class _StatelessHook(TrainerHookBase):
    """A hook with nothing to save."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        return


class Replay(TrainerHookBase):
    """Store every collected transition and draw the minibatches.

    Storing happens on ``batch_process``, which runs during the random warm-up too, and the
    end-of-episode signals are stored as the environment gave them.

    Arguments:
        buffer: the replay buffer, with its batch size set.
        keys: what to store of a transition; the rest of the batch is dropped.

    Example:
        >>> from torchrl.data import LazyTensorStorage
        >>> buffer = ReplayBuffer(storage=LazyTensorStorage(100), batch_size=4)
        >>> replay = Replay(buffer, keys=["observation"])
        >>> batch = replay.extend(TensorDict({"observation": torch.zeros(10, 3)}, [10]))
        >>> len(buffer), replay.sample(batch).shape
        (10, torch.Size([4]))
    """

    def __init__(self, buffer: ReplayBuffer, keys: Sequence[NestedKey] = TRANSITION_KEYS) -> None:
        self.buffer = buffer
        self.keys = tuple(keys)

    def extend(self, batch: TensorDictBase) -> TensorDictBase:
        """Store the batch ``[*B, T]`` as ``T * prod(B)`` transitions and return it unchanged."""
        self.buffer.extend(batch.select(*self.keys).reshape(-1))
        return batch

    def sample(self, batch: TensorDictBase) -> TensorDictBase:
        """Return a minibatch ``[buffer.batch_size]``, whatever was collected."""
        return self.buffer.sample()

    def state_dict(self) -> dict[str, Any]:
        """The buffer's content and cursor."""
        return self.buffer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.buffer.load_state_dict(state_dict)

    def register(self, trainer: Trainer, name: str = "replay_buffer") -> None:
        """Store on ``batch_process``, draw on ``process_optim_batch``."""
        trainer.register_op("batch_process", self.extend)
        trainer.register_op("process_optim_batch", self.sample)
        trainer.register_module(name, self)


class LogTrimmer(_StatelessHook):
    """Keep only the last value of each entry of the trainer's log.

    The trainer keeps every value it ever logged; a run of a million batches would hold millions
    of tensors.
    """

    def __call__(self) -> None:
        for values in self.trainer._log_dict.values():
            del values[:-1]

    def register(self, trainer: Trainer, name: str = "log_trimmer") -> None:
        """Trim on ``post_steps``."""
        self.trainer = trainer
        trainer.register_op("post_steps", self)


class ProgressBar(_StatelessHook):
    """Show frames, steps a second and the return of the last finished training episode.

    The bar is drawn on a terminal only, so that log files stay readable.

    Arguments:
        total_frames: the length of the bar.
    """

    def __init__(self, total_frames: int) -> None:
        self.total_frames = total_frames
        self.episode_return: float | None = None
        self._running = torch.zeros(())

    def start(self) -> None:
        """Open the bar at the trainer's frame count."""
        frames = self.trainer.collected_frames
        self._bar = tqdm(total=self.total_frames, initial=frames, unit="step", disable=None)

    def __call__(self, batch: TensorDictBase) -> None:
        """Follow the returns of the episodes in a batch ``[*B, T]``."""
        reward, done = (batch["next", key].squeeze(-1) for key in ("reward", "done"))
        if done.any():
            for step_reward, step_done in zip(reward.unbind(-1), done.unbind(-1), strict=True):
                self._running = self._running + step_reward
                if step_done.any():
                    self.episode_return = self._running[step_done].mean().item()
                    self._running = self._running.masked_fill(step_done, 0.0)
            self._bar.set_postfix({"return": f"{self.episode_return:.4g}"}, refresh=False)
        else:
            self._running = self._running + reward.sum(-1)
        self._bar.update(batch.numel())

    def stop(self) -> None:
        """Close the bar."""
        self._bar.close()

    def register(self, trainer: Trainer, name: str = "progress_bar") -> None:
        """Open on ``setup``, follow on ``pre_steps_log``, close on ``shutdown``."""
        self.trainer = trainer
        trainer.register_op("setup", self.start)
        trainer.register_op("pre_steps_log", self)
        trainer.register_op("shutdown", self.stop)


class Evaluation(TrainerHookBase):
    """Evaluate at the start, at frame thresholds and at the end, and record a row each time.

    A row holds ``frames``, ``updates``, ``wall_seconds`` and, since the last row,
    ``steps_per_second``, both without the time that evaluations took; then what ``evaluate``
    returned, and the mean of each of the loss's outputs over the updates since the last row.

    Arguments:
        evaluate: maps the frame count to statistics of the policy as it is.
        record: receives the row.
        interval: frames from one evaluation to the next.
    """

    def __init__(
        self,
        evaluate: Callable[[int], dict[str, float]],
        record: Callable[[dict[str, float]], None],
        interval: int,
    ) -> None:
        self.evaluate = evaluate
        self.record = record
        self.interval = interval
        self.last_row: dict[str, float] = {}
        self._updates = 0
        self._seconds = 0.0
        self._metrics: TensorDictBase = TensorDict()

    def start(self) -> None:
        """Evaluate the policy that training starts from and start the clock."""
        self._clock = perf_counter()
        if not self.last_row:
            self._write_row()

    def accumulate(self, updates: int, metrics: TensorDictBase) -> None:
        """Add the mean ``metrics`` of the updates of one collected batch.

        Arguments:
            updates: the number of updates since the beginning.
            metrics: the mean of each output of the loss over this batch's updates.
        """
        weighted = metrics * (updates - self._updates)
        self._metrics = weighted if self._metrics.is_empty() else self._metrics + weighted
        self._updates = updates

    def __call__(self, batch: TensorDictBase) -> dict[str, float] | None:
        """Evaluate if this batch reached the next threshold, or the end."""
        frames = self.trainer.collected_frames
        due = self.last_row["frames"] // self.interval < frames // self.interval
        if due or frames >= self.trainer.total_frames:
            return self._write_row()
        return None

    def _write_row(self) -> dict[str, float]:
        frames, seconds = self.trainer.collected_frames, perf_counter() - self._clock
        new_frames = frames - self.last_row.get("frames", 0)
        new_updates = self._updates - self.last_row.get("updates", 0)
        self._seconds += seconds
        row: dict[str, float] = {
            "frames": frames,
            "updates": self._updates,
            "wall_seconds": self._seconds,
            "steps_per_second": new_frames / seconds,
            **self.evaluate(frames),
            **{key: value.item() / new_updates for key, value in self._metrics.items()},
        }
        self.record(row)
        self.last_row, self._metrics = row, TensorDict()
        self._clock = perf_counter()
        return row

    def state_dict(self) -> dict[str, Any]:
        """The last row and the running totals."""
        return {
            "last_row": dict(self.last_row),
            "updates": self._updates,
            "seconds": self._seconds,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.last_row = dict(state_dict["last_row"])
        self._updates = state_dict["updates"]
        self._seconds = state_dict["seconds"]

    def register(self, trainer: Trainer, name: str = "evaluation") -> None:
        """Start on ``setup``, gather on ``post_optim_complete_log``, run on ``post_steps_log``."""
        self.trainer = trainer
        trainer.register_op("setup", self.start)
        trainer.register_op("post_optim_complete_log", self.accumulate)
        trainer.register_op("post_steps_log", self)
        trainer.register_module(name, self)
