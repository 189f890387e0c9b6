"""A task and actors whose component at every step is known; importable from worker processes."""

from typing import Any

import gymnasium
import numpy as np
import torch
from tensordict import TensorDictBase
from torch import nn
from torchrl.envs import EnvBase
from torchrl.modules import ProbabilisticActor

from torchrl_mixture.modules import Hold, mixture_actor
from torchrl_mixture.trainers import gym_env

LOW, HIGH = [-1.0, -2.0], [1.0, 3.0]
NUM_COMPONENTS = 3


class Staggered(gymnasium.Env):
    """Episodes of 3 to 9 steps; the observation is the step, one-hot modulo K and as it is."""

    observation_space = gymnasium.spaces.Box(0.0, np.inf, (NUM_COMPONENTS + 1,), np.float32)
    action_space = gymnasium.spaces.Box(np.float32(LOW), np.float32(HIGH))

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.step_count = 0
        self.length = int(self.np_random.integers(3, 10))
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self.step_count += 1
        return self._observation(), 0.0, self.step_count == self.length, False, {}

    def _observation(self) -> np.ndarray:
        now = np.eye(NUM_COMPONENTS)[self.step_count % NUM_COMPONENTS]
        return np.float32([*now, self.step_count])


gymnasium.register("Staggered-v0", entry_point=Staggered)


def staggered(num_envs: int | None = None) -> EnvBase:
    return gym_env("Staggered-v0", num_envs)


def constant_actor(weights: list[float], loc: Any, scale: float = 1e-4) -> ProbabilisticActor:
    """An actor with these weights, locations before squashing ``[K, A]`` and scale everywhere."""
    net = nn.Linear(NUM_COMPONENTS + 1, len(weights) * 5)
    with torch.no_grad():
        net.weight.zero_()
        raw_scale = torch.tensor(scale).expm1().log().expand(2 * len(weights))
        loc = torch.as_tensor(loc).flatten()
        net.bias.copy_(torch.cat([torch.tensor(weights).log(), loc, raw_scale]))
    return mixture_actor(
        staggered().action_spec, len(weights), net=net, scale_mapping="softplus", scale_lb=0.0
    )


def clock_actor(scale: float = 1e-4) -> ProbabilisticActor:
    """At step ``t`` component ``t % K`` has all of the weight; the components lie far apart."""
    loc = torch.tensor([[-1.0, 1.0], [0.0, 0.0], [1.0, -1.0]])
    actor = constant_actor([1 / 3] * NUM_COMPONENTS, loc, scale)
    linear = next(module for module in actor.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        rows = range(NUM_COMPONENTS)
        linear.weight[rows, rows] = 200.0
    return actor


def steps_of(data: TensorDictBase) -> torch.Tensor:
    """The step in the episode, ``[*B, T]``."""
    return data["observation"][..., -1].long()


def held_components(steps: list[int], hold: Hold) -> list[int]:
    """The components of :func:`clock_actor` at consecutive steps of the policy in one copy."""
    components: list[int] = []
    held_for = 0
    for step in steps:
        if not components or step == 0 or hold in ("step", held_for):
            components.append(step % NUM_COMPONENTS)
            held_for = 0
        else:
            components.append(components[-1])
        held_for += 1
    return components


def check_held(data: TensorDictBase, hold: Hold) -> None:
    """What acted in ``[*B, T]`` is what had to, after a random warm-up if there was one."""
    steps, components = steps_of(data).reshape(-1, data.shape[-1]), data["component"]
    assert components.dtype == torch.int64 and components.shape == data.shape
    assert (steps.diff(dim=-1) != 1).any(), "no copy was reset: nothing was tested"
    for row, acted in zip(steps.tolist(), components.reshape(steps.shape).tolist(), strict=True):
        warm = acted.count(-1)
        assert acted[:warm] == [-1] * warm
        assert acted[warm:] == held_components(row[warm:], hold)
    assert (data["next", "component"] == components).all()


def collect(collector: Any) -> TensorDictBase:
    """All batches of a collector along time, which is shut down."""
    try:
        return torch.cat([batch.clone() for batch in collector], -1)
    finally:
        collector.shutdown()
