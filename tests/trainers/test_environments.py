"""Gymnasium environments, what is refused, and normalised observations."""

import os
import subprocess
import sys

import gymnasium
import gymnasium_robotics
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torchrl.envs import EnvBase, check_env_specs

from torchrl_mixture.trainers.environments import (
    dm_control_env,
    make_env,
)
from torchrl_mixture.trainers.environments_gymnasium import gym_env
from torchrl_mixture.trainers.environments_normalization import (
    normalize_like,
    normalize_observations,
)
from torchrl_mixture.trainers.refusals import ConfigError


class BoxEnv(gymnasium.Env):
    """An environment that is never stepped, with the spaces that it is given."""

    def __init__(self, actions: Box, observations: Box) -> None:
        self.action_space, self.observation_space = actions, observations


UNIT, IMAGE = Box(-1.0, 1.0, (1,)), Box(0, 255, (8, 8, 3), np.uint8)
# It has Hopper-v3 too, and another reason to refuse it: which one is told depends on what was
# made before in the same process.
gymnasium.register_envs(gymnasium_robotics)
gymnasium.register("Pixels-v0", lambda: BoxEnv(UNIT, IMAGE))
gymnasium.register("Unbounded-v0", lambda: BoxEnv(Box(-np.inf, np.inf, (1,)), UNIT))


