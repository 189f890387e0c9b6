"""Acting through the gate: the weights and both actions by hand, densities, and in a collector."""

import math

import pytest
import scipy.integrate
import scipy.stats
import torch
from gate_cases import HIGH, LOW, A, K, draws, gate_of, log_density, make, modes, states
from tensordict import TensorDict
from torch import nn
from torch.testing import assert_close
from torchrl.data import Unbounded
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.objectives.utils import SoftUpdate

from torchrl_mixture.modules import mixture_actor
from torchrl_mixture.modules.gate import _act_convex

pytestmark = pytest.mark.usefixtures("float64")

DETERMINISTIC = ExplorationType.DETERMINISTIC


def test_convex_action_by_hand():
    _, policy = make("convex")
    data = states(20)
    torch.manual_seed(1)
    gate, _ = gate_of(policy, data, draws(policy, data))
    actions = draws(policy, data)
    own = log_density(policy, data, actions)
    torch.manual_seed(1)
    policy(data)
    action = sum(gate[:, k, None] * actions[:, k] for k in range(K))
    assert_close(data["action"], action)
    heaviest = gate.argmax(-1)
    rows = torch.arange(20)
    expected = own[rows, heaviest] - A * gate[rows, heaviest].log()
    assert_close(data["action_log_prob"], expected)
    assert set(data.keys()) == {"observation", "action", "action_log_prob"}
    assert len(heaviest.unique()) > 1


def test_mixture_action_by_hand():
    """The density is that of the gate's mixture, in which the component is drawn."""
    _, policy = make()
    data = states(20)
    torch.manual_seed(1)
    gate, _ = gate_of(policy, data, draws(policy, data))
    torch.manual_seed(1)
    policy(data)
    at_action = data["action"].unsqueeze(1).expand(20, K, A)
    density = (gate * log_density(policy, data, at_action).exp()).sum(-1)
    assert_close(data["action_log_prob"], density.log())
    assert data["component"].shape == (20,) and data["component"].dtype == torch.int64


def test_components_are_drawn_from_the_gate():
    """Means of many draws, whose gates are drawn too."""
    _, policy = make()
    data = states(1).expand(40_000).clone()
    gate, _ = gate_of(policy, data, draws(policy, data))
    component = policy(data.copy())["component"]
    for k in range(K):
        share = gate[:, k].mean().item()
        found = (component == k).double().mean().item()
        assert abs(found - share) < 4.5 * math.sqrt(2 * share * (1 - share) / 40_000)
    # The action is the component's: its mean before squashing is the location.
    mixture = policy.actor.get_dist(data[:1].select("observation"))
    data = policy(data.copy())
    half, centre = (HIGH - LOW) / 2, (HIGH + LOW) / 2
    before = ((data["action"] - centre) / half).atanh()
    for k in range(K):
        own = before[data["component"] == k]
        z = (own.mean(0) - mixture.loc[0, k]) / (own.std(0) / math.sqrt(len(own)))
        assert (z.abs() < 4.5).all()


@pytest.mark.parametrize("acting", ["mixture", "convex"])
def test_nothing_is_random_without_exploration(acting):
    _, policy = make(acting)
    data = states(20)
    actions = modes(policy, data)
    gate, own = gate_of(policy, data, actions)
    heaviest, rows = gate.argmax(-1), torch.arange(20)
    with set_exploration_type(DETERMINISTIC):
        policy(data)
    if acting == "convex":
        expected = (gate.unsqueeze(-1) * actions).sum(1)
        log_prob = own[rows, heaviest] - A * gate[rows, heaviest].log()
    else:
        expected = actions[rows, heaviest]
        at_action = expected.unsqueeze(1).expand(20, K, A)
        density = (gate * log_density(policy, data, at_action).exp()).sum(-1)
        log_prob = density.log()
        assert data["component"].equal(heaviest)
    assert_close(data["action"], expected)
    assert_close(data["action_log_prob"], log_prob)


