"""The implicit gradient of one draw: its Jacobian, its order, its precision in the tails."""

import pytest
import torch
from oracles import FAMILIES, gradients, implicit_jacobian, random_parameters, torch_mixture
from scipy.stats import cauchy, norm

from torchrl_mixture.functional import NORMAL, implicit_reparameterization

families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
close = {"rtol": 1e-9, "atol": 1e-11}


def reparameterize(value, parameters, family=NORMAL):
    logits, loc, scale = parameters
    return implicit_reparameterization(value, torch.log_softmax(logits, -1), loc, scale, family)


@families
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("components", [1, 2, 5])
def test_jacobian_is_that_of_the_distributional_transform(family, components, size):
    parameters = random_parameters(3, components=components, size=size)
    value = torch_mixture(parameters, family).sample((2,))
    flattened = [p.expand(2, *p.shape).flatten(0, 1) for p in parameters]
    jacobian = implicit_jacobian(value.flatten(0, 1), flattened, family)
    jacobian = [rows.unflatten(0, (2, 3)).sum(0) for rows in jacobian]  # [*B, A, *parameter]
    x = reparameterize(value, parameters, family)
    assert torch.equal(x, value)
    for d in range(size):
        for got, rows in zip(gradients(x[..., d], parameters), jacobian, strict=True):
            torch.testing.assert_close(got, rows[:, d], **close)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("samples", [(), (4,), (1, 5)])
def test_every_cotangent_of_any_shape(batch, samples):
    parameters = random_parameters(*batch, components=3, size=2)
    value = torch_mixture(parameters).sample(samples)
    cotangent = torch.randn_like(value)
    x = reparameterize(value, parameters)
    expanded = [
        p.expand(*samples, *p.shape).reshape(-1, *p.shape[len(batch) :]) for p in parameters
    ]
    jacobian = implicit_jacobian(value.reshape(-1, 2), expanded)
    weight = cotangent.reshape(-1, 2)
    for got, rows in zip(gradients(x * cotangent, parameters), jacobian, strict=True):
        product = torch.einsum("nd,nd...->n...", weight, rows)
        product = product.unflatten(0, (-1, max(1, len(product) // max(1, _count(samples)))))
        torch.testing.assert_close(got, product.sum(0).reshape(got.shape), **close)


def _count(shape):
    return int(torch.tensor(shape).prod()) if shape else 1


@families
def test_one_component_is_the_explicit_path(family):
    parameters = random_parameters(5, components=1, size=3)
    logits, loc, scale = parameters
    noise, cotangent = torch.randn(2, 7, 5, 3, dtype=torch.float64)
    explicit = loc.squeeze(-2) + scale.squeeze(-2) * noise
    got = gradients(reparameterize(explicit, parameters, family) * cotangent, parameters)
    expected = gradients(explicit * cotangent, parameters)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, **close)
    assert not got[0].any()


def test_parameters_broadcast_over_the_batch_of_values():
    parameters = random_parameters(components=3, size=2)
    expanded = [p.detach().expand(6, *p.shape).clone().requires_grad_() for p in parameters]
    value = torch_mixture(parameters).sample((6,))
    shared = gradients(reparameterize(value, parameters).sin(), parameters)
    each = gradients(reparameterize(value, expanded).sin(), expanded)
    for one, many in zip(shared, each, strict=True):
        torch.testing.assert_close(one, many.sum(0), **close)


def test_value_itself_gets_no_gradient():
    value = torch.randn(4, 2, requires_grad=True)
    parameters = random_parameters(4, components=2, size=2, dtype=torch.float32)
    assert not gradients(reparameterize(value, parameters), [value])[0].any()


@pytest.mark.parametrize("loss", [torch.sum, lambda x: x.square().sum()], ids=["linear", "square"])
def test_second_derivative_raises(loss):
    parameters = random_parameters(4, components=2, size=2)
    value = torch_mixture(parameters).sample()
    first = torch.autograd.grad(
        loss(reparameterize(value, parameters)), parameters, create_graph=True
    )
    for gradient in first:
        with pytest.raises(RuntimeError, match="first order"):
            gradient.sum().backward(retain_graph=True)


def test_second_derivative_raises_in_function_transforms():
    parameters = random_parameters(components=2, size=2)
    logits, loc, scale = parameters
    value = torch_mixture(parameters).sample().detach()
    derivative = torch.func.jacrev(lambda at: reparameterize(value, (logits, at, scale)).sum())
    assert derivative(loc).isfinite().all()
    with pytest.raises(RuntimeError, match="first order"):
        torch.func.jacrev(derivative)(loc)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-4), (torch.float64, 1e-12)])
@pytest.mark.parametrize(
    ("name", "reference", "point"), [("normal", norm, 9.0), ("cauchy", cauchy, 3e4)]
)
@pytest.mark.parametrize("side", [-1, 1])
def test_gradient_to_the_weights_keeps_its_precision_far_out(
    name, reference, point, side, dtype, rtol
):
    loc, scale = torch.tensor([[0.0], [0.5]]).to(dtype), torch.tensor([[1.0], [1.25]]).to(dtype)
    logits = torch.zeros(2, dtype=dtype, requires_grad=True)
    x = reparameterize(
        torch.tensor([side * point], dtype=dtype), (logits, side * loc, scale), FAMILIES[name]
    )
    tails = [reference.sf(point, 0.0, 1.0), reference.sf(point, 0.5, 1.25)]
    density = sum(reference.pdf(point, m, s) for m, s in [(0.0, 1.0), (0.5, 1.25)]) / 2
    # Out in the right tail dx/dlogit_k = w_k (S_k - S) / p.
    pull = side * 0.25 * (tails[1] - tails[0]) / density
    (got,) = gradients(x, [logits])
    torch.testing.assert_close(
        got.double(), torch.tensor([-pull, pull]).double(), rtol=rtol, atol=0
    )
