"""Several deterministic actors in one: against the networks one by one, sizes, refusals."""

import copy
import re

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torch.testing import assert_close
from torchrl.data import Bounded, Categorical, Composite, OneHot, Unbounded

from torchrl_mixture.modules import MeanActors

LOW, HIGH = torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 0.5])
SPEC = Bounded(LOW, HIGH)
OBSERVED = Composite(observation=Unbounded((3,)), goal=Composite(desired=Unbounded((2,))))


def make(num_components=4, **kwargs):
    kwargs = {"observation_spec": OBSERVED, "num_cells": (8, 6), **kwargs}
    return MeanActors(SPEC, num_components, **kwargs)


def states(*batch):
    goal = TensorDict({"desired": torch.randn(*batch, 2)}, batch)
    return TensorDict({"observation": torch.randn(*batch, 3), "goal": goal}, batch)


def single_networks(actor, inputs, activation=nn.ReLU):
    """Networks of plain layers with the weights of each component."""
    stacked = {name.split("layers.")[1]: value for name, value in actor.named_parameters()}
    for k in range(actor.num_components):
        layers = [nn.Linear(inputs, 8), activation(), nn.Linear(8, 6), activation()]
        network = nn.Sequential(*layers, nn.Linear(6, 2))
        own = {name: value[k].mT.squeeze(-1) for name, value in stacked.items()}
        network.load_state_dict(own)
        yield network


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize(
    "in_keys", [("observation",), ("observation", ("goal", "desired"))], ids=["one", "two"]
)
def test_equals_separate_networks(batch, in_keys):
    actor, data = make(in_keys=in_keys), states(*batch)
    means = actor(data.copy())["means"]
    assert means.shape == (*batch, 4, 2)
    inputs = torch.cat([data[key] for key in in_keys], -1)
    for k, network in enumerate(single_networks(actor, inputs.shape[-1])):
        x = network(inputs).tanh()
        first, second = x[..., 0], -0.75 + 1.25 * x[..., 1]
        assert_close(means[..., k, :], torch.stack([first, second], -1))


def test_activation():
    actor, data = make(activation_class=nn.Tanh), states(5)
    for k, network in enumerate(single_networks(actor, 3, nn.Tanh)):
        expected = network(data["observation"]).tanh()[..., 0]
        assert_close(actor(data.copy())["means"][:, k, 0], expected)


def test_means_reach_the_edges_of_the_box():
    actor, data = make(num_cells=()), states(5)
    for sign, edge in ((1, HIGH), (-1, LOW)):
        for parameter in actor.parameters():
            nn.init.constant_(parameter, 50.0 * sign if parameter.shape[1] == 1 else 0.0)
        assert_close(actor(data.copy())["means"], edge.expand(5, 4, 2))


def test_components_start_apart_and_share_nothing():
    actor = make()
    means = actor(states(5))["means"]
    for i in range(4):
        gradients = torch.autograd.grad(
            means[:, i].sum(), list(actor.parameters()), retain_graph=True
        )
        for gradient in gradients:
            others = [j for j in range(4) if j != i]
            assert gradient.shape[0] == 4
            assert (gradient[others] == 0).all() and gradient[i].any()
        assert not any(means[:, i].isclose(means[:, j]).any() for j in range(i))


def test_output_is_the_means_alone():
    actor, data = make(in_keys=("observation", ("goal", "desired"))), states(3)
    assert actor.in_keys == ["observation", ("goal", "desired")]
    assert actor.out_keys == ["means"] and actor.num_components == 4
    assert set(actor(data.copy()).keys()) == {"observation", "goal", "means"}


def test_widths():
    shapes = [parameter.shape for parameter in make().parameters() if parameter.ndim == 3]
    assert shapes[::2] == [(4, 3, 8), (4, 8, 6), (4, 6, 2)]
    assert shapes[1::2] == [(4, 1, 8), (4, 1, 6), (4, 1, 2)]


