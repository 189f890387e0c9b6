"""Which goals trained policies go to on the task MultiGoal, counted and drawn.

python recipes/goals.py runs=[runs/mede/FOLDER,runs/sac_mixture/FOLDER]
python recipes/goals.py runs=[runs/mede/FOLDER,runs/sac_mixture/FOLDER] figure=goals.png latent=2
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awmp
import evaluate
import mede
import sac_mixture
import sacm
import torch
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl import torchrl_logger
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.objectives import LossModule

from torchrl_mixture import studies
from torchrl_mixture.analysis import wilson_interval
from torchrl_mixture.envs import MultiGoal
from torchrl_mixture.trainers import (
    ConfigError,
    Refusal,
    load_config,
    one_line,
    refusals,
    setting,
)

SINGLES = ("sac_mixture", "sacm", "awmp")  # recipes without latents whose critics can be drawn
SINGLE = 4  # times the episodes of a latent that a policy without latents plays


@dataclass
class Config:
    runs: list[str] = setting([])  # folders of runs, runs/RECIPE/TIME-SEED
    episodes: int = setting(20, above=0, at_most=10**5)  # of each latent; of others 4 times that
    figure: str = ""  # a file: paths of the first runs of mede and of the others, and values
    latent: int = setting(0, at_least=0)  # whose values are drawn
    seed: int = setting(0, at_least=0, at_most=2**31 - 1)


class TrainedRun:
    """The policies of a run, what they played, and where that is told.

    Arguments:
        folder: the run's folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        policy = evaluate.Policy(evaluate.Config(run=folder))
        self.policy, self.settings = policy, policy.settings
        self.recipe = Path(folder).resolve().parent.name
        self.latents = getattr(self.settings.policy, "num_latents", 0)
        env = policy.make_raw_env(1)
        if not isinstance(env, MultiGoal):
            name = self.settings.env.name
            raise ConfigError("runs", folder, f"a run of a task MultiGoal, not of {name}")
        if self.settings.env.normalize_observations:
            raise ConfigError("runs", folder, "a run without env.normalize_observations")
        self.num_goals = len(env.goals)
        self.paths: list[studies.Paths] = []

    @property
    def learner(self) -> tuple[str, str]:
        """What is compared: the recipe, or what its latents are paid for, and the task."""
        loss, policy, task = self.settings.loss, self.settings.policy, self.settings.env.name
        if not self.latents:
            name = self.recipe
            if name == "sacm":
                name = f"{loss.variant}, {loss.actor_entropy}"
            return f"{name} (K = {policy.num_components})", task
        coef = "default" if loss.diversity_coef is None else loss.diversity_coef
        return f"{loss.diversity} (Z = {self.latents}, c = {coef})", task

    @property
    def policies(self) -> list[TensorDictModuleBase]:
        """The policy of each latent, or the only one."""
        names = [f"z{latent}" for latent in range(self.latents)] or ["sampled"]
        return [self.policy.ways[name][0] for name in names]

    @property
    def goals(self) -> list[int]:
        """The goals that are reached: one of each latent, or the frequent ones."""
        ends = [paths.goals for paths in self.paths]
        return studies.distinct_goals(ends) if self.latents else studies.frequent_goals(ends[0])

    def play(self, config: Config) -> None:
        """Play sampled episodes of each policy, from the same initial states."""
        env = self.policy.make_raw_env(config.episodes * (1 if self.latents else SINGLE))
        for policy in self.policies:
            env.set_seed(config.seed)
            torch.manual_seed(config.seed)
            with set_exploration_type(ExplorationType.RANDOM):
                self.paths.append(studies.play_paths(env, policy))

    def describe(self) -> str:
        """Tell in a line where the episodes ended."""
        counts = [studies.goal_counts(paths.goals, self.num_goals) for paths in self.paths]
        told = [f"[{' '.join(map(str, each.tolist()))}]" for each in counts]
        reached = f"{len(self.goals)} of {self.num_goals} goals"
        if not self.latents:
            return f"{self.folder}  {told[0]}  {reached}: {name_goals(self.goals)}"
        ends = [name_goals([studies.goal_of_policy(paths.goals)]) for paths in self.paths]
        each = [
            f"z{latent} to {end} {count}"
            for latent, (end, count) in enumerate(zip(ends, told, strict=True))
        ]
        return f"{self.folder}  {'  '.join(each)}  {reached}"

    def make_loss(self) -> LossModule:
        """Restore the loss, with the critics."""
        settings, actor, env = self.settings, self.policy.actor, self.policy.make_raw_env()
        if self.recipe == "mede":
            form: mede.Form = "state_action" if settings.loss.diversity == "mede" else "state"
            discriminator = mede.make_discriminator(settings, env, form)
            loss: LossModule = mede.make_loss(settings, env, actor.actor, discriminator)
        elif self.recipe == "sacm":
            critics = [sacm.make_critic(settings, env) for _ in range(2)]
            loss = sacm.make_loss(settings, actor, critics)
        elif self.recipe == "awmp":
            loss, _ = awmp.make_loss(settings, env, awmp.make_prior(settings, env))
        else:
            critics = [sac_mixture.make_critic(settings, env) for _ in range(2)]
            loss = sac_mixture.make_loss(settings, actor, critics)
            loss.make_value_estimator(gamma=settings.optim.gamma)
        evaluate.load_parts(self.policy.path, {"loss_module": loss})
        return loss

    def panel(self) -> studies.PathPanel:
        """Give the paths, all of one length, with the latent of each."""
        size = max(paths.positions.shape[1] for paths in self.paths)
        positions = torch.cat([padded(paths.positions, size) for paths in self.paths])
        title = f"{self.learner[0]}, {len(self.goals)} of {self.num_goals} goals"
        if not self.latents:
            return studies.PathPanel(title, positions)
        latents = torch.arange(self.latents).repeat_interleave(len(self.paths[0].goals))
        return studies.PathPanel(title, positions, latents)


