"""The greedy policy in TorchRL: with its primer and noise in a collector, and in a rollout."""

import copy
import math

import pytest
import torch
from rollout_cases import staggered
from tensordict import TensorDict
from tensordict.nn import TensorDictSequential
from torch.testing import assert_close
from torchrl.collectors import Collector
from torchrl.modules import MLP, AdditiveGaussianModule, ValueOperator

from torchrl_mixture.modules import GreedyComponent, MeanActors
from torchrl_mixture.objectives import GamidLoss


def staggered_policy(env, epsilon):
    actor = MeanActors(env.action_spec, 3, observation_spec=env.observation_spec, num_cells=(8,))
    net = [MLP(6, 1, num_cells=[8]) for _ in range(2)]
    operators = [ValueOperator(module, in_keys=["observation", "action"]) for module in net]
    loss = GamidLoss(actor, operators, action_spec=env.action_spec)
    return loss, GreedyComponent(
        actor, loss.qvalue_network, loss.qvalue_network_params, epsilon=epsilon
    )


def best_of(policy, data):
    """The best component by the modules alone."""
    data = data.copy()
    means = policy.actor(data)["means"]
    values = []
    for params in policy.qvalue_params.unbind(0):
        critic = copy.deepcopy(policy.critics.network)
        params.data.to_module(critic)
        scored = [
            critic(TensorDict({"observation": data["observation"], "action": mean}))
            for mean in means.unbind(-2)
        ]
        values.append(torch.cat([score["state_action_value"] for score in scored], -1))
    return torch.stack(values).amin(0).argmax(-1), means


@pytest.mark.parametrize("num_envs", [None, 3])
def test_in_a_collector_with_noise(num_envs):
    env = staggered(num_envs)
    loss, policy = staggered_policy(env, 0.5)
    noise = AdditiveGaussianModule(env.action_spec, sigma_init=0.1, sigma_end=0.1)
    env = env.append_transform(policy.make_tensordict_primer())
    collector = Collector(
        env,
        TensorDictSequential(policy, noise),
        frames_per_batch=60,
        total_frames=360,
        init_random_frames=60,
        auto_register_policy_transforms=False,
    )
    component = []
    try:
        for number, data in enumerate(collector):
            chosen = data["component"]
            assert chosen.shape == data.shape and chosen.dtype == torch.int64
            assert env.action_spec_unbatched.is_in(data["action"].reshape(-1, 2)[0])
            if number == 0:
                assert (chosen == -1).all()
                continue
            assert set(chosen.unique().tolist()) <= {0, 1, 2}
            best, means = best_of(policy, data)
            index = chosen[..., None, None].expand(*chosen.shape, 1, 2)
            difference = data["action"] - means.gather(-2, index).squeeze(-2)
            assert 0 < difference.abs().max() < 0.5  # five standard deviations
            if number > 3:
                assert chosen.equal(best)
            component.append(chosen == best)
            with torch.no_grad():  # what is learned is what acts
                for parameter in loss.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
            if number == 3:
                policy.epsilon.zero_()
    finally:
        collector.shutdown()
    explored = ~torch.cat([greedy.reshape(-1) for greedy in component[:3]])
    count, total = explored.sum().item(), explored.numel()
    assert abs(count - total / 3) < 4.5 * math.sqrt(total * 2 / 9)


def test_rollout_without_a_primer():
    env = staggered()
    _, policy = staggered_policy(env, 0.5)
    env.set_seed(0)
    data = env.rollout(20, policy)
    assert data["component"].shape == data.shape
    assert_close(
        data["action"],
        best_of(policy, data)[1][torch.arange(len(data)), data["component"]],
    )
