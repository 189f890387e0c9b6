"""Mixture distributions that can be reparameterised."""

from torchrl_mixture.distributions.component_mixture import ComponentMixture
from torchrl_mixture.distributions.mixture_density import DeterministicRule, MixtureDensity
from torchrl_mixture.distributions.mixtures import (
    ArctanCauchyMixture,
    CauchyMixture,
    NormalMixture,
    TanhNormalMixture,
)

__all__ = [
    "ArctanCauchyMixture",
    "CauchyMixture",
    "ComponentMixture",
    "DeterministicRule",
    "MixtureDensity",
    "NormalMixture",
    "TanhNormalMixture",
]
