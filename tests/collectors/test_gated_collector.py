"""Densities and components of a gated policy in collectors, its random warm-up too."""

import math
import re
import warnings
from functools import partial

import pytest
import torch
from objectives.awmp_loss_cases import make_loss
from rollout_cases import HIGH, LOW, collect, staggered, steps_of
from tensordict import TensorDict
from torch.testing import assert_close
from torchrl.data import Composite, Unbounded
from torchrl.modules import TanhNormal

from torchrl_mixture.collectors import GatedCollector
from torchrl_mixture.modules import ComponentCritic, GatedPolicy, mixture_actor
from torchrl_mixture.trainers import PriorReplay

WIDTH = (2.0, 5.0)  # of the box
UNIFORM = -math.log(2) - math.log(5)
EQUAL = 1e9  # a temperature at which the gate is uniform
ways = pytest.mark.parametrize("acting", ["mixture", "convex"])
every_env = pytest.mark.parametrize("num_envs", [None, 1, 4])


@pytest.fixture(autouse=True)
def future_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        yield


def make_policy(acting="mixture", size=3, **kwargs):
    env = staggered()
    known = {"observation_spec": env.observation_spec, "num_cells": (8,)}
    actor = mixture_actor(env.action_spec, size, learn_weights=False, **known)
    critics = [ComponentCritic(env.action_spec, 1, **known) for _ in range(2)]
    params = TensorDict.from_modules(*critics, as_module=True)
    critic = critics[0]
    return GatedPolicy(actor, critic, params, acting=acting, **{"alpha": 0.2, **kwargs})


