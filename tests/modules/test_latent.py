"""Networks of a latent variable: what they read, which of them acts, and who gets the gradient."""

import re

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torch.testing import assert_close
from torchrl.data import Bounded, Categorical, Composite, OneHot, Unbounded

from torchrl_mixture.modules import SeparateMLP, latent_actor, latent_critic

pytestmark = pytest.mark.usefixtures("float64")

Z = 3
separate_or_not = pytest.mark.parametrize("separate", [False, True])


def observations():
    return Composite(observation=Unbounded((4,)), task=Composite(goal=Unbounded((2,))))


def action_spec():
    return Bounded(torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 0.5]))


def make_actor(num_latents=Z, **kwargs):
    kwargs = {"num_cells": (8, 6), "activation_class": nn.Tanh, **kwargs}
    return latent_actor(action_spec(), num_latents, observation_spec=observations(), **kwargs)


def make_critic(num_latents=Z, **kwargs):
    kwargs = {"num_cells": (8, 6), "activation_class": nn.Tanh, **kwargs}
    return latent_critic(action_spec(), num_latents, observation_spec=observations(), **kwargs)


def make_batch(*shape, num_latents=Z):
    latent = torch.eye(num_latents)[torch.randint(num_latents, shape)]
    content = {
        "observation": torch.randn(*shape, 4),
        "task": {"goal": torch.randn(*shape, 2)},
        "action": torch.rand(*shape, 2) - 0.8,
        "latent": latent,
    }
    return TensorDict(content, shape)


def of_latent(batch, latent, num_latents=Z):
    return batch.copy().set("latent", torch.eye(num_latents)[latent].expand(*batch.shape, -1))


def single_networks(network):
    """Ordinary networks with the weights of a separate one, latent by latent."""
    count = len(next(network.parameters()))
    singles = []
    for latent in range(count):
        layers = []
        for layer in network.layers:
            if not list(layer.parameters()):
                layers.append(type(layer)())
                continue
            weight, bias = layer.weight[latent], layer.bias[latent, 0]
            layers.append(nn.Linear(*weight.shape))
            with torch.no_grad():
                layers[-1].weight.copy_(weight.T)
                layers[-1].bias.copy_(bias)
        singles.append(nn.Sequential(*layers))
    return singles


def leaves(module):
    return dict(module.named_parameters())


@pytest.mark.parametrize("shape", [(), (5,), (2, 5)])
def test_separate_networks_equal_single_ones(shape):
    network = SeparateMLP(Z, 6, 3, (8, 7), nn.Tanh)
    singles = single_networks(network)
    assert [layer.in_features for layer in singles[0][::2]] == [6, 8, 7]
    first, second = torch.randn(*shape, 4), torch.randn(*shape, 2)
    for latent, single in enumerate(singles):
        one_hot = torch.eye(Z)[latent].expand(*shape, -1)
        expected = single(torch.cat([first, second], -1))
        assert_close(network(first, second, one_hot), expected)


def test_rows_of_a_batch_have_latents_of_their_own():
    network = SeparateMLP(Z, 4, 2, (8,), nn.Tanh)
    features, latents = torch.randn(9, 4), torch.arange(9) % Z
    output = network(features, torch.eye(Z)[latents])
    singles = single_networks(network)
    expected = [singles[z](row) for row, z in zip(features, latents, strict=True)]
    assert_close(output, torch.stack(expected))


def test_without_hidden_layers():
    network = SeparateMLP(2, 4, 1, ())
    assert [tuple(p.shape) for p in network.parameters()] == [(2, 4, 1), (2, 1, 1)]
    features = torch.randn(5, 4)
    expected = features @ network.layers[0].weight[1] + network.layers[0].bias[1]
    assert_close(network(features, torch.eye(2)[1].expand(5, 2)), expected)


