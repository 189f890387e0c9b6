"""Figures of the stationary points on the bimodal bandit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from torchrl_mixture.analysis.figures import new_figure
from torchrl_mixture.envs.bandit_rewards import bimodal_reward
from torchrl_mixture.studies.bimodal import optimal_points, parameters
from torchrl_mixture.studies.bimodal_objective import log_density

LOOKS = {"gaussian": ("C0", "Gaussian"), "mixture": ("C1", "mixture")}
ACTIONS = np.linspace(-4, 4, 801)


def _check_alphas(frame: pd.DataFrame, alphas: Sequence[float]) -> None:
    for alpha in alphas:
        if alpha not in frame["alpha"].values:
            known = sorted(frame["alpha"].unique().tolist())
            raise ValueError(f"alpha must be one of the study's, {known}, got {alpha}.")


def _draw_policies(axes: Any, best: pd.DataFrame, alpha: float) -> None:
    reward = bimodal_reward(torch.from_numpy(ACTIONS))
    axes.fill_between(ACTIONS, reward, color="0.85", linewidth=0, label="reward")
    for _, row in best[best["alpha"] == alpha].iterrows():
        density = np.exp(log_density(parameters(row), ACTIONS))
        color, label = LOOKS[row["policy"]]
        axes.plot(ACTIONS, density, color=color, label=label)
    axes.set_title(f"best policies at α = {alpha:g}")
    axes.set_xlabel("action")
    axes.set_ylabel("reward, density")
    axes.legend(loc="upper center", ncols=3, columnspacing=1.0)
    axes.set_ylim(top=1.25)


def _draw_rewards(axes: Any, best: pd.DataFrame, alphas: Sequence[float]) -> None:
    for policy, (color, label) in LOOKS.items():
        rewards = best[best["policy"] == policy].set_index("alpha")["expected_reward"]
        axes.plot(alphas, rewards.reindex(alphas, fill_value=0), "o-", color=color, label=label)
    axes.set_title("their expected reward (0: none)")
    axes.set_xlabel("α")
    axes.set_ylabel("expected reward")
    axes.set_ylim(bottom=-0.03)
    axes.legend()


def _draw_bimodal(axes: Any, frame: pd.DataFrame, alphas: Sequence[float]) -> None:
    chosen = (frame["policy"] == "mixture") & (frame["status"] == "converged")
    bimodal = frame[chosen].groupby("alpha")["num_modes"].agg(lambda modes: (modes == 2).mean())
    axes.plot(alphas, 100 * bimodal.reindex(alphas), "o-", color=LOOKS["mixture"][0])
    axes.set_title("mixtures with two modes")
    axes.set_xlabel("α")
    axes.set_ylabel("% of the stationary mixtures")
    axes.set_ylim(0, 103)


def plot_optimal_policies(frame: pd.DataFrame, path: str | Path, alpha: float = 0.3) -> Path:
    """Draw the best policies, what they earn, and how many mixtures have two modes.

    Three panels: the reward and the best stationary policy of either kind at one temperature;
    the expected reward of the best at every temperature, zero where there is none; and the share
    of policies with two modes among the stationary mixtures.

    Arguments:
        frame: what :func:`~torchrl_mixture.studies.bimodal.stationary_points` returns.
        path: the figure's file; its ending chooses the format.
        alpha: the first panel's temperature, the paper's by default.

    Returns:
        ``path``.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.
        ValueError: if the study lacks the temperature.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), figure 1.

    Example:
        >>> from torchrl_mixture.studies.bimodal import stationary_points
        >>> frame = stationary_points(alphas=[0.1, 0.3], num_trials=3)
        >>> path = plot_optimal_policies(frame, getfixture("tmp_path") / "policies.png")
    """
    _check_alphas(frame, [alpha])
    best, alphas = optimal_points(frame), sorted(frame["alpha"].unique())
    figure = new_figure(12, 3.6)
    panels = figure.subplots(1, 3)
    _draw_policies(panels[0], best, alpha)
    _draw_rewards(panels[1], best, alphas)
    _draw_bimodal(panels[2], frame, alphas)
    panels[2].sharex(panels[1])
    figure.savefig(path, dpi=150)
    return Path(path)


def plot_stationary_points(
    frame: pd.DataFrame,
    path: str | Path,
    alphas: Sequence[float] = (0.05, 0.2, 0.26, 0.3, 0.4, 0.45),
) -> Path:
    """Draw the expected reward and the objective of all stationary points, the best first.

    Runs without a stationary point are left out, so that a line ends where they begin. A panel's
    gap between the lines of one policy is its entropy times the temperature.

    Arguments:
        frame: what :func:`~torchrl_mixture.studies.bimodal.stationary_points` returns.
        path: the figure's file; its ending chooses the format.
        alphas: the temperatures, a panel each; ours.

    Returns:
        ``path``.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.
        ValueError: if the study lacks one of the temperatures.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), figure 7.

    Example:
        >>> from torchrl_mixture.studies.bimodal import stationary_points
        >>> frame = stationary_points(alphas=[0.1, 0.3], num_trials=3)
        >>> path = getfixture("tmp_path") / "points.png"
        >>> path = plot_stationary_points(frame, path, alphas=[0.1, 0.3])
    """
    _check_alphas(frame, alphas)
    rows = -(-len(alphas) // 3)
    figure = new_figure(12, 3.2 * rows)
    panels = figure.subplots(rows, min(len(alphas), 3), sharex=True, sharey=True, squeeze=False)
    converged = frame[frame["status"] == "converged"]
    for axes, alpha in zip(panels.flat, alphas, strict=False):
        axes.set_title(f"α = {alpha:g}")
        for policy, (color, label) in LOOKS.items():
            chosen = (converged["policy"] == policy) & (converged["alpha"] == alpha)
            points = converged[chosen].sort_values("objective", ascending=False)
            ranks = np.arange(1, len(points) + 1)
            axes.plot(ranks, points["expected_reward"], color=color, label=f"{label}, reward")
            axes.plot(ranks, points["objective"], "--", color=color, label=f"{label}, objective")
    for axes in panels.flat[len(alphas) :]:
        axes.remove()
    panels[0, 0].legend()
    panels[0, 0].set_xlim(0, frame["trial"].max() + 2)
    figure.supxlabel("stationary points, by their objective")
    figure.supylabel("expected reward, objective")
    figure.savefig(path, dpi=150)
    return Path(path)
