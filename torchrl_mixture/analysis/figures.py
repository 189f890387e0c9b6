"""Figures of run records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torchrl_mixture.analysis.records import read_progress

COLLAPSE_COLUMNS = {
    "effective_components": "effective components",
    "component_information": "component information (nats)",
}


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
    ways = [c[len("return_") : -len("_mean")] for c in columns if c.endswith("_mean")]
    for index, way in enumerate(ways):
        color = f"C{index}"
        mean, std = (columns[f"return_{way}_{statistic}"] for statistic in ("mean", "std"))
        low = [m - s for m, s in zip(mean, std, strict=True)]
        high = [m + s for m, s in zip(mean, std, strict=True)]
        axes.plot(frames, mean, color=color, label=way)
        axes.fill_between(frames, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_ylabel("episode return")
    axes.legend()


def _draw_collapse(axes: Any, columns: dict[str, list[float]]) -> None:
    for index, (column, label) in enumerate(COLLAPSE_COLUMNS.items()):
        side = axes if index == 0 else axes.twinx()
        color = f"C{index + 4}"
        side.plot(columns["frames"], columns[column], color=color)
        side.set_ylabel(label, color=color)
        side.set_ylim(bottom=0)


def plot_learning_curve(run_dir: str | Path, path: str | Path) -> Path:
    """Draw a run's returns against frames, and below them how alive the mixture was.

    The band is one standard deviation over the episodes of an evaluation. The lower panel is
    drawn where the record has the collapse diagnostics.

    Arguments:
        run_dir: a run's folder, with its ``progress.csv``.
        path: the figure's file; its ending chooses the format.

    Returns:
        ``path``.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.
    """
    columns = read_progress(run_dir)
    collapse = all(column in columns for column in COLLAPSE_COLUMNS)
    figure = new_figure(7, 6 if collapse else 4)
    panels = figure.subplots(2 if collapse else 1, sharex=True, squeeze=False)[:, 0]
    _draw_returns(panels[0], columns)
    if collapse:
        _draw_collapse(panels[1], columns)
    panels[-1].set_xlabel("frames")
    figure.savefig(path, dpi=150)
    return Path(path)
