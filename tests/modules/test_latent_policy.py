"""The policies of a latent actor, alone and as a mixture: densities, parameters, deployment."""

import copy

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torch.testing import assert_close
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs import GymEnv
from torchrl.envs.utils import ExplorationType, set_exploration_type

from torchrl_mixture.distributions import TanhNormalMixture
from torchrl_mixture.modules import (
    ComponentSelector,
    Discriminator,
    LatentPolicy,
    latent_actor,
    with_rule,
)

Z = 3
KEYS = ["observation", ("task", "goal")]
SPEC = Composite(observation=Unbounded((4,)), task=Composite(goal=Unbounded((2,))))
BOX = Bounded(torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 0.5]))


def make_policy(discriminated=False, num_latents=Z, **kwargs):
    kwargs = {"num_cells": (8,), "in_keys": KEYS, "activation_class": nn.Tanh, **kwargs}
    actor = latent_actor(BOX, num_latents, observation_spec=SPEC, **kwargs)
    discriminator = None
    if discriminated:
        discriminator = Discriminator(
            num_latents, observation_spec=SPEC, in_keys=KEYS[::-1], num_cells=(8,)
        )
        with torch.no_grad():
            discriminator.module[-1].weight.mul_(8)  # weights that are far from equal
    return LatentPolicy(actor, num_latents, discriminator)


def states(*shape):
    content = {"observation": torch.randn(*shape, 4), "task": {"goal": torch.randn(*shape, 2)}}
    return TensorDict(content, shape)


def of_latent(state, latent, num_latents=Z):
    one_hot = torch.eye(num_latents, dtype=state["observation"].dtype)[latent]
    return state.copy().set("latent", one_hot.expand(*state.shape, -1))


def perturb(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))


with_or_without = pytest.mark.parametrize("discriminated", [False, True])


@with_or_without
@pytest.mark.parametrize("shape", [(), (5,), (2, 5)])
@pytest.mark.parametrize(
    "kwargs",
    [{}, {"num_components": 2}, {"num_components": 2, "learn_weights": False}, {"separate": True}],
    ids=["one", "two", "equal", "separate"],
)
def test_marginal_density_is_the_sum_over_latents(discriminated, shape, kwargs, float64):
    policy, state = make_policy(discriminated, **kwargs), states(*shape)
    marginal = policy.marginal()
    assert marginal.in_keys == KEYS and marginal.out_keys == ["action"]
    dist = marginal.get_dist(state.copy())
    assert isinstance(dist, TanhNormalMixture)
    assert dist.num_components == Z * kwargs.get("num_components", 1)
    weights = torch.full((*shape, Z), 1 / Z)
    if discriminated:
        weights = policy.discriminator(state.copy())["latent_logits"].softmax(-1)
        assert not weights.isclose(torch.tensor(1 / Z)).any()
    for action in dist.sample((4,)):
        densities = [policy.actor.get_dist(of_latent(state, z)).log_prob(action) for z in range(Z)]
        expected = (weights * torch.stack(densities, -1).exp()).sum(-1)
        assert_close(dist.log_prob(action).exp(), expected)


@with_or_without
def test_components_of_the_marginal_are_the_policies_in_order(discriminated, float64):
    policy, state = make_policy(discriminated), states(5)
    dist = policy.marginal().get_dist(state.copy())
    for latent in range(Z):
        alone = policy.actor.get_dist(of_latent(state, latent))
        assert_close(dist.loc[..., latent, :], alone.loc[..., 0, :])
        assert_close(dist.scale[..., latent, :], alone.scale[..., 0, :])


def test_marginal_leaves_the_state_alone():
    policy, state = make_policy(True), states(5)
    keys = set(state.keys(True))
    acted = policy.marginal()(state.copy())
    assert set(acted.keys(True)) == keys | {"action"}
    # A latent that is in the data is not read.
    torch.manual_seed(3)
    first = policy.marginal()(of_latent(state, 0))["action"]
    torch.manual_seed(3)
    assert policy.marginal()(state.copy())["action"].equal(first)


@pytest.mark.parametrize("shape", [(), (5,), (2, 5)])
@pytest.mark.parametrize("latent", range(Z))
def test_with_latent_is_the_actor_with_that_latent(shape, latent):
    policy, state = make_policy(), states(*shape)
    alone = policy.with_latent(latent)
    assert set(alone.in_keys) == set(KEYS)
    for kind in (ExplorationType.RANDOM, ExplorationType.DETERMINISTIC):
        with set_exploration_type(kind):
            torch.manual_seed(1)
            acted = alone(state.copy())
            torch.manual_seed(1)
            expected = policy(of_latent(state, latent))
        assert acted["action"].equal(expected["action"])
        assert acted["latent"].equal(expected["latent"])
    # What is in the data is replaced.
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        other = alone(of_latent(state, (latent + 1) % Z))
    assert other["action"].equal(acted["action"])


def test_called_it_is_the_actor():
    policy, batch = make_policy(), of_latent(states(5), 1)
    assert policy.in_keys == [*KEYS, "latent"] and policy.out_keys == ["action"]
    torch.manual_seed(1)
    acted = policy(batch.copy())
    torch.manual_seed(1)
    assert acted["action"].equal(policy.actor(batch.copy())["action"])


def test_policies_by_name():
    policies, state = make_policy(num_latents=2).policies(), states(5)
    assert list(policies) == ["marginal", "z0", "z1"]
    for latent in range(2):
        acted = policies[f"z{latent}"](state.copy())
        assert acted["latent"].argmax(-1).tolist() == [latent] * 5
    assert "latent" not in policies["marginal"](state.copy()).keys()


