"""Variance, bias and time of the gradient estimators for a mixture policy.

    OMP_NUM_THREADS=1 python benchmarks/estimators.py

The first table is for one state: two components of equal weight and scale 1 in two dimensions,
not squashed, their locations a distance apart along the first dimension, and the cost
``0.2 log pi(a) - Q(a)`` with a ``Q`` that is not quadratic. The second is one call, forward and
backward, for a batch of states, a squashed mixture and two critic networks.
"""

import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from torchrl_mixture.distributions import NormalMixture, TanhNormalMixture
from torchrl_mixture.objectives import (
    GradientEstimator,
    GumbelSoftmax,
    HalfReparam,
    Implicit,
    Likelihood,
    Marginal,
)

ALPHA = torch.tensor(0.2)
SEPARATIONS = (0, 1, 2, 4, 6)
PARAMETERS = ("logits", "loc", "scale")
NUM_DRAWS, CHUNK = 200_000, 20_000
BATCH, COMPONENTS, SIZE = 256, 5, 6
WARM_UP, ROUNDS = 3, 31
ESTIMATORS: dict[str, GradientEstimator] = {
    "implicit": Implicit(),
    "marginal": Marginal(),
    **{f"half, {num}": HalfReparam(num) for num in (0, 1, 5, 30)},
    **{f"likelihood, {num}": Likelihood(num) for num in (0, 1, 5, 30)},
    "gumbel": GumbelSoftmax(temperature=1.0),
}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(
        "Variance of the gradient of one draw (trace of the covariance) to logits / locations / "
        f"scales,\n{NUM_DRAWS:,} draws. The number after a name is that of baseline samples. "
        "`bias`: of the logits'\ngradient, relative, with its standard error; the others, and "
        "Gumbel's locations and scales, have none.\n"
    )
    print_table(["", *(f"separation {each}" for each in SEPARATIONS)], variance_rows())
    print(
        f"\nTime of a call, forward and backward: batch {BATCH}, {COMPONENTS} components, "
        f"{SIZE} dimensions, two critics\nof 256 x 256; median of {ROUNDS} interleaved rounds, "
        "one thread.\n"
    )
    print_table(["", "ms", "ratio to implicit"], time_rows())


def print_table(header: list[str], rows: list[list[str]]) -> None:
    for row in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(row) + " |")


def critic(action: Tensor) -> Tensor:
    x, y = action.unbind(-1)
    return torch.sin(1.5 * x + 0.5) + 0.05 * x**3 - 0.1 * x**2 + torch.cos(y - 0.7 * x)


def leaves(separation: float, batch: int) -> list[Tensor]:
    """Parameters with a row a draw, so that every draw keeps a gradient of its own."""
    loc = torch.tensor([[-separation / 2, 0.0], [separation / 2, 0.0]]).expand(batch, 2, 2)
    parts = (torch.zeros(batch, 2), loc.clone(), torch.ones(batch, 2, 2))
    return [part.double().requires_grad_() for part in parts]


def gradients(estimator: GradientEstimator, separation: float) -> list[Tensor]:
    chunks = []
    for _ in range(NUM_DRAWS // CHUNK):
        parameters = leaves(separation, CHUNK)
        cost, _ = estimator(NormalMixture(*parameters), critic, ALPHA.double())
        chunks.append(torch.autograd.grad(cost.sum(), parameters))
    return [torch.cat(parts).flatten(1) for parts in zip(*chunks, strict=True)]


def exact_gradients(separation: float) -> list[Tensor]:
    """The expected cost, integrated by the trapezium rule and then differentiated."""
    parameters = leaves(separation, 1)
    x = torch.linspace(-9 - separation / 2, 9 + separation / 2, 301, dtype=torch.float64)
    y = torch.linspace(-9.0, 9.0, 201, dtype=torch.float64)
    nodes = torch.cartesian_prod(x, y)
    log_prob = NormalMixture(*(part[0] for part in parameters)).log_prob(nodes)
    cost = log_prob.exp() * (ALPHA * log_prob - critic(nodes))
    total = cost.sum() * (x[1] - x[0]) * (y[1] - y[0])
    return [grad.flatten() for grad in torch.autograd.grad(total, parameters)]


def variance_rows() -> list[list[str]]:
    exact = [exact_gradients(separation) for separation in SEPARATIONS]
    norms = [" / ".join(short(grad.square().sum()) for grad in grads) for grads in exact]
    rows = [["squared norm of the exact gradient", *norms]]
    for name, estimator in ESTIMATORS.items():
        cells, biases = [], []
        for separation, grads in zip(SEPARATIONS, exact, strict=True):
            draws = gradients(estimator, separation)
            cells.append(" / ".join(short(part.var(0).sum()) for part in draws))
            biases.append(relative_bias(draws[0][:, 0], grads[0][0]))
        rows.append([name, *cells])
        if isinstance(estimator, GumbelSoftmax):
            rows.append([f"{name}: bias", *biases])
    return rows


def relative_bias(draws: Tensor, exact: Tensor) -> str:
    if abs(exact) < 1e-9:
        return "- (the gradient is zero)"
    error = draws.std() / math.sqrt(len(draws)) / exact.abs()
    return f"{100 * (draws.mean() / exact - 1):+.1f} ± {100 * error:.1f} %"


def short(number: Tensor) -> str:
    return f"{number.item():.2g}" if number < 100 else f"{number.item():.0f}"


def time_rows() -> list[list[str]]:
    calls = {name: timed_call(estimator) for name, estimator in ESTIMATORS.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(WARM_UP + ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= WARM_UP:
                times[name].append(time.perf_counter() - start)
    median = {name: statistics.median(each) for name, each in times.items()}
    # A ratio within a round is not moved by what slows all of a round down.
    pairs = {
        name: statistics.median(a / b for a, b in zip(each, times["implicit"], strict=True))
        for name, each in times.items()
    }
    return [[name, f"{1e3 * median[name]:.1f}", f"{pairs[name]:.2f}"] for name in calls]


def timed_call(estimator: GradientEstimator) -> Callable[[], None]:
    observation = torch.randn(BATCH, 17)
    networks = [network() for _ in range(2)]
    shape = (BATCH, COMPONENTS, SIZE)
    parameters = [torch.zeros(shape[:2]), 0.5 * torch.randn(shape), torch.full(shape, 0.5)]

    def q_function(action: Tensor) -> Tensor:
        rows = observation.expand(*action.shape[:-1], -1)
        joint = torch.cat((rows, action), -1)
        return torch.minimum(*(each(joint) for each in networks)).squeeze(-1)

    def call() -> None:
        inputs = [part.detach().requires_grad_() for part in parameters]
        cost, _ = estimator(TanhNormalMixture(*inputs), q_function, ALPHA)
        cost.mean().backward()

    return call


def network() -> nn.Module:
    layers = [nn.Linear(17 + SIZE, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(256, 1)).requires_grad_(False)


if __name__ == "__main__":
    main()
