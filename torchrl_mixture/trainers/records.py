"""The folder that a run leaves behind."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


class RunRecord:
    """A run's folder: ``config.yaml``, ``progress.csv``, and room for checkpoints and figures.

    Arguments:
        name: the run's kind, usually the recipe's name.
        config: the resolved settings, an instance of a dataclass.
        seed: the run's seed, part of the folder's name.
        root: where the folders of all runs lie.

    Example:
        >>> from dataclasses import dataclass
        >>> from tempfile import TemporaryDirectory
        >>> @dataclass
        ... class Config:
        ...     lr: float = 1e-3
        >>> with TemporaryDirectory() as folder:
        ...     record = RunRecord("trial", Config(), seed=0, root=folder)
        ...     record.add({"frames": 0, "return_sampled_mean": -1.0})
        ...     sorted(file.name for file in record.path.iterdir())
        ['config.yaml', 'progress.csv']
    """

    def __init__(self, name: str, config: Any, seed: int, root: str | Path = "runs") -> None:
        self.path = _new_folder(Path(root) / name, seed)
        OmegaConf.save(OmegaConf.structured(config), self.path / "config.yaml")
        self.rows: list[dict[str, float]] = []

    @property
    def checkpoint_path(self) -> Path:
        """Where the checkpoint of the finished run goes."""
        return self.path / "checkpoints" / "final"

    def add(self, row: dict[str, float]) -> None:
        """Append a row to ``progress.csv``; a value that a row lacks stays empty.

        The file is written whole, since the losses' columns appear with the first update.
        """
        self.rows.append(row)
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        with open(self.path / "progress.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)


def _new_folder(parent: Path, seed: int) -> Path:
    while True:
        path = parent / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{seed}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:  # of a run that began in the same microsecond
            continue
        return path
