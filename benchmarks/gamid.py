"""Time of a step of the Gamid recipe with five means over that with one.

    OMP_NUM_THREADS=1 python benchmarks/gamid.py [--rounds 9]

A step is an action in HalfCheetah-v5, storing the transition, and one update, as the trainer of
the recipe does them, means and targets moving at every second update. Both recipes take turns
within a round, and a ratio is the median over rounds of the ratio within one, so that a machine
that slows down does so for both sides. Times are of the processor, on one thread. With one mean
the recipe is TD3 and scores nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torchrl import torchrl_logger

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
import gamid

from torchrl_mixture.trainers import load_config

WARM_UP = 1_000
BATCH = 10  # frames between two rounds of updates
STEPS = 100  # in a row, before the other takes its turn
MOST = {100: 1.6, 256: 2.2}  # the ratio that is aimed at, by the minibatch
PARTS = ("step", "acting", "storing and update")


class Steps:
    """The recipe's trainer, some steps at a time."""

    def __init__(self, num_components: int, batch_size: int) -> None:
        settings = {
            "preset": "halfcheetah",
            "policy.num_components": num_components,
            "optim.batch_size": batch_size,
            "collector.frames_per_batch": BATCH,
            "collector.init_random_frames": WARM_UP,
            "evaluation.episodes": 1,
        }
        arguments = [f"{key}={value}" for key, value in settings.items()]
        self.trainer, _ = gamid.make_trainer(load_config(gamid.Config, arguments))
        self.trainer._setup_hook()
        self.batches = iter(self.trainer.collector)
        while self.trainer.collected_frames < WARM_UP:
            self._collect()

    def _collect(self) -> float:
        """Collect and store a batch, and return the seconds that collecting took."""
        start = time.process_time()
        batch = next(self.batches)
        seconds = time.process_time() - start
        self.trainer.collected_frames += batch.numel()
        self.trainer._pre_steps_log_hook(self.trainer._process_batch_hook(batch))
        return seconds

    def __call__(self) -> tuple[float, float, float]:
        """Milliseconds of processor time of a step and of its parts."""
        acting, start = 0.0, time.process_time()
        for _ in range(STEPS // BATCH):
            acting += self._collect()
            self.trainer.optim_steps(None)
            self.trainer._post_steps_hook()
        whole = time.process_time() - start
        return tuple(1e3 * part / STEPS for part in (whole, acting, whole - acting))


def measure(batch_size: int, rounds: int) -> dict[int, list[tuple[float, float, float]]]:
    recipes = {count: Steps(count, batch_size) for count in (1, 5)}
    times = {count: [] for count in recipes}
    for current in range(-1, rounds):  # the first round warms up
        for count, steps in recipes.items():
            found = steps()
            if current >= 0:
                times[count].append(found)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="at least 5 for a number to keep")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torchrl_logger.setLevel("WARNING")
    os.chdir(tempfile.mkdtemp())
    print("| minibatch | part | N=1, ms | N=5, ms | ratio |")
    print("|---|---|---|---|---|")
    for batch_size, most in MOST.items():
        times = measure(batch_size, options.rounds)
        for index, part in enumerate(PARTS):
            one, five = ([found[index] for found in times[count]] for count in (1, 5))
            ratio = statistics.median(b / a for a, b in zip(one, five, strict=True))
            wanted = f" (at most {most})" if index == 0 else ""
            print(
                f"| {batch_size} | {part} | {statistics.median(one):.2f} | "
                f"{statistics.median(five):.2f} | {ratio:.2f}{wanted} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
