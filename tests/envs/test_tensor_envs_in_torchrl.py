"""Tensor environments in TorchRL's collectors, batched environments and transforms."""

import copy
import pickle

import pytest
import torch
from env_cases import CASES
from torchrl.collectors import Collector
from torchrl.envs import Compose, ParallelEnv, RewardSum, SerialEnv, StepCounter, TransformedEnv

from torchrl_mixture.collectors import MixtureCollector
from torchrl_mixture.envs import MultiGoal, Pendulum
from torchrl_mixture.modules import mixture_actor
from torchrl_mixture.trainers import EpisodeEvaluator, normalize_observations

each_case = pytest.mark.parametrize("name", CASES)


@each_case
def test_copies_go_on_as_the_original_does(name):
    env = CASES[name].make(batch_size=[3])
    env.rollout(2)
    actions = [env.action_spec.rand() for _ in range(4)]
    results = []
    for one in (env, copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        after = [one.step(one.reset().set("action", action))["next"] for action in actions]
        results.append(
            torch.stack([torch.cat((a["observation"], a["reward"]), -1) for a in after])
        )
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@each_case
def test_rewards_are_summed_over_each_copys_own_episodes(name):
    env = CASES[name].make(batch_size=[4])
    wrapped = TransformedEnv(env, Compose(StepCounter(), RewardSum()))
    steps = wrapped.rollout(70, break_when_any_done=False)
    following = steps["next"]
    for row in following.unbind(0):
        total, count = 0.0, 0
        for step in row.unbind(0):
            total, count = total + step["reward"].item(), count + 1
            assert step["episode_reward"].item() == pytest.approx(total, abs=1e-3)
            assert step["step_count"].item() == count
            if step["done"].item():
                total, count = 0.0, 0


def test_collectors_begin_a_new_episode_where_one_ends():
    env = MultiGoal(batch_size=[5])
    env.set_seed(0)
    actor = mixture_actor(env.action_spec_unbatched, 2, observation_spec=env.observation_spec)
    options = {
        "frames_per_batch": 500,
        "total_frames": 500,
        "auto_register_policy_transforms": True,
    }
    for collector in (
        Collector(env, actor, **options),
        MixtureCollector(MultiGoal(batch_size=[5]), actor, hold="episode", frames_per_batch=500),
    ):
        batch = next(iter(collector))
        ended = batch["next", "done"][:, :-1, 0]
        assert ended.sum() > 5
        starts = batch["observation"][:, 1:][ended]
        assert (starts.norm(dim=-1) < 0.6).all()
        assert torch.equal(
            batch["observation"][:, 1:][~ended], batch["next", "observation"][:, :-1][~ended]
        )
        collector.shutdown()


@pytest.mark.parametrize("kind", [SerialEnv, ParallelEnv])
def test_batched_environments_have_starts_of_their_own(kind):
    env = kind(2, Pendulum, mp_start_method="spawn") if kind is ParallelEnv else kind(2, Pendulum)
    try:
        env.set_seed(3)
        first = env.reset()["observation"]
        env.set_seed(3)
        assert torch.equal(env.reset()["observation"], first)
        assert not torch.isclose(first[0], first[1]).all()
    finally:
        env.close()


def test_observations_can_be_normalised():
    env = normalize_observations(MultiGoal(batch_size=[100]))
    env.set_seed(0)
    for _ in range(5):
        steps = env.rollout(20, break_when_any_done=False)
    assert steps["observation"].std() == pytest.approx(1.0, abs=0.3)
    assert not torch.allclose(steps["observation"], env.base_env.state.unsqueeze(1))


def test_episodes_can_be_evaluated():
    env = MultiGoal(batch_size=[6])
    actor = mixture_actor(env.action_spec_unbatched, 2, observation_spec=env.observation_spec)
    evaluator = EpisodeEvaluator(env, {"heaviest": actor}, seed=0)
    assert evaluator(100) == evaluator(100) != evaluator(200)


# Planning.


@each_case
def test_gradients_of_the_transition_are_finite_also_without_a_move(name):
    env = CASES[name].make(dtype=torch.float64)
    env.set_seed(0)
    state = env.initial_state(())
    actions = [0.0 * env.low, 0.3 * env.low + 0.2 * env.high]
    if env.low.numel() > 1:
        actions.append(torch.cat((env.high[:1], 0 * env.high[1:])))
    for action in actions:
        for input_number in (0, 1):
            jacobians = torch.func.jacrev(lambda s, a: env.transition(s, a)[:2], input_number)
            assert all(part.isfinite().all() for part in jacobians(state, action))


@each_case
def test_transition_can_be_mapped(name):
    env = CASES[name].make()
    env.set_seed(0)
    state = env.initial_state((4,))
    action = env.low + (env.high - env.low) * torch.rand(4, *env.low.shape)
    mapped, direct = torch.vmap(env.transition)(state, action), env.transition(state, action)
    for one, other in zip(mapped, direct, strict=True):
        torch.testing.assert_close(one, other)
