"""Independent answers: plain formulas on torch.distributions, quadrature, standard errors."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Categorical, Cauchy, Independent, MixtureSameFamily, Normal

from torchrl_mixture.functional import CAUCHY, NORMAL, Family

FAMILIES = {"normal": NORMAL, "cauchy": CAUCHY}
_COMPONENT = {NORMAL: Normal, CAUCHY: Cauchy}

Parameters = tuple[Tensor, Tensor, Tensor]


def random_parameters(
    *batch: int, components: int, size: int, dtype: torch.dtype = torch.float64
) -> Parameters:
    """Logits, locations and scales of a mixture whose components overlap, with gradients."""
    logits = 0.7 * torch.randn(*batch, components, dtype=dtype)
    loc = torch.randn(*batch, components, size, dtype=dtype)
    scale = 0.4 + 0.6 * torch.rand(*batch, components, size, dtype=dtype)
    return logits.requires_grad_(), loc.requires_grad_(), scale.requires_grad_()


def torch_mixture(parameters: Parameters, family: Family = NORMAL) -> MixtureSameFamily:
    """The same mixture on the line, by torch."""
    logits, loc, scale = parameters
    components = Independent(_COMPONENT[family](loc, scale, validate_args=False), 1)
    return MixtureSameFamily(
        Categorical(logits=logits, validate_args=False), components, validate_args=False
    )


def distributional_transform(
    value: Tensor, logits: Tensor, loc: Tensor, scale: Tensor, family: Family = NORMAL
) -> Tensor:
    """Each dimension's CDF given the dimensions before it, for one value ``[A]``."""
    components = _COMPONENT[family](loc, scale, validate_args=False)
    log_weights = torch.log_softmax(logits, -1)
    rows = []
    for d in range(value.shape[-1]):
        before = components.log_prob(value)[:, :d].sum(-1)
        share = torch.softmax(log_weights + before, -1)
        rows.append((share * components.cdf(value)[:, d]).sum())
    return torch.stack(rows)


def implicit_jacobian(
    value: Tensor, parameters: Parameters, family: Family = NORMAL
) -> tuple[Tensor, ...]:
    """``-J^-1 dF/dtheta`` for values ``[N, A]`` and parameters ``[N, K(, A)]``."""

    def one(value: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        by_value, *by_parameter = torch.func.jacrev(
            lambda *inputs: distributional_transform(*inputs, family), argnums=(0, 1, 2, 3)
        )(value, *parameters)
        size = value.shape[-1]
        return tuple(
            -torch.linalg.solve(by_value, rows.reshape(size, -1)).reshape(rows.shape)
            for rows in by_parameter
        )

    return torch.func.vmap(one)(value, *(p.detach() for p in parameters))


def line_rule(family: Family, nodes: int = 600) -> tuple[Tensor, Tensor]:
    """Nodes and weights that integrate over the line, float64.

    Trapezoid on +-14 for normals; for Cauchys the trapezoid in ``x = sinh(sinh(t))``, whose
    nodes reach 1e17.
    """
    if family is NORMAL:
        x = torch.linspace(-14, 14, nodes, dtype=torch.float64)
        return x, torch.full_like(x, float(x[1] - x[0]))
    t = torch.linspace(-4.35, 4.35, nodes, dtype=torch.float64)
    inner = torch.sinh(t) * (math.pi / 6)
    slope = torch.cosh(inner) * torch.cosh(t) * (math.pi / 6)
    return torch.sinh(inner), slope * (t[1] - t[0])


def grid_rule(family: Family, size: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes ``[N, A]`` and weights ``[N]`` that integrate over ``A`` dimensions."""
    x, weight = line_rule(family, nodes)
    points = torch.cartesian_prod(*[x] * size).reshape(-1, size)
    weights = torch.cartesian_prod(*[weight] * size).reshape(-1, size)
    return points, weights.prod(-1)


def normal_mean(function: Callable[[Tensor], Tensor], loc: Tensor, scale: Tensor) -> Tensor:
    """Elementwise mean of a function of a normal variable, by a fine trapezoid."""
    z = torch.linspace(-10, 10, 4001, dtype=torch.float64)
    weight = Normal(0.0, 1.0).log_prob(z).exp() * (z[1] - z[0])
    return (function(loc.unsqueeze(-1) + scale.unsqueeze(-1) * z) * weight).sum(-1)


def cauchy_mean(function: Callable[[Tensor], Tensor], loc: Tensor, scale: Tensor) -> Tensor:
    """Elementwise mean of a bounded function of a Cauchy variable, over its quantiles."""
    quantile = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    z = torch.tan(math.pi * (quantile - 0.5))
    return function(loc.unsqueeze(-1) + scale.unsqueeze(-1) * z).mean(-1)


def gradients(output: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of the sum, zero where there is none."""
    return torch.autograd.grad(
        output.sum(), parameters, retain_graph=True, allow_unused=True, materialize_grads=True
    )


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All entries in one vector."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def repeated_gradients(
    mean: Callable[[], Tensor], parameters: Sequence[Tensor], repeats: int
) -> Tensor:
    """Gradients of independent evaluations of a random scalar, ``[repeats, P]``."""
    return torch.stack([flat(gradients(mean(), parameters)) for _ in range(repeats)])


def assert_unbiased(estimates: Tensor, truth: Tensor, precision: float = 0.002) -> None:
    """Independent estimates ``[N, P]`` average to the truth ``[P]`` within 5 standard errors.

    The standard errors must lie below ``precision`` of the truth's norm, so that a bias of one
    per cent of the norm fails.
    """
    error = estimates.std(0) / math.sqrt(len(estimates))
    relative = float(error.max() / truth.norm())
    assert relative < precision, f"{relative=:.5f}: too few draws to see a bias of 1%"
    deviation = (estimates.mean(0) - truth).abs() / error.clamp_min(1e-12 * truth.norm())
    assert deviation.max() < 5, f"deviations in standard errors: {deviation.tolist()}"


def central_difference(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], step: float = 1e-5
) -> tuple[Tensor, ...]:
    """Gradient of a scalar function by central differences."""
    results = []
    with torch.no_grad():
        inputs = [tensor.detach().clone() for tensor in inputs]
        for tensor in inputs:
            slope, entries = torch.zeros_like(tensor).flatten(), tensor.view(-1)
            for i in range(entries.numel()):
                before = entries[i].item()
                entries[i] = before + step
                above = function(*inputs)
                entries[i] = before - step
                below = function(*inputs)
                entries[i] = before
                slope[i] = (above - below) / (2 * step)
            results.append(slope.view_as(tensor))
    return tuple(results)
