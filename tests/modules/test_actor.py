"""``mixture_actor``: what it builds from which options, and what it refuses."""

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torchrl.data import Bounded, Categorical, Composite, OneHot, Unbounded
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.modules import ProbabilisticActor

from torchrl_mixture.distributions import (
    ArctanCauchyMixture,
    CauchyMixture,
    NormalMixture,
    TanhNormalMixture,
)
from torchrl_mixture.modules import mixture_actor, with_rule

SPEC = Bounded(-2.0, 3.0, (2,))
BASES = {
    "tanh_normal": TanhNormalMixture,
    "normal": NormalMixture,
    "arctan_cauchy": ArctanCauchyMixture,
    "cauchy": CauchyMixture,
}


def observations(*batch, size=3, key="observation"):
    return TensorDict({key: torch.randn(*batch, size)}, batch)


def distribution_of(actor, data):
    return actor.get_dist(data)


@pytest.mark.parametrize(("base", "kind"), BASES.items())
@pytest.mark.parametrize("learn_weights", [True, False])
@pytest.mark.parametrize("batch", [(), (4,), (2, 4)])
def test_distribution_and_action(base, kind, learn_weights, batch):
    actor = mixture_actor(SPEC, 3, base=base, learn_weights=learn_weights, num_cells=(16,))
    data = observations(*batch)
    mixture = distribution_of(actor, data)
    assert isinstance(actor, ProbabilisticActor) and type(mixture) is kind
    assert mixture.logits.shape == (*batch, 3) and mixture.loc.shape == (*batch, 3, 2)
    assert bool(mixture.logits.any()) is learn_weights
    action = actor(data)["action"]
    assert action.shape == (*batch, 2)
    if base in ("tanh_normal", "arctan_cauchy"):
        assert (mixture.low, mixture.high) == (-2.0, 3.0)
        assert SPEC.is_in(action)


def test_writes_the_action_alone():
    actor = mixture_actor(SPEC, 3, num_cells=(16,))
    data = observations(4)
    assert set(actor(data.clone()).keys()) == {"observation", "action"}
    assert list(actor.out_keys) == ["action"] and list(actor.in_keys) == ["observation"]


@pytest.mark.parametrize("rule", ["heaviest", "densest"])
def test_deterministic_exploration_follows_the_rule(rule):
    actor = mixture_actor(SPEC, 4, deterministic=rule, num_cells=(16,), loc_spread=1.0)
    data = observations(64)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        mixture = distribution_of(actor, data)
        action = actor(data)["action"]
        assert torch.equal(action, actor(data)["action"])
    assert mixture.deterministic == rule
    torch.testing.assert_close(action, mixture.deterministic_sample)
    joint = mixture.component_log_prob(mixture._squash(mixture.loc).movedim(-2, 0))
    heights = torch.logsumexp(mixture.log_weights + joint, -1) + mixture._log_slope(
        mixture.loc.movedim(-2, 0)
    )
    best = mixture.logits.argmax(-1) if rule == "heaviest" else heights.argmax(0)
    torch.testing.assert_close(action, mixture._squash(mixture.loc[torch.arange(64), best]))


def test_random_exploration_samples():
    actor = mixture_actor(SPEC, 4, num_cells=(16,))
    data = observations(1).expand(500)
    with set_exploration_type(ExplorationType.RANDOM):
        action = actor(data)["action"]
    assert len(action[:, 0].unique()) > 400
    with set_exploration_type(ExplorationType.MEAN):
        torch.testing.assert_close(actor(data)["action"], distribution_of(actor, data).mean)


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_spread_of_the_locations(spread):
    actor = mixture_actor(SPEC, 3, loc_spread=spread, num_cells=())
    data = observations(5)
    actor(data)
    for parameter in actor.parameters():
        nn.init.zeros_(parameter)
    loc = distribution_of(actor, data).loc
    grid = torch.tensor([-spread, 0.0, spread])
    torch.testing.assert_close(loc[:, :, 0], grid.expand(5, 3))
    torch.testing.assert_close(loc.sort(-2).values, grid[:, None].expand(5, 3, 2))
    assert any("loc_offset" in key for key in actor.state_dict()) is bool(spread)


