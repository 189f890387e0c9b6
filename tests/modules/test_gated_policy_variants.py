"""The gated policy's other way of acting, and its mixture with the gate's weights."""

import re

import pytest
import torch
from gate_cases import HIGH, LOW, A, K, draws, gate_of, make, modes, states
from torch import nn
from torch.testing import assert_close
from torchrl.envs.utils import ExplorationType, set_exploration_type

from torchrl_mixture.modules import GatedPolicy

pytestmark = pytest.mark.usefixtures("float64")

OUT_KEYS = {
    "mixture": ["action", "action_log_prob", "component"],
    "convex": ["action", "action_log_prob"],
}
both = pytest.mark.parametrize(
    ("acting", "other"), [("mixture", "convex"), ("convex", "mixture"), ("convex", "convex")]
)
DETERMINISTIC = set_exploration_type(ExplorationType.DETERMINISTIC)
RANDOM = set_exploration_type(ExplorationType.RANDOM)


def modes_gate(policy, data):
    """The gate where nothing is random, and the modes that it weighs."""
    actions = modes(policy, data)
    return gate_of(policy, data, actions)[0], actions


@both
def test_a_variant_has_the_same_tensors(acting, other):
    _, policy = make(acting)
    variant = policy.acting_as(other)
    assert isinstance(variant, GatedPolicy) and variant is not policy
    for kind in ("parameters", "buffers"):
        own, shared = (dict(getattr(each, f"named_{kind}")()) for each in (policy, variant))
        assert own.keys() == shared.keys() and len(own) >= 2
        assert all(shared[name] is value for name, value in own.items())


@both
def test_a_variant_acts_in_its_own_way(acting, other):
    """The action by hand, and what is written."""
    _, policy = make(acting)
    data, variant = states(20), policy.acting_as(other)
    gate, actions = modes_gate(policy, data)
    assert gate.argmax(-1).unique().numel() > 1
    expected = {
        "convex": (gate.unsqueeze(-1) * actions).sum(1),
        "mixture": actions[torch.arange(20), gate.argmax(-1)],
    }
    for each, way in ((variant, other), (policy, acting)):  # the first is as it was
        assert each.acting == way and each.out_keys == OUT_KEYS[way]
        with DETERMINISTIC:
            found = each(data.copy())
        assert set(found.keys()) == {"observation", *OUT_KEYS[way]}
        assert_close(found["action"], expected[way])
    back = variant.acting_as(acting)
    with DETERMINISTIC:
        assert back(data.copy())["action"].equal(policy(data.copy())["action"])


@pytest.mark.parametrize("changed", ["policy", "variant"])
def test_a_change_of_one_is_one_of_the_other(changed):
    """Of a buffer, of the critics and of the actor, and of all that is loaded."""
    _, policy = make("mixture")
    parts = {"policy": policy, "variant": policy.acting_as("convex")}
    one, two = parts.pop(changed), *parts.values()
    data = states(5)

    def weights():
        with DETERMINISTIC:
            return two.get_dist(data).weights

    seen = [weights()]
    for change in (
        lambda: one.alpha.fill_(2.0),
        lambda: one.gate_temperature.fill_(0.1),
        lambda: [value.data.mul_(2) for value in one.qvalue_params.values(True, True)],
        lambda: [value.data.mul_(2) for value in one.actor.parameters()],
        lambda: one.load_state_dict(make("convex")[1].state_dict()),
    ):
        change()
        seen.append(weights())
        assert not seen[-1].equal(seen[-2])
    assert (two.alpha, two.gate_temperature) == (one.alpha, one.gate_temperature)


def test_variants_have_the_warm_up_of_their_way():
    _, policy = make("mixture")
    for way, keys in (("convex", set()), ("mixture", {"component"})):
        primer = policy.acting_as(way).make_tensordict_primer()
        assert set(primer.primers.keys()) == {"action_log_prob", *keys}


