"""How a mixture or a latent policy is rolled out."""

from torchrl_mixture.collectors.builders import LatentCollector, MixtureCollector
from torchrl_mixture.collectors.latent import LatentPrimer
from torchrl_mixture.modules import ComponentSelector

__all__ = ["ComponentSelector", "LatentCollector", "LatentPrimer", "MixtureCollector"]
