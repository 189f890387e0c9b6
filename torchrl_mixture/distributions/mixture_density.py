"""What can be said of a mixture without drawing from it: density, components, entropy bounds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from typing_extensions import Self

from torchrl_mixture import functional as F
from torchrl_mixture.functional import Family

__all__ = ["DeterministicRule", "MixtureDensity"]

SampleShape: TypeAlias = torch.Size | list[int] | tuple[int, ...]
DeterministicRule: TypeAlias = Literal["heaviest", "densest"]


class MixtureDensity(Distribution, ABC):
    """The half of :class:`ComponentMixture` that needs no randomness."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
    }
    family: ClassVar[Family]

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        scale: Tensor,
        *,
        deterministic: DeterministicRule = "heaviest",
    ) -> None:
        if loc.shape != scale.shape or logits.shape != loc.shape[:-1] or not logits.ndim:
            raise ValueError(
                "logits must be [*B, K], loc and scale [*B, K, A]; got logits "
                f"{tuple(logits.shape)}, loc {tuple(loc.shape)}, scale {tuple(scale.shape)}."
            )
        if deterministic not in ("heaviest", "densest"):
            raise ValueError(
                f"deterministic must be 'heaviest' or 'densest', got {deterministic!r}."
            )
        self.logits = logits
        self.loc = loc
        self.scale = scale
        self.deterministic = deterministic
        self.log_weights = torch.log_softmax(logits, -1)
        super().__init__(loc.shape[:-2], loc.shape[-1:], validate_args=False)

    # Squashing: none here.

    def _squash(self, x: Tensor) -> Tensor:
        return x

    def _unsquash(self, value: Tensor) -> Tensor:
        return value

    def _log_slope(self, x: Tensor) -> Tensor | float:
        """Logarithm of the squashing's volume change at ``x``, ``[*S, *B]``."""
        return 0.0

    def _slope_inside(self, x: Tensor) -> Tensor | float:
        """The squashing's slope at ``x``, or just inside the edge if ``x`` is nearer to it."""
        return 1.0

    @abstractmethod
    def _component_mean(self) -> Tensor:
        """Mean of each squashed component, ``[*B, K, A]``."""

    def _expected_log_slope(self) -> Tensor | float:
        """Mean of the log-slope under each component, ``[*B, K]``."""
        return 0.0

    def _divergence(self, distance: Literal["kl", "bhattacharyya"]) -> Tensor:
        """Divergences between components, ``[*B, K, K]``."""
        raise NotImplementedError

    # Parameters.

    @property
    def num_components(self) -> int:
        """:math:`K`."""
        return self.logits.shape[-1]

    @property
    def weights(self) -> Tensor:
        """:math:`w`, ``[*B, K]``."""
        return self.log_weights.exp()

    def _settings(self) -> dict[str, Any]:
        """Keyword arguments that make another distribution of the same kind."""
        return {"deterministic": self.deterministic}

    def expand(self, batch_shape: SampleShape, _instance: None = None) -> Self:
        """The same distribution over a larger batch, without copying."""
        shape = torch.Size(batch_shape)
        return type(self)(
            self.logits.expand(*shape, *self.logits.shape[-1:]),
            self.loc.expand(*shape, *self.loc.shape[-2:]),
            self.scale.expand(*shape, *self.scale.shape[-2:]),
            **self._settings(),
        )

    def component(self, index: int | Tensor) -> Self:
        """One component, squashed, as a mixture of one.

        Arguments:
            index: which, one for all or an int64 tensor ``[*B]``.
        """
        index = torch.as_tensor(index, device=self.loc.device).expand(self.batch_shape)
        loc = F.take_component(self.loc, index).unsqueeze(-2)
        scale = F.take_component(self.scale, index).unsqueeze(-2)
        return type(self)(torch.zeros_like(loc[..., 0]), loc, scale, **self._settings())

    def with_weights(self, logits: Tensor) -> Self:
        """The same components with other weights.

        Arguments:
            logits: unnormalised log-weights, ``[*B, K]``.
        """
        return type(self)(logits, self.loc, self.scale, **self._settings())

    # Scoring.

    def _log_prob_at(self, x: Tensor) -> Tensor:
        log_prob = F.mixture_log_prob(x, self.log_weights, self.loc, self.scale, self.family)
        return log_prob - self._log_slope(x)

    def _preimage(self, value: Tensor) -> Tensor:
        """What a value was before squashing. Its last axis is checked: it would broadcast."""
        if value.shape[-1:] != self.event_shape:
            raise ValueError(
                f"value must be [*S, *B, A] with A = {self.event_shape[0]}, "
                f"got {tuple(value.shape)} for batch shape {tuple(self.batch_shape)}."
            )
        return self._unsquash(value)

    def log_prob(self, value: Tensor) -> Tensor:
        """The mixture's log-density, ``[*S, *B]``, squashing and box included.

        Arguments:
            value: :math:`a`, ``[*S, *B, A]``.

        Raises:
            ValueError: where the last axis is not of the action's size.
        """
        return self._log_prob_at(self._preimage(value))

    def component_log_prob(self, value: Tensor) -> Tensor:
        """The log-density under each component, ``[*S, *B, K]``; arguments as :meth:`log_prob`."""
        x = self._preimage(value)
        log_prob = F.component_log_prob(x, self.loc, self.scale, self.family)
        log_slope = self._log_slope(x)
        return log_prob - (log_slope.unsqueeze(-1) if isinstance(log_slope, Tensor) else log_slope)

    def responsibilities(self, value: Tensor) -> Tensor:
        """The probability that each component drew the value, ``[*S, *B, K]``.

        Arguments are those of :meth:`log_prob`.
        """
        x = self._preimage(value)
        return F.responsibilities(x, self.log_weights, self.loc, self.scale, self.family)

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of a draw below the value, ``[*S, *B]``, for :math:`A = 1`.

        Arguments are those of :meth:`log_prob`.

        Raises:
            ValueError: where the distribution has more than one dimension.
        """
        if self.event_shape != (1,):
            raise ValueError(
                f"cdf needs one dimension, got event shape {tuple(self.event_shape)}."
            )
        x = self._preimage(value)
        return F.mixture_cdf(x, self.log_weights, self.loc, self.scale, self.family)

    def component_distance(self) -> Tensor:
        """Mean pairwise Jeffreys divergence of the components, in nats, ``[*B]``.

        Squashing does not change it.
        """
        return F.mean_pairwise_distance(self._divergence("kl"))

    def complementary_distance(self, distance: Literal["kl", "bhattacharyya"] = "kl") -> Tensor:
        """Mean distance of each component from the others, by their weights, ``[*B, K]``.

        With ``"kl"`` an upper bound on the divergence of the component from the mixture of the
        others. Squashing does not change it. A diagnostic, see
        :func:`~torchrl_mixture.functional.complementary_distance`.

        Raises:
            ValueError: where the family has no closed form of that distance.
        """
        return F.complementary_distance(self.log_weights, self._divergence(distance))

    # Points.

    @property
    def mean(self) -> Tensor:
        """The true mean, ``[*B, A]``; it may lie where the density is low."""
        return (self.weights.unsqueeze(-1) * self._component_mean()).sum(-2)

    @property
    def deterministic_component(self) -> Tensor:
        """The component that the rule ``deterministic`` names, int64 ``[*B]``."""
        height = self.log_weights
        if self.deterministic == "densest":
            at_locations = F.mixture_log_prob(
                self.loc.movedim(-2, 0), height, self.loc, self.scale, self.family
            )
            height = at_locations.movedim(0, -1)
        return height.argmax(-1)

    @property
    def mode(self) -> Tensor:
        """The location of :attr:`deterministic_component`, squashed, ``[*B, A]``."""
        return self._squash(F.take_component(self.loc, self.deterministic_component))

    @property
    def deterministic_sample(self) -> Tensor:
        """What TorchRL takes as the action when exploration is off: :attr:`mode`."""
        return self.mode

    # Entropy: bounds, and what is exact.

    def _component_entropy(self) -> Tensor:
        base = (self.scale.log() + self.family.entropy).sum(-1)
        return base + self._expected_log_slope()

    def entropy_lower_bound(self) -> Tensor:
        r"""Lower bound: the components' mean entropy :math:`\sum_k w_k H(p_k)`, ``[*B]``.

        Exact for one component and where all coincide. The squashing changes :math:`H(p_k)` by
        the mean of its log-slope, which has a closed form for the arctangent of a Cauchy and is
        done by quadrature for the tanh of a normal variable, see
        :func:`~torchrl_mixture.functional.normal_expectation`.
        """
        return F.conditional_entropy(self.log_weights, self._component_entropy())

    def entropy_upper_bound(self) -> Tensor:
        r"""Upper bound: the entropy of component and value, :math:`\sum_k w_k H(p_k) + H(w)`.

        ``[*B]``. Exact where components do not overlap. The first term is
        :meth:`entropy_lower_bound`, quadrature included.
        """
        return self.entropy_lower_bound() + F.weight_entropy(self.log_weights)

    def entropy_pairwise(self, distance: Literal["kl", "bhattacharyya"] = "kl") -> Tensor:
        """Upper bound (``"kl"``) or lower bound (``"bhattacharyya"``), ``[*B]``.

        It lies between the other two bounds, and is exact where components coincide or lie far
        apart. The components' entropies are those of :meth:`entropy_lower_bound`, quadrature
        included; the distances do not change under squashing. See
        :func:`~torchrl_mixture.functional.pairwise_entropy`.

        Raises:
            ValueError: where the family has no closed form of that distance.
        """
        return F.pairwise_entropy(
            self.log_weights, self._component_entropy(), self._divergence(distance)
        )
