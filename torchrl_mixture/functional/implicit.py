r"""Pathwise gradients through a draw from a mixture, to all of its parameters.

A draw of a mixture has no explicit path from noise to value: choosing the component is discrete.
It has an implicit one. The distributional transform

.. math::
    F_d(x_d \mid x_{<d}) = \sum_k r_k(x_{<d})\, \Phi_{kd}(x_d), \qquad
    r_k(x_{<d}) \propto w_k \prod_{j<d} p_{kj}(x_j)

turns a draw into uniform noise that does not depend on the parameters :math:`\theta`. Holding
that noise fixed and differentiating gives :math:`\mathrm dx/\mathrm d\theta = -J^{-1}\,
\partial F/\partial\theta` with :math:`J = \partial F/\partial x` lower triangular. All entries
are closed form in the components' densities and CDFs and the prefix responsibilities
:math:`r_k(x_{<d})`, so that the backward pass is one triangular solve.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torchrl_mixture.functional.families import NORMAL, Family

__all__ = ["implicit_reparameterization"]


def implicit_reparameterization(
    value: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor, family: Family = NORMAL
) -> Tensor:
    r"""The same value, with the implicit gradient of a draw from the mixture.

    .. math::
        \frac{\mathrm d x}{\mathrm d\theta}
            = -\left(\frac{\partial F}{\partial x}\right)^{-1}\frac{\partial F}{\partial\theta}

    The gradient is unbiased, and exact for a single component. Its variance grows with the
    distance between components: between two modes the density that it divides by is small
    and the difference of the CDFs is not; the second moment of the gradient to the weights is
    :math:`\int (\Phi_1 - \Phi_2)^2 / p`.

    Arguments:
        value: :math:`x`, a draw from the mixture, ``[*S, *B, A]``.
        log_weights: :math:`\log w`, ``[*B, K]``, normalised.
        loc: :math:`\mu`, ``[*B, K, A]``.
        scale: :math:`\sigma`, ``[*B, K, A]``, positive.
        family: the components' density.

    Returns:
        ``value``, whose gradient reaches ``log_weights``, ``loc`` and ``scale``.

    Raises:
        RuntimeError: where the gradient itself is differentiated; it is of first order only.

    Source:
        The distributional transform of Graves (2016), arXiv:1607.05690, differentiated as in
        Figurnov et al. (2018), arXiv:1805.08498, equation 6.

    Example:
        >>> loc = torch.zeros(1, 1, requires_grad=True)
        >>> x = implicit_reparameterization(
        ...     torch.tensor([0.3]), torch.zeros(1), loc, torch.ones(1, 1)
        ... )
        >>> x.sum().backward()
        >>> loc.grad
        tensor([[1.]])
    """
    shape = value.shape[:-1]
    return _ImplicitReparameterization.apply(
        value.detach(),
        log_weights.expand(*shape, *log_weights.shape[-1:]),
        loc.expand(*shape, *loc.shape[-2:]),
        scale.expand(*shape, *scale.shape[-2:]),
        family,
    )


class _ImplicitReparameterization(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        value: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor, family: Family
    ) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.family = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            value, log_weights, loc, scale = ctx.saved_tensors
            products = _vector_jacobian_product(grad, value, log_weights, loc, scale, ctx.family)
        # Autograd is on in a backward pass only where its result is to be differentiated. The
        # decorator once_differentiable would let a loss linear in the value pass in silence.
        if torch.is_grad_enabled():
            products = _FirstOrderOnly.apply(*products, *ctx.saved_tensors)
        return (None, *products, None)


class _FirstOrderOnly(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.clone() for tensor in tensors[:3])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        raise RuntimeError(
            "The implicit gradient of a mixture is of first order: it cannot be differentiated."
        )


def _vector_jacobian_product(
    grad: Tensor, value: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor, family: Family
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Products of a cotangent with the Jacobians to log-weights, locations and scales.

    With the rows of :math:`F` divided by its diagonal :math:`f_d = \partial F_d/\partial x_d`,
    the conditional density, everything is of order one: :math:`r_k(x_{<d})\,p_{kd}/f_d` is the
    next prefix responsibility :math:`r_k(x_{\le d})`, and :math:`J` has a unit diagonal.
    """
    z = (value.unsqueeze(-2) - loc) / scale  # [*B, K, A], as all below
    log_joint = torch.cumsum(family.log_density(z) - scale.log(), -1) + log_weights.unsqueeze(-1)
    log_prefix = torch.cat((log_weights.unsqueeze(-1), log_joint[..., :-1]), -1)
    log_evidence = torch.logsumexp(log_joint, -2, keepdim=True)
    prefix = torch.softmax(log_prefix, -2)  # r_k(x_<d)
    posterior = torch.exp(log_joint - log_evidence)  # r_k(x_<=d)

    # r_k(x_<d) (Phi_kd - F_d) / f_d: how far a larger weight of k moves x_d, with a minus.
    weight_pull = torch.exp(log_prefix - log_evidence) * _cdf_deviation(z, prefix, family)
    score = family.score(z) / scale  # of log p_kd with respect to x_d

    lower = weight_pull.mT @ score  # J_dj for j < d; what lies above is not read
    solved = torch.linalg.solve_triangular(
        lower.mT, grad.unsqueeze(-1), upper=True, unitriangular=True
    ).mT
    own = solved * posterior
    pulled = solved * weight_pull
    size = value.shape[-1]
    later = pulled @ value.new_ones(size, size).tril(-1)  # summed over the d after j

    grad_loc = own + later * score
    grad_scale = own * z + later * (score * z + 1 / scale)
    return -pulled.sum(-1), grad_loc, grad_scale


def _cdf_deviation(z: Tensor, prefix: Tensor, family: Family) -> Tensor:
    """Each component's CDF minus their mean under the prefix responsibilities.

    In the upper half the survival functions stand in for the CDFs, so that the difference of two
    numbers near one does not round away.
    """
    tail = family.tail(z)
    signed = torch.where(z > 0, -tail, tail)
    step = (z > 0).to(z.dtype)
    upper = (prefix * (signed + step)).sum(-2, keepdim=True) > 0.5
    shifted = signed + torch.where(upper, step - 1, step)
    return shifted - (prefix * shifted).sum(-2, keepdim=True)
