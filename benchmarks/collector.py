"""Time of a collected frame, for copies of an environment stepped together.

OMP_NUM_THREADS=1 python benchmarks/collector.py
"""

from __future__ import annotations

import statistics
import time

import torch
from torchrl import torchrl_logger
from torchrl.collectors import Collector

from torchrl_mixture.collectors import MixtureCollector
from torchrl_mixture.modules import mixture_actor
from torchrl_mixture.trainers import make_env, normalize_observations

TASKS = [
    ("gymnasium", "Pendulum-v1"),
    ("gymnasium", "HalfCheetah-v5"),
    ("dm_control", "cheetah-run"),
]
COPIES = [None, 4, 8, 16]
FRAMES, ROUNDS = 1_600, 5
OPTIONS = {"track_traj_ids": False, "use_buffers": False}


def milliseconds(library: str, name: str, copies: int | None, kind: str) -> float:
    """Collect once and return the time of a frame."""
    env = make_env(library, name, copies)
    actor = mixture_actor(
        env.action_spec, 5, observation_spec=env.observation_spec, num_cells=(256, 256)
    )
    if kind == "normalised":
        env = normalize_observations(env)
    options = {**OPTIONS, "frames_per_batch": 16, "total_frames": -1}
    if kind == "held":
        collector = MixtureCollector(env, actor, hold="episode", **options)
    else:
        collector = Collector(env, actor, auto_register_policy_transforms=False, **options)
    batches = iter(collector)
    for _ in range(10):
        next(batches)
    start = time.perf_counter()
    for _ in range(FRAMES // 16):
        next(batches)
    return 1e3 * (time.perf_counter() - start) / FRAMES


def main() -> None:
    torch.set_num_threads(1)
    torchrl_logger.setLevel("WARNING")
    print("ms a frame, medians of interleaved rounds\n")
    print("| task | policy | " + " | ".join(f"{copies or 'one'}" for copies in COPIES) + " |")
    print("| - | - |" + " - |" * len(COPIES))
    cases = [(*task, kind) for task in TASKS for kind in ("plain", "normalised", "held")]
    times: dict[tuple, list[float]] = {}
    for _ in range(ROUNDS):
        for library, name, kind in cases:
            for copies in COPIES:
                found = milliseconds(library, name, copies, kind)
                times.setdefault((name, kind, copies), []).append(found)
    for _, name, kind in cases:
        row = [f"{statistics.median(times[name, kind, copies]):.2f}" for copies in COPIES]
        print(f"| {name} | {kind} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
