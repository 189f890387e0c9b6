"""Problems for the gradient estimators, their exact gradients, and noise laid out by hand."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, Cauchy, Independent, MixtureSameFamily, Normal

from torchrl_mixture.distributions import (
    ArctanCauchyMixture,
    ComponentMixture,
    NormalMixture,
    TanhNormalMixture,
)
from torchrl_mixture.objectives import GradientEstimator

LOW, HIGH = -1.5, 2.0  # the box of the squashed policies
PARAMETERS = ("logits", "loc", "scale")


@dataclass(frozen=True)
class Problem:
    """Minimise ``E[alpha log pi(a) - Q(a)]`` for one state."""

    logits: Sequence[float]
    loc: Sequence[Sequence[float]]
    scale: Sequence[Sequence[float]]
    kind: Literal["normal", "tanh", "arctan"] = "normal"
    alpha: float = 0.3

    def parameters(self, batch: int) -> list[Tensor]:
        """Leaves with a batch axis, so that every draw keeps a gradient of its own."""
        rows = (torch.tensor(getattr(self, name), dtype=torch.float64) for name in PARAMETERS)
        return [row.repeat(batch, *[1] * row.ndim).requires_grad_() for row in rows]

    def policy(self, parameters: Sequence[Tensor]) -> ComponentMixture:
        if self.kind == "normal":
            return NormalMixture(*parameters)
        family = TanhNormalMixture if self.kind == "tanh" else ArctanCauchyMixture
        return family(*parameters, low=LOW, high=HIGH)

    def q(self, action: Tensor) -> Tensor:
        """Smooth and not quadratic; the last dimension is coupled to the first."""
        each = torch.sin(1.7 * action + 0.4) + 0.05 * action**3
        return each.sum(-1) + 0.4 * torch.cos(action[..., 0] - 2 * action[..., -1])


def squash(problem: Problem, x: Tensor) -> tuple[Tensor, Tensor]:
    """The action at ``x`` and the logarithm of the volume change, by formulas of the test."""
    center, half = (LOW + HIGH) / 2, (HIGH - LOW) / 2
    if problem.kind == "normal":
        return x, torch.zeros_like(x[..., 0])
    if problem.kind == "tanh":
        log_cosh = torch.logaddexp(x, -x) - math.log(2)
        return center + half * torch.tanh(x), (math.log(half) - 2 * log_cosh).sum(-1)
    slope = half * (2 / math.pi) / (1 + x**2)
    return center + half * (2 / math.pi) * torch.atan(x), slope.log().sum(-1)


def exact(problem: Problem, spacing: float = 0.02) -> tuple[Tensor, list[Tensor]]:
    """The objective and its gradients, integrated over the line before squashing.

    Args:
        problem: what to integrate.
        spacing: between the nodes, in scales of the narrowest component.
    """
    parameters = [row[0].detach().requires_grad_() for row in problem.parameters(1)]
    logits, loc, scale = parameters
    nodes, weights = _nodes_before_squashing(problem, spacing)
    base = Cauchy if problem.kind == "arctan" else Normal
    mixture = MixtureSameFamily(
        Categorical(logits=logits), Independent(base(loc, scale, validate_args=False), 1)
    )
    density = mixture.log_prob(nodes)
    action, log_slope = squash(problem, nodes)
    cost = problem.alpha * (density - log_slope) - problem.q(action)
    objective = (weights * density.exp() * cost).sum()
    return objective.detach(), list(torch.autograd.grad(objective, parameters))


def _nodes_before_squashing(problem: Problem, spacing: float) -> tuple[Tensor, Tensor]:
    axes = []
    for loc, scale in zip(np.array(problem.loc).T, np.array(problem.scale).T, strict=True):
        if problem.kind == "arctan":
            uniform, weight = unit_interval(200)
            x = torch.tan(math.pi * (uniform - 0.5))
            axes.append((x, weight * math.pi * (1 + x**2)))
            continue
        reach = 9.5 * scale.max()
        num = math.ceil((np.ptp(loc) + 2 * reach) / (spacing * scale.min()))
        x = torch.linspace(loc.min() - reach, loc.max() + reach, num, dtype=torch.float64)
        axes.append((x, (x[1] - x[0]).expand(num)))
    nodes = torch.cartesian_prod(*(x for x, _ in axes)).reshape(-1, len(axes))
    weights = torch.cartesian_prod(*(weight for _, weight in axes)).reshape(-1, len(axes))
    return nodes, weights.prod(-1)


def unit_interval(num_panels: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on (0, 1), sixteen a panel."""
    node, weight = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(16))
    panel = torch.arange(num_panels, dtype=torch.float64).unsqueeze(-1)
    uniform = (panel + (1 + node) / 2) / num_panels
    return uniform.flatten(), (weight / 2 / num_panels).repeat(num_panels)


