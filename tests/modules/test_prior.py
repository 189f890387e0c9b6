"""The network that weighs components: what it reads, its sizes, what it refuses."""

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torch.testing import assert_close
from torchrl.data import Bounded, Composite, OneHot, Unbounded

from torchrl_mixture.modules import PriorNetwork

pytestmark = pytest.mark.usefixtures("float64")

ACTION = Bounded(-1.0, 1.0, (3,))
KEYS = ["observation", ("task", "goal")]


def observations():
    return Composite(observation=Unbounded((4,)), task=Composite(goal=Unbounded((2,))))


def make_batch(*shape):
    content = {
        "observation": torch.randn(*shape, 4),
        "task": {"goal": torch.randn(*shape, 2)},
        "action": torch.randn(*shape, 3),
    }
    return TensorDict(content, shape)


@pytest.mark.parametrize("action_spec", [ACTION, Composite(action=ACTION)])
@pytest.mark.parametrize("keys", [KEYS[:1], KEYS, KEYS[::-1]])
@pytest.mark.parametrize("shape", [(), (5,), (2, 5)])
def test_logits_of_its_inputs_in_order(action_spec, keys, shape):
    prior = PriorNetwork(
        7, action_spec, observation_spec=observations(), in_keys=keys, num_cells=(8,)
    )
    assert prior.in_keys == [*keys, "action"]
    assert prior.out_keys == ["prior_logits"]
    assert prior.num_components == 7
    batch = make_batch(*shape)
    logits = prior(batch.copy())["prior_logits"]
    inputs = torch.cat([batch[key] for key in prior.in_keys], -1)
    assert_close(logits, nn.Sequential(*prior.module)(inputs))
    assert logits.shape == (*shape, 7)


def test_default_sizes_are_those_of_the_authors_code():
    prior = PriorNetwork(4, ACTION, observation_spec=observations())
    layers = [layer for layer in prior.modules() if isinstance(layer, nn.Linear)]
    sizes = [(layer.in_features, layer.out_features) for layer in layers]
    assert sizes == [(7, 400), (400, 300), (300, 4)]
    assert sum(isinstance(layer, nn.ReLU) for layer in prior.modules()) == 2


def test_layers_can_be_chosen():
    prior = PriorNetwork(
        3, ACTION, observation_spec=observations(), num_cells=(5,), activation_class=nn.Tanh
    )
    assert [tuple(p.shape) for p in prior.parameters()] == [(5, 7), (5,), (3, 5), (3,)]
    assert any(isinstance(layer, nn.Tanh) for layer in prior.modules())


def test_there_must_be_a_component():
    with pytest.raises(ValueError, match=r"^num_components must be at least 1, got 0\.$"):
        PriorNetwork(0, ACTION, observation_spec=observations())


def test_inputs_must_be_in_the_spec():
    with pytest.raises(ValueError, match=r"^in_keys must be in observation_spec.*got \['other'\]"):
        PriorNetwork(2, ACTION, observation_spec=observations(), in_keys=["other"])


def test_actions_must_be_continuous():
    with pytest.raises(ValueError, match=r"^action_spec must be continuous"):
        PriorNetwork(2, OneHot(3), observation_spec=observations())
