"""Steps a second: copies in one tensor, and Gymnasium's where it has the task.

OMP_NUM_THREADS=1 python benchmarks/environments.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import gymnasium
import torch
from gymnasium.vector import SyncVectorEnv

from torchrl_mixture.envs import (
    Acrobot,
    ContinuousBandit,
    MazeGrid,
    MountainCar,
    MultiGoal,
    Pendulum,
    TensorEnv,
)

TASKS: dict[str, tuple[Callable[..., TensorEnv], str | None]] = {
    "Pendulum": (Pendulum, "Pendulum-v1"),
    "Acrobot": (Acrobot, "Acrobot-v1"),
    "MountainCar": (MountainCar, "MountainCarContinuous-v0"),
    "ContinuousBandit": (ContinuousBandit, None),
    "MultiGoal": (MultiGoal, None),
    "MazeGrid": (MazeGrid, None),
}
COPIES = [1, 100, 10_000]
KINDS = ["step", "step_and_maybe_reset", "gymnasium"]
SECONDS, ROUNDS = 0.2, 5


def stepper(env: TensorEnv) -> Callable[[], object]:
    """Step the copies with one action of each, also where their episodes are over."""
    tensordict = env.reset().set("action", env.action_spec.rand())
    return lambda: env.step(tensordict)


def resetting_stepper(env: TensorEnv) -> Callable[[], object]:
    """Step the copies, and reset those whose episodes are over."""
    tensordict, action = env.reset(), env.action_spec.rand()

    def step() -> None:
        nonlocal tensordict
        tensordict = env.step_and_maybe_reset(tensordict.set("action", action))[1]

    return step


def gymnasium_stepper(name: str, copies: int) -> Callable[[], object]:
    """Step Gymnasium's environment, or its copies one after the other; both are reset."""

    def make() -> gymnasium.Env:
        return gymnasium.make(name, disable_env_checker=True)

    env = make() if copies == 1 else SyncVectorEnv([make] * copies)
    env.action_space.seed(0)
    env.reset(seed=0)
    action = env.action_space.sample()

    def step() -> None:
        _, _, terminated, truncated, _ = env.step(action)
        if copies == 1 and (terminated or truncated):
            env.reset()

    return step


def steppers() -> dict[tuple[str, str, int], Callable[[], object]]:
    found: dict[tuple[str, str, int], Callable[[], object]] = {}
    for task, (make, name) in TASKS.items():
        for copies in COPIES:
            batch_size = [] if copies == 1 else [copies]
            found[task, "step", copies] = stepper(make(batch_size=batch_size))
            resetting = resetting_stepper(make(batch_size=batch_size))
            found[task, "step_and_maybe_reset", copies] = resetting
        for copies in COPIES[:2] if name else []:
            found[task, "gymnasium", copies] = gymnasium_stepper(name, copies)
    return found


def rate(step: Callable[[], object], copies: int) -> float:
    """Steps a second, of all copies together."""
    step()
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < SECONDS:
        step()
        count += 1
    return count * copies / elapsed


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    functions = steppers()
    rates: dict[tuple[str, str, int], list[float]] = {key: [] for key in functions}
    for _ in range(ROUNDS):
        for key, step in functions.items():
            rates[key].append(rate(step, key[2]))
    print("thousands of steps a second, medians of interleaved rounds; gymnasium: one")
    print("environment, and 100 in a SyncVectorEnv\n")
    print("| task | by | " + " | ".join(f"{copies:,}" for copies in COPIES) + " |")
    print("| - | - |" + " -: |" * len(COPIES))
    for task in TASKS:
        for kind in KINDS if TASKS[task][1] else KINDS[:2]:
            found = [rates.get((task, kind, copies)) for copies in COPIES]
            row = [f"{statistics.median(x) / 1e3:,.1f}" if x else "" for x in found]
            print(f"| {task} | {kind} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