def test_scales():
    actor = mixture_actor(SPEC, 3, scale_mapping="exp", scale_lb=0.5, num_cells=())
    data = observations(5)
    actor(data)
    for parameter in actor.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(distribution_of(actor, data).scale, torch.ones(5, 3, 2))
    for parameter in actor.parameters():
        nn.init.constant_(parameter, -5.0)
    data = TensorDict({"observation": torch.ones(5, 3)}, [5])
    torch.testing.assert_close(distribution_of(actor, data).scale, torch.full((5, 3, 2), 0.5))


def linear_layers(actor):
    return [module for module in actor.modules() if isinstance(module, nn.Linear)]


def test_network_and_its_arguments():
    actor = mixture_actor(
        SPEC,
        3,
        observation_spec=Composite(observation=Unbounded((7,))),
        num_cells=(16, 8),
        activation_class=nn.Tanh,
        norm_class=nn.LayerNorm,
        norm_kwargs=[{"normalized_shape": 16}, {"normalized_shape": 8}],
    )
    assert [(m.in_features, m.out_features) for m in linear_layers(actor)] == [
        (7, 16),
        (16, 8),
        (8, 15),
    ]
    kinds = [type(module) for module in actor.modules()]
    assert kinds.count(nn.Tanh) == 2 and kinds.count(nn.LayerNorm) == 2
    assert nn.ReLU not in kinds


def test_layers_are_lazy_without_an_observation_spec_alone():
    lazy = mixture_actor(SPEC, 2, num_cells=(16,))
    assert any(nn.parameter.is_lazy(p) for p in lazy.parameters())
    lazy(observations(4, size=9))
    assert linear_layers(lazy)[0].in_features == 9
    sized = mixture_actor(
        SPEC, 2, observation_spec=Composite(observation=Unbounded((9,))), num_cells=(16,)
    )
    assert not any(nn.parameter.is_lazy(p) for p in sized.parameters())


def test_several_inputs_are_concatenated():
    keys = ("observation", ("goal", "desired"))
    spec = Composite(
        observation=Unbounded((4,)), goal=Composite(desired=Unbounded((3,))), other=Unbounded((9,))
    )
    actor = mixture_actor(SPEC, 2, observation_spec=spec, in_keys=keys, num_cells=(16,))
    assert linear_layers(actor)[0].in_features == 7
    assert list(actor.in_keys) == list(keys)
    data = TensorDict(
        {"observation": torch.randn(5, 4), "goal": {"desired": torch.randn(5, 3)}}, [5]
    )
    joined = torch.cat([data["observation"], data["goal", "desired"]], -1)
    first = linear_layers(actor)[0]
    seen = []
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    assert actor(data)["action"].shape == (5, 2)
    assert torch.equal(seen[0], joined)


def test_network_of_ones_own():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2 * 2 * 3)

        def forward(self, left, right):
            return self.layer(left - right)

    net = Two()
    actor = mixture_actor(SPEC, 3, net=net, learn_weights=False, in_keys=("left", "right"))
    data = TensorDict({"left": torch.randn(6, 4), "right": torch.randn(6, 4)}, [6])
    mixture = distribution_of(actor, data)
    features = net(data["left"], data["right"])
    torch.testing.assert_close(mixture.loc.flatten(-2), features[:, :6])
    assert set(map(id, net.parameters())) <= set(map(id, actor.parameters()))


@pytest.mark.parametrize("envs", [1, 4])
def test_spec_of_a_batch_of_environments(envs):
    low = torch.tensor([-1.0, -2.0]).expand(envs, 2)
    actor = mixture_actor(Bounded(low, low + 5.0), 3, num_cells=(16,))
    data = observations(envs)
    mixture = distribution_of(actor, data)
    assert torch.equal(mixture.low, low[0]) and torch.equal(mixture.high, low[0] + 5)
    assert actor(data)["action"].shape == (envs, 2)
    shared = mixture_actor(Bounded(-1.0, 1.0, (envs, 2)), 3, num_cells=(16,))
    assert distribution_of(shared, data).low == -1.0


def test_composite_action_spec():
    actor = mixture_actor(Composite(action=SPEC), 3, num_cells=(16,))
    assert distribution_of(actor, observations(4)).high == 3.0
    assert actor.spec["action"] == SPEC


