"""The classic tasks once more, one state at a time: by Gymnasium, or by scalars in NumPy."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch
from gymnasium.envs.classic_control import continuous_mountain_car
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from gymnasium.envs.classic_control.continuous_mountain_car import Continuous_MountainCarEnv
from gymnasium.envs.classic_control.mountain_car import MountainCarEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from torch import Tensor

from torchrl_mixture.envs import TensorEnv


class Outcome(NamedTuple):
    """What follows on an action, or on each of many."""

    state: np.ndarray
    reward: float | np.ndarray
    shaped_reward: float | np.ndarray
    terminated: bool | np.ndarray


Step = Callable[[np.ndarray, float], Outcome]

_PENDULUM, _ACROBOT = PendulumEnv(), AcrobotEnv()
_CONTINUOUS_CAR, _DISCRETE_CAR = Continuous_MountainCarEnv(), MountainCarEnv()
_DISCRETE_CAR.action_space = SimpleNamespace(contains=lambda _: True)  # real forces too
_IN_FLOAT64 = SimpleNamespace(array=np.array, float32=np.float64)


def pendulum(state: np.ndarray, action: float) -> Outcome:
    _PENDULUM.state = state.copy()
    _, shaped_reward, terminated, _, _ = _PENDULUM.step([action])
    upright = np.cos(state[0]) > np.cos(0.25)
    return Outcome(_PENDULUM.state, float(upright), shaped_reward, terminated)


def angle_pendulum(state: np.ndarray, action: float) -> Outcome:
    angle, velocity = state
    velocity = velocity + 0.05 * (3 * np.clip(action, -2, 2) - 15 * np.sin(angle + np.pi))
    angle = np.angle(np.exp(1j * (angle + 0.05 * velocity)))
    after = np.array([angle, np.clip(velocity, -8, 8)])
    return Outcome(after, np.cos(angle), np.nan, False)


def acrobot(state: np.ndarray, action: float) -> Outcome:
    _ACROBOT.state = state.copy()
    _ACROBOT.AVAIL_TORQUE = [np.clip(action, -1, 1)]
    _, reward, terminated, _, _ = _ACROBOT.step(0)
    first, second = _ACROBOT.state[:2]
    height = -np.cos(first) - np.cos(first + second)
    return Outcome(_ACROBOT.state, reward, height - 1, terminated)


def continuous_car(state: np.ndarray, action: float) -> Outcome:
    _CONTINUOUS_CAR.state = state.copy()
    with mock.patch.object(continuous_mountain_car, "np", _IN_FLOAT64):
        after, _, terminated, _, _ = _CONTINUOUS_CAR.step(np.array([action]))
    return Outcome(after, -1.0, after[0] - 0.6, terminated)


def discrete_car(state: np.ndarray, action: float) -> Outcome:
    _DISCRETE_CAR.state = tuple(state)
    _, reward, terminated, _, _ = _DISCRETE_CAR.step(1 + np.clip(action, -1, 1))
    after = np.array(_DISCRETE_CAR.state)
    return Outcome(after, reward, after[0] - 0.6, terminated)


class Pairs(NamedTuple):
    """Random states ``[N, S]`` and actions ``[N, 1]``, exact in float32 too, and what follows."""

    state: np.ndarray
    action: np.ndarray
    outcome: Outcome


def random_pairs(
    step: Step, high: Sequence[float], *, low: Sequence[float] | None = None, torque: float = 1.0
) -> Pairs:
    """Take one step from each of 10,000 states, uniform in a box symmetric by default."""
    numbers = np.random.default_rng(0)
    low = [-side for side in high] if low is None else low
    state = numbers.uniform(low, high, (10_000, len(high)))
    action = numbers.uniform(-torque, torque, (10_000, 1))
    state, action = (x.astype(np.float32).astype(np.float64) for x in (state, action))
    outcomes = [step(s, a) for s, (a,) in zip(state, action, strict=True)]
    return Pairs(state, action, Outcome(*map(np.array, zip(*outcomes, strict=True))))


def transition(env: TensorEnv, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """Take the same steps in a tensor environment."""
    state, action = (torch.as_tensor(x, dtype=env.dtype) for x in pairs[:2])
    after, reward, terminated = env.transition(state, action)
    assert (after.dtype, reward.dtype, terminated.dtype) == (env.dtype, env.dtype, torch.bool)
    return after.double(), reward.double(), terminated


def apart(ours: Tensor, theirs: np.ndarray, angles: Sequence[int] = ()) -> Tensor:
    """Absolute differences of states, ``[*B, S]``; those of angles the short way round."""
    difference = (ours - torch.as_tensor(theirs)).abs()
    for column in angles:
        around = difference[..., column].clone()
        difference[..., column] = torch.minimum(around, (2 * torch.pi - around).abs())
    return difference


def greatest_difference(
    env: TensorEnv, step: Step, actions: Sequence[float], angles: Sequence[int] = ()
) -> float:
    """Run an episode in both, each from its own states, and compare these after every step."""
    tensordict = env.reset()
    state, greatest = env.state.numpy(), 0.0
    for action in actions:
        state = step(state, action).state
        tensordict = env.step(tensordict.set("action", torch.tensor([action])))["next"]
        greatest = max(greatest, float(apart(env.state, state, angles).max()))
    return greatest
