"""From a network's output to the parameters of a mixture."""

from __future__ import annotations

import torch
from tensordict.nn.utils import mappings
from torch import Tensor, nn

__all__ = ["MixtureParamExtractor", "spread_locations"]


class MixtureParamExtractor(nn.Module):
    r"""Split the last axis of a network's output into logits, locations and scales.

    .. math::
        [K \mid KA \mid KA] \to \text{logits}, \quad \mu, \quad
        \sigma = \max(\text{mapping}(\cdot), \text{scale\_lb})

    The counterpart of TorchRL's ``NormalParamExtractor``.

    Arguments:
        num_components: the number of components :math:`K`.
        scale_mapping: from the output to the scale: ``"exp"``, ``"softplus"``,
            ``"biased_softplus_b"``, as in TorchRL; the default gives 1 at 0.
        scale_lb: smallest scale; the default mapping alone stays above 0.01.
        action_size: the action size :math:`A`; read off the input if not given.
        learn_weights: whether the input holds logits. If not, it has ``2KA`` columns and the
            weights are :math:`1/K`.
        loc_offset: added to the locations, ``[K, A]``, see :func:`spread_locations`.

    Raises:
        ValueError: where there is no component or the smallest scale is negative; at the first
            call, where the input's last axis does not divide.

    Example:
        >>> extractor = MixtureParamExtractor(num_components=5)
        >>> logits, loc, scale = extractor(torch.zeros(8, 5 * (1 + 2 * 3)))
        >>> logits.shape, loc.shape, scale.shape
        (torch.Size([8, 5]), torch.Size([8, 5, 3]), torch.Size([8, 5, 3]))
    """

    loc_offset: Tensor | None

    def __init__(
        self,
        num_components: int,
        scale_mapping: str = "biased_softplus_1.0",
        scale_lb: float = 1e-4,
        *,
        action_size: int | None = None,
        learn_weights: bool = True,
        loc_offset: Tensor | None = None,
    ) -> None:
        super().__init__()
        if num_components < 1:
            raise ValueError(f"num_components must be at least 1, got {num_components}.")
        if not scale_lb >= 0:
            raise ValueError(f"scale_lb must be at least 0, got {scale_lb}.")
        self.num_components = num_components
        self.scale_mapping = mappings(scale_mapping)
        self.scale_lb = scale_lb
        self.action_size = action_size
        self.learn_weights = learn_weights
        self.register_buffer("loc_offset", loc_offset)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits ``[*B, K]``, locations and scales ``[*B, K, A]``."""
        columns, count = features.shape[-1], self.num_components
        num_logits = count if self.learn_weights else 0
        size, rest = divmod(columns - num_logits, 2 * count)
        if rest or size < 1 or size != (self.action_size or size):
            per_component = f"2 * {self.action_size or 'A'}" + " + 1" * self.learn_weights
            raise ValueError(
                f"features must have {count} * ({per_component}) columns, "
                f"got shape {tuple(features.shape)}."
            )
        logits, loc, scale = features.split((num_logits, count * size, count * size), -1)
        if not self.learn_weights:
            logits = features.new_zeros(*features.shape[:-1], count)
        loc = loc.unflatten(-1, (count, size))
        if self.loc_offset is not None:
            loc = loc + self.loc_offset
        scale = self.scale_mapping(scale.unflatten(-1, (count, size)))
        return logits, loc, scale.clamp_min(self.scale_lb)


def spread_locations(num_components: int, action_size: int, spread: float) -> Tensor:
    r"""Offsets that set the components apart at the start, evenly along every dimension.

    .. math::
        \left\{\mu_{kd}\right\}_k = \left\{\text{spread} \cdot \tfrac{2k - K + 1}{K - 1}\right\}_k

    in order along the first dimension, and in a random order, from torch's global generator,
    along the others: a Latin hypercube.

    Arguments:
        num_components: :math:`K`.
        action_size: :math:`A`.
        spread: largest offset, in the unit before squashing.

    Returns:
        ``[K, A]``.

    Example:
        >>> spread_locations(3, 1, 0.5).squeeze(-1)
        tensor([-0.5000,  0.0000,  0.5000])
    """
    if num_components == 1:
        return torch.zeros(1, action_size)
    grid = torch.linspace(-spread, spread, num_components)
    columns = [grid] + [grid[torch.randperm(num_components)] for _ in range(action_size - 1)]
    return torch.stack(columns, -1)


def count_components(actor_network: nn.Module) -> int:
    """The number of components :math:`K` of an actor, by its :class:`MixtureParamExtractor`.

    Arguments:
        actor_network: a module with such an extractor in it.

    Raises:
        ValueError: where there is none.

    Example:
        >>> count_components(nn.Sequential(nn.Linear(3, 25), MixtureParamExtractor(5)))
        5
    """
    for module in actor_network.modules():
        if isinstance(module, MixtureParamExtractor):
            return module.num_components
    raise ValueError(
        "actor_network must have a MixtureParamExtractor, by which its components are counted, "
        "got none."
    )