def check_warm_up(data, acting, frames):
    """The first frames are random, of no component, with the density of the box."""
    first = data[..., : frames * data.shape[-1] // data.numel()]
    assert first.numel() == frames
    assert_close(first["action_log_prob"], torch.full(first.shape, UNIFORM))
    share = (first["action"].reshape(-1, 2) - torch.tensor(LOW)) / torch.tensor(WIDTH)
    z = (share.mean(0) - 0.5) * math.sqrt(12 * frames)
    assert ((share >= 0) & (share <= 1)).all() and (z.abs() < 4.5).all()
    after = data[..., first.shape[-1] :]
    assert (after["action_log_prob"] != UNIFORM).all() and after.numel()
    if acting == "mixture":
        assert (first["component"] == -1).all() and data["component"].dtype == torch.int64
        assert set(after["component"].unique().tolist()) == {0, 1, 2}
    else:
        assert "component" not in data.keys()
    assert steps_of(after).max() >= 2


@ways
@every_env
def test_warm_up_has_no_component_and_a_uniform_density(acting, num_envs):
    collector = GatedCollector(
        staggered(num_envs),
        make_policy(acting),
        frames_per_batch=80,
        total_frames=240,
        init_random_frames=160,
    )
    data = collect(collector)
    assert data.numel() == 240
    check_warm_up(data, acting, 160)


@ways
@pytest.mark.parametrize("num_envs", [None, 3])
def test_a_function_makes_the_environment(acting, num_envs):
    collector = GatedCollector(
        partial(staggered, num_envs),
        make_policy(acting),
        frames_per_batch=60,
        total_frames=180,
        init_random_frames=60,
    )
    check_warm_up(collect(collector), acting, 60)


@pytest.mark.slow
@ways
@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_record_the_same(acting, workers):
    collector = GatedCollector(
        partial(staggered, 2),
        make_policy(acting),
        num_collectors=workers,
        sync=True,
        frames_per_batch=60 * workers,
        total_frames=180 * workers,
        init_random_frames=60 * workers,
    )
    data = collect(collector)
    assert data.shape == (workers, 2, 90)
    check_warm_up(data, acting, 60 * workers)


def acted(policy, num_envs=4, frames=400):
    return collect(
        GatedCollector(
            staggered(num_envs), policy, frames_per_batch=frames // 2, total_frames=frames
        )
    )


def tanh_normal(policy, data):
    """TorchRL's distribution of each component, ``[*B, K, A]``."""
    mixture = policy.actor.get_dist(data.select("observation"))
    low, high = torch.tensor(LOW), torch.tensor(HIGH)
    return TanhNormal(mixture.loc, mixture.scale, low=low, high=high, event_dims=1)


@ways
def test_one_component_has_the_density_of_its_action(acting):
    policy = make_policy(acting, size=1)
    data = acted(policy)
    expected = tanh_normal(policy, data).log_prob(data["action"].unsqueeze(-2)).squeeze(-1)
    assert_close(data["action_log_prob"], expected, rtol=1e-4, atol=1e-3)
    assert data["action_log_prob"].std() > 0.1


def test_equal_components_have_the_density_of_their_mixture():
    """A gate that is as good as uniform is known, and with it the density."""
    policy = make_policy(gate_temperature=EQUAL)
    data = acted(policy)
    each = tanh_normal(policy, data).log_prob(data["action"].unsqueeze(-2).expand(4, 100, 3, 2))
    expected = each.logsumexp(-1) - math.log(3)
    assert_close(data["action_log_prob"], expected, rtol=1e-4, atol=1e-3)
    counts = data["component"].flatten().bincount(minlength=3)
    assert ((counts - 400 / 3).abs() < 4.5 * math.sqrt(400 * 2 / 9)).all()


def test_actions_are_those_of_their_component():
    """Components that lie apart: the action is next to the mode of the one that is recorded."""
    policy = make_policy(gate_temperature=EQUAL)
    last = [module for module in policy.actor.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.mul_(0)
        last.bias[6:] = -20.0  # narrow
        last.bias[:6] = torch.tensor([-1.0, -1, 0, 0, 1, 1])
    data = acted(policy)
    inside = torch.tensor([-1.0, 0, 1]).tanh()[data["component"]].unsqueeze(-1)
    low, high = torch.tensor(LOW), torch.tensor(HIGH)
    assert (data["action"] - (low + (high - low) * (inside + 1) / 2)).abs().max() < 0.1
    convex = acted(policy.acting_as("convex"))
    assert "component" not in convex.keys()
    assert (convex["action"] - (low + high) / 2).abs().max() < 0.1  # the mean of the three


@ways
def test_what_is_recorded_is_what_the_prior_is_trained_with(acting):
    """Warm-up and policy, each with its density, as it was collected."""
    env, policy = staggered(2), make_policy(acting)
    spec = Composite(observation=Unbounded((4,)))
    known = {"observation_spec": spec, "num_cells": (8,)}
    loss = make_loss()
    loss.qvalue_network = ComponentCritic(env.action_spec_unbatched, 1, **known)
    replay = PriorReplay(loss, size=120, batch_size=10)
    batches = []
    collector = GatedCollector(
        env,
        policy,
        frames_per_batch=40,
        total_frames=160,
        init_random_frames=80,
        postproc=lambda batch: batches.append(replay.extend(batch).clone()) or batch,
    )
    collect(collector)
    stored, newest = replay.buffer[:], torch.cat([batch.reshape(-1) for batch in batches[1:]])
    for key in ("observation", "action", "action_log_prob"):
        rows = [
            sorted(map(tuple, each[key].reshape(120, -1).tolist())) for each in (stored, newest)
        ]
        assert rows[0] == rows[1]
    uniform = (stored["action_log_prob"] - UNIFORM).abs() < 1e-6
    assert uniform.sum() == 40


def test_unbounded_actions_are_refused():
    actor = mixture_actor(
        Unbounded((1,)), 2, base="normal", observation_spec=Composite(observation=Unbounded((4,)))
    )
    policy = make_policy()
    policy.actor = actor
    message = (
        "actor must have a bounded action in its spec, for others random actions have no density, "
        "got UnboundedContinuous."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        GatedCollector(staggered(), policy, frames_per_batch=10)
