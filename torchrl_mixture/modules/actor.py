"""The mixture policy as a TorchRL actor."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, Literal, get_args

from tensordict.nn import TensorDictModule, TensorDictModuleBase
from tensordict.utils import NestedKey
from torch import Tensor, nn
from torchrl.data import Composite, TensorSpec
from torchrl.modules import MLP, ProbabilisticActor

from torchrl_mixture.distributions import (
    ArctanCauchyMixture,
    CauchyMixture,
    ComponentMixture,
    DeterministicRule,
    NormalMixture,
    TanhNormalMixture,
)
from torchrl_mixture.modules.extractor import MixtureParamExtractor, spread_locations
from torchrl_mixture.modules.specs import action_box, action_leaf, input_size

__all__ = ["Base", "mixture_actor", "with_rule"]

Base = Literal["tanh_normal", "normal", "arctan_cauchy", "cauchy"]

_DISTRIBUTIONS: dict[str, type[ComponentMixture]] = {
    "tanh_normal": TanhNormalMixture,
    "normal": NormalMixture,
    "arctan_cauchy": ArctanCauchyMixture,
    "cauchy": CauchyMixture,
}
_SQUASHED = ("tanh_normal", "arctan_cauchy")
PARAMETERS = ("logits", "loc", "scale")


def mixture_actor(
    action_spec: TensorSpec,
    num_components: int,
    *,
    observation_spec: Composite | None = None,
    in_keys: Sequence[NestedKey] = ("observation",),
    num_cells: Sequence[int] = (256, 256),
    activation_class: type[nn.Module] = nn.ReLU,
    net: nn.Module | None = None,
    base: Base = "tanh_normal",
    learn_weights: bool = True,
    loc_spread: float = 0.0,
    deterministic: DeterministicRule = "heaviest",
    scale_mapping: str = "biased_softplus_1.0",
    scale_lb: float = 1e-4,
    **mlp_kwargs: Any,
) -> ProbabilisticActor:
    r"""A policy that is a mixture: network, parameters, distribution, action.

    .. math::
        \pi(a \mid s) = \sum_{k=1}^K w_k(s)\, p\left(a;\, \mu_k(s), \sigma_k(s)\right)

    One trunk, whose last layer gives weights, locations and scales of all components. Where
    ``low`` and ``high`` of the action are needed they are taken from the spec. The actor writes
    the action alone.

    Arguments:
        action_spec: the action's spec, ``[*B, A]``, or a composite with the key ``"action"`` at
            its top; bounded for a squashed base.
        num_components: the number of components :math:`K`.
        observation_spec: where the input's size is read; without it the first layer is lazy.
        in_keys: what the network reads; several are concatenated.
        num_cells: widths of the hidden layers.
        activation_class: activation between the layers.
        net: a network of your own in place of the MLP, with :math:`K(2A + 1)` outputs
            (:math:`2KA` without weights).
        base: the components: ``"tanh_normal"``, ``"normal"``, ``"arctan_cauchy"``, ``"cauchy"``.
        learn_weights: learn the weights; if not, they stay :math:`1/K`.
        loc_spread: how far apart the components start, before squashing; with 0 they differ by
            the network's initialisation alone. See
            :func:`~torchrl_mixture.modules.spread_locations`.
        deterministic: the deterministic action, ``"heaviest"`` or ``"densest"``.
        scale_mapping: see :class:`~torchrl_mixture.modules.MixtureParamExtractor`.
        scale_lb: smallest scale.
        **mlp_kwargs: further arguments of TorchRL's ``MLP``.

    Returns:
        A TorchRL ``ProbabilisticActor``.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), section 2 and
        appendix D.1.

    Raises:
        ValueError: where the action is discrete or unbounded, or an argument is not one of those
            allowed.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from torchrl.data import Bounded
        >>> actor = mixture_actor(Bounded(-2.0, 2.0, (1,)), num_components=5, num_cells=(64, 64))
        >>> actor(TensorDict({"observation": torch.zeros(8, 3)}, [8]))["action"].shape
        torch.Size([8, 1])
    """
    action_spec = action_leaf(action_spec)
    size = action_spec.shape[-1]
    extractor = MixtureParamExtractor(
        num_components,
        scale_mapping,
        scale_lb,
        action_size=size,
        learn_weights=learn_weights,
        loc_offset=spread_locations(num_components, size, loc_spread) if loc_spread else None,
    )
    if net is None:
        net = MLP(
            in_features=None
            if observation_spec is None
            else input_size(observation_spec, in_keys),
            out_features=num_components * (2 * size + learn_weights),
            num_cells=num_cells,
            activation_class=activation_class,
            **mlp_kwargs,
        )
    elif mlp_kwargs:
        raise ValueError(f"net is given, and takes no arguments of an MLP; got {mlp_kwargs}.")
    return policy_of(
        TensorDictModule(_Chain(net, extractor), in_keys=list(in_keys), out_keys=list(PARAMETERS)),
        action_spec,
        _distribution_class(base),
        _distribution_kwargs(base, deterministic, action_spec),
    )


def policy_of(
    parameters: TensorDictModuleBase,
    action_spec: TensorSpec,
    distribution_class: type[ComponentMixture],
    distribution_kwargs: dict[str, Any],
) -> ProbabilisticActor:
    """The actor that draws from the mixture whose parameters a module writes."""
    actor = ProbabilisticActor(
        parameters,
        in_keys=list(PARAMETERS),
        spec=Composite(action=action_spec),
        distribution_class=distribution_class,
        distribution_kwargs=distribution_kwargs,
    )
    actor = actor.select_out_keys("action")
    for key in PARAMETERS:  # select_out_keys leaves them, and the spec must fit the keys
        del actor.spec[key]
    return actor


def with_rule(actor: ProbabilisticActor, rule: DeterministicRule) -> ProbabilisticActor:
    """The same policy with another deterministic action; the networks are shared.

    Arguments:
        actor: an actor from :func:`mixture_actor`.
        rule: the deterministic action, ``"heaviest"`` or ``"densest"``.

    Raises:
        ValueError: if the rule is not one of these.

    Example:
        >>> from torchrl.data import Bounded
        >>> actor = mixture_actor(Bounded(-2.0, 2.0, (1,)), num_components=5)
        >>> densest = with_rule(actor, "densest")
        >>> next(densest.parameters()) is next(actor.parameters())
        True
    """
    _check_rule(rule)
    network, sampler = actor.module
    variant, other = copy(actor), copy(sampler)
    other.distribution_kwargs = {**sampler.distribution_kwargs, "deterministic": rule}
    variant._modules = {**actor._modules, "module": nn.ModuleList([network, other])}
    return variant


class _Chain(nn.Sequential):
    """A sequential whose first module may take several inputs."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        net, extractor = self
        return extractor(net(*inputs))


def _distribution_class(base: str) -> type[ComponentMixture]:
    if base not in _DISTRIBUTIONS:
        raise ValueError(f"base must be one of {sorted(_DISTRIBUTIONS)}, got {base!r}.")
    return _DISTRIBUTIONS[base]


def _distribution_kwargs(base: str, deterministic: str, action_spec: TensorSpec) -> dict[str, Any]:
    _check_rule(deterministic)
    edges = action_box(action_spec) if base in _SQUASHED else {}
    return {"deterministic": deterministic, **edges}


def _check_rule(rule: str) -> None:
    if rule not in get_args(DeterministicRule):
        raise ValueError(
            f"deterministic must be one of {get_args(DeterministicRule)}, got {rule!r}."
        )
