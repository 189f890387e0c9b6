"""Short runs of the recipe, in this process and in others, and what they must leave behind."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import torch
from goal_task import PointGoal
from torchrl.checkpoint import Checkpoint
from torchrl.trainers import Trainer

from torchrl_mixture.trainers import Run, load_config, newest_checkpoint, train_run

RECIPES = Path(__file__).parents[2] / "recipes"
if "Swing-v0" not in gymnasium.registry:
    entry = "gymnasium.envs.classic_control:PendulumEnv"
    gymnasium.register("Swing-v0", entry, max_episode_steps=20)
SHORT = [
    "env.name=Swing-v0",  # the pendulum for a tenth of the time; scripts do not know it
    "collector.total_frames=260",
    "collector.init_random_frames=200",
    "evaluation.interval=130",
    "evaluation.episodes=2",
    "network.hidden_sizes=[8]",
    "policy.num_components=3",
    "optim.batch_size=8",
]
LATENT = [argument for argument in SHORT if not argument.startswith("policy.")]
LATENT += ["policy.num_latents=3", "discriminator.hidden_sizes=[8]"]
AWMP = [*SHORT, "prior.hidden_sizes=[8]", "prior.newest=40", "prior.batch_size=5"]
# What an update of the losses of latent policies returns.
LEARNED = [
    "loss_actor",
    "loss_qvalue",
    "loss_alpha",
    "alpha",
    "entropy",
    *(
        f"{what}_{form}"
        for form in ("state_action", "state")
        for what in ("loss_discriminator", "accuracy", "log_q")
    ),
]
HINDSIGHT = [f"env.name={PointGoal.__name__}-v0", "replay_buffer.her_ratio=0.8"]
COMMAND = [sys.executable, str(RECIPES / "sac_mixture.py")]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def build(recipe: ModuleType, *arguments: str, **options: Any) -> tuple[Trainer, Run]:
    return recipe.make_trainer(load_config(recipe.Config, arguments), **options)


def train(recipe: ModuleType, *arguments: str, **options: Any) -> Path:
    """Train a short run to its end and return its folder."""
    trainer, run = build(recipe, *SHORT, *arguments, **options)
    assert train_run(trainer, run)
    return run.record.path


def stop_at(trainer: Trainer, frames: int) -> None:
    def stop() -> None:
        if trainer.collected_frames >= frames:
            trainer.request_stop("test")

    trainer.register_op("post_steps", stop)


def script(*arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, **options
    )


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "progress.csv", newline="") as file:
        return list(csv.DictReader(file))


def frames_of(folder: Path) -> list[int]:
    return [int(row["frames"]) for row in rows(folder)]


def contents(checkpoint: Path) -> dict[str, bytes]:
    """Read all files of a checkpoint but what the clock puts into them."""
    found = {}
    for file in checkpoint.rglob("*"):
        if file.is_file() and file.name != "manifest.json":
            content = file.read_bytes()
            if "trainer_module.evaluation" in str(file) and file.name == "state.json":
                content, count = re.subn(rb'("seconds"[^0-9]*)[0-9.e+-]+', rb"\1", content)
                assert count == 1
            found[str(file.relative_to(checkpoint))] = content
    return found


def check_same_checkpoint(left: Path, right: Path) -> None:
    """Compare two checkpoints bit for bit."""
    one, two = contents(left), contents(right)
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
    manifests = [Checkpoint.manifest(path) for path in (left, right)]
    for key in ("components", "metadata"):
        assert manifests[0][key] == manifests[1][key]


def check_resumed(recipe: ModuleType, folder: Path, scratch: Path, *arguments: str) -> Trainer:
    """Continue a run; what it would save at once is what it was loaded from."""
    start, frames = newest_checkpoint(folder / "checkpoints")
    trainer, run = build(recipe, f"resume={folder}", *arguments)
    assert run.start == start and trainer.collected_frames == frames
    saved = trainer.checkpoint.save(scratch, metadata=Checkpoint.manifest(start)["metadata"])
    check_same_checkpoint(start, saved)
    with run.going_on():
        assert not list((folder / "checkpoints").glob(".*"))
    kept = frames_of(folder)
    assert kept == sorted(set(kept)) and kept[-1] <= frames
    return trainer


def updated(trainer: Trainer, updates: int = 100) -> dict[str, torch.Tensor]:
    """Take updates from the buffer and return all parameters, targets and Adam's state."""
    replay, stepper = trainer._modules["replay_buffer"], trainer.optimization_stepper
    for _ in range(updates):
        stepper.update(replay.sample(None))
    found = {k: v for k, v in trainer.loss_module.state_dict().items() if torch.is_tensor(v)}
    for index, state in stepper.optimizer.state_dict()["state"].items():
        found |= {f"adam.{index}.{key}": value for key, value in state.items()}
    return found