def test_parameters_are_shared():
    policy, state = make_policy(True), states(5)
    own = {id(parameter) for parameter in policy.parameters()}
    assert len(own) == 8
    policies = policy.policies()
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        before = {name: each(state.copy())["action"] for name, each in policies.items()}
        weights = policies["marginal"].get_dist(state.copy()).weights
        assert {id(p) for p in policies["marginal"].parameters()} == own
        for latent in range(Z):
            assert {id(p) for p in policies[f"z{latent}"].parameters()} < own
        perturb(policy.actor)
        for name, each in policies.items():
            assert not each(state.copy())["action"].isclose(before[name]).all()
    perturb(policy.discriminator)
    moved = policies["marginal"].get_dist(state.copy()).weights
    assert not moved.isclose(weights).any()


def test_gradient_reaches_actor_and_discriminator():
    policy, state = make_policy(True), states(5)
    action = torch.tensor([0.3, -0.4]).expand(5, 2)
    policy.marginal().get_dist(state).log_prob(action).sum().backward()
    # The first output of the actor is the logit of the only component.
    assert all(parameter.grad.any() for parameter in policy.parameters())


@with_or_without
@pytest.mark.parametrize("rule", ["heaviest", "densest"])
def test_deterministic_rule(discriminated, rule):
    policy, state = make_policy(discriminated, deterministic=rule), states(64)
    marginal = policy.marginal()
    dist = marginal.get_dist(state.copy())
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        action = marginal(state.copy())["action"]
        alone = [policy.with_latent(z)(state.copy())["action"] for z in range(Z)]
    height = dist.weights
    if rule == "densest":
        at_locations = dist.loc.movedim(-2, 0)
        unsquashed = torch.distributions.Independent(
            torch.distributions.Normal(dist.loc, dist.scale), 1
        )
        each = [unsquashed.log_prob(loc.unsqueeze(-2)).exp() for loc in at_locations]
        height = (torch.stack(each, -2) * dist.weights.unsqueeze(-2)).sum(-1)
    chosen = height.argmax(-1)
    assert len(chosen.unique()) > 1 or not discriminated
    expected = torch.stack(alone)[chosen, torch.arange(64)]
    assert_close(action, expected)


def test_rule_can_be_changed():
    policy, state = make_policy(), states(5)
    densest = with_rule(policy.marginal(), "densest")
    assert densest.get_dist(state.copy()).deterministic == "densest"
    assert {id(p) for p in densest.parameters()} == {id(p) for p in policy.parameters()}


def test_a_latent_can_be_held_for_an_episode():
    env = GymEnv("Pendulum-v1")
    spec = {"observation_spec": env.observation_spec}
    actor = latent_actor(env.action_spec, Z, num_cells=(8,), **spec)
    marginal = LatentPolicy(actor, Z, Discriminator(Z, num_cells=(8,), **spec)).marginal()
    selector = ComponentSelector(marginal, hold="episode", return_component_log_prob=True)
    env = env.append_transform(selector.make_tensordict_primer())
    env.set_seed(0)
    seen = set()
    for _ in range(8):
        with set_exploration_type(ExplorationType.RANDOM):
            data = env.rollout(12, selector)
        (component,) = data["component"].unique().tolist()
        seen.add(component)
        batch = of_latent(data.select("observation"), component)
        expected = actor.get_dist(batch).log_prob(data["action"])
        assert_close(data["component_log_prob"], expected, rtol=1e-3, atol=1e-3)
    assert len(seen) > 1
    env.close()


@with_or_without
def test_state_dict(discriminated):
    policy, state = make_policy(discriminated), states(5)
    names = {name.split(".")[0] for name in policy.state_dict()}
    assert names == ({"actor", "discriminator"} if discriminated else {"actor"})
    other = make_policy(discriminated)
    variants = other.policies()  # made before, and still the same policies after
    other.load_state_dict(copy.deepcopy(policy.state_dict()))
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        for name, each in policy.policies().items():
            assert variants[name](state.copy())["action"].equal(each(state.copy())["action"])
    marginal = other.marginal()
    perturb(other)
    marginal.load_state_dict(policy.marginal().state_dict())
    expected = policy.marginal().get_dist(state.copy())
    assert marginal.get_dist(state.copy()).loc.equal(expected.loc)
    assert marginal.get_dist(state.copy()).weights.equal(expected.weights)


def test_deepcopy_is_independent():
    policy, state = make_policy(True), states(5)
    twin = copy.deepcopy(policy.marginal())
    before = twin.get_dist(state.copy()).loc
    perturb(policy)
    assert twin.get_dist(state.copy()).loc.equal(before)
    assert not policy.marginal().get_dist(state.copy()).loc.isclose(before).all()


@with_or_without
def test_dtype_follows_the_actor(discriminated):
    policy = make_policy(discriminated).double()
    state = states(5).apply(lambda value: value.double())
    parameters = policy.marginal().module[0](state.copy())
    assert all(parameters[key].dtype == torch.float64 for key in ("logits", "loc", "scale"))
    acted = policy.with_latent(1)(state.copy())
    assert acted["action"].dtype == acted["latent"].dtype == torch.float64


@with_or_without
def test_policies_are_where_the_actor_is(discriminated):
    """On the device without data as on any other, so that the distribution is left out."""
    policy = make_policy(discriminated).to("meta")
    state = states(5).apply(lambda value: value.to("meta"))
    parameters = policy.marginal().module[0](state.copy())
    for key, shape in (("logits", (5, Z)), ("loc", (5, Z, 2)), ("scale", (5, Z, 2))):
        assert parameters[key].device.type == "meta" and parameters[key].shape == shape
    with_latent = policy.with_latent(1)[0](state.copy())
    assert policy.actor.module[0](with_latent)["loc"].shape == (5, 1, 2)