@pytest.mark.parametrize("acting", ["mean", "", None])
def test_other_ways_are_refused(acting):
    _, policy = make()
    message = f"acting must be one of ('mixture', 'convex'), got {acting!r}."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        policy.acting_as(acting)
    assert policy.acting == "mixture" and policy.out_keys == OUT_KEYS["mixture"]


@pytest.mark.parametrize("acting", ["mixture", "convex"])
def test_weights_without_chance_are_the_softmax_of_the_modes_values(acting):
    _, policy = make(acting)
    data = states(20)
    expected, _ = modes_gate(policy, data)
    with DETERMINISTIC:
        dist = policy.get_dist(data)
        assert policy.get_dist(data).weights.equal(dist.weights)
    assert_close(dist.weights, expected)
    assert (expected.amax(-1) < 0.99).any() and expected.argmax(-1).unique().numel() > 1
    assert set(data.keys()) == {"observation"}


@pytest.mark.parametrize("acting", ["mixture", "convex"])
def test_weights_by_chance_are_those_of_a_draw_of_each_component(acting):
    _, policy = make(acting)
    data = states(20)
    torch.manual_seed(1)
    expected, _ = gate_of(policy, data, draws(policy, data))
    torch.manual_seed(1)
    with RANDOM:
        found = policy.get_dist(data).weights
        again = policy.get_dist(data).weights
    assert_close(found, expected)
    assert not again.equal(found)
    torch.manual_seed(1)
    assert policy.get_dist(data).weights.equal(found)  # as where no type is set


def test_components_are_the_actors():
    _, policy = make()
    data = states(2, 5)
    dist, actor = policy.get_dist(data), policy.actor.get_dist(data.copy())
    assert dist.weights.shape == (2, 5, K) and not dist.loc.requires_grad
    assert dist.loc.equal(actor.loc) and dist.scale.equal(actor.scale)
    assert actor.weights.eq(1 / K).all()  # its own are not used


@pytest.mark.parametrize("acting", ["mixture", "convex"])
def test_one_component_has_no_gate(acting):
    """The first draw is the action, and the critics are not asked."""
    _, policy = make(acting, size=1)
    data = states(20)
    torch.manual_seed(1)
    expected = draws(policy, data)[:, 0]
    for value in policy.qvalue_params.values(True, True):
        value.data.fill_(torch.nan)
    torch.manual_seed(1)
    found = policy(data.copy())
    assert_close(found["action"], expected)
    assert policy.get_dist(data).weights.equal(torch.ones(20, 1))


def test_convex_actions_of_saturated_components_stay_in_the_box():
    """Weights do not quite add up to one, which would lead out of it."""
    _, policy = make("convex", size=7)
    sums = policy.get_dist(states(500)).weights.sum(-1)
    assert (sums > 1).any() and (sums < 1).any()
    for sign, edge in ((1, HIGH), (-1, LOW)):
        last = [part for part in policy.actor.modules() if isinstance(part, nn.Linear)][-1]
        last.bias.data[: 7 * A] = 1_000.0 * sign
        action = policy(states(500))["action"]
        assert ((action >= LOW) & (action <= HIGH)).all()
        assert_close(action, edge.double().expand(500, A))


@pytest.mark.parametrize("acting", ["mixture", "convex"])
def test_the_policy_acts_by_its_distribution(acting):
    """The gate is drawn first, then the action."""
    _, policy = make(acting)
    data = states(20)
    torch.manual_seed(1)
    gated = policy.get_dist(data)
    following = torch.get_rng_state()
    torch.manual_seed(1)
    found = policy(data.copy())
    torch.set_rng_state(following)
    if acting == "mixture":
        component, action, log_prob = gated.rsample_component_and_log_prob()
        assert found["component"].equal(component)
        assert_close(found["action_log_prob"], log_prob)
    else:
        actions, _, _ = gated.rsample_components_and_log_prob()
        action = (gated.weights.unsqueeze(-1) * actions).sum(-2)
    assert_close(found["action"], action)
