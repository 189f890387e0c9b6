"""Returns of a trained policy over complete episodes, for each of its ways of acting.

python recipes/evaluate.py run=runs/sac_mixture/FOLDER
python recipes/evaluate.py run=runs/sac_mixture/FOLDER rule=densest checkpoint=best video=out.gif
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from tensordict import TensorDict
from torchrl import torchrl_logger
from torchrl.checkpoint import Checkpoint, CheckpointError
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type

from torchrl_mixture.analysis import (
    bootstrap_interval,
    check_video_path,
    wilson_interval,
    write_video,
)
from torchrl_mixture.trainers import (
    ConfigError,
    Refusal,
    RunningNorm,
    check_tensors,
    load_config,
    make_test_env,
    newest_checkpoint,
    normalize_like,
    one_line,
    play_episodes,
    refusals,
    setting,
)

RECIPES = Path(__file__).parent
WITHOUT_POLICY = {"bandits", "goals", "split", Path(__file__).stem}
COPIES = 10
FIGURES = (".png", ".pdf", ".svg")


@dataclass
class Config:
    run: str = ""  # folder of the run, runs/RECIPE/TIME-SEED
    episodes: int = setting(50, above=0, at_most=10**6)  # for each rule
    rule: str = "all"  # how the policy acts: a rule of its recipe, or sampled
    checkpoint: Literal["latest", "best"] = "latest"
    video: str = ""  # a .mp4 or .gif of one episode, by the first rule
    seed: int = setting(0, at_least=0, at_most=2**31 - 1)


def open_recipe(run: Path) -> tuple[ModuleType, Any]:
    """Import the recipe that a run's parent folder is named after, and read the run's settings."""
    if not (run / "config.yaml").is_file():
        raise ConfigError("run", run, "the folder of a run, with its config.yaml")
    name = run.resolve().parent.name
    known = sorted({path.stem for path in RECIPES.glob("*.py")} - WITHOUT_POLICY)
    if name not in known:
        raise ConfigError("run", run, f"a folder in runs/RECIPE, with RECIPE {' | '.join(known)}")
    recipe = importlib.import_module(name)
    return recipe, load_config(recipe.Config, [f"resume={run}"])


def checkpoint_path(config: Config) -> Path:
    """Find the checkpoint that is asked for."""
    folder = Path(config.run) / "checkpoints"
    path = folder / "best"
    if config.checkpoint == "latest":
        path, _ = newest_checkpoint(folder)
    elif not Checkpoint.is_checkpoint(path):
        raise Refusal(f"{path}: expected a complete checkpoint, found none.")
    check_tensors(path)
    return path


def load_parts(path: Path, parts: dict[str, Any]) -> None:
    """Restore some of what a checkpoint holds, by its name there."""
    try:
        Checkpoint(**parts).load(path, components=list(parts), strict="error")
    except (CheckpointError, OSError) as error:
        reason = one_line(error)
        raise Refusal(f"{path}: no policy of this run's settings ({reason}).") from error


def check_figure(figure: str) -> None:
    """Refuse a file that no figure can be written to, for the scripts that draw trained runs."""
    if Path(figure).suffix not in FIGURES:
        raise ConfigError("figure", figure, f"a file that ends in {', '.join(FIGURES)}")
    if not Path(figure).parent.is_dir():
        raise ConfigError("figure", figure, "a file in a folder that is there")
    if not find_spec("matplotlib"):
        allowed = "no figure, or first: pip install 'torchrl_mixture[plots]'"
        raise ConfigError("figure", figure, allowed)


class Policy:
    """A trained policy and the environments that it acts in."""

    def __init__(self, config: Config) -> None:
        recipe, self.settings = open_recipe(Path(config.run))
        self.path = checkpoint_path(config)
        env = self.make_raw_env()
        self.actor = recipe.make_actor(self.settings, env)
        policies = recipe.make_policies(self.settings, self.actor)
        self.ways = {name: (one, ExplorationType.DETERMINISTIC) for name, one in policies.items()}
        self.ways["sampled"] = (next(iter(policies.values())), ExplorationType.RANDOM)
        if config.rule not in ("all", *self.ways):
            raise ConfigError("rule", config.rule, " | ".join(["all", *self.ways]))
        self.norm = RunningNorm(env.observation_spec["observation"].shape[-1])
        parts: dict[str, Any] = {"policy": self.actor}
        if self.settings.env.normalize_observations:
            parts["observation_norm"] = self.norm
        load_parts(self.path, parts)

    def make_raw_env(self, num_envs: int | None = None, *, render: bool = False) -> EnvBase:
        return make_test_env(self.settings, num_envs, render=render)

    def normalized(self, env: EnvBase) -> EnvBase:
        return normalize_like(env, self.norm) if self.settings.env.normalize_observations else env


@torch.no_grad()
def evaluate(policy: Policy, rule: str, env: EnvBase, config: Config) -> str:
    """Play the episodes under one rule, the initial states the same for all, and describe them."""
    actor, exploration = policy.ways[rule]
    torch.manual_seed(config.seed)
    played = []
    for first in range(0, config.episodes, env.numel()):
        env.set_seed(config.seed + first)  # the copies have this seed and those that follow
        with set_exploration_type(exploration):
            played.append(play_episodes(env, actor))
    # Whole rounds are played and the first copies of the last one are kept: which episodes count
    # does not depend on their length.
    episodes = torch.cat(played)[: config.episodes]
    returns = episodes["return"]
    low, high = bootstrap_interval(returns)
    return (
        f"{rule:8}  mean {returns.mean():.1f}  sd {returns.std(correction=0):.1f}"
        f"  min {returns.min():.1f}  max {returns.max():.1f}"
        f"  95% of the mean [{low:.1f}, {high:.1f}]  length {episodes['length'].mean():.1f}"
        f"{describe_success(episodes)}"
    )


def describe_success(episodes: TensorDict) -> str:
    """Describe the share of episodes that ended at their goal, if they had one."""
    if "success" not in episodes:
        return ""
    reached = int(episodes["success"].sum())
    low, high = wilson_interval(reached, len(episodes))
    return f"  success {reached / len(episodes):.3f}  95% [{low:.3f}, {high:.3f}]"


def open_video(config: Config, policy: Policy) -> EnvBase | None:
    """Build the environment that draws, if a video is asked for and can be written."""
    if not config.video:
        return None
    try:
        check_video_path(config.video)
    except ModuleNotFoundError:
        allowed = "no video, or first: pip install 'torchrl_mixture[video]'"
        raise ConfigError("video", config.video, allowed) from None
    except ValueError as error:
        raise ConfigError("video", config.video, str(error)) from None
    except OSError as error:
        given = f"{config.video} ({error.strerror})"
        raise ConfigError("video", given, "a file that can be written") from None
    return policy.make_raw_env(render=True)


@torch.no_grad()
def frames(policy: Policy, rule: str, camera: EnvBase, seed: int) -> Iterator[np.ndarray]:
    """Draw one episode."""
    actor, exploration = policy.ways[rule]
    env = policy.normalized(camera)
    torch.manual_seed(seed)
    env.set_seed(seed)
    tensordict, done = env.reset(), False
    yield camera.render()
    while not done:
        with set_exploration_type(exploration):
            stepped, tensordict = env.step_and_maybe_reset(actor(tensordict))
        done = stepped["next", "done"].item()
        if not done:  # after the end the next episode's first picture would be drawn
            yield camera.render()


def main() -> None:
    """Read the settings and evaluate."""
    torchrl_logger.setLevel("WARNING")
    torch.set_num_threads(1)  # networks this small are slower on several threads
    with refusals():
        config = load_config(Config, sys.argv[1:])
        policy = Policy(config)
        camera = open_video(config, policy)
        env = policy.normalized(policy.make_raw_env(min(config.episodes, COPIES)))
        rules = list(policy.ways) if config.rule == "all" else [config.rule]
        print(f"{config.episodes} episodes with {policy.path}")
        for rule in rules:
            print(evaluate(policy, rule, env, config), flush=True)
        if camera is not None:
            pictures = frames(policy, rules[0], camera, config.seed)
            write_video(config.video, pictures, camera.metadata["render_fps"])
            print(f"An episode by rule {rules[0]} is in {config.video}")


if __name__ == "__main__":
    main()
