"""The implicit gradient under ``torch.vmap``, ``torch.func.grad`` and ``torch.compile``."""

import pytest
import torch
from oracles import FAMILIES, gradients, random_parameters, torch_mixture

from torchrl_mixture.functional import choose_component, implicit_reparameterization

families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())


def loss(value, logits, loc, scale, family):
    log_weights = torch.log_softmax(logits, -1)
    return implicit_reparameterization(value, log_weights, loc, scale, family).sin().sum()


def draw_and_reparameterize(logits, loc, scale):
    """Draws inside, as a vectorised loss does."""
    log_weights = torch.log_softmax(logits, -1)
    with torch.no_grad():
        component = choose_component(log_weights, torch.rand(())).reshape(1)
        chosen = loc[component].squeeze(0)
        value = chosen + scale[component].squeeze(0) * torch.randn_like(chosen)
    return implicit_reparameterization(value, log_weights, loc, scale), value


@families
@pytest.mark.parametrize("size", [1, 3])
def test_vmap_equals_a_loop(family, size):
    parameters = random_parameters(4, components=3, size=size)
    value = torch_mixture(parameters, family).sample()
    expected = gradients(loss(value, *parameters, family), parameters)
    losses = torch.vmap(lambda *inputs: loss(*inputs, family))(value, *parameters)
    derivative = torch.func.grad(lambda *inputs: loss(*inputs, family), argnums=(1, 2, 3))
    inside = torch.vmap(derivative)(value, *parameters)
    for outer, inner, one in zip(gradients(losses, parameters), inside, expected, strict=True):
        torch.testing.assert_close(outer, one)
        torch.testing.assert_close(inner, one)


def test_vmap_over_the_values_alone():
    parameters = random_parameters(components=3, size=2)
    value = torch_mixture(parameters).sample((6,))
    over_values = torch.vmap(lambda at: loss(at, *parameters, FAMILIES["normal"]))(value)
    expected = gradients(loss(value, *parameters, FAMILIES["normal"]), parameters)
    for one, other in zip(gradients(over_values, parameters), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_vmap_with_its_own_random_draws():
    parameters = random_parameters(5, components=2, size=2)
    x, value = torch.vmap(draw_and_reparameterize, randomness="different")(*parameters)
    assert len(value.unique()) == value.numel()
    weight = torch.randn_like(x)
    got = gradients(x * weight, parameters)
    again = implicit_reparameterization(
        value, torch.log_softmax(parameters[0], -1), *parameters[1:]
    )
    for one, other in zip(got, gradients(again * weight, parameters), strict=True):
        torch.testing.assert_close(one, other)


@families
def test_compiled_equals_eager(family):
    torch._dynamo.reset()
    parameters = random_parameters(4, components=3, size=2)
    value = torch_mixture(parameters, family).sample((2,))
    compiled = torch.compile(
        lambda *inputs: loss(*inputs, family), backend="aot_eager", fullgraph=True
    )
    got, expected = compiled(value, *parameters), loss(value, *parameters, family)
    torch.testing.assert_close(got, expected)
    for one, other in zip(
        gradients(got, parameters), gradients(expected, parameters), strict=True
    ):
        torch.testing.assert_close(one, other)
