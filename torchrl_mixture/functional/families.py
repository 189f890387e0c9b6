"""The location-scale families that components are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["CAUCHY", "NORMAL", "Family"]


class Family(NamedTuple):
    r"""A symmetric density on the line, standardised: location 0 and scale 1.

    A component of the mixture has the density
    :math:`\prod_d \exp(\ell(z_d)) / \sigma_d` with :math:`z_d = (x_d - \mu_d) / \sigma_d`.

    Arguments:
        log_density: :math:`\ell(z)`, the log-density.
        score: :math:`\ell'(z)`, its derivative.
        tail: :math:`P(Z > |z|)`, accurate far out, where one minus the CDF is not.
        entropy: the differential entropy at scale 1, in nats.

    Example:
        >>> float(NORMAL.tail(torch.tensor(0.0)))
        0.5
    """

    log_density: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor]
    tail: Callable[[Tensor], Tensor]
    entropy: float


def _normal_log_density(z: Tensor) -> Tensor:
    return -0.5 * (z.square() + math.log(2 * math.pi))


def _normal_score(z: Tensor) -> Tensor:
    return -z


def _normal_tail(z: Tensor) -> Tensor:
    return 0.5 * torch.special.erfc(z.abs() * math.sqrt(0.5))


def _cauchy_log_density(z: Tensor) -> Tensor:
    return -torch.log1p(z.square()) - math.log(math.pi)


def _cauchy_score(z: Tensor) -> Tensor:
    return -2 * z / (1 + z.square())


def _cauchy_tail(z: Tensor) -> Tensor:
    return torch.atan2(torch.ones_like(z), z.abs()) / math.pi


NORMAL = Family(
    log_density=_normal_log_density,
    score=_normal_score,
    tail=_normal_tail,
    entropy=0.5 * math.log(2 * math.pi * math.e),
)
"""The normal distribution."""

CAUCHY = Family(
    log_density=_cauchy_log_density,
    score=_cauchy_score,
    tail=_cauchy_tail,
    entropy=math.log(4 * math.pi),
)
"""The Cauchy distribution: no mean, no variance, tails that reach everywhere."""
