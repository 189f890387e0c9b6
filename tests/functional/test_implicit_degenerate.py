"""The implicit gradient where components coincide, vanish, shrink or lie far apart."""

import pytest
import torch
from oracles import FAMILIES, gradients, random_parameters, torch_mixture

from torchrl_mixture.functional import NORMAL, choose_component, implicit_reparameterization

families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])

EXTREMES = {
    "vanished weight": ([0.0, -1e4], [-1.0, 1.0], [1.0, 1.0]),
    "vanished weight far away": ([0.0, -1e4, 1e4], [-1.0, 20.0, 0.0], [1.0, 1e-6, 1.0]),
    "thin beside wide": ([0.0, 0.0], [0.3, 0.0], [1e-6, 1.0]),
    "less thin beside wide": ([0.0, 0.0], [0.3, 0.0], [1e-4, 1.0]),
    "all thin": ([0.0, 1.0], [0.3, 0.3], [1e-6, 1e-4]),
    "both edges": ([0.0, 0.0], [-20.0, 20.0], [1.0, 1.0]),
    "both edges, thin": ([0.0, 0.0], [-20.0, 20.0], [1e-4, 1e-6]),
    "wide": ([0.0, 0.0], [-20.0, 20.0], [1e3, 1e-4]),
}


def reparameterize(value, parameters, family=NORMAL):
    logits, loc, scale = parameters
    return implicit_reparameterization(value, torch.log_softmax(logits, -1), loc, scale, family)


@families
@pytest.mark.parametrize("size", [1, 3])
def test_coincident_components_share_the_gradient_of_one(family, size):
    logits, _, _ = random_parameters(components=3, size=size)
    _, loc, scale = random_parameters(components=1, size=size)
    single = (torch.zeros(1, dtype=torch.float64), loc, scale)
    shared = [p.detach().repeat(3, 1).requires_grad_() for p in (loc, scale)]
    value = torch_mixture(single, family).sample((50,))
    to_logits, *to_each = gradients(
        reparameterize(value, (logits, *shared), family).sin(), [logits, *shared]
    )
    to_one = gradients(reparameterize(value, single, family).sin(), [loc, scale])
    torch.testing.assert_close(to_logits, torch.zeros(3).double(), rtol=0, atol=1e-9)
    for each, one in zip(to_each, to_one, strict=True):
        expected = torch.softmax(logits, -1).unsqueeze(-1) * one
        torch.testing.assert_close(each, expected, rtol=1e-9, atol=1e-9)


@families
def test_component_without_weight_changes_nothing(family):
    logits, loc, scale = random_parameters(components=3, size=2)
    value = torch_mixture((logits, loc, scale), family).sample((50,))
    without = gradients(reparameterize(value, (logits, loc, scale), family), (logits, loc, scale))
    more = [
        torch.cat([p.detach(), row]).requires_grad_()
        for p, row in [
            (logits, torch.tensor([-1e4]).double()),
            (loc, torch.zeros(1, 2).double()),
            (scale, torch.ones(1, 2).double()),
        ]
    ]
    got = gradients(reparameterize(value, more, family), more)
    for one, other in zip(got, without, strict=True):
        torch.testing.assert_close(one[:3], other)
        assert not one[3].any()


@dtypes
@families
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("case", EXTREMES.values(), ids=EXTREMES.keys())
def test_extremes_are_finite(case, size, family, dtype):
    logits, loc, scale = (torch.tensor(row, dtype=dtype) for row in case)
    # One more dimension where the components coincide, and reversed ones.
    columns = [(loc, scale), (loc.flip(0), scale), (loc, scale.flip(0)), (0 * loc, 0 * scale + 1)]
    loc = torch.stack([column[0] for column in columns[:size]], -1)
    scale = torch.stack([column[1] for column in columns[:size]], -1)
    parameters = [p.requires_grad_() for p in (logits, loc, scale)]
    component = choose_component(
        torch.log_softmax(logits.detach(), -1), torch.rand(2000).to(dtype)
    )
    noise = torch.randn(2000, size, dtype=dtype)
    if family is not NORMAL:
        noise = torch.tan((torch.rand(2000, size, dtype=dtype) - 0.5) * torch.pi)
    value = (loc[component] + scale[component] * noise).detach()
    x = reparameterize(value, parameters, family)
    for gradient in gradients(x.tanh(), parameters):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("size", [1, 2])
def test_far_components_move_with_the_one_that_drew(size):
    """Without overlap the value moves with its own component alone."""
    logits, _, scale = random_parameters(components=2, size=size)
    loc = torch.tensor([[-40.0], [40.0]]).double().repeat(1, size).requires_grad_()
    noise = torch.randn(size).double()
    for k in range(2):
        x = reparameterize((loc[k] + scale[k] * noise).detach(), (logits, loc, scale))
        to_loc, to_scale = gradients(x, [loc, scale])
        expected = torch.zeros(2, size).double()
        expected[k] = 1
        torch.testing.assert_close(to_loc, expected)
        expected[k] = noise
        torch.testing.assert_close(to_scale, expected)


def test_float32_agrees_with_float64():
    parameters = random_parameters(16, components=4, size=3)
    value = torch_mixture(parameters).sample()
    halved = [p.detach().float().requires_grad_() for p in parameters]
    exact = gradients(reparameterize(value, parameters).sin(), parameters)
    rounded = gradients(reparameterize(value.float(), halved).sin(), halved)
    for one, other in zip(rounded, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=2e-4, atol=2e-4)
