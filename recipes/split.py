"""How the states that a trained policy of the recipe awmp visits are divided between its
components, by its gate and by its prior.

python recipes/split.py run=runs/awmp/FOLDER
python recipes/split.py run=runs/awmp/FOLDER episodes=50 figure=split.png
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import awmp
import evaluate
import torch
from torch import Tensor
from torchrl import torchrl_logger

from torchrl_mixture import studies
from torchrl_mixture.analysis import principal_components
from torchrl_mixture.trainers import (
    ConfigError,
    Refusal,
    load_config,
    one_line,
    refusals,
    setting,
)


@dataclass
class Config:
    run: str = ""  # folder of the run, runs/awmp/TIME-SEED
    episodes: int = setting(20, above=0, at_most=10**5)  # sampled
    figure: str = ""  # a file: the states in a plane, in the colours of their components
    seed: int = setting(0, at_least=0, at_most=2**31 - 1)


def check(config: Config) -> None:
    """Refuse what cannot be played or drawn."""
    recipe = Path(config.run).resolve().parent.name
    if recipe != "awmp":
        raise ConfigError("run", config.run, "the folder of a run of awmp, in runs/awmp")
    if config.figure:
        evaluate.check_figure(config.figure)


def play(config: Config) -> tuple[studies.Split, str]:
    """Restore policy and prior, play, and give the task, unless its observations are altered."""
    trained = evaluate.Policy(evaluate.Config(run=config.run))
    if trained.settings.policy.num_components == 1:
        raise ConfigError("run", config.run, "a run with several components")
    prior = awmp.make_prior(trained.settings, trained.make_raw_env())
    evaluate.load_parts(trained.path, {"prior": prior})
    env = trained.normalized(trained.make_raw_env(config.episodes))
    env.set_seed(config.seed)
    torch.manual_seed(config.seed)
    task = "" if trained.settings.env.normalize_observations else trained.settings.env.name
    return studies.play_split(env, trained.actor, prior), task


def plane(task: str, observation: Tensor) -> tuple[Tensor, tuple[str, str]]:
    """Place states in a plane: where they are, or by their principal components."""
    if task.startswith("MultiGoal"):
        return observation, ("x", "y")
    if "Pendulum" in task and observation.shape[-1] == 3:
        cosine, sine, velocity = observation.unbind(-1)
        return torch.stack((torch.atan2(sine, cosine), velocity), -1), ("angle", "velocity")
    points, shares = principal_components(observation.double(), 2)
    first, second = (f"direction {i + 1} ({share:.0%})" for i, share in enumerate(shares))
    return points, (first, second)


def describe(split: studies.Split) -> str:
    """Tell in a line each how gate and prior divide the states, and how often they agree."""
    lines = [f"{len(split.gate)} states, {split.gate.shape[-1]} components"]
    for name in ("gate", "prior"):
        found = studies.describe_split(getattr(split, name))
        told = "  ".join(f"{key} {value:.3f}" for key, value in found.items())
        lines.append(f"{name:5}  {told}")
    heaviest = [weights.argmax(-1) for weights in (split.gate, split.prior)]
    same = (heaviest[0] == heaviest[1]).double().mean()
    counts = [each.bincount(minlength=split.gate.shape[-1]).double() for each in heaviest]
    chance = (counts[0] * counts[1]).sum() / len(split.gate) ** 2
    agreement = f"the same heaviest component in {same:.1%} (by chance {chance:.1%})"
    return "\n".join([*lines, f"gate and prior have {agreement}"])


def main() -> None:
    """Read the settings, play, and say how states are divided."""
    torchrl_logger.setLevel("WARNING")
    torch.set_num_threads(1)  # networks this small are slower on several threads
    with refusals():
        config = load_config(Config, sys.argv[1:])
        check(config)
        split, task = play(config)
        print(describe(split))
        if config.figure:
            points, labels = plane(task, split.observation)
            panels = {"gate": split.gate, "prior": split.prior}
            try:
                studies.plot_split(points, labels, panels, config.figure)
            except OSError as error:
                reason = one_line(error)
                raise Refusal(f"{config.figure}: cannot be written ({reason}).") from error
            print(f"The figure is in {config.figure}")


if __name__ == "__main__":
    main()
