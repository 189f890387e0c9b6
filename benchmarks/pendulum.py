"""Return on Pendulum-v1 of the gradient estimators, the stock loss and a single Gaussian.

python benchmarks/pendulum.py --seeds 5 --workers 2
"""

from __future__ import annotations

import argparse
import statistics
import sys
from multiprocessing import get_context
from pathlib import Path

import torch
from scipy.stats import t as student
from torch import nn
from torchrl import torchrl_logger
from torchrl.modules import ProbabilisticActor
from torchrl.objectives import LossModule, SACLoss

from torchrl_mixture.analysis import read_progress
from torchrl_mixture.trainers import load_config, train_run

sys.path.append(str(Path(__file__).parents[1] / "recipes"))
import sac_mixture  # noqa: E402

SETTINGS = {
    "half": ["loss.gradient_estimator=half"],
    "gumbel": ["loss.gradient_estimator=gumbel"],
    "likelihood": ["loss.gradient_estimator=likelihood"],
    "marginal": ["loss.gradient_estimator=marginal"],
    "implicit": ["loss.gradient_estimator=implicit"],
    "stock SACLoss": [],
    "single Gaussian": ["policy.num_components=1"],
}
COMMON = [
    "env.name=Pendulum-v1",
    "collector.total_frames=20000",
    "optim.utd_ratio=1",
    "optim.lr=1e-3",
    "loss.loss_function=l2",
    "evaluation.episodes=50",
    "evaluation.interval=2000",
]


def stock_loss(
    config: sac_mixture.Config, actor: ProbabilisticActor, critics: list[nn.Module]
) -> LossModule:
    return SACLoss(actor, critics, loss_function=config.loss.loss_function)


def train(job: tuple[str, int]) -> tuple[str, int, float, float, Path]:
    """Train once and return the last evaluation's mean returns, heaviest and sampled."""
    name, seed = job
    torch.set_num_threads(1)
    torchrl_logger.setLevel("WARNING")
    config = load_config(sac_mixture.Config, [*COMMON, *SETTINGS[name], f"seed={seed}"])
    make_loss = stock_loss if name == "stock SACLoss" else sac_mixture.make_loss
    trainer, run = sac_mixture.make_trainer(config, make_loss)
    train_run(trainer, run)
    columns = read_progress(run.record.path)
    last = (columns[f"return_{way}_mean"][-1] for way in ("heaviest", "sampled"))
    return name, seed, *last, run.record.path


def interval(values: list[float]) -> str:
    """Mean and its 95 % Student interval over the seeds."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.1f}"
    reach = student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:.1f} ± {reach:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    jobs = [(name, seed) for seed in range(options.seeds) for name in SETTINGS]
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in SETTINGS}
    with get_context("spawn").Pool(options.workers, maxtasksperchild=1) as pool:
        for name, seed, deterministic, sampled, folder in pool.imap_unordered(train, jobs):
            results[name].append((deterministic, sampled))
            print(f"{name}, seed {seed}: {deterministic:.1f}, {sampled:.1f}  {folder}", flush=True)
    print("\n| policy and loss | deterministic | sampled | worst seed |\n| - | - | - | - |")
    for name, returns in results.items():
        deterministic, sampled = (list(column) for column in zip(*returns, strict=True))
        row = (name, interval(deterministic), interval(sampled), f"{min(deterministic):.1f}")
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
