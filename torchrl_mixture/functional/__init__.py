"""The mathematics of mixture policies, as pure functions on tensors.

Shape letters: ``*B`` batch, ``K`` components, ``A`` action size, ``S`` samples.
"""

from torchrl_mixture.functional.diagnostics import (
    component_information,
    effective_components,
    mean_pairwise_distance,
)
from torchrl_mixture.functional.divergence import component_divergence
from torchrl_mixture.functional.entropy import (
    cauchy_kl,
    conditional_entropy,
    normal_bhattacharyya,
    normal_kl,
    pairwise_entropy,
    weight_entropy,
)
from torchrl_mixture.functional.entropy_estimates import (
    complementary_distance,
    stratified_entropy,
    two_sample_entropy,
)
from torchrl_mixture.functional.families import CAUCHY, NORMAL, Family
from torchrl_mixture.functional.gate import gate_log_prob, gated_value, soft_option_values
from torchrl_mixture.functional.implicit import implicit_reparameterization
from torchrl_mixture.functional.information import (
    advantage_weights,
    effective_sample_size,
    perturbation_divergence,
    weighted_information,
)
from torchrl_mixture.functional.latent import latent_accuracy, latent_log_prob
from torchrl_mixture.functional.mixture import (
    choose_component,
    component_log_prob,
    mixture_cdf,
    mixture_log_prob,
    responsibilities,
    take_component,
)
from torchrl_mixture.functional.quadrature import normal_expectation
from torchrl_mixture.functional.squashing import ARCTAN, TANH, Squashing
from torchrl_mixture.functional.surrogates import score_function, straight_through_gumbel

__all__ = [
    "ARCTAN",
    "CAUCHY",
    "NORMAL",
    "TANH",
    "Family",
    "Squashing",
    "advantage_weights",
    "cauchy_kl",
    "choose_component",
    "complementary_distance",
    "component_divergence",
    "component_information",
    "component_log_prob",
    "conditional_entropy",
    "effective_components",
    "effective_sample_size",
    "gate_log_prob",
    "gated_value",
    "implicit_reparameterization",
    "latent_accuracy",
    "latent_log_prob",
    "mean_pairwise_distance",
    "mixture_cdf",
    "mixture_log_prob",
    "normal_bhattacharyya",
    "normal_expectation",
    "normal_kl",
    "pairwise_entropy",
    "perturbation_divergence",
    "responsibilities",
    "score_function",
    "soft_option_values",
    "straight_through_gumbel",
    "stratified_entropy",
    "take_component",
    "two_sample_entropy",
    "weight_entropy",
    "weighted_information",
]
