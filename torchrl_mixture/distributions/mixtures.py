"""The four mixtures: normal or Cauchy components, on the line or squashed into a box."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.distributions import constraints

from torchrl_mixture import functional as F
from torchrl_mixture.distributions.component_mixture import ComponentMixture
from torchrl_mixture.distributions.mixture_density import DeterministicRule
from torchrl_mixture.functional import Squashing

__all__ = ["ArctanCauchyMixture", "CauchyMixture", "NormalMixture", "TanhNormalMixture"]


class NormalMixture(ComponentMixture):
    r"""A mixture of normal components.

    .. math::
        p(x) = \sum_k w_k\, \mathcal N\left(x;\, \mu_k, \operatorname{diag}(\sigma_k^2)\right)

    Arguments:
        logits: unnormalised log-weights, ``[*B, K]``.
        loc: means :math:`\mu`, ``[*B, K, A]``.
        scale: standard deviations :math:`\sigma`, ``[*B, K, A]``, positive.
        deterministic: ``"heaviest"`` or ``"densest"``, see :class:`ComponentMixture`.

    Raises:
        ValueError: where shapes do not agree or the rule is unknown.

    Example:
        >>> loc = torch.tensor([[-1.0], [1.0]])
        >>> mixture = NormalMixture(torch.tensor([0.0, 0.0]), loc, 0.5 * torch.ones(2, 1))
        >>> mixture.mean
        tensor([0.])
        >>> mixture.sample((3,)).shape
        torch.Size([3, 1])
    """

    family = F.NORMAL

    def _noise(self, shape: torch.Size) -> Tensor:
        return torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)

    def _component_mean(self) -> Tensor:
        return self.loc

    def _divergence(self, distance: Literal["kl", "bhattacharyya"]) -> Tensor:
        if distance == "kl":
            return F.normal_kl(self.loc, self.scale)
        if distance == "bhattacharyya":
            return F.normal_bhattacharyya(self.loc, self.scale)
        raise ValueError(f"distance must be 'kl' or 'bhattacharyya', got {distance!r}.")

    @property
    def support(self) -> constraints.Constraint:
        """All of the space."""
        return constraints.real_vector


class CauchyMixture(ComponentMixture):
    r"""A mixture of Cauchy components, whose tails reach far: it has no mean.

    .. math::
        p(x) = \sum_k w_k \prod_d
            \frac{1}{\pi\sigma_{kd}\left(1 + ((x_d - \mu_{kd}) / \sigma_{kd})^2\right)}

    Arguments:
        logits: unnormalised log-weights, ``[*B, K]``.
        loc: locations :math:`\mu`, ``[*B, K, A]``.
        scale: scales :math:`\sigma`, ``[*B, K, A]``, positive.
        deterministic: ``"heaviest"`` or ``"densest"``, see :class:`ComponentMixture`.

    Raises:
        ValueError: where shapes do not agree or the rule is unknown.

    Example:
        >>> mixture = CauchyMixture(torch.zeros(1), torch.zeros(1, 1), torch.ones(1, 1))
        >>> mixture.log_prob(torch.zeros(1)).exp()  # 1 / pi
        tensor(0.3183)
    """

    family = F.CAUCHY

    def _noise(self, shape: torch.Size) -> Tensor:
        uniform = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        return torch.tan((uniform - 0.5) * math.pi)

    def _component_mean(self) -> Tensor:
        return torch.full_like(self.loc, torch.nan)

    def _divergence(self, distance: Literal["kl", "bhattacharyya"]) -> Tensor:
        if distance == "kl":
            return F.cauchy_kl(self.loc, self.scale)
        raise ValueError(f"distance between Cauchy components must be 'kl', got {distance!r}.")

    @property
    def support(self) -> constraints.Constraint:
        """All of the space."""
        return constraints.real_vector


class _Squashed(ComponentMixture):
    """The squashing ``low + (high - low) * (1 + g(x)) / 2`` around a mixture on the line."""

    squashing: ClassVar[Squashing]

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        scale: Tensor,
        low: float | Tensor = -1.0,
        high: float | Tensor = 1.0,
        *,
        deterministic: DeterministicRule = "heaviest",
    ) -> None:
        super().__init__(logits, loc, scale, deterministic=deterministic)
        if not (isinstance(low, int | float) and isinstance(high, int | float)):
            low, high = self._edge("low", low), self._edge("high", high)
        self.low, self.high = low, high
        self._half_width = 0.5 * (self.high - self.low)
        self._center = 0.5 * (self.high + self.low)
        # One comparison a construction, as in TorchRL's TanhNormal; a tracer cannot take it.
        if not torch.compiler.is_compiling() and not _is_width(self._half_width):
            raise ValueError(
                f"low must be below high and both finite, got low {low} and high {high}."
            )

    def _edge(self, name: str, edge: float | Tensor) -> Tensor:
        edge = torch.as_tensor(edge, dtype=self.loc.dtype, device=self.loc.device)
        if edge.ndim and edge.shape != self.event_shape:
            raise ValueError(
                f"{name} must be a number or have the event shape {tuple(self.event_shape)}, "
                f"got {tuple(edge.shape)}."
            )
        return edge

    def _settings(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, **super()._settings()}

    def _squash(self, x: Tensor) -> Tensor:
        # Clamped because center + half_width may round to beyond an edge.
        value = self._center + self._half_width * self.squashing.forward(x)
        return value.clamp(self.low, self.high)  # type: ignore[arg-type]  # both of one kind

    def _unsquash(self, value: Tensor) -> Tensor:
        return self.squashing.inverse((value - self._center) / self._half_width)

    def _log_half_volume(self) -> Tensor | float:
        if isinstance(self._half_width, Tensor):
            return self._half_width.log().expand(self.event_shape).sum()
        return self.event_shape[0] * math.log(self._half_width)

    def _log_slope(self, x: Tensor) -> Tensor:
        return self.squashing.log_slope(x).sum(-1) + self._log_half_volume()

    def _slope_inside(self, x: Tensor) -> Tensor:
        inside = self.squashing.inverse(self.squashing.forward(x))
        return self._half_width * self.squashing.log_slope(inside).exp()

    def cdf(self, value: Tensor) -> Tensor:
        inside = super().cdf(value)
        value = value.squeeze(-1)
        return torch.where(value >= self.high, 1.0, torch.where(value <= self.low, 0.0, inside))

    @property
    def support(self) -> constraints.Constraint:
        """The box."""
        return constraints.independent(constraints.interval(self.low, self.high), 1)


def _is_width(width: float | Tensor) -> bool:
    valid = (width > 0) & (width < math.inf)
    return bool(valid.all()) if isinstance(valid, Tensor) else valid


class TanhNormalMixture(_Squashed, NormalMixture):
    r"""A mixture of normal components squashed into a box by a tanh: the policy of SAC, in modes.

    .. math::
        a = \frac{\text{high} + \text{low}}{2} + \frac{\text{high} - \text{low}}{2} \tanh x,
        \qquad x \sim \sum_k w_k\, \mathcal N\left(\mu_k, \operatorname{diag}(\sigma_k^2)\right)

    A draw and its score come from the same :math:`x`, so that the score stays exact where the
    tanh rounds to an edge. A stored action is scored through the inverse, exactly for values more
    than 1e-6 of the half-width inside the box; nearer, as if it lay there. With one component it
    draws and scores what TorchRL's ``TanhNormal`` does from the same seed, but for draws within
    1e-6 of an edge, which that one holds off it.

    Arguments:
        logits: unnormalised log-weights, ``[*B, K]``.
        loc: means :math:`\mu` before squashing, ``[*B, K, A]``.
        scale: standard deviations :math:`\sigma` before squashing, ``[*B, K, A]``, positive.
        low: lower edge of the box, a number or ``[A]``, in the action's unit.
        high: upper edge of the box, a number or ``[A]``.
        deterministic: ``"heaviest"`` or ``"densest"``, see :class:`ComponentMixture`.

    Raises:
        ValueError: where shapes do not agree, the box is empty or the rule is unknown.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), equation 7,
        with the Jacobian of the tanh that it omits.

    Example:
        >>> loc = torch.tensor([[-1.0], [1.0]])
        >>> policy = TanhNormalMixture(torch.tensor([0.0, 1.0]), loc, 0.1 * torch.ones(2, 1))
        >>> policy.deterministic_sample
        tensor([0.7616])
        >>> action, log_prob = policy.rsample_and_log_prob((4,))
        >>> action.shape, log_prob.shape
        (torch.Size([4, 1]), torch.Size([4]))
    """

    squashing = F.TANH

    def _component_mean(self) -> Tensor:
        mean = F.normal_expectation(F.TANH.forward, self.loc, self.scale)
        return self._center + self._half_width * mean

    def _expected_log_slope(self) -> Tensor:
        per_dimension = F.normal_expectation(F.TANH.log_slope, self.loc, self.scale)
        return per_dimension.sum(-1) + self._log_half_volume()


class ArctanCauchyMixture(_Squashed, CauchyMixture):
    r"""A mixture of Cauchy components squashed into a box by an arctangent.

    .. math::
        a = \frac{\text{high} + \text{low}}{2} + \frac{\text{high} - \text{low}}{\pi} \arctan x,
        \qquad x \sim \sum_k w_k\, \text{Cauchy}(\mu_k, \sigma_k)

    A standard component is uniform on the box. (With a tanh the entropy would be minus infinity.)

    Arguments:
        logits: unnormalised log-weights, ``[*B, K]``.
        loc: locations :math:`\mu` before squashing, ``[*B, K, A]``.
        scale: scales :math:`\sigma` before squashing, ``[*B, K, A]``, positive.
        low: lower edge of the box, a number or ``[A]``, in the action's unit.
        high: upper edge of the box, a number or ``[A]``.
        deterministic: ``"heaviest"`` or ``"densest"``, see :class:`ComponentMixture`.

    Raises:
        ValueError: where shapes do not agree, the box is empty or the rule is unknown.

    Example:
        >>> uniform = ArctanCauchyMixture(torch.zeros(1), torch.zeros(1, 1), torch.ones(1, 1))
        >>> uniform.log_prob(torch.tensor([[-0.9], [0.0], [0.5]])).exp()
        tensor([0.5000, 0.5000, 0.5000])
    """

    squashing = F.ARCTAN

    def _component_mean(self) -> Tensor:
        # log(1 - ix) is analytic above the real line: its mean is its value at mu + i sigma.
        angle = torch.atan2(self.loc, 1 + self.scale)
        return self._center + self._half_width * (2 / math.pi) * angle

    def _expected_log_slope(self) -> Tensor:
        spread = (1 + self.scale).square() + self.loc.square()
        per_dimension = math.log(2 / math.pi) - spread.log()
        return per_dimension.sum(-1) + self._log_half_volume()