def test_initialised_as_linear_layers():
    network = SeparateMLP(Z, 100, 1, (200,))
    for layer, size in zip(network.layers[::2], (100, 200), strict=True):
        assert layer.weight.abs().max() <= size**-0.5
        assert layer.bias.abs().max() <= size**-0.5
    values = network.layers[0].weight.flatten() * 10  # uniform on [-1, 1]
    assert abs(values.mean()) / (1 / 3 / len(values)) ** 0.5 < 4.5
    assert abs(values.square().mean() - 1 / 3) / (4 / 45 / len(values)) ** 0.5 < 4.5
    assert not network.layers[0].weight[0].isclose(network.layers[0].weight[1]).all()


@pytest.mark.parametrize("make", [make_actor, make_critic])
def test_gradient_reaches_the_latents_own_network_alone(make):
    module, batch = make(separate=True), of_latent(make_batch(16), 1)
    output = (
        module.get_dist(batch).loc if make is make_actor else module(batch)["state_action_value"]
    )
    output.square().sum().backward()
    assert len(leaves(module)) == 6
    for parameter in leaves(module).values():
        assert len(parameter) == Z
        assert (parameter.grad[[0, 2]] == 0).all()
        assert parameter.grad[1].any()


def output_of(module, batch):
    output = module(batch.copy())
    keys = ["logits", "loc", "scale"] if "logits" in output.keys() else ["state_action_value"]
    return torch.cat([output[key].flatten(1) for key in keys], -1)


@pytest.mark.parametrize("make", [make_actor, make_critic])
@separate_or_not
def test_separate_networks_share_nothing(make, separate):
    module, batch = make(separate=separate), make_batch(16)
    module = module.module[0] if make is make_actor else module
    before = [output_of(module, of_latent(batch, latent)) for latent in range(Z)]
    assert not before[0].isclose(before[1]).all()
    with torch.no_grad():
        for parameter in leaves(module).values():
            parameter[0].add_(torch.randn_like(parameter[0]))
    after = [output_of(module, of_latent(batch, latent)) for latent in range(Z)]
    assert not after[0].isclose(before[0]).any()
    for latent in (1, 2):
        assert after[latent].equal(before[latent]) is separate


@pytest.mark.parametrize("num_components", [1, 2])
@pytest.mark.parametrize("learn_weights", [False, True])
@separate_or_not
def test_actor_reads_state_then_latent(num_components, learn_weights, separate):
    actor = make_actor(
        separate=separate,
        num_components=num_components,
        learn_weights=learn_weights,
        in_keys=["observation", ("task", "goal")],
    )
    assert actor.in_keys == ["observation", ("task", "goal"), "latent"]
    assert actor.out_keys == ["action"]
    batch = make_batch(5)
    net, extractor = actor.module[0].module
    inputs = torch.cat([batch["observation"], batch["task", "goal"]], -1)
    if separate:
        singles = single_networks(net)
        rows = zip(inputs, batch["latent"].argmax(-1), strict=True)
        output = torch.stack([singles[latent](row) for row, latent in rows])
    else:
        output = nn.Sequential(*net)(torch.cat([inputs, batch["latent"]], -1))
    assert output.shape[-1] == num_components * (4 + learn_weights)
    logits, loc, scale = extractor(output)
    dist = actor.get_dist(batch)
    assert dist.num_components == num_components
    assert_close(dist.loc, loc)
    assert_close(dist.scale, scale)
    assert_close(dist.log_weights, logits.log_softmax(-1))
    acted = actor(batch.copy())
    assert acted["action"].shape == (5, 2)
    assert set(acted.keys()) == set(batch.keys())


