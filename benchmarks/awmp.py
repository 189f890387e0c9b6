"""Time of a step of the recipe awmp over that of the recipe sac_mixture with one component.

    OMP_NUM_THREADS=1 python benchmarks/awmp.py [--rounds 9]

A step is an action in Hopper-v5, storing the transition, and one update of all networks, the prior
among them, as the trainers of the recipes do them, with the paper's widths of 400 and minibatch
of 100. All take turns within a round, and a ratio is the median over rounds of the ratio within
one, so that a machine that slows down does so for all. Times are of the processor, on one thread.
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
import awmp
import sac_mixture
from recipe_steps import PARTS, RecipeSteps, interleaved

SIZES = (1, 2, 4, 8)  # components
SAC = {
    "preset": "hopper",
    "policy.num_components": 1,
    "loss.num_baseline_samples": 0,
    "network.hidden_sizes": [400, 400],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="at least 5 for a number to keep")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torchrl_logger.setLevel("WARNING")
    os.chdir(tempfile.mkdtemp())
    recipes = {"SAC": RecipeSteps(sac_mixture, SAC)}
    for size in SIZES:
        settings = {"preset": "hopper", "policy.num_components": size}
        recipes[f"K = {size}"] = RecipeSteps(awmp, settings)
    times = interleaved(recipes, options.rounds)
    print("| | " + " | ".join(f"{part}, ms" for part in PARTS) + " | step over SAC's |")
    print("|---" * (len(PARTS) + 2) + "|")
    for name, found in times.items():
        pairs = zip(found, times["SAC"], strict=True)
        ratio = statistics.median(own[0] / other[0] for own, other in pairs)
        parts = (f"{statistics.median(each):.2f}" for each in zip(*found, strict=True))
        print(f"| {name} | " + " | ".join(parts) + f" | {ratio:.2f} |")


if __name__ == "__main__":
    main()
