"""What the losses refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor

__all__ = ["check_choice", "check_mask", "check_target_entropy", "check_values"]


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
