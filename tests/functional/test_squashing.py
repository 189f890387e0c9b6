"""Squashings and the quadrature behind the squashed moments."""

import math

import pytest
import torch
from oracles import gradients
from scipy import integrate, stats

from torchrl_mixture import functional as F

squashings = pytest.mark.parametrize("squashing", [F.TANH, F.ARCTAN], ids=["tanh", "arctan"])


@squashings
def test_inverse_undoes_forward(squashing):
    x = torch.linspace(-5, 5, 101).double()
    torch.testing.assert_close(squashing.inverse(squashing.forward(x)), x, rtol=1e-9, atol=1e-9)


@squashings
def test_log_slope_is_that_of_autograd(squashing):
    x = torch.linspace(-6, 6, 101).double().requires_grad_()
    (slope,) = gradients(squashing.forward(x), [x])
    torch.testing.assert_close(squashing.log_slope(x), slope.log(), rtol=1e-7, atol=1e-8)
    assert (slope > 0).all()


@pytest.mark.parametrize("x", [-300.0, -20.0, 20.0, 300.0])
def test_log_slope_stays_exact_where_the_action_saturates(x):
    # sech^2 x = 4 exp(-2|x|) (1 + exp(-2|x|))^-2, and 2 / (pi (1 + x^2)).
    at = torch.tensor(x)
    tanh = 2 * math.log(2) - 2 * abs(x) - 2 * math.log1p(math.exp(-2 * abs(x)))
    assert float(F.TANH.log_slope(at)) == pytest.approx(tanh, rel=1e-6)
    arctan = math.log(2 / math.pi) - math.log1p(x * x)
    assert float(F.ARCTAN.log_slope(at)) == pytest.approx(arctan, rel=1e-6)


@squashings
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverse_is_finite_at_the_edges_and_flat_there(squashing, dtype):
    edge = torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=dtype, requires_grad=True)
    x = squashing.inverse(edge)
    assert x.isfinite().all()
    assert not gradients(x, [edge])[0].any()
    inside = torch.tensor([-1 + 1e-6, 1 - 1e-6], dtype=dtype)
    torch.testing.assert_close(x[1:3].detach(), squashing.inverse(inside))


FUNCTIONS = {
    "tanh": (torch.tanh, math.tanh),
    "log_slope": (
        F.TANH.log_slope,
        lambda x: 2 * math.log(2) - 2 * abs(x) - 2 * math.log1p(math.exp(-2 * abs(x))),
    ),
    "square": (torch.square, lambda x: x * x),
}


@pytest.mark.parametrize(("ours", "theirs"), FUNCTIONS.values(), ids=FUNCTIONS.keys())
@pytest.mark.parametrize("loc", [-3.0, 0.2, 20.0])
@pytest.mark.parametrize("scale", [1e-4, 0.5, 3.0, 10.0])
def test_normal_expectation_equals_its_integral(ours, theirs, loc, scale):
    expected, _ = integrate.quad(
        lambda z: theirs(loc + scale * z) * stats.norm.pdf(z),
        -10,
        10,
        points=[-loc / scale] if abs(loc / scale) < 10 else None,
        epsabs=1e-12,
        limit=200,
    )
    got = F.normal_expectation(ours, *(torch.tensor(p).double() for p in (loc, scale)))
    # Far out softplus turns to its asymptote, with an error of 2e-9.
    assert float(got) == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_normal_expectation_has_shape_and_gradient():
    loc = torch.randn(3, 2).double().requires_grad_()
    scale = torch.rand(3, 2).double().add(0.1).requires_grad_()
    mean = F.normal_expectation(lambda x: x**3, loc, scale)
    torch.testing.assert_close(mean, loc**3 + 3 * loc * scale**2)
    to_loc, to_scale = gradients(mean, [loc, scale])
    torch.testing.assert_close(to_loc, 3 * loc**2 + 3 * scale**2)
    torch.testing.assert_close(to_scale, 6 * loc * scale)
