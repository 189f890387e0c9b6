"""Reading the records that runs leave behind."""

from __future__ import annotations

import csv
from pathlib import Path


def read_progress(run_dir: str | Path) -> dict[str, list[float]]:
    r"""Read a run's ``progress.csv``.

    Arguments:
        run_dir: a run's folder.

    Returns:
        the columns by name, one value an evaluation; a missing value is NaN.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "progress.csv").write_text("frames,alpha\n0,\n10,0.5\n")
        ...     read_progress(folder)
        {'frames': [0.0, 10.0], 'alpha': [nan, 0.5]}
    """
    with open(Path(run_dir) / "progress.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {key: [float(row[key] or "nan") for row in rows] for key in rows[0]}
