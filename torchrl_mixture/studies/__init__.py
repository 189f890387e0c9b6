"""What the papers compute and train on bandits.

The recipe ``bandits`` runs all of it and draws the figures.
"""

from torchrl_mixture.studies.bandit_figures import (
    plot_alphas,
    plot_best_settings,
    plot_densities,
    plot_every_bandit,
    plot_examples,
)
from torchrl_mixture.studies.bandit_learners import (
    LEARNERS,
    BanditLearner,
    DeterministicLearner,
    GamidLearner,
    SACLearner,
)
from torchrl_mixture.studies.bimodal import (
    draw_starts,
    find_stationary_point,
    optimal_points,
    parameters,
    stationary_points,
)
from torchrl_mixture.studies.bimodal_figures import plot_optimal_policies, plot_stationary_points
from torchrl_mixture.studies.bimodal_objective import (
    entropy,
    expected_reward,
    log_density,
    num_modes,
    objective,
)
from torchrl_mixture.studies.continuous_bandit import MOMENTS, BanditResult, train_learner
from torchrl_mixture.studies.random_bandit_results import (
    SweepResult,
    gains,
    load_results,
    save_results,
)
from torchrl_mixture.studies.random_bandits import (
    METHODS,
    Method,
    SweepSettings,
    train_method,
    train_methods,
)

__all__ = [
    "LEARNERS",
    "METHODS",
    "MOMENTS",
    "BanditLearner",
    "BanditResult",
    "DeterministicLearner",
    "GamidLearner",
    "Method",
    "SACLearner",
    "SweepResult",
    "SweepSettings",
    "draw_starts",
    "entropy",
    "expected_reward",
    "find_stationary_point",
    "gains",
    "load_results",
    "log_density",
    "num_modes",
    "objective",
    "optimal_points",
    "parameters",
    "plot_alphas",
    "plot_best_settings",
    "plot_densities",
    "plot_every_bandit",
    "plot_examples",
    "plot_optimal_policies",
    "plot_stationary_points",
    "save_results",
    "stationary_points",
    "train_learner",
    "train_method",
    "train_methods",
]
