"""Figures of the studies on bandits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchrl_mixture.analysis.figures import new_figure
from torchrl_mixture.analysis.statistics import bootstrap_interval
from torchrl_mixture.envs.bandit_rewards import RandomRewards
from torchrl_mixture.studies.continuous_bandit import BanditResult
from torchrl_mixture.studies.random_bandit_results import Measure, SweepResult

__all__ = [
    "plot_alphas",
    "plot_best_settings",
    "plot_densities",
    "plot_every_bandit",
    "plot_examples",
]

_LABELS = {"final": "reward in the last 10 % of training", "area": "reward over all of training"}
_SPREAD = 0.06  # between the dots of neighbouring methods, in decades of alpha


def _save(figure: Any, path: str | Path) -> Path:
    figure.savefig(path, dpi=150)
    return Path(path)


def _percent(curves: Tensor) -> Tensor:
    """Where the blocks of a curve end, in per cent of the training."""
    return torch.linspace(0, 100, curves.shape[-1] + 1)[1:]


def _draw_alphas(axes: Any, results: Sequence[SweepResult], measure: Measure) -> None:
    middle = (len(results) - 1) / 2
    for index, result in enumerate(results):
        _, performance = result.by_alpha(measure)
        mean, (low, high) = performance.mean(-1), bootstrap_interval(performance)
        alphas = torch.tensor(result.alphas) * 10 ** (_SPREAD * (index - middle))
        bars = torch.stack((mean - low, high - mean))
        style = {"color": f"C{index}", "label": result.method, "marker": "o", "markersize": 4}
        axes.errorbar(alphas, mean, yerr=bars, linewidth=0.8, elinewidth=1.5, **style)
    axes.set_xscale("log")
    axes.set_xticks(results[0].alphas)
    axes.minorticks_off()
    axes.set_xlabel("entropy coefficient α")
    axes.set_ylabel(_LABELS[measure])


def _draw_best_curves(axes: Any, results: Sequence[SweepResult]) -> None:
    for index, result in enumerate(results):
        curves = result.curves()
        low, high = bootstrap_interval(curves.mT)
        axes.plot(_percent(curves), curves.mean(0), color=f"C{index}", label=result.method)
        band = {"color": f"C{index}", "alpha": 0.15, "linewidth": 0}
        axes.fill_between(_percent(curves), low, high, **band)
    axes.set_xlabel("training (%)")
    axes.set_ylabel("reward")


def plot_alphas(
    results: Sequence[SweepResult], path: str | Path, measure: Measure = "final"
) -> Path:
    """Draw the performance against the entropy coefficient, each with its best step size.

    Means over bandits, with 95 % bootstrap intervals. Dots of one coefficient stand side by side.

    Arguments:
        results: one a method.
        path: the figure's file; its ending chooses the format.
        measure: ``"final"`` or ``"area"``.

    Returns:
        ``path``.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), figure 6.
    """
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    _draw_alphas(axes, results, measure)
    axes.legend(fontsize="small", loc="lower left")
    return _save(figure, path)


def plot_best_settings(results: Sequence[SweepResult], path: str | Path) -> Path:
    """Draw the learning curves of the best final settings, and the area against the coefficient.

    Means over bandits, with 95 % bootstrap intervals as bands and bars.

    Arguments:
        results: one a method.
        path: the figure's file.

    Returns:
        ``path``.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), figure 11.
    """
    figure = new_figure(12, 4.5)
    left, right = figure.subplots(1, 2)
    _draw_best_curves(left, results)
    left.legend(fontsize="small", loc="lower right")
    _draw_alphas(right, results, "area")
    return _save(figure, path)


def plot_examples(
    results: Sequence[SweepResult],
    rewards: RandomRewards,
    path: str | Path,
    bandits: Sequence[int] = (0, 1, 2, 3),
) -> Path:
    """Draw a few rewards, and below each the learning curves of the best settings.

    Arguments:
        results: one a method.
        rewards: those of the sweep.
        path: the figure's file.
        bandits: which.

    Returns:
        ``path``.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), figure 6.
    """
    figure = new_figure(3.2 * len(bandits), 5.5)
    panels = figure.subplots(2, len(bandits), sharey=True, squeeze=False)
    action = torch.linspace(-3, 3, 601)
    values = rewards(action.unsqueeze(-1).expand(-1, len(rewards.scale)))
    for column, bandit in enumerate(bandits):
        above, below = panels[:, column]
        above.plot(action, values[:, bandit], color="black")
        above.set_title(f"bandit {bandit}")
        above.set_xlabel("action")
        for index, result in enumerate(results):
            curves = result.curves()
            style = {"color": f"C{index}", "linewidth": 1, "label": result.method}
            below.plot(_percent(curves), curves[bandit], **style)
        below.set_xlabel("training (%)")
    for row in panels:
        row[0].set_ylabel("reward")
    panels[1, -1].legend(fontsize="x-small", loc="lower right")
    return _save(figure, path)


def plot_every_bandit(results: Sequence[SweepResult], path: str | Path) -> Path:
    """Draw the learning curves of the best settings, a small panel for each bandit.

    All panels go from 0 to 1, the greatest reward.

    Arguments:
        results: one a method, of as many bandits.
        path: the figure's file.

    Returns:
        ``path``.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), figure 10.
    """
    curves = {result.method: result.curves() for result in results}
    num_bandits = min(map(len, curves.values()))
    columns = min(10, num_bandits)
    rows = -(-num_bandits // columns)
    figure = new_figure(1.2 * columns, 0.9 * rows + 0.6)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for bandit, axes in enumerate(panels):
        axes.set(xticks=[0, 100], yticks=[0, 1], ylim=(0, 1.05), xlim=(0, 100))
        axes.tick_params(labelsize="xx-small", length=2)
        if bandit >= num_bandits:
            axes.set_axis_off()
            continue
        for name, curve in curves.items():
            axes.plot(_percent(curve), curve[bandit], linewidth=0.9, label=name)
        axes.text(3, 0.06, bandit, fontsize="xx-small", color="gray")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    figure.supxlabel("training (%)", fontsize="small")
    figure.supylabel("reward", fontsize="small")
    return _save(figure, path)


def plot_densities(results: Sequence[BanditResult], reward: Tensor, path: str | Path) -> Path:
    """Draw how policies move over a bandit: a row for each learner, a column for each moment.

    Each line is the density of one seed, divided by the greatest density in the panel; the filled
    curve is the reward.

    Arguments:
        results: one a learner, of the same moments and the same grid.
        reward: on the grid, ``[G]``.
        path: the figure's file.

    Returns:
        ``path``.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.

    Source:
        Dey and Sharon (2025), figure 1.
    """
    rows, columns = len(results), len(results[0].moments)
    figure = new_figure(2.1 * columns, 1.7 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for result, line in zip(results, panels, strict=True):
        summary = result.summary()
        for moment, density, axes in zip(result.moments, result.density, line, strict=True):
            axes.fill_between(result.action, reward, color="C2", alpha=0.3, linewidth=0)
            axes.plot(result.action, (density / density.max()).mT, color="C0", linewidth=0.6)
            if result is results[0]:
                axes.set_title(f"{moment:,} updates", fontsize="small")
        found = f"{summary['found']} of {summary['seeds']} find\nthe global mode"
        line[0].set_ylabel(f"{result.learner}\n{found}", fontsize="small")
    for axes in panels[-1]:
        axes.set_xlabel("action", fontsize="small")
    return _save(figure, path)
