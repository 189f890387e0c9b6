"""The bandit studies of the papers: what mixture policies are for, where it can be computed.

python recipes/bandits.py study=bimodal
python recipes/bandits.py study=random random.workers=2
python recipes/bandits.py study=continuous
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pandas as pd
import torch

from torchrl_mixture import studies
from torchrl_mixture.envs import RandomRewards, continuous_bandit_reward
from torchrl_mixture.trainers import ConfigError, RunRecord, load_config, refusals, setting

# Mixtures and the single Gaussian with the gradient that they extend.
BASES = [("Like-SGM", "Like-Squashed")]
BASES += [(f"{name}-SGM", "Rep-Squashed") for name in ("HalfRep", "GumbelRep")]
BASES += [(f"{name}-SGM", "Rep-Squashed") for name in ("Marginal", "Implicit")]
TABLE = {"index": False, "float_format": "{:.4g}".format}


@dataclass
class BimodalConfig:
    num_trials: int = setting(100, above=0)  # random starts for each policy and temperature


@dataclass
class RandomConfig:
    num_bandits: int = setting(100, at_least=4)  # the first four are drawn as examples
    num_steps: int = setting(10_000, above=0)  # a multiple of 100
    workers: int = setting(2, above=0)  # processes of one thread each


@dataclass
class ContinuousConfig:
    num_seeds: int = setting(20, above=0)
    num_steps: int = setting(12_000, at_least=24)


@dataclass
class Config:
    study: Literal["bimodal", "random", "continuous"] = "bimodal"
    bimodal: BimodalConfig = field(default_factory=BimodalConfig)
    random: RandomConfig = field(default_factory=RandomConfig)
    continuous: ContinuousConfig = field(default_factory=ContinuousConfig)
    seed: int = setting(0, at_least=0, at_most=2**31 - 1)
    debug: bool = False  # show tracebacks


def bimodal(config: Config, folder: Path) -> str:
    """Find the stationary points on the bimodal bandit: figures 1 and 7 of the paper."""
    frame = studies.stationary_points(num_trials=config.bimodal.num_trials, seed=config.seed)
    frame.to_csv(folder / "stationary_points.csv", index=False)
    studies.plot_optimal_policies(frame, folder / "policies.png")
    studies.plot_stationary_points(frame, folder / "points.png")
    ends = pd.crosstab([frame["alpha"], frame["policy"]], frame["status"])
    best = studies.optimal_points(frame).set_index(["alpha", "policy"])
    table = best[["expected_reward", "objective", "num_modes"]].join(ends, how="right")
    return table.sort_index().reset_index().to_string(na_rep="none", **TABLE)


def random(config: Config, folder: Path) -> str:
    """Train on random bandits: figures 6, 10 and 11 of the paper."""
    settings = studies.SweepSettings(
        num_bandits=config.random.num_bandits, num_steps=config.random.num_steps, seed=config.seed
    )
    results = []
    for result in studies.train_methods(settings=settings, workers=config.random.workers):
        results.append(result)
        studies.save_results(results, folder)  # what is there stays there, if the rest is stopped
        print(f"{result.method} is done", flush=True)
    by_name = {result.method: result for result in results}
    results = [by_name[name] for name in studies.METHODS]
    rewards = RandomRewards.draw(settings.num_bandits, settings.bandit_seed)
    studies.plot_examples(results, rewards, folder / "examples.png")
    studies.plot_alphas(results, folder / "alphas.png")
    likelihood = [by_name[name] for name in ("Like-Squashed", "Like-SGM")]
    studies.plot_every_bandit(likelihood, folder / "every_bandit.png")
    studies.plot_best_settings(results, folder / "best_settings.png")
    table = pd.concat([studies.gains(by_name[name], by_name[base]) for name, base in BASES])
    table.to_csv(folder / "gains.csv", index=False)
    summary = pd.concat([result.summary() for result in results])
    best = summary[summary["best"]].drop(columns="best")
    gained = table.to_string(na_rep="best", **TABLE)
    return f"{best.to_string(**TABLE)}\n\nGains:\n{gained}"


def continuous(config: Config, folder: Path) -> str:
    """Train on the bandit with a narrow global mode: figure 1 of Dey and Sharon (2025)."""
    last = studies.MOMENTS[-1]
    moments = [config.continuous.num_steps * moment // last for moment in studies.MOMENTS]
    options = {"num_seeds": config.continuous.num_seeds, "seed": config.seed}
    results = [
        studies.train_learner(name, moments=moments, **options) for name in studies.LEARNERS
    ]
    densities = pd.concat([result.table() for result in results])
    densities.to_csv(folder / "density.csv", index=False, float_format="%.6g")
    summary = pd.DataFrame([result.summary() for result in results])
    summary.to_csv(folder / "summary.csv", index=False)
    reward = continuous_bandit_reward(results[0].action)
    studies.plot_densities(results, reward, folder / "density.png")
    return summary.to_string(**TABLE)


STUDIES = {"bimodal": bimodal, "random": random, "continuous": continuous}


def check(config: Config) -> None:
    """Refuse what a study could not end with."""
    if config.random.num_steps % 100:
        raise ConfigError("random.num_steps", config.random.num_steps, "a multiple of 100")
    if not (find_spec("matplotlib") and find_spec("scipy")):
        allowed = "Matplotlib and SciPy first: pip install 'torchrl_mixture[plots]'"
        raise ConfigError("study", config.study, allowed)


def main() -> None:
    """Read the settings, make the study, and say what was found."""
    torch.set_num_threads(1)
    with refusals(debug="debug=true" in map(str.lower, sys.argv)):
        config = load_config(Config, sys.argv[1:])
        check(config)
        folder = RunRecord.create("bandits", config, config.seed).path
        print(STUDIES[config.study](config, folder))
        print(f"Tables and figures are in {folder}")


if __name__ == "__main__":
    main()
