"""Returns and time of the mixture SAC recipe beside Stable-Baselines3's SAC, same settings.

python benchmarks/stable_baselines.py preset=halfcheetah collector.total_frames=50000
python benchmarks/stable_baselines.py preset=cartpole_swingup collector.total_frames=50000
"""

from __future__ import annotations

import argparse
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from torchrl import torchrl_logger

from torchrl_mixture.analysis import read_progress
from torchrl_mixture.trainers import load_config, train_run

sys.path.append(str(Path(__file__).parents[1] / "recipes"))
import sac_mixture  # noqa: E402

Result = tuple[list[int], list[float], float]  # frames, mean returns, seconds of training


class ControlSuite(gymnasium.Env):
    """A task of the DeepMind Control Suite with flat observations."""

    def __init__(self, name: str, seed: int) -> None:
        from dm_control import suite

        domain, task = name.split("-")
        self.env = suite.load(domain, task, task_kwargs={"random": seed})
        spec, action = self.env.observation_spec(), self.env.action_spec()
        size = sum(int(np.prod(item.shape)) for item in spec.values())
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        low, high = (edge.astype(np.float32) for edge in (action.minimum, action.maximum))
        self.action_space = gymnasium.spaces.Box(low, high)

    def _flat(self, step) -> np.ndarray:
        return np.concatenate([np.ravel(x) for x in step.observation.values()], dtype=np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._flat(self.env.reset()), {}

    def step(self, action):
        step = self.env.step(action)
        terminated = step.last() and step.discount == 0.0
        return self._flat(step), step.reward, terminated, step.last() and not terminated, {}


class Tester(BaseCallback):
    """Test the deterministic policy every ``interval`` frames, off the clock."""

    def __init__(self, env: gymnasium.Env, interval: int, episodes: int) -> None:
        super().__init__()
        self.env, self.interval, self.episodes = env, interval, episodes
        self.frames: list[int] = []
        self.returns: list[float] = []
        self.seconds = 0.0

    def _on_step(self) -> bool:
        if self.num_timesteps % self.interval == 0:
            start = time.perf_counter()
            mean, _ = evaluate_policy(self.model, self.env, self.episodes, warn=False)
            self.frames.append(self.num_timesteps)
            self.returns.append(mean)
            self.seconds += time.perf_counter() - start
        return True


def make_env(config: sac_mixture.Config, seed: int) -> gymnasium.Env:
    if config.env.library == "dm_control":
        return ControlSuite(config.env.name, seed)
    return gymnasium.make(config.env.name)


def train_peer(config: sac_mixture.Config) -> Result:
    """Train Stable-Baselines3's SAC with the recipe's settings, one update a frame."""
    tester = Tester(
        make_env(config, config.seed + 10_000),
        config.evaluation.interval,
        config.evaluation.episodes,
    )
    model = SAC(
        "MlpPolicy",
        make_env(config, config.seed),
        learning_rate=config.optim.lr,
        buffer_size=config.replay_buffer.size,
        learning_starts=config.collector.init_random_frames,
        batch_size=config.optim.batch_size,
        tau=config.optim.tau,
        gamma=config.optim.gamma,
        policy_kwargs={"net_arch": config.network.hidden_sizes},
        seed=config.seed,
        device="cpu",
    )
    start = time.perf_counter()
    model.learn(config.collector.total_frames, callback=tester)
    return tester.frames, tester.returns, time.perf_counter() - start - tester.seconds


def train_ours(config: sac_mixture.Config) -> Result:
    trainer, run = sac_mixture.make_trainer(config)
    train_run(trainer, run)
    columns = read_progress(run.record.path)
    return (
        [int(frame) for frame in columns["frames"]][1:],
        columns["return_heaviest_mean"][1:],
        columns["wall_seconds"][-1],
    )


SYSTEMS = {"recipe": train_ours, "Stable-Baselines3": train_peer}


def train(job: tuple[str, list[str], int]) -> tuple[str, int, Result]:
    name, arguments, seed = job
    torch.set_num_threads(1)
    torchrl_logger.setLevel("WARNING")
    config = load_config(sac_mixture.Config, [*arguments, f"seed={seed}"])
    return name, seed, SYSTEMS[name](config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    options, arguments = parser.parse_known_args()
    jobs = [(name, arguments, seed) for seed in range(options.seeds) for name in SYSTEMS]
    print("| system | seed | ms a frame | mean return at each evaluation |\n| - | - | - | - |")
    with get_context("spawn").Pool(options.workers, maxtasksperchild=1) as pool:
        for name, seed, (frames, returns, seconds) in pool.imap_unordered(train, jobs):
            shown = ", ".join(f"{value:.0f}" for value in returns)
            per_frame = 1e3 * seconds / frames[-1]
            print(f"| {name} | {seed} | {per_frame:.1f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
