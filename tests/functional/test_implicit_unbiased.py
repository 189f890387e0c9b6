"""The implicit gradient, averaged over draws, is the gradient of the expectation.

First without sampling: gradient times density, integrated by quadrature. Then by Monte Carlo.
"""

import pytest
import torch
from oracles import (
    FAMILIES,
    assert_unbiased,
    flat,
    gradients,
    grid_rule,
    random_parameters,
    repeated_gradients,
    torch_mixture,
)

from torchrl_mixture.functional import CAUCHY, NORMAL, implicit_reparameterization

FREQUENCY = torch.tensor([0.9, -0.6, 0.5], dtype=torch.float64)


def polynomial(x):
    """``x_1^2 + x_1 x_2 .. x_A``: no term vanishes by symmetry, dimensions are tied."""
    return x[..., 0].square() + x.prod(-1)


def cosine(x):
    return torch.cos(x @ FREQUENCY[: x.shape[-1]] + 0.4)


def angles(x):
    """Bounded, so that it has a mean under Cauchys too."""
    return torch.atan(x).prod(-1) + torch.atan(x[..., 0])


def component_means(name, loc, scale):
    """Closed forms of the mean of the three functions under each component, ``[K]``."""
    if name == "polynomial":
        return loc[:, 0].square() + scale[:, 0].square() + loc.prod(-1)
    if name == "cosine":
        frequency = FREQUENCY[: loc.shape[-1]]
        return torch.cos(loc @ frequency + 0.4) * torch.exp(
            -0.5 * scale.square() @ frequency.square()
        )
    angle = torch.atan2(loc, 1 + scale)
    return angle.prod(-1) + angle[:, 0]


FUNCTIONS = {"polynomial": polynomial, "cosine": cosine, "angles": angles}
CASES = [("normal", "polynomial"), ("normal", "cosine"), ("cauchy", "angles")]


def exact_gradient(name, parameters):
    logits, loc, scale = parameters
    mean = torch.softmax(logits, -1) @ component_means(name, loc, scale)
    return flat(gradients(mean, parameters))


@pytest.mark.parametrize(("family", "function"), CASES)
@pytest.mark.parametrize(
    ("components", "size", "nodes"), [(2, 1, 2000), (5, 1, 2000), (2, 2, 400), (3, 2, 400)]
)
def test_integrated_over_the_density(family, function, components, size, nodes):
    parameters = random_parameters(components=components, size=size)
    family = FAMILIES[family]
    points, weights = grid_rule(family, size, nodes)
    density = torch_mixture(parameters, family).log_prob(points).exp().detach()
    assert (density * weights).sum() == pytest.approx(1, abs=1e-8)
    logits, loc, scale = parameters
    x = implicit_reparameterization(points, torch.log_softmax(logits, -1), loc, scale, family)
    mean = (FUNCTIONS[function](x) * density * weights).sum()
    truth = exact_gradient(function, parameters)
    got = flat(gradients(mean, parameters))
    torch.testing.assert_close(got, truth, rtol=1e-6, atol=1e-6 * float(truth.norm()))


@pytest.mark.parametrize(("family", "function"), [("normal", "polynomial"), ("normal", "cosine")])
@pytest.mark.parametrize(("components", "size"), [(2, 2), (3, 3)])
def test_averaged_over_draws(family, function, components, size):
    parameters = random_parameters(components=components, size=size)
    logits, loc, scale = parameters

    def mean():
        value = torch_mixture(parameters).sample((8_000,))
        x = implicit_reparameterization(value, torch.log_softmax(logits, -1), loc, scale)
        return FUNCTIONS[function](x).mean()

    estimates = repeated_gradients(mean, parameters, 120)
    assert_unbiased(estimates, exact_gradient(function, parameters))


def test_second_moment_of_the_gradient_to_the_weights():
    """It is ``w_1^2 w_2^2 int (F_1 - F_2)^2 / p`` with the logits as parameters."""
    logits, loc, scale = random_parameters(components=2, size=1)
    points, weights = grid_rule(NORMAL, 1, 2000)
    mixture = torch_mixture((logits, loc, scale))
    density = mixture.log_prob(points).exp().detach()
    copies = logits.detach().expand(len(points), 2).clone().requires_grad_()
    x = implicit_reparameterization(points, torch.log_softmax(copies, -1), loc, scale)
    (got,) = gradients(x, [copies])
    cdf = torch.distributions.Normal(loc.squeeze(-1), scale.squeeze(-1)).cdf(points)
    difference = (cdf[:, 0] - cdf[:, 1]) * torch.softmax(logits, -1).prod()
    expected = (difference.square() / density * weights).sum()
    torch.testing.assert_close((got[:, 0].square() * density * weights).sum(), expected)


def test_closed_forms_of_this_file_are_right():
    for family, function in CASES:
        parameters = random_parameters(components=2, size=2)
        points, weights = grid_rule(FAMILIES[family], 2, 400)
        density = torch_mixture(parameters, FAMILIES[family]).log_prob(points).exp()
        got = (FUNCTIONS[function](points) * density * weights).sum()
        logits, loc, scale = parameters
        expected = torch.softmax(logits, -1) @ component_means(function, loc, scale)
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8)
    assert FAMILIES["cauchy"] is CAUCHY
