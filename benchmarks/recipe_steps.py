"""The trainer of a recipe, some steps at a time, for the benchmarks of recipes."""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any

from torchrl_mixture.trainers import load_config

WARM_UP = 1_000
BATCH = 10  # frames between two rounds of updates
STEPS = 100  # in a row, before the other takes its turn
PARTS = ("step", "acting", "storing and update")


class RecipeSteps:
    """A recipe's trainer, past its warm-up.

    Arguments:
        recipe: the recipe.
        settings: its settings, by key.
    """

    def __init__(self, recipe: ModuleType, settings: dict[str, Any]) -> None:
        settings = {
            **settings,
            "collector.frames_per_batch": BATCH,
            "collector.init_random_frames": WARM_UP,
            "evaluation.episodes": 1,
        }
        arguments = [f"{key}={value}" for key, value in settings.items()]
        self.trainer, _ = recipe.make_trainer(load_config(recipe.Config, arguments))
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


def interleaved(
    recipes: dict[Any, RecipeSteps], rounds: int
) -> dict[Any, list[tuple[float, float, float]]]:
    """Let recipes take turns, and give the times of each round."""
    times = {name: [] for name in recipes}
    for current in range(-1, rounds):  # the first round warms up
        for name, steps in recipes.items():
            found = steps()
            if current >= 0:
                times[name].append(found)
    return times
