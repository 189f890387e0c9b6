"""TensorDict modules for mixture policies."""

from torchrl_mixture.modules.actor import Base, mixture_actor
from torchrl_mixture.modules.extractor import MixtureParamExtractor, spread_locations

__all__ = ["Base", "MixtureParamExtractor", "mixture_actor", "spread_locations"]
