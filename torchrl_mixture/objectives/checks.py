"""What the losses refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from tensordict.nn import TensorDictModule
from torch import Tensor

from torchrl_mixture.modules import PriorNetwork

__all__ = [
    "check_awmp_settings",
    "check_choice",
    "check_mask",
    "check_one_value",
    "check_prior",
    "check_target_entropy",
    "check_values",
]


def check_choice(name: str, value: str, allowed: Any) -> None:
    """Refuse what is none of the values of a ``Literal``."""
    if value not in get_args(allowed):
        raise ValueError(f"{name} must be one of {get_args(allowed)}, got {value!r}.")


def check_target_entropy(target_entropy: Sequence[float], count: int) -> None:
    """Refuse as many target entropies as there are no components."""
    if len(target_entropy) != count:
        raise ValueError(
            f"target_entropy must be one number or one for each of {count} components, got "
            f"{list(target_entropy)}."
        )


def check_values(size: int, count: int, variant: str, data_masks: bool) -> None:
    """Refuse critics whose number of values does not go with the components."""
    each = variant == "s2acm" or data_masks
    if size != count and (each or size != 1):
        allowed = f"{count} values" if each else f"{count} values or one"
        raise ValueError(
            f"qvalue_network must have {allowed} with {count} components, variant={variant!r} "
            f"and data_masks={data_masks}, got {size}."
        )


def check_mask(mask: Tensor, values: Tensor) -> None:
    """Refuse a mask that is not of critics' values ``[E, *B, K]``."""
    if mask.shape != values.shape[1:] or mask.dtype != torch.bool:
        raise ValueError(
            f"component_mask must be bool {tuple(values.shape[1:])}, got {mask.dtype} "
            f"{tuple(mask.shape)}."
        )


def check_awmp_settings(
    value_network: TensorDictModule | None,
    gate_temperature: float,
    gate_entropy_coef: float,
    kwargs: Mapping[str, Any],
) -> None:
    """Refuse what the loss of an advantage-weighted mixture cannot be set to."""
    if value_network is None:
        raise ValueError("value_network must be a network: the critics' target is its value.")
    if kwargs.get("skip_done_states"):
        raise ValueError(
            "skip_done_states must be False: the policy is not called in the next state."
        )
    if not gate_temperature > 0:
        raise ValueError(f"gate_temperature must be positive, got {gate_temperature}.")
    if not gate_entropy_coef >= 0:
        raise ValueError(f"gate_entropy_coef must be at least 0, got {gate_entropy_coef}.")


def check_prior(prior_network: PriorNetwork, count: int, action_key: Any) -> None:
    """Refuse a prior of other components, or of the state alone, or what is none."""
    if "prior_logits" not in prior_network.out_keys or not hasattr(
        prior_network, "num_components"
    ):
        raise ValueError(
            f"prior_network must write 'prior_logits' and have num_components, such as a "
            f"PriorNetwork, got {type(prior_network).__name__} that writes "
            f"{list(prior_network.out_keys)}."
        )
    if prior_network.num_components != count:
        raise ValueError(
            f"prior_network must have the actor's {count} components, got "
            f"{prior_network.num_components}."
        )
    if action_key not in prior_network.in_keys:
        raise ValueError(
            f"prior_network must read the action {action_key!r}, it reads "
            f"{list(prior_network.in_keys)}."
        )


def check_one_value(size: int) -> None:
    """Refuse critics with a value for each component where they are to share one."""
    if size != 1:
        raise ValueError(f"qvalue_network must have one value, for all components, got {size}.")