def endings(env: EnvBase, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Steps of each copy at which an episode was terminated or truncated, as masks."""
    env.set_seed(0)
    following = env.rollout(frames, break_when_any_done=False)["next"]
    terminated, truncated = following["terminated"], following["truncated"]
    assert following["done"].equal(terminated | truncated)
    return terminated.reshape(-1, frames), truncated.reshape(-1, frames)


@pytest.mark.parametrize("num_envs", [None, 3])
def test_pendulum_is_truncated_after_200_steps(num_envs):
    terminated, truncated = endings(gym_env("Pendulum-v1", num_envs), 410)
    assert not terminated.any()
    for row in truncated:
        assert row.nonzero().flatten().tolist() == [199, 399]


@pytest.mark.parametrize("num_envs", [None, 3])
def test_hopper_terminates_where_it_falls(num_envs):
    env = gym_env("Hopper-v5", num_envs)
    terminated, truncated = endings(env, 150)
    assert terminated.any(1).all() and not truncated.any()
    following = env.rollout(150, break_when_any_done=False)["next"]
    height, angle = following["observation"][..., 0], following["observation"][..., 1]
    fallen = (height <= 0.7) | (angle.abs() >= 0.2)
    assert following["terminated"].squeeze(-1).equal(fallen)


@pytest.mark.parametrize("num_envs", [None, 1, 3])
def test_seeds_repeat_and_copies_differ(num_envs):
    env = gym_env("Pendulum-v1", num_envs)
    first, second = (env.set_seed(7) and env.reset()["observation"] for _ in range(2))
    assert first.equal(second)
    if num_envs == 3:
        assert not first[0].equal(first[1])
    assert not env.reset()["observation"].equal(first)


@pytest.mark.parametrize(("name", "num_envs"), [("Hopper-v5", None), ("Hopper-v5", 2)])
def test_specs_fit(name, num_envs):
    env = gym_env(name, num_envs)
    check_env_specs(env)
    dtypes = {env.observation_spec["observation"].dtype, env.action_spec.dtype}
    assert dtypes == {torch.float32} and env.reward_spec.dtype == torch.float32


@pytest.mark.parametrize(
    ("library", "name", "num_envs", "line"),
    [
        (
            "gymnasium",
            "Pendulm-v1",
            None,
            "env.name=Pendulm-v1: expected an environment registered in Gymnasium, "
            "the nearest is Pendulum-v1.",
        ),
        (
            "gymnasium",
            "Hopper-v9",
            None,
            "env.name=Hopper-v9: expected an environment registered in Gymnasium, "
            "the nearest is Hopper-v5.",
        ),
        (
            "gymnasium",
            "Hopper-v3",
            None,
            "env.name=Hopper-v3 (No module named 'mujoco_py'",
        ),
        (
            "gymnasium",
            "CartPole-v1",
            None,
            "env.name=CartPole-v1, with actions Discrete(2): expected a flat, bounded Box.",
        ),
        ("gymnasium", "Pixels-v0", None, "env.name=Pixels-v0, with observations Box(0, 255, "),
        (
            "gymnasium",
            "Unbounded-v0",
            3,
            "env.name=Unbounded-v0, with actions Box(-inf, inf, (1,), float32): "
            "expected a flat, bounded Box.",
        ),
        (
            "gymnasium",
            "Pendulum-v1",
            0,
            "env.num_envs=0: expected an integer at least 1.",
        ),
        ("atari", "Pong", None, "env.library=atari: expected gymnasium | dm_control | "),
        (
            "torchrl_mixture",
            "MazeGird",
            None,
            "env.name=MazeGird: expected a task of the papers, the nearest is MazeGrid.",
        ),
    ],
)
def test_refusals(library, name, num_envs, line):
    with pytest.raises(ConfigError) as refused:
        make_env(library, name, num_envs)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_missing_dm_control_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "dm_control", None)
    with pytest.raises(ConfigError, match=r"pip install 'torchrl_mixture\[dmc\]' first\.$"):
        dm_control_env("cheetah-run")


def test_what_cannot_be_drawn_is_refused_in_one_line():
    command = "from torchrl_mixture.trainers import refusals\n"
    command += "from torchrl_mixture.trainers import gym_env\n"
    command += "with refusals(): gym_env('Hopper-v5', render=True)"
    refused = subprocess.run(
        [sys.executable, "-c", command],
        env={**os.environ, "MUJOCO_GL": "disable"},
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("env.name=Hopper-v5 (")
    assert refused.stderr.endswith("): expected a task that can be drawn here.\n")
    assert refused.stderr.count("\n") == 1


def test_frames_are_pictures():
    pytest.importorskip("pygame", reason="Pendulum is drawn with pygame, of the extra 'video'")
    env = gym_env("Pendulum-v1", render=True)
    env.reset()
    before = env.render()
    env.rollout(5)
    after = env.render()
    assert before.shape == after.shape == (500, 500, 3) and before.dtype == np.uint8
    assert (before != after).any()


@pytest.mark.parametrize("num_envs", [None, 1, 4])
@pytest.mark.parametrize("name", ["CountingRandom-v0", "Pendulum-v1"])
def test_moments_are_those_of_all_frames(name, num_envs):
    raw_env, env = gym_env(name, num_envs), normalize_observations(gym_env(name, num_envs))
    for one in (raw_env, env):
        one.set_seed(0)
    moments = env.transform.moments
    moments.count.zero_()

    raw, seen = raw_env.reset(), env.reset()
    frames = [raw["observation"].reshape(-1, raw["observation"].shape[-1])]
    generator = torch.Generator().manual_seed(0)
    for _ in range(230):
        action = torch.rand(env.action_spec.shape, generator=generator) * 2 - 1
        raw_step, raw_next = raw_env.step_and_maybe_reset(raw.set("action", action))
        step, seen_next = env.step_and_maybe_reset(seen.set("action", action))
        frames.append(raw_step["next", "observation"].reshape(-1, frames[0].shape[-1]))
        history = torch.cat(frames).double().numpy()
        deviation = np.sqrt(history.var(0) + 1e-8)
        expected = (raw_step["next", "observation"].numpy() - history.mean(0)) / deviation
        normalized = step["next", "observation"].numpy()
        np.testing.assert_allclose(normalized, expected.clip(-10, 10), rtol=1e-4, atol=1e-5)

        done = raw_step["next", "done"].reshape(-1)
        going_on = ~done.reshape(raw_env.batch_size)
        kept = seen_next["observation"][going_on]
        assert kept.equal(step["next", "observation"][going_on])
        if done.any():
            frames.append(raw_next["observation"].reshape(-1, history.shape[-1])[done])
        raw, seen = raw_next, seen_next

    history = torch.cat(frames).double().numpy()
    assert int(moments.count) == len(history)
    np.testing.assert_allclose(moments.mean, history.mean(0), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(moments.variance, history.var(0), rtol=1e-10, atol=1e-12)


def test_moments_keep_their_precision_beside_a_large_mean():
    norm = normalize_observations(gym_env("Counting-v0")).transform
    noise = torch.randn(2_000, 3, 2, generator=torch.Generator().manual_seed(0))
    vectors = 1000.7 + 0.01 * noise
    for batch in vectors:
        norm.moments.update(batch)
    exact = vectors.reshape(-1, 2).double().numpy()
    np.testing.assert_allclose(norm.moments.variance, exact.var(0), rtol=1e-2)
    constant = torch.full((3, 2), 100.3)
    norm.moments.count.zero_()
    for _ in range(100):
        norm.moments.update(constant)
    assert norm._apply_transform(constant).abs().max() < 1e-3


def test_a_test_environment_follows_and_never_changes_the_moments():
    env = normalize_observations(gym_env("Pendulum-v1", 2))
    test_env = normalize_like(gym_env("Pendulum-v1", 3), env.transform)
    env.rollout(20)
    before = {key: value.clone() for key, value in env.transform.state_dict().items()}
    test_env.rollout(20)
    assert all(env.transform.state_dict()[key].equal(value) for key, value in before.items())
    env.rollout(20)
    assert int(test_env.transform.moments.count) == int(env.transform.moments.count) > 42
    test_env.set_seed(5)
    observation = test_env.reset()["observation"]
    plain_env = gym_env("Pendulum-v1", 3)
    plain_env.set_seed(5)
    expected = env.transform._apply_transform(plain_env.reset()["observation"])
    assert observation.equal(expected)


def test_moments_can_be_saved_and_loaded():
    env = normalize_observations(gym_env("Pendulum-v1"))
    env.rollout(20)
    other = normalize_observations(gym_env("Pendulum-v1", 3))
    follower = normalize_like(gym_env("Pendulum-v1"), other.transform)
    other.transform.load_state_dict(env.transform.state_dict())
    assert follower.transform.moments.mean.equal(env.transform.moments.mean)
    assert follower.transform.moments.mean is other.transform.moments.mean


@pytest.mark.parametrize("num_envs", [None, 2])
def test_normalised_specs_fit(num_envs):
    check_env_specs(normalize_observations(gym_env("Pendulum-v1", num_envs)))
