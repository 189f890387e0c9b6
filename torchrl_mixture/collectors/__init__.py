"""How mixture, gated and latent policies are rolled out."""

from torchrl_mixture.collectors.builders import (
    GatedCollector,
    LatentCollector,
    MixtureCollector,
)
from torchrl_mixture.collectors.latent import LatentPrimer
from torchrl_mixture.modules import ComponentSelector

__all__ = [
    "ComponentSelector",
    "GatedCollector",
    "LatentCollector",
    "LatentPrimer",
    "MixtureCollector",
]
