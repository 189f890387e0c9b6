"""The held component in a collector whose worker is a Ray actor."""

import os

import pytest
import torch
from torchrl.envs import GymEnv

from torchrl_mixture.collectors import MixtureCollector
from torchrl_mixture.modules import mixture_actor

pytest.importorskip("ray")


@pytest.mark.slow
def test_component_is_held_in_a_ray_worker(monkeypatch):
    monkeypatch.setitem(os.environ, "RAY_AUTH_MODE", "disabled")
    env = GymEnv("Pendulum-v1")
    collector = MixtureCollector(
        lambda: GymEnv("Pendulum-v1"),
        mixture_actor(env.action_spec, 5, observation_spec=env.observation_spec, num_cells=(8,)),
        hold=10,
        return_log_prob=True,
        frames_per_batch=100,
        total_frames=300,
        init_random_frames=100,
        backend="ray",
        num_collectors=1,
        backend_options={"remote_configs": {"num_cpus": 1, "num_gpus": 0}},
    )
    try:
        warm_up, *batches = [batch.clone() for batch in collector]
    finally:
        collector.shutdown()
    assert (warm_up["component"] == -1).all()
    assert (warm_up["action_log_prob"] + torch.tensor(4.0).log()).abs().max() < 1e-6
    blocks = torch.stack([batch["component"] for batch in batches]).reshape(20, 10)
    assert (blocks == blocks[:, :1]).all() and (blocks >= 0).all()
    assert len(blocks.unique()) > 1
