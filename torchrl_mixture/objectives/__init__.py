"""Losses for mixture policies, in TorchRL's conventions."""

from torchrl_mixture.objectives.awmp import AWMPLoss, PriorAction
from torchrl_mixture.objectives.awmp_prior import AWMPPriorLoss, Perturbation
from torchrl_mixture.objectives.discriminator import DiscriminatorLoss
from torchrl_mixture.objectives.estimators import (
    EstimatorName,
    GradientEstimator,
    GumbelSoftmax,
    HalfReparam,
    Implicit,
    Likelihood,
    Marginal,
    QFunction,
)
from torchrl_mixture.objectives.gamid import GamidLoss
from torchrl_mixture.objectives.mede import Diversity, MEDELoss
from torchrl_mixture.objectives.sac import MixtureSACLoss
from torchrl_mixture.objectives.sacm import ActorEntropy, SACMLoss, Variant
from torchrl_mixture.objectives.targets import PartwiseSoftUpdate

__all__ = [
    "AWMPLoss",
    "AWMPPriorLoss",
    "ActorEntropy",
    "DiscriminatorLoss",
    "Diversity",
    "EstimatorName",
    "GamidLoss",
    "GradientEstimator",
    "GumbelSoftmax",
    "HalfReparam",
    "Implicit",
    "Likelihood",
    "MEDELoss",
    "Marginal",
    "MixtureSACLoss",
    "PartwiseSoftUpdate",
    "Perturbation",
    "PriorAction",
    "QFunction",
    "SACMLoss",
    "Variant",
]
