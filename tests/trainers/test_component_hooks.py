"""Which components act, counted on what TorchRL's collectors give."""

import pytest
import torch
from rollout_cases import staggered
from torchrl.collectors import Collector
from torchrl.modules import MLP, ValueOperator

from torchrl_mixture.modules import GreedyComponent, MeanActors
from torchrl_mixture.objectives import GamidLoss
from torchrl_mixture.trainers import ComponentUse

NUM_COMPONENTS = 3


def make_policy(env):
    spec = env.observation_spec
    actor = MeanActors(env.action_spec, NUM_COMPONENTS, observation_spec=spec, num_cells=(8,))
    size = spec["observation"].shape[-1] + env.action_spec.shape[-1]
    critics = [
        ValueOperator(MLP(size, 1, num_cells=[8]), in_keys=["observation", "action"])
        for _ in range(2)
    ]
    loss = GamidLoss(actor, critics, action_spec=env.action_spec_unbatched)
    return GreedyComponent(actor, loss.qvalue_network, loss.qvalue_network_params, epsilon=1.0)


@pytest.mark.parametrize("num_envs", [None, 3])
@pytest.mark.parametrize("marked", ["absent", "by the primer"])
def test_random_actions_are_not_counted(num_envs, marked):
    env = staggered(num_envs)
    policy = make_policy(env)
    if marked == "by the primer":
        env = env.append_transform(policy.make_tensordict_primer())
    use, counted = ComponentUse(policy), torch.zeros(NUM_COMPONENTS)
    collector = Collector(
        env,
        policy,
        frames_per_batch=60,
        total_frames=180,
        init_random_frames=60,
        use_buffers=marked == "by the primer",
        auto_register_policy_transforms=False,
    )
    for number, batch in enumerate(collector):
        use(batch)
        if number:
            chosen = batch["component"].flatten()
            counted += torch.stack([(chosen == k).sum() for k in range(NUM_COMPONENTS)])
        stored = batch
    collector.shutdown()
    assert counted.sum() == 120 and (counted > 0).all()
    shares = use.diagnostics(stored.reshape(-1).select("observation"))
    for component in range(NUM_COMPONENTS):
        assert shares[f"used_share_{component}"] == pytest.approx(counted[component].item() / 120)


def test_greedy_shares_are_those_of_the_policys_own_choice():
    env = staggered(None)
    policy = make_policy(env)
    stored = env.rollout(50, break_when_any_done=False).select("observation")
    means = policy.actor(stored.copy())["means"]
    best = policy.best(stored, means)
    shares = ComponentUse(policy).diagnostics(stored)
    assert set(shares) == {f"greedy_share_{k}" for k in range(NUM_COMPONENTS)}
    for component in range(NUM_COMPONENTS):
        assert shares[f"greedy_share_{component}"] == (best == component).float().mean()
