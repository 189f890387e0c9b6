"""A toy task with known returns, and a small stock loss."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torch import nn
from torchrl.envs import EnvBase
from torchrl.modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import SACLoss


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
        self.length = int(self.np_random.integers(3, 8)) if self.random else 10**9
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self.step_count += 1
        terminated = self.step_count == self.length
        return self._observation(), float(action[0]), terminated, False, {}

    def _observation(self) -> np.ndarray:
        return np.array([self.episode, self.step_count], dtype=np.float64)


gymnasium.register("Counting-v0", entry_point=CountingEnv, max_episode_steps=5)
gymnasium.register("CountingRandom-v0", entry_point=CountingEnv, kwargs={"random": True})


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
def make_loss() -> Callable[[EnvBase], SACLoss]:
    def build(env: EnvBase) -> SACLoss:
        torch.manual_seed(0)
        critics = [
            ValueOperator(MLP(3, 1, num_cells=[8]), in_keys=["observation", "action"])
            for _ in range(2)
        ]
        loss = SACLoss(make_actor(env), critics, loss_function="l2")
        loss.make_value_estimator(gamma=0.9)
        return loss

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