@pytest.mark.parametrize("size_in", [3, 50])
def test_layers_begin_as_those_of_torch(size_in):
    observed = Composite(observation=Unbounded((size_in,)))
    actor = MeanActors(SPEC, 400, observation_spec=observed, num_cells=(8,))
    for layer, size in ((actor.module.layers[0], size_in), (actor.module.layers[2], 8)):
        for parameter in layer.parameters():
            scaled = parameter.detach() * size**0.5
            assert -1 <= scaled.min() < -0.99 and 0.99 < scaled.max() <= 1
            assert abs(scaled.mean()) < 0.1 and abs(scaled.square().mean() - 1 / 3) < 0.05


def test_default_widths():
    actor = MeanActors(SPEC, 2, observation_spec=OBSERVED)
    shapes = [layer.weight.shape for layer in actor.module.layers[::2]]
    assert shapes == [(2, 3, 256), (2, 256, 256), (2, 256, 2)]


def test_state_dict():
    actor, other, data = make(), make(), states(5)
    expected = actor(data.copy())["means"]
    other(data.copy())
    other.load_state_dict(copy.deepcopy(actor.state_dict()))
    assert other(data.copy())["means"].equal(expected)
    wide = Bounded(9 * LOW, 9 * HIGH)
    wider = MeanActors(wide, 4, observation_spec=OBSERVED, num_cells=(8, 6))
    wider.load_state_dict(actor.state_dict())
    assert wider(data.copy())["means"].equal(expected)  # the box is saved too


@pytest.mark.parametrize("envs", [1, 4])
def test_specs_of_batches_and_composites(envs):
    batched = Bounded(LOW.expand(envs, 2), HIGH.expand(envs, 2))
    for spec in (batched, Composite(action=SPEC), Composite(action=batched, shape=(envs,))):
        actor = MeanActors(spec, 3, observation_spec=OBSERVED, num_cells=(8, 6))
        data = states(envs)
        networks = list(single_networks(actor, 3))
        expected = -0.75 + 1.25 * networks[2](data["observation"]).tanh()[:, 1]
        assert_close(actor(data)["means"][:, 2, 1], expected)


def test_casting():
    actor, data = make().double(), states(5).double()
    means = actor(data)["means"]
    assert means.dtype == torch.float64
    networks = list(single_networks(actor.float(), 3))
    expected = networks[0].double()(data["observation"]).tanh()[:, 0]
    assert_close(means[:, 0, 0], expected)


def test_type_of_a_float64_spec(float64):
    spec = Bounded(LOW.double(), HIGH.double())
    observed = Composite(observation=Unbounded((3,), dtype=torch.float64))
    actor = MeanActors(spec, 2, observation_spec=observed, num_cells=(4,))
    assert actor(states(5))["means"].dtype == torch.float64


def test_type_of_the_spec_does_not_change_that_of_the_means():
    for high in (HIGH, torch.ones(2)):  # edges of each dimension, and shared ones
        spec = Bounded(-high.abs().double(), high.abs().double())
        actor = MeanActors(spec, 2, observation_spec=OBSERVED, num_cells=(4,))
        assert actor(states(5))["means"].dtype == torch.float32


@pytest.mark.parametrize("number", [0, -1])
def test_no_component_is_refused(number):
    with pytest.raises(ValueError, match=f"^num_components must be at least 1, got {number}\\.$"):
        make(number)


@pytest.mark.parametrize("spec", [Categorical(4), OneHot(4)])
def test_discrete_actions_are_refused(spec):
    with pytest.raises(ValueError, match=r"^action_spec must be continuous, \[\*B, A\], got "):
        MeanActors(spec, 3, observation_spec=OBSERVED)


def test_unbounded_actions_are_refused():
    with pytest.raises(ValueError, match="^action_spec must be bounded .*, got Unbounded"):
        MeanActors(Unbounded((2,)), 3, observation_spec=OBSERVED)
    with pytest.raises(ValueError, match="finite bounds.* got high"):
        open_box = Bounded(torch.tensor([-1.0]), torch.tensor([torch.inf]))
        MeanActors(open_box, 3, observation_spec=OBSERVED)


def test_missing_keys_are_refused():
    with pytest.raises(ValueError, match="the key 'action' at its top, got .*'move'"):
        MeanActors(Composite(move=SPEC), 3, observation_spec=OBSERVED)
    with pytest.raises(ValueError, match=re.escape("got ['state']")):
        make(in_keys=("state",))
