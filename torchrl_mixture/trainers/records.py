"""The folder that a run leaves behind."""

from __future__ import annotations

import csv
import dataclasses
import fcntl
import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from torchrl_mixture.trainers.refusals import Refusal, one_line


class RunRecord:
    """A run's folder: ``config.yaml``, ``progress.csv``, ``log.txt``, checkpoints and figures.

    Use :meth:`create`, or :meth:`reopen` and then :meth:`resume`.

    Arguments:
        path: the folder.
        rows: the rows of ``progress.csv`` so far.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> @dataclasses.dataclass
        ... class Config:
        ...     lr: float = 1e-3
        ...     resume: str = ""
        >>> with TemporaryDirectory() as folder:
        ...     record = RunRecord.create("trial", Config(), seed=0, root=folder)
        ...     record.add({"frames": 0, "return_sampled_mean": -1.0})
        ...     sorted(file.name for file in record.path.iterdir())
        ['config.yaml', 'progress.csv']
    """

    def __init__(self, path: Path, rows: list[dict[str, Any]]) -> None:
        self.path = path
        self.rows = rows
        self._lock: int | None = None

    @classmethod
    def create(cls, name: str, config: Any, seed: int, root: str | Path = "runs") -> RunRecord:
        """Make the folder of a new run, ``root/name/<time>-<seed>``.

        Arguments:
            name: the run's kind, usually the recipe's name.
            config: the resolved settings, an instance of a dataclass.
            seed: the run's seed.
            root: where the folders of all runs lie.

        Raises:
            Refusal: if the folder cannot be written.
        """
        try:
            record = cls(_new_folder(Path(root) / name, seed), [])
            record._write_config(config)
        except OSError as error:
            raise Refusal(
                f"{Path(root).absolute() / name}: no run can be written there ({one_line(error)})."
            ) from error
        return record

    @classmethod
    def reopen(cls, path: str | Path, frames: int) -> RunRecord:
        """Read the folder of a run that is to continue from a checkpoint, and change nothing.

        Arguments:
            path: the folder.
            frames: the checkpoint's frames; rows after it are left out, since the run will come
                by there again.

        Raises:
            Refusal: if the folder cannot be read.
        """
        record = cls(Path(path), [])
        try:
            if record._progress.exists():
                with open(record._progress, newline="") as file:
                    record.rows = [r for r in csv.DictReader(file) if int(r["frames"]) <= frames]
        except (OSError, KeyError, ValueError) as error:
            raise Refusal(f"{path}: the run cannot go on there ({one_line(error)}).") from error
        return record

    def resume(self, config: Any) -> None:
        """Write the settings and the rows that a continued run begins with.

        Arguments:
            config: the settings from here on.

        Raises:
            Refusal: if the folder cannot be written.
        """
        try:
            self._write_config(config)
            if self.rows:
                self._write_rows()
        except OSError as error:
            raise Refusal(
                f"{self.path}: the run cannot go on there ({one_line(error)})."
            ) from error

    def lock(self) -> None:
        """Keep other processes out of the folder, until :meth:`unlock` or this process ends.

        Raises:
            Refusal: if a run is going on there.
        """
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(folder)
            raise Refusal(f"{self.path}: another process is training there.") from None
        self._lock = folder

    def unlock(self) -> None:
        """Let others in."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def _progress(self) -> Path:
        return self.path / "progress.csv"

    def add(self, row: Mapping[str, float]) -> None:
        """Append a row to ``progress.csv``; a value that a row lacks stays empty.

        Where it cannot be written, a line says so and the row is kept for the next time.
        """
        self.rows.append(dict(row))
        try:
            self._write_rows()
        except OSError as error:
            self.warn(f"progress.csv was not written ({one_line(error)}); it will be tried again.")

    def log(self, line: str) -> None:
        """Print a line and append it, with the time, to ``log.txt``."""
        print(line, flush=True)
        self.append(line)

    def warn(self, line: str) -> None:
        """Print a line on stderr and append it, with the time, to ``log.txt``."""
        print(line, file=sys.stderr, flush=True)
        self.append(line)

    def append(self, line: str) -> None:
        """Append a line, with the time, to ``log.txt``."""
        try:
            with open(self.path / "log.txt", "a") as file:
                file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}\n")
        except OSError:
            pass  # it was printed, and what keeps it from the file will be told by what fails next

    def _write_config(self, config: Any) -> None:
        fixed = {"resume": ""} if hasattr(config, "resume") else {}
        settings = OmegaConf.structured(dataclasses.replace(config, **fixed))
        with _replacing(self.path / "config.yaml") as temporary:
            OmegaConf.save(settings, temporary)

    def _write_rows(self) -> None:
        """Write the file whole, since the losses' columns appear with the first update."""
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        with _replacing(self._progress) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)


class _replacing:
    """Give a temporary file to write, which then takes the place of ``path`` in one step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name}.new")

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind: type | None, *rest: object) -> None:
        if kind is None:
            os.replace(self.temporary, self.path)
        else:
            self.temporary.unlink(missing_ok=True)


def _new_folder(parent: Path, seed: int) -> Path:
    while True:
        path = parent / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{seed}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:  # of a run that began in the same microsecond
            if parent.exists() and not parent.is_dir():
                raise
            continue
        return path
