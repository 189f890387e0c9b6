"""Saving the whole state of a run, and going on from it."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torchrl.checkpoint import Checkpoint, CheckpointError, CheckpointRotation
from torchrl.trainers import Trainer

from torchrl_mixture.trainers.refusals import Refusal, one_line

KEPT = 2
MARGIN = 2**24  # bytes left free beside a checkpoint


def tensor_bytes(state: Any) -> int:
    """Sum the bytes of the tensors in nested mappings and sequences.

    Example:
        >>> tensor_bytes({"a": torch.zeros(3), "b": [torch.zeros(2), 1]})
        20
    """
    if isinstance(state, torch.Tensor):
        return state.nbytes
    if isinstance(state, Mapping):
        return sum(map(tensor_bytes, state.values()))
    if isinstance(state, list | tuple):
        return sum(map(tensor_bytes, state))
    return 0


class RunCheckpoints(CheckpointRotation):
    """The last two checkpoints of a run, and its best policy, in the run's folder.

    A checkpoint that cannot be written, because the disk is full or the folder is gone, is told
    in a line and left out, and the run goes on. The space is compared before writing, since
    memory-mapped files on a full disk would end the process.

    Arguments:
        directory: the folder of the checkpoints.
        warn: receives the line.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     checkpoints = RunCheckpoints(folder, print)
        ...     _ = checkpoints.save(Checkpoint(value={"a": 1}), step=10)
        ...     checkpoints.latest().name
        'checkpoint-000000000010'
    """

    def __init__(self, directory: str | Path, warn: Callable[[str], None]) -> None:
        super().__init__(directory, keep_last=KEPT)
        self.warn = warn
        self._best: float | None = None

    @property
    def best_path(self) -> Path:
        """Where the best policy lies."""
        return self.directory / "best"

    def save(self, checkpoint: Checkpoint, *, step: int, **options: Any) -> Path:
        """Save a checkpoint at frame ``step`` and remove all but the last two."""
        path = self._checkpoint_path(step, checkpoint.format)
        self._try(
            path,
            checkpoint,
            lambda: super(RunCheckpoints, self).save(checkpoint, step=step, **options),
        )
        return path

    def save_best(self, checkpoint: Checkpoint, value: float, frames: int) -> None:
        """Save a policy if its value is higher than that of all before it.

        Arguments:
            checkpoint: the policy and what it needs to act.
            value: what it is measured by, higher is better.
            frames: the frames of training so far.
        """
        if self._best is None:
            self._best = self._saved_best()
        metadata = {"value": value, "collected_frames": frames}
        if value > self._best and self._try(
            self.best_path, checkpoint, lambda: checkpoint.save(self.best_path, metadata=metadata)
        ):
            self._best = value

    def _saved_best(self) -> float:
        if not Checkpoint.is_checkpoint(self.best_path):
            return float("-inf")
        return Checkpoint.manifest(self.best_path)["metadata"]["value"]

    def _try(self, path: Path, checkpoint: Checkpoint, save: Callable[[], object]) -> bool:
        """Save, or say why not."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            needed = MARGIN + sum(
                tensor_bytes(component.state_dict())
                for component in checkpoint.components.values()
                if hasattr(component, "state_dict")
            )
            free = shutil.disk_usage(self.directory).free
            if free < needed:
                raise OSError(f"{needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free")
            save()
        except (OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "No space left" not in str(error):
                raise  # PyTorch raises it for a full disk too
            self.warn(f"{path} was not written ({one_line(error)}).")
            return False
        return True

    def clean(self) -> None:
        """Remove what writes that were cut off have left behind, but keep the best policy."""
        for backup in self.directory.glob(f".{self.best_path.name}.backup-*"):
            if not self.best_path.exists():
                os.replace(backup, self.best_path)
        for leftover in self.directory.glob(".*"):
            shutil.rmtree(leftover, ignore_errors=True)


def newest_checkpoint(directory: str | Path) -> tuple[Path, int]:
    """Find the newest complete checkpoint of a run.

    Arguments:
        directory: the folder of the checkpoints.

    Returns:
        its path and its frames.

    Raises:
        Refusal: if there is none.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = RunCheckpoints(folder, print).save(Checkpoint(value={"a": 1}), step=10)
        ...     newest_checkpoint(folder)[1]
        10
    """
    latest = CheckpointRotation(directory, keep_last=KEPT).latest()
    if latest is None:
        raise Refusal(f"{directory}: expected a complete checkpoint, found none.")
    return Path(directory) / latest.name, int(latest.name.rsplit("-", 1)[1])


def check_tensors(path: Path) -> None:
    """Compare the sizes of a checkpoint's files of tensors with what they must be.

    A file that is too short would be filled up with zeros in silence when it is mapped.

    Arguments:
        path: the checkpoint.

    Raises:
        Refusal: for the first file that is missing or has another size.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Checkpoint(net=torch.nn.Linear(1, 1)).save(f"{folder}/a")
        ...     check_tensors(path)  # says nothing: it is whole
    """
    for index in path.glob("components/*/state/meta.json"):
        try:
            entries = json.loads(index.read_text())
        except (OSError, ValueError) as error:
            name = index.relative_to(path)
            raise Refusal(f"{path}: it is damaged ({name}: {one_line(error)}).") from error
        for name, entry in entries.items():
            if not name.startswith("tensor_"):
                continue
            file = index.with_name(f"{name}.memmap")
            dtype = getattr(torch, entry["dtype"].removeprefix("torch."))
            expected = math.prod(entry["shape"]) * dtype.itemsize
            found = file.stat().st_size if file.exists() else 0
            if found != expected:
                name = file.relative_to(path)
                raise Refusal(
                    f"{path}: it is damaged ({name} has {found} bytes of {expected}); "
                    "where it is removed, the one before it is used."
                )


def load_trainer(trainer: Trainer, path: Path) -> None:
    """Restore a trainer that was built with the settings of the run.

    Arguments:
        trainer: the trainer, all its hooks registered.
        path: the checkpoint.

    Raises:
        Refusal: if the checkpoint is damaged, or belongs to other networks or another task.
    """
    check_tensors(path)
    try:
        Checkpoint.manifest(path)  # without one the trainer would turn to its pickle loader
        trainer.load_from_file(path)
    except (CheckpointError, RuntimeError, ValueError, KeyError, OSError) as error:
        raise Refusal(f"{path}: this run cannot go on from it ({one_line(error)}).") from error
