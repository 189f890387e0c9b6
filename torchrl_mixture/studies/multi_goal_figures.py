"""The figure of where policies go in the plane, and of the values of their actions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchrl_mixture.analysis.figures import new_figure
from torchrl_mixture.envs import MultiGoal, plot_trajectories
from torchrl_mixture.studies.multi_goal import CONTOUR_STATES, action_grid

__all__ = ["PathPanel", "plot_multi_goal"]

# Okabe and Ito's, which are told apart with any colour vision.
LATENT_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKS = (("o", "#F0E442"), ("s", "#F7B6D2"), ("D", "#8C564B"))  # yellow, pink, brown


class PathPanel(NamedTuple):
    """Paths of one run, ``[N, T+1, 2]``, and the latent of each, ``[N]``, where it has latents."""

    title: str
    positions: Tensor
    latents: Tensor | None = None


def plot_multi_goal(
    env: MultiGoal,
    panels: Sequence[PathPanel],
    path: str | Path,
    *,
    q_soft: Tensor | None = None,
    q_z: Tensor | None = None,
    latent: int = 0,
    states: Sequence[Sequence[float]] = CONTOUR_STATES,
) -> Path:
    """Draw paths to the goals, and below them the values of all actions in some states.

    A panel of paths is a run; a colour is a latent, and paths without latents are black. A row of
    contours is a state, which the panels of paths mark; the columns are the values of the policy
    without latents, those of one latent, framed in its colour, and their difference, as far as
    they are given. Each panel of contours has a scale of its own.

    Arguments:
        env: the task, whose goals are drawn.
        panels: at least one.
        path: the figure's file; its ending chooses the format.
        q_soft: values of the actions of :func:`action_grid`, ``[S, G, G]``, see
            :func:`action_values`.
        q_z: those of one latent, ``[S, G, G]``.
        latent: which one.
        states: the states of the values, ``[S, 2]``.

    Returns:
        ``path``.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.
        ValueError: if the values have another shape.

    Source:
        Cohen et al. (2019), figure 1.

    Example:
        >>> from torchrl_mixture.studies.multi_goal import play_paths
        >>> from torchrl_mixture.modules import mixture_actor
        >>> env = MultiGoal(batch_size=[5])
        >>> actor = mixture_actor(env.action_spec, 4, observation_spec=env.observation_spec)
        >>> panel = PathPanel("untrained", play_paths(env, actor).positions)
        >>> path = plot_multi_goal(env, [panel], getfixture("tmp_path") / "paths.png")
    """
    for name, values in (("q_soft", q_soft), ("q_z", q_z)):
        if values is not None and (values.ndim != 3 or len(values) != len(states)):
            raise ValueError(
                f"{name} must be [S, G, G] with S = {len(states)} states, got the shape "
                f"{list(values.shape)}."
            )
    columns = _columns(q_soft, q_z, latent)
    heights = [5.0, 2.3 * len(states)] if columns else [5.0]
    figure = new_figure(max(4.6 * len(panels), 3.1 * len(columns)), sum(heights))
    from matplotlib import rc_context  # it is there, new_figure needed it
    from matplotlib.rcsetup import cycler

    above, *below = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    with rc_context({"axes.prop_cycle": cycler(color=LATENT_COLORS)}):
        drawn = above.subplots(1, len(panels), squeeze=False)[0]
        for axes, panel in zip(drawn, panels, strict=True):
            _draw_paths(axes, panel, env, states)
        for subfigure in below:
            _draw_values(subfigure, columns, states)
        figure.savefig(path, dpi=150)
    return Path(path)


Column = tuple[str, Tensor, str | None]


def _columns(q_soft: Tensor | None, q_z: Tensor | None, latent: int) -> list[Column]:
    """Give title, values and colour of the frame of each column."""
    columns: list[Column] = []
    if q_soft is not None:
        columns.append((r"$Q_{soft}$", q_soft, None))
    if q_z is not None:
        columns.append((rf"$Q_z$, $z = {latent}$", q_z, f"C{latent}"))
    if q_soft is not None and q_z is not None:
        columns.append((r"$Q_{soft} - Q_z$", q_soft - q_z, None))
    return columns


def _draw_paths(
    axes: Any, panel: PathPanel, env: MultiGoal, states: Sequence[Sequence[float]]
) -> None:
    env.draw(axes, torch.tensor(states[0]))  # its dot lies under the first mark
    plot_trajectories(axes, panel.positions, panel.latents)
    for index, state in enumerate(states):
        axes.plot(*state, markersize=8, zorder=3, **_mark(index))
    axes.set_title(panel.title)
    if panel.latents is not None:
        axes.legend(title="z", loc="upper right")


def _mark(index: int) -> dict[str, Any]:
    marker, color = MARKS[index % len(MARKS)]
    return {"marker": marker, "color": color, "markeredgecolor": "black", "linestyle": "none"}


def _draw_values(
    figure: Any, columns: Sequence[Column], states: Sequence[Sequence[float]]
) -> None:
    panels = figure.subplots(len(states), len(columns), sharex=True, sharey=True, squeeze=False)
    for column, (title, values, color) in enumerate(columns):
        panels[0, column].set_title(title)
        panels[-1, column].set_xlabel("action x")
        for axes, one in zip(panels[:, column], values, strict=True):
            _draw_contours(figure, axes, one)
            if color is not None:
                axes.spines[:].set(color=color, linewidth=2.5)
    for index, (axes, state) in enumerate(zip(panels[:, 0], states, strict=True)):
        axes.set_ylabel(f"state ({state[0]:g}, {state[1]:g})\naction y")
        axes.plot(0.1, 0.9, markersize=8, transform=axes.transAxes, **_mark(index))


def _draw_contours(figure: Any, axes: Any, values: Tensor) -> None:
    x, y = action_grid(len(values)).unbind(-1)
    contours = axes.contourf(x, y, values, 14, cmap="viridis")
    axes.contour(x, y, values, contours.levels, colors="white", linewidths=0.4, alpha=0.6)
    axes.set(aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    figure.colorbar(contours, ax=axes, shrink=0.85, pad=0.03)
