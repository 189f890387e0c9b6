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
from pathlib import Path

import torch
from torchrl import torchrl_logger

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
import gamid
from recipe_steps import PARTS, RecipeSteps, interleaved

MOST = {100: 1.6, 256: 2.2}  # the ratio that is aimed at, by the minibatch


def measure(batch_size: int, rounds: int) -> dict[int, list[tuple[float, float, float]]]:
    recipes = {
        count: RecipeSteps(
            gamid,
            {
                "preset": "halfcheetah",
                "policy.num_components": count,
                "optim.batch_size": batch_size,
            },
        )
        for count in (1, 5)
    }
    return interleaved(recipes, rounds)


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
