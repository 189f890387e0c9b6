"""The critic of components: what it reads, its sizes, what it refuses."""

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torch.testing import assert_close
from torchrl.data import Bounded, Composite, OneHot, Unbounded

from torchrl_mixture.modules import ComponentCritic

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
@pytest.mark.parametrize("count", [1, 4])
def test_values_of_its_inputs_in_order(count, shape, keys, action_spec):
    critic = ComponentCritic(
        action_spec, count, observation_spec=observations(), in_keys=keys, num_cells=(8,)
    )
    assert critic.in_keys == [*keys, "action"] and critic.out_keys == ["state_action_value"]
    assert critic.num_components == count
    batch = make_batch(*shape)
    values = critic(batch.copy())["state_action_value"]
    inputs = torch.cat([batch[key] for key in critic.in_keys], -1)
    first, _, last = critic.module
    expected = torch.relu(inputs @ first.weight.T + first.bias) @ last.weight.T + last.bias
    assert values.shape == (*shape, count)
    assert_close(values, expected)


def test_each_component_has_a_value_of_its_own():
    critic = ComponentCritic(ACTION, 4, observation_spec=observations())
    values = critic(make_batch(5))["state_action_value"]
    gradient = torch.autograd.grad(values[:, 2].sum(), critic.module[-1].weight)[0]
    assert gradient[2].any() and not gradient[[0, 1, 3]].any()
    assert len({row.tolist()[0] for row in values.T}) == 4


def test_layers_can_be_chosen():
    critic = ComponentCritic(
        ACTION, 3, observation_spec=observations(), num_cells=(5,), activation_class=nn.Tanh
    )
    assert [tuple(p.shape) for p in critic.parameters()] == [(5, 7), (5,), (3, 5), (3,)]
    assert any(isinstance(layer, nn.Tanh) for layer in critic.modules())


def test_default_layers():
    critic = ComponentCritic(ACTION, 3, observation_spec=observations())
    layers = [layer for layer in critic.modules() if isinstance(layer, nn.Linear)]
    sizes = [(layer.in_features, layer.out_features) for layer in layers]
    assert sizes == [(7, 256), (256, 256), (256, 3)]
    assert sum(isinstance(layer, nn.ReLU) for layer in critic.modules()) == 2


@pytest.mark.parametrize("count", [0, -1])
def test_there_must_be_a_component(count):
    with pytest.raises(ValueError, match=rf"^num_components must be at least 1, got {count}\.$"):
        ComponentCritic(ACTION, count, observation_spec=observations())


def test_inputs_must_be_in_the_spec():
    with pytest.raises(ValueError, match=r"^in_keys must be in observation_spec.*got \['other'\]"):
        ComponentCritic(ACTION, 2, observation_spec=observations(), in_keys=["other"])


def test_actions_must_be_continuous():
    with pytest.raises(ValueError, match=r"^action_spec must be continuous"):
        ComponentCritic(OneHot(3), 2, observation_spec=observations())


def test_a_composite_must_have_the_action():
    message = r"^action_spec must have the key 'action' at its top, got \['move'\]\.$"
    with pytest.raises(ValueError, match=message):
        ComponentCritic(Composite(move=ACTION), 2, observation_spec=observations())
