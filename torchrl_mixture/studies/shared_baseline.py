r"""Gradient estimators for a minibatch of draws from one policy.

The policy is ``[S, R]``, an expanded view of one ``[R]``: ``S`` draws for each of ``R`` replicas.

A likelihood ratio's baseline may be any number that does not depend on the draw. Of ``S`` draws
with scores :math:`g_i`, mean zero and independent of each other and of the baseline :math:`b`,

.. math::
    \operatorname{Cov}(b\, g_i, b\, g_j) = \mathbb E[b^2]\, \mathbb E[g_i]\, \mathbb E[g_j] = 0
    \qquad (i \ne j)

so that one baseline for all of them gives the mean and the variance that ``S`` baselines of as
many draws each would give.
"""

from __future__ import annotations

import torch
from torch import Tensor

from torchrl_mixture.distributions import ComponentMixture, TanhNormalMixture
from torchrl_mixture.objectives.estimators import HalfReparam, Likelihood, Marginal, QFunction

__all__ = ["ReplicatedMarginal", "SharedHalfReparam", "SharedLikelihood"]


@torch.no_grad()
def _shared_baseline(
    self: HalfReparam | Likelihood, policy: TanhNormalMixture, q_function: QFunction, alpha: Tensor
) -> Tensor:
    """Mean cost of draws that serve the whole minibatch, ``[R]``."""
    logits, loc, scale = (each[0] for each in (policy.logits, policy.loc, policy.scale))
    one_state = TanhNormalMixture(logits, loc, scale, low=policy.low, high=policy.high)
    action, log_prob = one_state.sample_and_log_prob((self.num_baseline_samples,))
    return (alpha * log_prob - q_function(action)).mean(0)


class SharedHalfReparam(HalfReparam):
    """Half-reparameterisation whose baseline serves the whole minibatch.

    Arguments are those of :class:`~torchrl_mixture.objectives.HalfReparam`, but that the
    temperature may be ``[R]``.
    """

    _baseline = _shared_baseline  # type: ignore[assignment]


class SharedLikelihood(Likelihood):
    """Likelihood ratio whose baseline serves the whole minibatch.

    Arguments are those of :class:`~torchrl_mixture.objectives.Likelihood`, but that the
    temperature may be ``[R]``.
    """

    _baseline = _shared_baseline  # type: ignore[assignment]


class ReplicatedMarginal(Marginal):
    """The marginal estimator for temperatures ``[R]``, one a replica."""

    def forward(
        self, policy: ComponentMixture, q_function: QFunction, alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        return super().forward(policy, q_function, alpha.unsqueeze(-1))  # over components
