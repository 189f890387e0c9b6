"""What the papers compute and train on bandits, and what trained policies do.

The recipe ``bandits`` runs the former and draws its figures; ``goals`` tells where policies go in
the plane, ``split`` how components divide the states.
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
    AWMPLearner,
    BanditLearner,
    DeterministicLearner,
    GamidLearner,
    MEDELearner,
    SACLearner,
    SACMLearner,
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
from torchrl_mixture.studies.component_split import (
    Split,
    describe_split,
    play_split,
    plot_split,
)
from torchrl_mixture.studies.continuous_bandit import MOMENTS, BanditResult, train_learner
from torchrl_mixture.studies.mixture_entropy import compare_entropies, integrated_entropy
from torchrl_mixture.studies.mixture_entropy_figures import plot_entropies
from torchrl_mixture.studies.multi_goal import (
    CONTOUR_STATES,
    Paths,
    action_grid,
    action_values,
    distinct_goals,
    frequent_goals,
    goal_counts,
    goal_of_policy,
    play_paths,
)
from torchrl_mixture.studies.multi_goal_figures import PathPanel, plot_multi_goal
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
    "CONTOUR_STATES",
    "LEARNERS",
    "METHODS",
    "MOMENTS",
    "AWMPLearner",
    "BanditLearner",
    "BanditResult",
    "DeterministicLearner",
    "GamidLearner",
    "MEDELearner",
    "Method",
    "PathPanel",
    "Paths",
    "SACLearner",
    "SACMLearner",
    "Split",
    "SweepResult",
    "SweepSettings",
    "action_grid",
    "action_values",
    "compare_entropies",
    "describe_split",
    "distinct_goals",
    "draw_starts",
    "entropy",
    "expected_reward",
    "find_stationary_point",
    "frequent_goals",
    "gains",
    "goal_counts",
    "goal_of_policy",
    "integrated_entropy",
    "load_results",
    "log_density",
    "num_modes",
    "objective",
    "optimal_points",
    "parameters",
    "play_paths",
    "play_split",
    "plot_alphas",
    "plot_best_settings",
    "plot_densities",
    "plot_entropies",
    "plot_every_bandit",
    "plot_examples",
    "plot_multi_goal",
    "plot_optimal_policies",
    "plot_split",
    "plot_stationary_points",
    "save_results",
    "stationary_points",
    "train_learner",
    "train_method",
    "train_methods",
]
