"""Small hooks of a :class:`~torchrl.trainers.Trainer`: schedules, checks, log, progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.utils import NestedKey
from torchrl.trainers import Trainer, TrainerHookBase
from tqdm import tqdm

from torchrl_mixture.trainers.refusals import RunError


class _StatelessHook(TrainerHookBase):
    """A hook with nothing to save."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        return


class FiniteCheck(_StatelessHook):
    """Stop the run when data, losses or parameters are not finite, before they are saved.

    Arguments:
        keys: the floating entries of a collected batch that are checked.
        last_checkpoint: tells where the last good checkpoint is.

    Raises:
        RunError: from the trainer's loop, a line that names the entry, the frame or update, and
            the checkpoint.

    Example:
        >>> from tensordict import TensorDict
        >>> check = FiniteCheck(["observation"], lambda: "runs/a/checkpoints/checkpoint-100")
        >>> check.updated(7, TensorDict({"loss_actor": torch.tensor(float("nan"))}))
        Traceback (most recent call last):
            ...
        torchrl_mixture.trainers.refusals.RunError: loss_actor is nan at update 7; the last good
        checkpoint is runs/a/checkpoints/checkpoint-100.
    """

    def __init__(self, keys: Sequence[NestedKey], last_checkpoint: Callable[[], object]) -> None:
        self.keys = tuple(keys)
        self.last_checkpoint = last_checkpoint

    def collected(self, batch: TensorDictBase) -> TensorDictBase:
        """Check a collected batch and return it unchanged."""
        for key in self.keys:
            frame = self.trainer.collected_frames + batch.numel()
            self._check(key, batch[key], f"frame {frame}")
        return batch

    def updated(self, updates: int, metrics: TensorDictBase) -> None:
        """Check the mean ``metrics`` of updates, and the parameters after the last one.

        Arguments:
            updates: the number of updates so far.
            metrics: the mean of each output of the loss.
        """
        for key, value in metrics.items():
            self._check(key, value, f"update {updates}")
        for key, parameter in self.trainer.loss_module.named_parameters():
            self._check(key, parameter, f"update {updates}")

    def _check(self, key: NestedKey, value: torch.Tensor, where: str) -> None:
        if not value.isfinite().all():
            name = key if isinstance(key, str) else ".".join(key)
            bad = value[~value.isfinite()].flatten()[0].item()
            raise RunError(
                f"{name} is {bad} at {where}; the last good checkpoint is "
                f"{self.last_checkpoint() or 'none'}."
            )

    def register(self, trainer: Trainer, name: str = "finite_check") -> None:
        """Check data on ``batch_process``, the rest on ``post_optim_complete_log``.

        Register it before the hooks that store data.
        """
        self.trainer = trainer
        trainer.register_op("batch_process", self.collected)
        trainer.register_op("post_optim_complete_log", self.updated)


class LinearSchedule(_StatelessHook):
    r"""Move a number linearly between two frame counts, and hold it before and after.

    .. math::
        x(t) = x_0 + (x_1 - x_0)\, \min(1, \max(0, (t - t_0) / (t_1 - t_0)))

    It is computed from the frame count alone, so that a continued run needs nothing saved.

    Arguments:
        set_value: receives :math:`x(t)`; for a buffer of a loss that TorchRL calls schedulable,
            ``lambda x: setattr(loss, "temperature", x)``.
        values: :math:`x_0` and :math:`x_1`.
        frames: :math:`t_0` and :math:`t_1`, increasing.

    Raises:
        ValueError: if the frames do not increase.

    Example:
        >>> LinearSchedule(print, values=(1.0, 0.0), frames=(100, 300)).at(150)
        0.75
    """

    def __init__(
        self,
        set_value: Callable[[float], None],
        *,
        values: tuple[float, float],
        frames: tuple[int, int],
    ) -> None:
        if frames[0] >= frames[1]:
            raise ValueError(f"frames must increase, got {frames}.")
        self.set_value = set_value
        self.values = values
        self.frames = frames

    def at(self, frame: int) -> float:
        """Give the value at a frame count."""
        (start, end), (first, last) = self.values, self.frames
        return start + (end - start) * min(1.0, max(0.0, (frame - first) / (last - first)))

    def __call__(self) -> None:
        """Set the value of the trainer's frame count."""
        self.set_value(self.at(self.trainer.collected_frames))

    def register(self, trainer: Trainer, name: str = "linear_schedule") -> None:
        """Set on ``setup`` and on ``post_steps``."""
        self.trainer = trainer
        trainer.register_op("setup", self)
        trainer.register_op("post_steps", self)


class LogTrimmer(_StatelessHook):
    """Keep only the last value of each entry of the trainer's log.

    The trainer keeps every value it ever logged; a run of a million batches would hold millions
    of tensors.

    Example:
        >>> trimmer = LogTrimmer()  # then trimmer.register(trainer)
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

    Example:
        >>> bar = ProgressBar(1_000)  # then bar.register(trainer)
        >>> bar.episode_return is None
        True
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