@pytest.mark.parametrize("spec", [Categorical(4), OneHot(4)])
def test_discrete_actions_are_refused(spec):
    with pytest.raises(ValueError, match="action_spec must be continuous"):
        mixture_actor(spec, 3)


@pytest.mark.parametrize("base", ["tanh_normal", "arctan_cauchy"])
def test_unbounded_actions_need_an_unbounded_base(base):
    with pytest.raises(ValueError, match="action_spec must be bounded for a squashed base"):
        mixture_actor(Unbounded((2,)), 3, base=base)
    with pytest.raises(ValueError, match="finite bounds.* got high"):
        mixture_actor(Bounded(torch.tensor([-1.0]), torch.tensor([torch.inf])), 3, base=base)


@pytest.mark.parametrize("base", ["normal", "cauchy"])
def test_unbounded_actions_of_an_unbounded_base(base):
    actor = mixture_actor(Unbounded((2,)), 3, base=base, num_cells=(16,))
    assert actor(observations(5))["action"].shape == (5, 2)


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match="base must be one of .*'tanh_normal'.*, got 'laplace'"):
        mixture_actor(SPEC, 3, base="laplace")
    with pytest.raises(ValueError, match="deterministic must be .*, got 'greedy'"):
        mixture_actor(SPEC, 3, deterministic="greedy")
    with pytest.raises(ValueError, match="num_components must be at least 1, got 0"):
        mixture_actor(SPEC, 0)
    with pytest.raises(ValueError, match=r"\['observation'\]; got \['state'\]"):
        mixture_actor(
            SPEC, 3, observation_spec=Composite(observation=Unbounded((3,))), in_keys=("state",)
        )


def test_network_whose_outputs_do_not_fit_the_spec_is_refused():
    actor = mixture_actor(SPEC, 2, net=nn.Linear(3, 2 * (2 * 3 + 1)))
    with pytest.raises(ValueError, match=r"2 \* \(2 \* 2 \+ 1\) columns, got shape \(4, 14\)"):
        actor(observations(4))


def test_environments_with_boxes_of_their_own_are_refused():
    low = torch.tensor([[-1.0], [-2.0]])
    with pytest.raises(ValueError, match="the same for every environment"):
        mixture_actor(Bounded(low, -low), 2, num_cells=(16,))


def test_state_is_saved_and_loaded():
    actors = [mixture_actor(SPEC, 3, loc_spread=0.5, num_cells=(16,)) for _ in range(2)]
    data = observations(4)
    for actor in actors:
        actor(data.clone())
    actors[1].load_state_dict(actors[0].state_dict())
    one, other = (distribution_of(actor, data) for actor in actors)
    assert torch.equal(one.loc, other.loc) and torch.equal(one.scale, other.scale)


def test_gradients_reach_every_parameter():
    actor = mixture_actor(SPEC, 3, num_cells=(16,))
    data = observations(32)
    value, log_prob = distribution_of(actor, data).rsample_and_log_prob()
    (value.sum() + log_prob.sum()).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in actor.parameters())


def test_with_rule_changes_the_deterministic_action_alone():
    torch.manual_seed(0)
    actor = mixture_actor(Bounded(-1.0, 1.0, (1,)), 5, num_cells=(8,), loc_spread=2.0)
    states = TensorDict({"observation": 5 * torch.randn(50, 3)}, [50])
    actor(states.copy())
    densest = with_rule(actor, "densest")
    for policy, rule in ((actor, "heaviest"), (densest, "densest")):
        assert policy.get_dist(states).deterministic == rule
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        actions = [policy(states.copy())["action"] for policy in (actor, densest)]
    assert not actions[0].equal(actions[1])
    assert actions[1].equal(densest.get_dist(states).mode)
    for name, parameter in densest.named_parameters():
        assert parameter is actor.get_parameter(name)


def test_with_rule_refuses_an_unknown_rule():
    actor = mixture_actor(Bounded(-1.0, 1.0, (1,)), 2)
    with pytest.raises(ValueError, match=r"deterministic must be one of .*, got 'mean'\."):
        with_rule(actor, "mean")