@separate_or_not
def test_critic_reads_state_action_latent(separate):
    critic = make_critic(separate=separate, in_keys=["observation", ("task", "goal")])
    assert critic.in_keys == ["observation", ("task", "goal"), "action", "latent"]
    assert critic.out_keys == ["state_action_value"]
    batch = make_batch(5)
    inputs = torch.cat([batch["observation"], batch["task", "goal"], batch["action"]], -1)
    if separate:
        singles = single_networks(critic.module)
        rows = zip(inputs, batch["latent"].argmax(-1), strict=True)
        expected = torch.stack([singles[latent](row) for row, latent in rows])
    else:
        layers = nn.Sequential(*critic.module)
        expected = layers(torch.cat([inputs, batch["latent"]], -1))
    assert_close(critic(batch)["state_action_value"], expected)
    assert expected.shape == (5, 1)


@pytest.mark.parametrize("shape", [(), (5,), (2, 5)])
@separate_or_not
def test_batch_shapes(shape, separate):
    batch = make_batch(*shape)
    actor, critic = make_actor(separate=separate), make_critic(separate=separate)
    assert actor(batch.copy())["action"].shape == (*shape, 2)
    values = critic(batch.copy())["state_action_value"]
    assert values.shape == (*shape, 1)
    flat = critic(batch.reshape(-1))["state_action_value"]
    assert_close(values.reshape(-1, 1), flat)


@separate_or_not
def test_default_sizes(separate):
    spec = {"observation_spec": observations(), "separate": separate}
    extra = 0 if separate else Z
    inputs = {"actor": (4 + extra, 5), "critic": (6 + extra, 1)}
    modules = {
        "actor": latent_actor(action_spec(), Z, **spec),
        "critic": latent_critic(action_spec(), Z, **spec),
    }
    for name, module in modules.items():
        size_in, size_out = inputs[name]
        count = sum(p.numel() for p in module.parameters())
        sizes = [(size_in, 256), (256, 256), (256, size_out)]
        assert count == (Z if separate else 1) * sum((i + 1) * o for i, o in sizes)
        assert sum(isinstance(layer, nn.ReLU) for layer in module.modules()) == 2


def test_composite_action_spec():
    spec = Composite(action=action_spec())
    kwargs = {"observation_spec": observations(), "num_cells": (8,)}
    assert latent_actor(spec, Z, **kwargs)(make_batch(5))["action"].shape == (5, 2)
    assert latent_critic(spec, Z, **kwargs)(make_batch(5))["state_action_value"].shape == (5, 1)


def test_actor_stays_in_its_box():
    action = make_actor()(make_batch(500))["action"]
    spec = action_spec()
    assert (action >= spec.space.low).all() and (action <= spec.space.high).all()
    assert action[:, 1].mean() < 0  # the box of the second is not centred


MAKERS = [latent_actor, latent_critic]


@pytest.mark.parametrize("make", MAKERS)
@separate_or_not
def test_there_must_be_a_latent(make, separate):
    with pytest.raises(ValueError, match=r"^num_latents must be at least 1, got 0\.$"):
        make(action_spec(), 0, observation_spec=observations(), separate=separate)


@pytest.mark.parametrize("make", MAKERS)
def test_inputs_must_be_in_the_spec(make):
    message = (
        "in_keys must be in observation_spec, which has [\"('task', 'goal')\", 'observation']; "
        "got ['position']."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(action_spec(), Z, observation_spec=observations(), in_keys=["position"])


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("spec", [OneHot(3), Categorical(3)])
def test_actions_must_be_continuous(make, spec):
    with pytest.raises(ValueError, match=r"^action_spec must be continuous, \[\*B, A\], got "):
        make(spec, Z, observation_spec=observations())


def test_a_composite_must_have_the_action():
    message = r"^action_spec must have the key 'action' at its top, got \['move'\]\.$"
    for make in MAKERS:
        with pytest.raises(ValueError, match=message):
            make(Composite(move=action_spec()), Z, observation_spec=observations())


def test_refusals_of_the_mixture_actor_are_passed_on():
    with pytest.raises(ValueError, match="^base must be one of"):
        make_actor(base="gauss")
    with pytest.raises(ValueError, match="^action_spec must be bounded"):
        latent_actor(Unbounded((2,)), Z, observation_spec=observations())