@pytest.mark.parametrize("acting", ["mixture", "convex"])
def test_one_component_is_its_own_policy(acting):
    _, policy = make(acting, size=1)
    data = policy(states(20))
    mixture = policy.actor.get_dist(data.select("observation"))
    assert_close(data["action_log_prob"], mixture.log_prob(data["action"]).detach())
    if acting == "mixture":
        assert (data["component"] == 0).all()


# The density of a convex action: two normal components, whose convolution is normal.

GATE, LOC, SCALE = (0.3, 0.7), (-1.0, 2.0), (0.8, 0.5)


def convex_of_normals(size):
    """A mixture without squashing, weighed by a gate that is given."""
    net = nn.Linear(1, 4)
    with torch.no_grad():
        net.weight.zero_()
        net.bias.copy_(torch.tensor([*LOC, *SCALE]).abs().log())
        net.bias[:2] = torch.tensor(LOC)
    actor = mixture_actor(
        Unbounded((1,)), 2, net=net, learn_weights=False, base="normal", scale_mapping="exp"
    )
    data = TensorDict({"observation": torch.ones(size, 1)}, [size])
    mixture = actor.get_dist(data)
    return mixture.with_weights(torch.tensor(GATE).log().expand(size, 2))


def test_the_convex_log_prob_is_a_conditional_density():
    """Its mean over the others' draws is the density, and -log is a lower bound on the entropy."""
    gated = convex_of_normals(200_000)
    action, log_prob = _act_convex(gated, random=True)
    mean = sum(g * m for g, m in zip(GATE, LOC, strict=True))
    std = math.sqrt(sum((g * s) ** 2 for g, s in zip(GATE, SCALE, strict=True)))
    exact = scipy.stats.norm(mean, std)
    action = action.squeeze(-1)
    z = (action.mean() - mean) / (std / math.sqrt(len(action)))
    assert abs(z) < 4.5 and action.std().item() == pytest.approx(std, rel=0.01)
    # The conditional is normal too: the others shift it, and the heaviest has its spread.
    conditional = scipy.stats.norm(0, GATE[1] * SCALE[1]).entropy()
    z = (-log_prob.mean() - conditional) / (log_prob.std() / math.sqrt(len(log_prob)))
    assert abs(z) < 4.5
    assert conditional < exact.entropy()

    def density(x, other):
        drawn = (x - GATE[0] * other) / GATE[1]
        own = scipy.stats.norm(LOC[1], SCALE[1]).pdf(drawn) / GATE[1]
        return own * scipy.stats.norm(LOC[0], SCALE[0]).pdf(other)

    for x in (0.8, 1.3):
        found, _ = scipy.integrate.quad(lambda other, x=x: density(x, other), -10, 10)
        assert found == pytest.approx(exact.pdf(x))


def test_follows_the_targets_and_its_buffers():
    loss, policy = make()
    data = states(20)
    updater = SoftUpdate(loss, tau=0.5)
    with set_exploration_type(DETERMINISTIC):
        before = policy(data.copy())["action_log_prob"]
        for parameter in loss.qvalue_network_params.values(True, True):
            parameter.data.mul_(-3)
        assert policy(data.copy())["action_log_prob"].equal(before)
        updater.step()
        after = policy(data.copy())["action_log_prob"]
        assert not after.equal(before)
        policy.gate_temperature.fill_(0.1)
        sharper = policy(data.copy())["action_log_prob"]
        assert not sharper.equal(after)
        policy.alpha.fill_(2.0)
        assert not policy(data.copy())["action_log_prob"].equal(sharper)
    other = make()[1]
    other.load_state_dict(policy.state_dict())
    assert other.alpha == 2.0 and other.gate_temperature == 0.1


@pytest.mark.parametrize("acting", ["mixture", "convex"])
@pytest.mark.parametrize("batch", [(), (2, 5)])
def test_batch_shapes(batch, acting):
    _, policy = make(acting)
    data = policy(states(*batch))
    assert data["action"].shape == (*batch, A) and data["action_log_prob"].shape == batch
    assert not data["action"].requires_grad
    assert ((data["action"] >= LOW) & (data["action"] <= HIGH)).all()
    assert policy.in_keys == ["observation"] and set(policy.out_keys) <= set(data.keys())
