r"""How the gradient of SAC's actor objective is estimated for a mixture.

All estimate the gradient of the expected cost

.. math::
    \mathbb E_{a \sim \pi(\cdot \mid s)}\left[c(a)\right], \qquad
    c(a) = \alpha \log \pi(a \mid s) - Q(s, a).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from torchrl_mixture import functional as F
from torchrl_mixture.distributions import ComponentMixture

__all__ = [
    "EstimatorName",
    "GradientEstimator",
    "GumbelSoftmax",
    "HalfReparam",
    "Implicit",
    "Likelihood",
    "Marginal",
    "QFunction",
    "make_gradient_estimator",
]

QFunction = Callable[[Tensor], Tensor]
"""From actions ``[*S, *B, A]`` to the least of the critics' values, ``[*S, *B]``."""

EstimatorName = Literal["half", "gumbel", "likelihood", "marginal", "implicit"]


class GradientEstimator(nn.Module, ABC):
    r"""What a gradient estimator does: draw actions, and give a cost to differentiate.

    To bring one of your own, implement :meth:`forward`.

    Example:
        >>> class Implicit(GradientEstimator):
        ...     def forward(self, policy, q_function, alpha):
        ...         action, log_prob = policy.rsample_and_log_prob()
        ...         return alpha * log_prob - q_function(action), log_prob
    """

    @abstractmethod
    def forward(
        self, policy: ComponentMixture, q_function: QFunction, alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""Estimate the cost of the policy in each state.

        Arguments:
            policy: the mixture :math:`\pi(\cdot \mid s)`, batch ``[*B]``.
            q_function: :math:`Q(s, \cdot)`.
            alpha: the temperature :math:`\alpha`, a scalar.

        Returns:
            The cost ``[*B]``, whose value is a sample of :math:`c` and whose gradient is the
            estimate; and :math:`\log \pi` of the draw ``[*B]``, for the temperature.
        """


class _BaselineEstimator(GradientEstimator):
    """What the estimators with a score function share: a baseline of fresh draws."""

    def __init__(self, num_baseline_samples: int = 1) -> None:
        super().__init__()
        if not isinstance(num_baseline_samples, int) or num_baseline_samples < 0:
            raise ValueError(
                f"num_baseline_samples must be an integer >= 0, got {num_baseline_samples}."
            )
        # Not a buffer: it is a shape, which a tensor could not be under compilation.
        self.num_baseline_samples = num_baseline_samples

    def extra_repr(self) -> str:
        return f"num_baseline_samples={self.num_baseline_samples}"

    @torch.no_grad()
    def _baseline(
        self, policy: ComponentMixture, q_function: QFunction, alpha: Tensor
    ) -> Tensor | float:
        """Mean cost of fresh draws: independent of the draw it is taken from, hence no bias."""
        if self.num_baseline_samples == 0:
            return 0.0
        action, log_prob = policy.sample_and_log_prob((self.num_baseline_samples,))
        return (alpha * log_prob - q_function(action)).mean(0)


class HalfReparam(_BaselineEstimator):
    r"""Reparameterise within the component; likelihood ratio for its choice. Unbiased.

    .. math::
        \hat\nabla = \nabla\log w_k\, \left(c(a_k) - b\right) + \nabla c(a_k), \qquad
        k \sim w, \quad a_k = f(\epsilon;\, \mu_k, \sigma_k)

    The baseline :math:`b` is the mean cost of fresh draws, entropy included; the paper's is the
    mean :math:`-Q` of thirty.

    Arguments:
        num_baseline_samples: draws for the baseline; 0 for none.

    Raises:
        ValueError: where it is negative or no integer.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), equation 9,
        whose minus between the terms should be a plus (proposition 4.5 has it right).

    Example:
        >>> from torchrl_mixture.distributions import NormalMixture
        >>> policy = NormalMixture(torch.zeros(4, 2), torch.zeros(4, 2, 1), torch.ones(4, 2, 1))
        >>> q_function = lambda action: -action.square().sum(-1)
        >>> cost, log_prob = HalfReparam()(policy, q_function, torch.tensor(0.1))
        >>> cost.shape
        torch.Size([4])
    """

    def forward(
        self, policy: ComponentMixture, q_function: QFunction, alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        component, action, log_prob = policy.rsample_component_and_log_prob()
        cost = alpha * log_prob - q_function(action)
        if policy.num_components == 1:
            return cost, log_prob
        log_weight = policy.log_weights.gather(-1, component.unsqueeze(-1)).squeeze(-1)
        baseline = self._baseline(policy, q_function, alpha)
        return cost + F.score_function(log_weight, cost - baseline), log_prob


class GumbelSoftmax(GradientEstimator):
    r"""Reparameterise the choice too, by a straight-through Gumbel-softmax. Biased.

    .. math::
        \hat\nabla = \nabla c(a), \qquad a = \sum_k z_k\, f(\epsilon_k;\, \mu_k, \sigma_k)

    Every component has noise of its own. :math:`\log\pi(a)` is taken at the preimage of the
    squashing.

    .. warning::
        The gradient to the weights is biased at every temperature, that to locations and scales
        is not. As :math:`\tau \to 0` its variance grows as :math:`1/\tau` and its mean tends to
        :math:`w_1 w_2 \mathbb E[(a_1 - a_2)(c'(a_1) + c'(a_2))/2]`, the trapezium rule for
        :math:`w_1 w_2 \mathbb E[c(a_1) - c(a_2)]`, which is exact for quadratic costs alone. With
        squashed components near the edges of the box the variance is large, since
        :math:`\partial\log\pi/\partial a` is.

    Arguments:
        temperature: :math:`\tau`, positive; a buffer, so that it can be scheduled.

    Raises:
        ValueError: where the temperature is not positive and finite.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), equations
        10 and 11, with the temperature inside the exponential.

    Example:
        >>> estimator = GumbelSoftmax(temperature=0.5)
        >>> _ = estimator.temperature.fill_(0.3)
    """

    temperature: Tensor

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not 0 < temperature < torch.inf:
            raise ValueError(f"temperature must be positive and finite, got {temperature}.")
        self.register_buffer("temperature", torch.tensor(float(temperature)))

    def extra_repr(self) -> str:
        return f"temperature={self.temperature.item():.4g}"

    def forward(
        self, policy: ComponentMixture, q_function: QFunction, alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        action, log_prob = policy.rsample_relaxed_and_log_prob(self.temperature)
        return alpha * log_prob - q_function(action), log_prob


class Likelihood(_BaselineEstimator):
    r"""Likelihood ratio for all of the policy; nothing is reparameterised. Unbiased, noisy.

    .. math::
        \hat\nabla = \nabla\log\pi(a)\, \left(c(a) - b\right), \qquad a \sim \pi

    It needs no gradient of the critic.

    Arguments:
        num_baseline_samples: draws for the baseline, as in :class:`HalfReparam`; 0 for none.

    Raises:
        ValueError: where it is negative or no integer.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), equation 4.

    Example:
        >>> Likelihood(num_baseline_samples=30).num_baseline_samples
        30
    """

    def forward(
        self, policy: ComponentMixture, q_function: QFunction, alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        action, log_prob = policy.sample_and_log_prob()
        with torch.no_grad():
            cost = alpha * log_prob - q_function(action)
        baseline = self._baseline(policy, q_function, alpha)
        return cost + F.score_function(log_prob, cost - baseline), log_prob


class Marginal(GradientEstimator):
    r"""One reparameterised draw of every component, weighted. Unbiased, no noise from choosing.

    .. math::
        \hat\nabla = \nabla \sum_k w_k\, c(a_k), \qquad a_k = f(\epsilon_k;\, \mu_k, \sigma_k)

    It asks the critic for :math:`K` values a state.

    Source:
        Rao-Blackwellisation of the half-reparameterisation above over the choice of a component:
        the sum over :math:`k` in proposition 4.5 is worked out.

    Example:
        >>> from torchrl_mixture.distributions import NormalMixture
        >>> policy = NormalMixture(torch.zeros(4, 2), torch.zeros(4, 2, 1), torch.ones(4, 2, 1))
        >>> cost, log_prob = Marginal()(policy, lambda a: a.sum(-1), torch.tensor(0.1))
        >>> log_prob.shape
        torch.Size([4])
    """

    def forward(
        self, policy: ComponentMixture, q_function: QFunction, alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        actions, log_prob, _ = policy.rsample_components_and_log_prob()
        q = q_function(actions.movedim(-2, 0)).movedim(0, -1)
        weights = policy.weights
        cost = (weights * (alpha * log_prob - q)).sum(-1)
        return cost, (weights * log_prob).sum(-1)


class Implicit(GradientEstimator):
    r"""Implicit reparameterisation of the whole mixture. Unbiased, one critic call.

    .. math::
        \hat\nabla = \nabla c(a), \qquad
        \frac{\mathrm d a}{\mathrm d \theta} = -J^{-1} \frac{\partial F}{\partial\theta}

    What a stock ``SACLoss`` does with this library's distributions. Its variance grows with the
    distance between components, see
    :func:`~torchrl_mixture.functional.implicit_reparameterization`.

    Source:
        Figurnov et al. (2018), arXiv:1805.08498, equation 6.

    Example:
        >>> Implicit()
        Implicit()
    """

    def forward(
        self, policy: ComponentMixture, q_function: QFunction, alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        action, log_prob = policy.rsample_and_log_prob()
        return alpha * log_prob - q_function(action), log_prob


_ESTIMATORS: dict[str, type[GradientEstimator]] = {
    "half": HalfReparam,
    "gumbel": GumbelSoftmax,
    "likelihood": Likelihood,
    "marginal": Marginal,
    "implicit": Implicit,
}


def make_gradient_estimator(estimator: EstimatorName | GradientEstimator) -> GradientEstimator:
    """An estimator by its name, with its default settings, or as it is.

    Raises:
        ValueError: where the name is unknown.

    Example:
        >>> make_gradient_estimator("marginal")
        Marginal()
    """
    if isinstance(estimator, GradientEstimator):
        return estimator
    if not isinstance(estimator, str) or estimator not in _ESTIMATORS:
        raise ValueError(
            f"gradient_estimator must be one of {sorted(_ESTIMATORS)} or a GradientEstimator, "
            f"got {estimator!r}."
        )
    return _ESTIMATORS[estimator]()
