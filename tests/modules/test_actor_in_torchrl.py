"""The actor where TorchRL uses it: rollouts, collectors, on one environment and on many."""

import pytest
import torch
from torchrl.collectors import Collector
from torchrl.envs import GymEnv, SerialEnv
from torchrl.envs.utils import ExplorationType, set_exploration_type

from torchrl_mixture.modules import mixture_actor


def pendulum():
    return GymEnv("Pendulum-v1")


@pytest.fixture
def env():
    env = pendulum()
    env.set_seed(0)
    yield env
    env.close()


def actor_for(env, **kwargs):
    kwargs = {"num_cells": (16,), "observation_spec": env.observation_spec} | kwargs
    return mixture_actor(env.action_spec, 3, **kwargs)


@pytest.mark.parametrize("base", ["tanh_normal", "arctan_cauchy"])
def test_rollout(env, base):
    actor = actor_for(env, base=base)
    mixture = actor.get_dist(env.reset())
    assert (mixture.low, mixture.high) == (-2.0, 2.0)
    with set_exploration_type(ExplorationType.RANDOM):
        data = env.rollout(20, actor)
    assert data["action"].shape == (20, 1)
    assert env.action_spec.is_in(data["action"][0])
    assert "logits" not in data.keys() and "loc" not in data.keys()
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        data = env.rollout(20, actor)
    expected = actor.get_dist(data).deterministic_sample
    torch.testing.assert_close(data["action"], expected)


def test_rollout_of_a_batch_of_environments():
    env = SerialEnv(2, pendulum)
    try:
        data = env.rollout(5, actor_for(env))
        assert data["action"].shape == (2, 5, 1)
        assert (data["action"][0] != data["action"][1]).any()
    finally:
        env.close()


def test_collector():
    env = pendulum()
    collector = Collector(
        env,
        actor_for(env),
        frames_per_batch=16,
        total_frames=48,
        auto_register_policy_transforms=True,
    )
    try:
        batches = list(collector)
    finally:
        collector.shutdown()
    assert [batch["action"].shape for batch in batches] == [(16, 1)] * 3
    # A collector explores unless it is told otherwise.
    assert len(torch.cat([batch["action"] for batch in batches]).unique()) == 48
    assert not batches[0]["action"].requires_grad


def test_lazy_actor_in_a_collector_after_one_call():
    env = pendulum()
    actor = actor_for(env, observation_spec=None)
    actor(env.reset())
    collector = Collector(
        env,
        actor,
        frames_per_batch=8,
        total_frames=8,
        auto_register_policy_transforms=True,
        exploration_type=ExplorationType.DETERMINISTIC,
    )
    try:
        (batch,) = list(collector)
    finally:
        collector.shutdown()
    torch.testing.assert_close(batch["action"], actor.get_dist(batch).mode)
