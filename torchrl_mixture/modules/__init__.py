"""TensorDict modules for mixture policies."""

from torchrl_mixture.modules.actor import Base, mixture_actor, with_rule
from torchrl_mixture.modules.extractor import MixtureParamExtractor, spread_locations
from torchrl_mixture.modules.greedy import GreedyComponent
from torchrl_mixture.modules.means import MeanActors
from torchrl_mixture.modules.selector import ComponentSelector, Hold
from torchrl_mixture.modules.specs import input_size

__all__ = [
    "Base",
    "ComponentSelector",
    "GreedyComponent",
    "Hold",
    "MeanActors",
    "MixtureParamExtractor",
    "input_size",
    "mixture_actor",
    "spread_locations",
    "with_rule",
]
