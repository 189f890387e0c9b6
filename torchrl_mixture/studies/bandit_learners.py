"""Learners of the continuous bandit, all seeds as one batch of tensors.

"Lightweight" learners, without a critic and without a buffer: each update takes the true reward
of actions of its own. A further learner is one more subclass of :class:`BanditLearner`.

Source:
    Dey and Sharon (2025), figure 1, with the settings of Huang et al. (2023), "Reparameterized
    Policy Learning for Multimodal Trajectory Optimization", by the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torchrl_mixture.studies.bandit_awmp_learner import AWMPLearner
from torchrl_mixture.studies.bandit_base_learners import (
    BanditLearner,
    DeterministicLearner,
    SACLearner,
)
from torchrl_mixture.studies.bandit_mixture_learners import (
    GamidLearner,
    MEDELearner,
    SACMLearner,
)
from torchrl_mixture.studies.shared_baseline import SharedHalfReparam, SharedLikelihood

__all__ = [
    "LEARNERS",
    "AWMPLearner",
    "BanditLearner",
    "DeterministicLearner",
    "GamidLearner",
    "MEDELearner",
    "SACLearner",
    "SACMLearner",
]

# Each from a number of seeds. The first is close to the released code's REINFORCE, whose baseline
# is the minibatch's mean reward. "Mixture SAC" learns its weights and has the entropy of the whole
# mixture; SACM's weights are fixed. All components begin close together. The divergence as printed
# is that of unit variance without its factor 1/2. DIAYN is not among them: without states its
# discriminator is p(z), and pays all actions alike.
LEARNERS: dict[str, Callable[[int], BanditLearner]] = {
    "SAC": lambda num_seeds: SACLearner(num_seeds, 1, SharedLikelihood(256)),
    "SAC, reparameterised": lambda num_seeds: SACLearner(num_seeds, 1, SharedHalfReparam()),
    "TD3/DDPG": DeterministicLearner,
    "Mixture SAC": lambda num_seeds: SACLearner(num_seeds, 5, SharedLikelihood(256)),
    "Mixture SAC, half": lambda num_seeds: SACLearner(num_seeds, 5, SharedHalfReparam(256)),
    "Gamid": GamidLearner,
    "Gamid, as printed": lambda num_seeds: GamidLearner(num_seeds, variance=0.5),
    "MEDE": MEDELearner,
    "SACM": SACMLearner,
    "SACM, mixture entropy": partial(SACMLearner, actor_entropy="mixture"),
    "SAC-AWMP": AWMPLearner,
    "SAC-AWMP, sampled": partial(AWMPLearner, prior_action="sampled"),
}