def standard_noise(problem: Problem, num: int = 1200) -> tuple[Tensor, Tensor]:
    """Noise and its probabilities: the trapezium rule for normals, uniforms for Cauchys."""
    if problem.kind == "arctan":
        return unit_interval(num // 8)
    noise = torch.linspace(-10.0, 10.0, num, dtype=torch.float64)
    density = torch.exp(-(noise**2) / 2) / math.sqrt(2 * math.pi)
    return noise, density * (noise[1] - noise[0])


def all_draws(problem: Problem, num: int = 1200) -> tuple[Tensor, Tensor, Tensor]:
    """Every pair of component and noise: the uniform that chooses, the noise, the probability."""
    noise, probability = standard_noise(problem, num)
    weights = torch.tensor(problem.logits, dtype=torch.float64).softmax(-1)
    middle = 1 - (weights.cumsum(-1) - weights / 2)  # chosen by a threshold on 1 - u
    uniform = middle.repeat_interleave(len(noise))
    joint = (weights.unsqueeze(-1) * probability).flatten()
    return uniform, noise.repeat(len(weights)).unsqueeze(-1), joint


@contextmanager
def fed(uniform: Sequence[Tensor] = (), normal: Sequence[Tensor] = ()) -> Iterator[None]:
    """``torch.rand`` and ``torch.randn`` return these, in turn and no others."""
    queues = {"rand": list(uniform), "randn": list(normal)}

    def feeder(name):
        def draw(shape, **_):
            value = queues[name].pop(0)
            assert value.shape == shape, f"{name} was asked for {shape}, not {value.shape}"
            return value.clone()

        return mock.patch.object(torch, name, draw)

    with feeder("rand"), feeder("randn"):
        yield
    assert not queues["rand"] and not queues["randn"]


def feed(problem: Problem, choice: Sequence[Tensor], noise: Sequence[Tensor]):
    """The draws of a policy: uniforms that choose, and noise within components."""
    if problem.kind != "arctan":
        return fed(choice, noise)
    if not choice:
        return fed(noise)
    return fed([part for pair in zip(choice, noise, strict=True) for part in pair])


def per_draw(
    estimator: GradientEstimator, problem: Problem, batch: int
) -> tuple[Tensor, list[Tensor]]:
    """The cost of every draw ``[batch]`` and its gradients ``[batch, ...]``."""
    parameters = problem.parameters(batch)
    alpha = torch.tensor(problem.alpha, dtype=torch.float64)
    cost, log_prob = estimator(problem.policy(parameters), problem.q, alpha)
    assert cost.shape == log_prob.shape == (batch,)
    return cost.detach(), list(torch.autograd.grad(cost.sum(), parameters))


def expectation(probability: Tensor, cost: Tensor, grads: list[Tensor]) -> list[Tensor]:
    """Mean cost, then mean gradients."""
    return [torch.tensordot(probability, each, 1) for each in (cost, *grads)]