def padded(positions: Tensor, size: int) -> Tensor:
    """Lengthen paths ``[N, T+1, 2]`` to ``[N, size, 2]`` by NaN."""
    missing = size - positions.shape[1]
    return torch.nn.functional.pad(positions, (0, 0, 0, missing), value=torch.nan)


def name_goals(goals: list[int]) -> str:
    return " ".join(str(goal) for goal in goals if goal >= 0) or "none"


def summarize(runs: list[TrainedRun]) -> list[str]:
    """Tell of each learner and task in how many runs how many goals are reached."""
    groups: dict[tuple[str, str], list[TrainedRun]] = defaultdict(list)
    for run in runs:
        groups[run.learner].append(run)
    lines = []
    for (learner, task), members in groups.items():
        numbers = Counter(len(run.goals) for run in members)
        told = ", ".join(
            f"{number} goals in {numbers[number]} runs" for number in sorted(numbers)[::-1]
        )
        complete = numbers[members[0].num_goals]
        low, high = wilson_interval(complete, len(members))
        lines.append(
            f"{learner} on {task}: {told}; all {members[0].num_goals} in {complete} of "
            f"{len(members)}, 95% [{low:.3f}, {high:.3f}]"
        )
    return lines


def first(runs: list[TrainedRun], *recipes: str) -> TrainedRun | None:
    return next((run for run in runs if run.recipe in recipes), None)


def check(config: Config, runs: list[TrainedRun]) -> None:
    """Refuse what a figure cannot be drawn of, before anything is played."""
    latent, single = first(runs, "mede"), first(runs, *SINGLES)
    if latent is not None and config.latent >= latent.latents:
        allowed = f"below {latent.latents}, the latents of {latent.folder}"
        raise ConfigError("latent", config.latent, allowed)
    if not config.figure:
        return
    evaluate.check_figure(config.figure)
    if latent is None and single is None:
        drawn = ", ".join(("mede", *SINGLES))
        raise ConfigError("figure", config.figure, f"no figure without a run of {drawn}")
    if latent is not None and single is not None and latent.learner[1] != single.learner[1]:
        allowed = f"no figure of two tasks, {latent.learner[1]} and {single.learner[1]}"
        raise ConfigError("figure", config.figure, allowed)


def critics_values(config: Config, runs: list[TrainedRun]) -> dict[str, Any]:
    """Score the actions in the figure's states, without and with a latent, as far as possible."""
    single, latent = first(runs, *SINGLES), first(runs, "mede")
    states, actions = torch.tensor(studies.CONTOUR_STATES), studies.action_grid()
    values = {}
    if single is not None:
        scores = studies.action_values(single.make_loss(), states, actions)
        # Of components with values of their own, their mean.
        values["q_soft"] = scores if scores.ndim == actions.ndim else scores.mean(-1)
    if latent is not None:
        z = torch.eye(latent.latents)[config.latent]
        values["q_z"] = studies.action_values(latent.make_loss(), states, actions, z)
    return values


def draw(config: Config, runs: list[TrainedRun], values: dict[str, Any]) -> None:
    """Draw the paths of the first run of either kind, and the values of the actions."""
    shown = [run for run in (first(runs, *SINGLES), first(runs, "mede")) if run is not None]
    env, panels = shown[0].policy.make_raw_env(), [run.panel() for run in shown]
    try:
        studies.plot_multi_goal(env, panels, config.figure, latent=config.latent, **values)
    except OSError as error:
        raise Refusal(f"{config.figure}: cannot be written ({one_line(error)}).") from error


def main() -> None:
    """Read the settings, play, and say which goals were reached."""
    torchrl_logger.setLevel("WARNING")
    torch.set_num_threads(1)  # networks this small are slower on several threads
    with refusals():
        config = load_config(Config, sys.argv[1:])
        if not config.runs:
            raise ConfigError("runs", "[]", "the folder of a run at least, as [runs/mede/FOLDER]")
        runs = [TrainedRun(folder) for folder in config.runs]
        check(config, runs)
        values = critics_values(config, runs) if config.figure else {}
        print("[episodes that ended in goal 0, in goal 1, ..., in none]")
        for run in runs:
            run.play(config)
            print(run.describe(), flush=True)
        print(*summarize(runs), sep="\n")
        if config.figure:
            draw(config, runs, values)
            print(f"The figure is in {config.figure}")


if __name__ == "__main__":
    main()
