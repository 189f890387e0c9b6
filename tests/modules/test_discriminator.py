"""The classifier of latents: what it reads, its sizes, what it refuses."""

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torch.testing import assert_close
from torchrl.data import Bounded, Composite, OneHot, Unbounded

from torchrl_mixture.modules import Discriminator

pytestmark = pytest.mark.usefixtures("float64")


def observations():
    return Composite(observation=Unbounded((4,)), task=Composite(goal=Unbounded((2,))))


def make_batch(*shape):
    content = {
        "observation": torch.randn(*shape, 4),
        "task": {"goal": torch.randn(*shape, 2)},
        "action": torch.randn(*shape, 3),
    }
    return TensorDict(content, shape)


ACTION = Bounded(-1.0, 1.0, (3,))
KEYS = ["observation", ("task", "goal")]


@pytest.mark.parametrize("action_spec", [None, ACTION, Composite(action=ACTION)])
@pytest.mark.parametrize("keys", [KEYS[:1], KEYS, KEYS[::-1]])
@pytest.mark.parametrize("shape", [(), (5,), (2, 5)])
def test_logits_of_its_inputs_in_order(action_spec, keys, shape):
    discriminator = Discriminator(
        7, action_spec, observation_spec=observations(), in_keys=keys, num_cells=(8,)
    )
    expected_keys = [*keys] if action_spec is None else [*keys, "action"]
    assert discriminator.in_keys == expected_keys
    assert discriminator.out_keys == ["latent_logits"]
    assert discriminator.form == ("state" if action_spec is None else "state_action")
    assert discriminator.num_latents == 7
    batch = make_batch(*shape)
    logits = discriminator(batch.copy())["latent_logits"]
    inputs = torch.cat([batch[key] for key in expected_keys], -1)
    assert_close(logits, nn.Sequential(*discriminator.module)(inputs))
    assert logits.shape == (*shape, 7)


def test_the_state_form_runs_without_an_action():
    discriminator = Discriminator(2, observation_spec=observations())
    batch = make_batch(5)
    expected = discriminator(batch.copy())["latent_logits"]
    assert discriminator(batch.exclude("action"))["latent_logits"].equal(expected)


def test_the_action_counts():
    discriminator = Discriminator(2, ACTION, observation_spec=observations())
    batch = make_batch(5)
    before = discriminator(batch.copy())["latent_logits"]
    batch["action"] = batch["action"] + 1
    assert not discriminator(batch)["latent_logits"].isclose(before).any()


def test_default_sizes_are_the_papers():
    discriminator = Discriminator(10, ACTION, observation_spec=observations())
    layers = [layer for layer in discriminator.modules() if isinstance(layer, nn.Linear)]
    sizes = [(layer.in_features, layer.out_features) for layer in layers]
    assert sizes == [(7, 256), (256, 256), (256, 10)]
    assert sum(isinstance(layer, nn.ReLU) for layer in discriminator.modules()) == 2


def test_layers_can_be_chosen():
    discriminator = Discriminator(
        3, observation_spec=observations(), num_cells=(5,), activation_class=nn.Tanh
    )
    assert [tuple(p.shape) for p in discriminator.parameters()] == [(5, 4), (5,), (3, 5), (3,)]
    assert any(isinstance(layer, nn.Tanh) for layer in discriminator.modules())


def test_there_must_be_a_latent():
    with pytest.raises(ValueError, match=r"^num_latents must be at least 1, got -1\.$"):
        Discriminator(-1, observation_spec=observations())


def test_inputs_must_be_in_the_spec():
    with pytest.raises(ValueError, match=r"^in_keys must be in observation_spec.*got \['other'\]"):
        Discriminator(2, observation_spec=observations(), in_keys=["other"])


def test_actions_must_be_continuous():
    with pytest.raises(ValueError, match=r"^action_spec must be continuous"):
        Discriminator(2, OneHot(3), observation_spec=observations())


def test_a_composite_must_have_the_action():
    message = r"^action_spec must have the key 'action' at its top, got \['move'\]\.$"
    with pytest.raises(ValueError, match=message):
        Discriminator(2, Composite(move=ACTION), observation_spec=observations())
