"""Figures of run records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from torchrl_mixture.analysis.records import read_progress

COLLAPSE_COLUMNS = {
    "effective_components": "effective components",
    "component_information": "component information (nats)",
    "divergence": "sum of divergences (nats)",
}
LOG_Q_COLUMNS = {
    "log_q_state_action": r"$\log q(z \mid s, a)$",
    "log_q_state": r"$\log q(z \mid s)$",
}

Curves = dict[str, tuple[list[float], np.ndarray]]  # by name, frames [T] and values [runs, T]


def new_figure(width: float, height: float) -> Any:
    """Make an empty Matplotlib figure, without touching pyplot's state.

    Arguments:
        width: in inches.
        height: in inches.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        message = "no figure: Matplotlib is missing, pip install 'torchrl_mixture[plots]'"
        raise ModuleNotFoundError(message) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _draw_returns(axes: Any, columns: dict[str, list[float]]) -> None:
    frames = columns["frames"]
    returns = [c for c in columns if c.startswith("return_") and c.endswith("_mean")]
    ways = [c[len("return_") : -len("_mean")] for c in returns]
    for index, way in enumerate(ways):
        color = f"C{index}"
        mean, std = (columns[f"return_{way}_{statistic}"] for statistic in ("mean", "std"))
        low = [m - s for m, s in zip(mean, std, strict=True)]
        high = [m + s for m, s in zip(mean, std, strict=True)]
        axes.plot(frames, mean, color=color, label=way)
        axes.fill_between(frames, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_ylabel("episode return")
    axes.legend()


def _draw_collapse(axes: Any, columns: dict[str, list[float]], shown: Sequence[str]) -> None:
    for index, column in enumerate(shown):
        side = axes if index == 0 else axes.twinx()
        color = f"C{index + 4}"
        side.plot(columns["frames"], columns[column], color=color)
        side.set_ylabel(COLLAPSE_COLUMNS[column], color=color)
        side.set_ylim(bottom=0)


def plot_learning_curve(run_dir: str | Path, path: str | Path) -> Path:
    """Draw a run's returns against frames, and below them how alive the mixture was.

    The band is one standard deviation over the episodes of an evaluation. The lower panel is
    drawn where the record has two of the collapse diagnostics.

    Arguments:
        run_dir: a run's folder, with its ``progress.csv``.
        path: the figure's file; its ending chooses the format.

    Returns:
        ``path``.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.
    """
    columns = read_progress(run_dir)
    shown = [column for column in COLLAPSE_COLUMNS if column in columns][:2]
    collapse = len(shown) == 2
    figure = new_figure(7, 6 if collapse else 4)
    panels = figure.subplots(2 if collapse else 1, sharex=True, squeeze=False)[:, 0]
    _draw_returns(panels[0], columns)
    if collapse:
        _draw_collapse(panels[1], columns, shown)
    panels[-1].set_xlabel("frames")
    figure.savefig(path, dpi=150)
    return Path(path)


def plot_metric(runs: Mapping[str, Sequence[str | Path]], column: str, path: str | Path) -> Path:
    """Draw one column of the records of several runs against frames.

    The line is the mean over the runs of a name, which differ in their seed, and the band one
    standard deviation over them; both at the frames that all of them have.

    Arguments:
        runs: by name, the folders of runs, with their ``progress.csv``.
        column: the column, such as ``"divergence"``.
        path: the figure's file; its ending chooses the format.

    Returns:
        ``path``.

    Raises:
        ValueError: where a name has no runs, or a run lacks the column.
        ModuleNotFoundError: if Matplotlib is not installed.
    """
    curves = _read_all_curves(runs, column)
    figure = new_figure(7, 4)
    axes = figure.subplots()
    _draw_curves(axes, curves)
    axes.set_ylabel(column)
    axes.legend()
    figure.savefig(path, dpi=150)
    return Path(path)


def plot_discriminability(runs: Mapping[str, Sequence[str | Path]], path: str | Path) -> Path:
    r"""Draw how well discriminators tell the latents of several runs apart, against frames.

    The left panel has :math:`\log q(z \mid s, a)` and the right one :math:`\log q(z \mid s)`, both
    averaged over the minibatches since the evaluation before. Line and band are as those of
    :func:`plot_metric`; a dashed line is the value of a guess, :math:`-\log Z`.

    Arguments:
        runs: by name, the folders of runs of the recipe ``mede``, as for :func:`plot_metric`.
        path: the figure's file; its ending chooses the format.

    Returns:
        ``path``.

    Raises:
        ValueError: where a name has no runs, or a run lacks a column.
        ModuleNotFoundError: if Matplotlib is not installed.

    Source:
        Cohen et al. (2019), figure 2.
    """
    curves = {column: _read_all_curves(runs, column) for column in LOG_Q_COLUMNS}
    sizes = {_num_latents(folder) for folders in runs.values() for folder in folders}
    figure = new_figure(10, 4)
    for axes, column in zip(figure.subplots(1, 2, sharey=True), LOG_Q_COLUMNS, strict=True):
        _draw_curves(axes, curves[column])
        for size in sorted(sizes):
            axes.axhline(-math.log(size), color="gray", linestyle="--", linewidth=1)
            axes.annotate(
                f"guess, Z = {size}",
                (1, -math.log(size)),
                xycoords=("axes fraction", "data"),
                xytext=(-3, 3),
                textcoords="offset points",
                horizontalalignment="right",
                color="gray",
            )
        axes.set_title(LOG_Q_COLUMNS[column])
        axes.locator_params(axis="x", nbins=6)
    axes.legend()
    figure.axes[0].set_ylabel("mean over minibatches (nats)")
    figure.savefig(path, dpi=150)
    return Path(path)


def _draw_curves(axes: Any, curves: Curves) -> None:
    """Draw mean and standard deviation over the runs of each name."""
    for index, (name, (frames, values)) in enumerate(curves.items()):
        mean, std = values.mean(0), values.std(0)
        axes.plot(frames, mean, color=f"C{index}", label=name)
        axes.fill_between(
            frames, mean - std, mean + std, color=f"C{index}", alpha=0.15, linewidth=0
        )
    axes.set_xlabel("frames")


def _num_latents(folder: str | Path) -> int:
    """Count the latents of a run by the columns of their shares of the stored data."""
    return sum(column.startswith("share_z") for column in read_progress(folder))


def _read_all_curves(runs: Mapping[str, Sequence[str | Path]], column: str) -> Curves:
    return {name: _read_curves(name, folders, column) for name, folders in runs.items()}


def _read_curves(
    name: str, folders: Sequence[str | Path], column: str
) -> tuple[list[float], np.ndarray]:
    """Read the common frames of some runs, ``[T]``, and a column at them, ``[runs, T]``."""
    if not folders:
        raise ValueError(f"runs[{name!r}] must have a folder at least, it has none.")
    tables = []
    for folder in folders:
        columns = read_progress(folder)
        if column not in columns:
            raise ValueError(
                f"column must be one that all runs have, got {column!r}, but {folder} has "
                f"{', '.join(columns)}."
            )
        tables.append(dict(zip(columns["frames"], columns[column], strict=True)))
    frames = sorted(set.intersection(*map(set, tables)))
    return frames, np.array([[table[frame] for frame in frames] for table in tables])
