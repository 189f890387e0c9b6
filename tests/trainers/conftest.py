"""Toy tasks with known returns, a small stock loss, and a trainer on them."""

from collections.abc import Callable
from itertools import cycle
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import EnvBase
from torchrl.modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import SACLoss, SoftUpdate
from torchrl.trainers import Trainer

from torchrl_mixture.trainers import AdamStepper, gym_env


class CountingEnv(gymnasium.Env):
    """The observation is ``(episode, step)``, the reward the action; 3 to 7 steps if random."""

    observation_space = gymnasium.spaces.Box(0.0, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, random: bool = False) -> None:
        self.random = random
        self.episode = -1

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.episode += 1
        self.step_count = 0
        self.length = self._draw_length()
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self.step_count += 1
        terminated = self.step_count == self.length
        return self._observation(), float(action[0]), terminated, False, {}

    def _draw_length(self) -> int:
        return int(self.np_random.integers(3, 8)) if self.random else 10**9

    def _observation(self) -> np.ndarray:
        return np.array([self.episode, self.step_count], dtype=np.float64)


class UnevenEnv(CountingEnv):
    """Copies made one after another have episodes of 5 and of 100 steps in turn."""

    lengths = cycle((5, 100))

    def __init__(self) -> None:
        super().__init__()
        self.own_length = next(self.lengths)

    def _draw_length(self) -> int:
        return self.own_length


class DriftEnv(CountingEnv):
    """The initial observation is drawn, so that it shows the seed; 4 steps."""

    def _draw_length(self) -> int:
        self.offset = self.np_random.random()
        return 4

    def _observation(self) -> np.ndarray:
        return np.array([self.offset, self.step_count], dtype=np.float64)


gymnasium.register("Counting-v0", entry_point=CountingEnv, max_episode_steps=5)
gymnasium.register("CountingRandom-v0", entry_point=CountingEnv, kwargs={"random": True})
gymnasium.register("Uneven-v0", entry_point=UnevenEnv)
gymnasium.register("Drift-v0", entry_point=DriftEnv)


def make_actor(env: EnvBase) -> ProbabilisticActor:
    size = env.observation_spec["observation"].shape[-1]
    net = nn.Sequential(nn.Linear(size, 2), NormalParamExtractor())
    actor = ProbabilisticActor(
        TensorDictModule(net, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=env.action_spec,
        distribution_class=TanhNormal,
    )
    return actor.select_out_keys("action")


@pytest.fixture
def make_loss() -> Callable[..., SACLoss]:
    def build(env: EnvBase, hidden: int = 8) -> SACLoss:
        torch.manual_seed(0)
        inputs = env.observation_spec["observation"].shape[-1] + env.action_spec.shape[-1]
        critics = [
            ValueOperator(MLP(inputs, 1, num_cells=[hidden]), in_keys=["observation", "action"])
            for _ in range(2)
        ]
        loss = SACLoss(make_actor(env), critics, loss_function="l2")
        loss.make_value_estimator(gamma=0.9)
        return loss

    return build


@pytest.fixture
def make_trainer(make_loss: Callable[..., SACLoss]) -> Callable[..., Trainer]:
    """Build a trainer without hooks on a task, by default that of five steps an episode."""

    def build(
        total: int = 42,
        warm_up: int = 12,
        copies: int | None = None,
        task: str = "Counting-v0",
        hidden: int = 8,
    ) -> Trainer:
        env, loss = gym_env(task, copies), make_loss(gym_env(task), hidden)
        env.set_seed(0)
        collector = Collector(
            env,
            loss.actor_network,
            frames_per_batch=3,
            total_frames=total,
            init_random_frames=warm_up,
            track_traj_ids=False,
            auto_register_policy_transforms=False,
        )
        return Trainer(
            collector=collector,
            total_frames=total,
            frame_skip=1,
            optim_steps_per_batch=2,
            loss_module=loss,
            optimization_stepper=AdamStepper(loss, target_updater=SoftUpdate(loss, tau=0.1)),
            progress_bar=False,
        )

    return build


@pytest.fixture
def minibatch() -> TensorDict:
    torch.manual_seed(1)
    done = torch.zeros(16, 1, dtype=torch.bool)
    following = {"observation": torch.randn(16, 2), "reward": torch.randn(16, 1)}
    following |= {"done": done, "terminated": done, "truncated": done}
    return TensorDict(
        {
            "observation": torch.randn(16, 2),
            "action": torch.rand(16, 1) * 1.8 - 0.9,
            "next": TensorDict(following, [16]),
        },
        [16],
    )
