"""Figure of the bounds and estimates of the entropy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from torchrl_mixture.analysis.figures import new_figure
from torchrl_mixture.studies.mixture_entropy import BOUNDS, ESTIMATES

__all__ = ["plot_entropies"]

_BOUND_LABELS = {
    "upper": "upper bound",
    "kl": "pairwise, Kullback-Leibler",
    "bhattacharyya": "pairwise, Bhattacharyya",
    "lower": "lower bound",
}
_ESTIMATE_LABELS = {
    "stratified": "stratified",
    "two_sample": "two-sample",
    "monte_carlo": "Monte Carlo",
}
_MARKERS = ("o", "s", "^")
_KIND_TITLES = {"normal": "normal", "tanh": "tanh-normal"}


def _style_of_estimate(index: int) -> dict[str, Any]:
    return {"color": f"C{len(BOUNDS) + index}", "marker": _MARKERS[index], "markersize": 3}


def _draw_biases(axes: Any, rows: pd.DataFrame) -> None:
    for index, bound in enumerate(reversed(BOUNDS)):
        style = {"color": f"C{index}", "label": _BOUND_LABELS[bound]}
        axes.plot(rows["distance"], rows[bound] - rows["exact"], **style)
    for index, estimate in enumerate(ESTIMATES):
        bias = rows[f"{estimate}_mean"] - rows["exact"]
        style = _style_of_estimate(index)
        axes.plot(rows["distance"], bias, linestyle="", label=_ESTIMATE_LABELS[estimate], **style)
    axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)


def _draw_variances(axes: Any, rows: pd.DataFrame) -> None:
    for index, estimate in enumerate(ESTIMATES):
        style = _style_of_estimate(index)
        variance = rows[f"{estimate}_variance"]
        axes.plot(rows["distance"], variance, label=_ESTIMATE_LABELS[estimate], **style)


def plot_entropies(frame: pd.DataFrame, path: str | Path) -> Path:
    """Draw how far bounds and estimates lie from the entropy, and the estimates' variances.

    A column of panels for each kind and size of mixture: above, each bound and the mean of each
    estimate less the entropy; below, the variances, each estimate with as many log-densities.

    Arguments:
        frame: what :func:`~torchrl_mixture.studies.mixture_entropy.compare_entropies` returns.
        path: the figure's file; its ending chooses the format.

    Returns:
        ``path``.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.

    Example:
        >>> from torchrl_mixture.studies.mixture_entropy import compare_entropies
        >>> frame = compare_entropies(distances=[0.0, 2.0], num_repeats=10)
        >>> path = plot_entropies(frame, getfixture("tmp_path") / "entropies.png")
    """
    groups = frame.groupby(["kind", "size"])
    figure = new_figure(12, 6)
    panels = figure.subplots(2, len(groups), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), ((kind, size), rows) in zip(panels.T, groups, strict=True):
        upper.set_title(f"{_KIND_TITLES[kind]}, {'line' if size == 1 else 'plane'}")
        _draw_biases(upper, rows)
        _draw_variances(lower, rows)
    panels[0, 0].set_ylabel("less the entropy (nats)")
    panels[1, 0].set_ylabel("variance (nats²)")
    panels[1, 0].set_ylim(bottom=0)
    figure.supxlabel("distance of the means, in scales of the first component")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    look = {"ncols": len(handles), "frameon": False, "columnspacing": 1.2, "fontsize": 9}
    figure.legend(handles, labels, loc="outside upper center", **look)
    figure.savefig(path, dpi=150)
    return Path(path)
