"""Where the means of a mixture lie, as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchrl_mixture.analysis.figures import new_figure

__all__ = ["plot_means", "principal_components"]


def principal_components(points: Tensor, count: int) -> tuple[Tensor, Tensor]:
    r"""Coordinates of points along the directions in which they vary most.

    .. math::
        y_{ij} = (x_i - \bar x)^\top v_j, \qquad
        \text{share}_j = \frac{s_j^2}{\sum_l s_l^2}

    with :math:`v_j` the right singular vectors of the centred points and :math:`s_j` their
    singular values. Of the two signs of :math:`v_j` that is taken for which its entry of largest
    size is positive.

    Arguments:
        points: :math:`x`, ``[n, D]``.
        count: the number of directions, from 1 to ``D``.

    Returns:
        the coordinates :math:`y`, ``[n, count]``, and the share of the variance along each
        direction, ``[count]``, which is NaN where all points are one.

    Raises:
        ValueError: where there are not that many directions.

    Source:
        Pearson (1901).

    Example:
        >>> points = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
        >>> principal_components(points, 1)
        (tensor([[-2.5],
                [ 2.5]]), tensor([1.]))
    """
    if not 1 <= count <= points.shape[-1]:
        raise ValueError(
            f"count must be from 1 to {points.shape[-1]}, the size of a point, got {count}."
        )
    centred = points - points.mean(0)
    variances, vectors = torch.linalg.eigh(centred.mT @ centred)
    variances, directions = variances.flip(-1).clamp(min=0), vectors.flip(-1)[:, :count]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return centred @ (directions * largest.sign()), variances[:count] / variances.sum()


def plot_means(run_dir: str | Path, path: str | Path) -> Path:
    """Draw a run's means on stored states at some moments, by their two principal components.

    A panel is a moment and a colour a component; a point is the mean of one component in one
    state. The directions are fitted to all moments together, so that the panels share their
    axes. With actions of one dimension the second axis is the number of the component.

    Arguments:
        run_dir: a run's folder, with its ``means.npz``: by frame count, means ``[S, K, A]``.
        path: the figure's file; its ending chooses the format.

    Returns:
        ``path``.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.

    Source:
        Dey and Sharon (2025), figures 8 and 9.
    """
    with np.load(Path(run_dir) / "means.npz") as file:
        moments = {name: torch.from_numpy(file[name]).double() for name in file.files}
    num_states, num_components, size = next(iter(moments.values())).shape
    points = torch.cat([means.reshape(-1, size) for means in moments.values()])
    found, shares = principal_components(points, min(2, size))
    found = found.reshape(len(moments), num_states, num_components, -1)
    figure = new_figure(2.4 * len(moments) + 1, 3)
    panels = figure.subplots(1, len(moments), sharex=True, sharey=True, squeeze=False)[0]
    for axes, name, shown in zip(panels, moments, found, strict=True):
        axes.set_title(f"frame {int(name):,}")
        _draw_moment(axes, shown)
    labels = [f"direction {i + 1} ({share:.0%})" for i, share in enumerate(shares.tolist())]
    figure.supxlabel(labels[0])
    panels[0].set_ylabel([*labels, "component"][1])
    panels[-1].legend(title="component", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=150)
    return Path(path)


def _draw_moment(axes: Any, shown: Tensor) -> None:
    """Draw points ``[S, K, 1 or 2]``."""
    for component, points in enumerate(shown.unbind(1)):
        x, *y = points.unbind(-1)
        heights = y[0] if y else torch.full_like(x, component)
        axes.scatter(x, heights, s=4, color=f"C{component}", label=str(component))
