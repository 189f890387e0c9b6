"""TensorDict modules for mixture policies."""

from torchrl_mixture.modules.actor import Base, mixture_actor, with_rule
from torchrl_mixture.modules.component_critic import ComponentCritic
from torchrl_mixture.modules.discriminator import Discriminator
from torchrl_mixture.modules.extractor import MixtureParamExtractor, spread_locations
from torchrl_mixture.modules.gate import Acting, GatedPolicy
from torchrl_mixture.modules.greedy import GreedyComponent
from torchrl_mixture.modules.latent import SeparateMLP, latent_actor, latent_critic
from torchrl_mixture.modules.latent_policy import LatentPolicy
from torchrl_mixture.modules.means import MeanActors
from torchrl_mixture.modules.prior import PriorNetwork
from torchrl_mixture.modules.selector import ComponentSelector, Hold
from torchrl_mixture.modules.specs import input_size

__all__ = [
    "Acting",
    "Base",
    "ComponentCritic",
    "ComponentSelector",
    "Discriminator",
    "GatedPolicy",
    "GreedyComponent",
    "Hold",
    "LatentPolicy",
    "MeanActors",
    "MixtureParamExtractor",
    "PriorNetwork",
    "SeparateMLP",
    "input_size",
    "latent_actor",
    "latent_critic",
    "mixture_actor",
    "spread_locations",
    "with_rule",
]
