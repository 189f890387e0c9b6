"""Mixtures that can be drawn from, with a gradient to all of their parameters."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from torchrl_mixture import functional as F
from torchrl_mixture.distributions.mixture_density import MixtureDensity, SampleShape

__all__ = ["ComponentMixture"]


class ComponentMixture(MixtureDensity):
    r"""A mixture of :math:`K` components, each factorised over :math:`A` dimensions.

    .. math::
        p(x) = \sum_k w_k \prod_d p\left(x_d;\, \mu_{kd}, \sigma_{kd}\right), \qquad
        w = \operatorname{softmax}(\text{logits})

    The base class of :class:`NormalMixture`, :class:`TanhNormalMixture`, :class:`CauchyMixture`
    and :class:`ArctanCauchyMixture`. Values are ``[*S, *B, A]``, log-densities ``[*S, *B]``.

    With autograd off, every way to sample is plain sampling. With it on, :meth:`rsample` carries
    the implicit gradient to logits, locations and scales (see
    :func:`~torchrl_mixture.functional.implicit_reparameterization`); for one component it is the
    explicit path.

    .. warning::
        The variance of the implicit gradient grows with the distance between components, as
        :math:`\int (F_1 - F_2)^2 / p`.

    There is no ``entropy()``: the entropy of a mixture has no closed form, and a caller would
    take an estimate for it. Bounds are :meth:`entropy_lower_bound`, :meth:`entropy_upper_bound`
    and :meth:`entropy_pairwise`; unbiased estimates are :meth:`entropy_stratified`,
    :meth:`entropy_mc` and :meth:`entropy_two_sample`.

    Arguments:
        logits: unnormalised log-weights, ``[*B, K]``.
        loc: locations :math:`\mu`, ``[*B, K, A]``.
        scale: scales :math:`\sigma`, ``[*B, K, A]``, positive.
        deterministic: which location is the deterministic action: ``"heaviest"``, that of the
            component of the largest weight, or ``"densest"``, the one where the mixture's density
            before squashing is highest. Never the mean, which lies between modes.

    Raises:
        ValueError: where shapes do not agree or the rule is unknown.
    """

    has_rsample = True
    _drawn_joint: Tensor | None = None

    @abstractmethod
    def _noise(self, shape: torch.Size) -> Tensor:
        """Standardised draws of the family, from torch's global generator."""

    def _draw(self, sample_shape: torch.Size) -> tuple[Tensor, Tensor]:
        """A component, and a value of it before squashing with the path to that component."""
        component = self.choose_component(sample_shape)
        if self.num_components == 1:
            loc, scale = self.loc.squeeze(-2), self.scale.squeeze(-2)
        else:
            loc = F.take_component(self.loc, component)
            scale = F.take_component(self.scale, component)
        return component, loc + scale * self._noise(component.shape + self.event_shape)

    def _draw_reparameterized(self, sample_shape: torch.Size) -> Tensor:
        """A value before squashing, with the path to all parameters if autograd is on."""
        if self.num_components == 1 or not torch.is_grad_enabled():
            return self._draw(sample_shape)[1]
        with torch.no_grad():
            x = self._draw(sample_shape)[1]
        return F.implicit_reparameterization(
            x, self.log_weights, self.loc, self.scale, self.family
        )

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw values, without gradient, ``[*S, *B, A]``."""
        with torch.no_grad():
            return self._squash(self._draw(torch.Size(sample_shape))[1])

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw values with unbiased gradients to logits, locations and scales, ``[*S, *B, A]``."""
        return self._squash(self._draw_reparameterized(torch.Size(sample_shape)))

    def sample_and_log_prob(self, sample_shape: SampleShape = ()) -> tuple[Tensor, Tensor]:
        """Draw values without gradient and score them where they were drawn, before squashing.

        The score keeps its gradient to the parameters.
        """
        with torch.no_grad():
            x = self._draw(torch.Size(sample_shape))[1]
        return self._squash(x), self._score_draw(x)

    def rsample_and_log_prob(self, sample_shape: SampleShape = ()) -> tuple[Tensor, Tensor]:
        """Draw values as :meth:`rsample` and score them where they were drawn."""
        x = self._draw_reparameterized(torch.Size(sample_shape))
        return self._squash(x), self._score_draw(x)

    def choose_component(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw components by their weights, int64 ``[*S, *B]``."""
        shape = torch.Size(sample_shape) + self.batch_shape
        if self.num_components == 1:
            return torch.zeros(shape, dtype=torch.long, device=self.loc.device)
        uniform = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        return F.choose_component(self.log_weights.detach(), uniform)

    def sample_component(self, sample_shape: SampleShape = ()) -> tuple[Tensor, Tensor]:
        """Draw components ``[*S, *B]`` and values of theirs ``[*S, *B, A]``, without gradient."""
        with torch.no_grad():
            component, x = self._draw(torch.Size(sample_shape))
            return component, self._squash(x)

    def rsample_component_and_log_prob(
        self, sample_shape: SampleShape = ()
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw a component, and reparameterise within it alone.

        Returns:
            The component ``[*S, *B]``; the value ``[*S, *B, A]``, whose gradient reaches the
            location and scale of that component; the mixture's log-density there ``[*S, *B]``.
        """
        component, x = self._draw(torch.Size(sample_shape))
        return component, self._squash(x), self._score_draw(x)

    def rsample_components_and_log_prob(
        self, sample_shape: SampleShape = ()
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw reparameterised values of every component.

        Arguments:
            sample_shape: :math:`S`, draws of each component; one by default.

        Returns:
            The values ``[*S, *B, K, A]``; the mixture's log-density at each ``[*S, *B, K]``; the
            log-density of each under its own component ``[*S, *B, K]``.
        """
        noise = self._noise(torch.Size(sample_shape) + self.loc.shape)
        return self._score_components(self.loc + self.scale * noise)

    def modes_and_log_prob(self) -> tuple[Tensor, Tensor, Tensor]:
        """The location of every component, squashed, in the place of its draw.

        Returns:
            What :meth:`rsample_components_and_log_prob` returns of draws without noise.
        """
        return self._score_components(self.loc)

    def _score_components(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values of every component, ``[*S, *B, K, A]`` before squashing, and their densities."""
        by_component = x.movedim(-2, 0)  # components as samples: [K, *S, *B, A]
        log_slope = self._log_slope(by_component)
        joint = F.component_log_prob(by_component, self.loc, self.scale, self.family)
        mixture = torch.logsumexp(self.log_weights + joint, -1) - log_slope
        own = joint.movedim(0, -2).diagonal(dim1=-2, dim2=-1)
        own = own - (log_slope.movedim(0, -1) if isinstance(log_slope, Tensor) else log_slope)
        return self._squash(x), mixture.movedim(0, -1), own

    def rsample_relaxed_and_log_prob(self, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        r"""Draw a value whose choice of component has a relaxed, biased gradient.

        Every component draws a value with noise of its own; a straight-through Gumbel-softmax
        mixes the squashed values. The log-density is taken at the preimage, where the slope of
        the inverse is that at 1e-6 of the half-width if the value lies nearer the edge.

        Arguments:
            temperature: :math:`\tau`, positive.

        Returns:
            The value ``[*B, A]`` and the mixture's log-density there ``[*B]``.
        """
        x = self.loc + self.scale * self._noise(self.loc.shape)
        uniform = torch.rand(self.logits.shape, dtype=self.loc.dtype, device=self.loc.device)
        choice = F.straight_through_gumbel(self.log_weights, uniform, temperature).unsqueeze(-1)
        values = self._squash(x)
        value = (choice * values).sum(-2)
        chosen = (choice.detach() * x).sum(-2)
        # What moving the choice does to the value, pulled back through the squashing. Its value
        # is zero; moving x itself is in `chosen`, where the slopes of g and its inverse cancel.
        moved = ((choice - choice.detach()) * values.detach()).sum(-2)
        preimage = chosen + moved / self._slope_inside(chosen.detach())
        return value, self._score_draw(preimage)

    def _score_draw(self, x: Tensor) -> Tensor:
        """The mixture's log-density at a draw, whose terms are kept."""
        joint = self.log_weights + F.component_log_prob(x, self.loc, self.scale, self.family)
        self._drawn_joint = joint.detach()
        return torch.logsumexp(joint, -1) - self._log_slope(x)

    def sample_responsibilities(self) -> Tensor:
        """Responsibilities for a draw, taken where it was drawn, ``[*S, *B, K]``.

        The draw is the last that was scored, since its terms are at hand, or else a new one.
        """
        if self._drawn_joint is not None:
            return torch.softmax(self._drawn_joint, -1)
        with torch.no_grad():
            x = self._draw(torch.Size())[1]
            return F.responsibilities(x, self.log_weights, self.loc, self.scale, self.family)

    # Entropy: estimates. They score draws where they were drawn, and need no quadrature.

    def entropy_mc(self, num_samples: int) -> Tensor:
        r"""Estimate :math:`-\frac1S\sum_s \log p(x_s)`; unbiased, with gradients, ``[*B]``."""
        return -self.rsample_and_log_prob((num_samples,))[1].mean(0)

    def entropy_stratified(self, num_samples: int = 1) -> Tensor:
        """Estimate from draws of every component; unbiased, with gradients, ``[*B]``.

        See :func:`~torchrl_mixture.functional.stratified_entropy`.

        Arguments:
            num_samples: draws of each component, whose estimates are averaged.
        """
        mixture = self.rsample_components_and_log_prob((num_samples,))[1]
        return F.stratified_entropy(self.log_weights, mixture).mean(0)

    def entropy_two_sample(self, num_samples: int = 1) -> Tensor:
        """Estimate from pairs of draws of every component; unbiased, with gradients, ``[*B]``.

        For comparison: from as many draws, the variance of :meth:`entropy_stratified` is never
        greater. See :func:`~torchrl_mixture.functional.two_sample_entropy`.

        Arguments:
            num_samples: pairs of draws of each component, whose estimates are averaged.
        """
        own = self.rsample_components_and_log_prob((num_samples,))[2]
        _, mixture, second = self.rsample_components_and_log_prob((num_samples,))
        return F.two_sample_entropy(self.log_weights, own, mixture, second).mean(0)
