"""Which components' critics a transition trains."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDictBase
from torchrl.trainers import Trainer, TrainerHookBase

__all__ = ["DataMasks"]


class DataMasks(TrainerHookBase):
    r"""Give each collected transition to one component, drawn with equal chances.

    The components' shares of the data do not overlap.
    :class:`~torchrl_mixture.objectives.SACMLoss` reads them with ``data_masks=True``.

    Arguments:
        num_components: :math:`K`.

    Raises:
        ValueError: where there is no component.

    Source:
        Baram et al. (2021), section 4.2, which suggests it; after Osband et al. (2016).

    Example:
        >>> from tensordict import TensorDict
        >>> DataMasks(3)(TensorDict(batch_size=[4]))["component_mask"].sum(-1)
        tensor([1, 1, 1, 1])
    """

    def __init__(self, num_components: int) -> None:
        if num_components < 1:
            raise ValueError(f"num_components must be at least 1, got {num_components}.")
        self.num_components = num_components

    def __call__(self, batch: TensorDictBase) -> TensorDictBase:
        """Write ``"component_mask"``, bool ``[*B, K]``, and return the batch."""
        owner = torch.randint(self.num_components, (*batch.shape, 1), device=batch.device)
        components = torch.arange(self.num_components, device=batch.device)
        return batch.set("component_mask", owner == components)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: what was drawn is stored with the data."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing."""

    def register(self, trainer: Trainer, name: str = "data_masks") -> None:
        """Draw on ``batch_process``, before the batch is stored."""
        trainer.register_op("batch_process", self)
        trainer.register_module(name, self)
