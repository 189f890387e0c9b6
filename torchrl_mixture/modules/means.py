"""A deterministic actor with several means."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict.nn import TensorDictModule
from tensordict.utils import NestedKey
from torch import Tensor, nn
from torchrl.data import Composite, TensorSpec
from torchrl.modules import MultiAgentMLP

from torchrl_mixture.modules.actor import action_leaf, box, input_size

__all__ = ["MeanActors"]


class MeanActors(TensorDictModule):
    r"""Separate networks, each giving one action, evaluated as one batched product.

    .. math::
        \mu_k(s) = \text{centre} + \text{half} \cdot \tanh f_k(s), \qquad k = 1, \dots, K

    where the action's box has this centre and half-width. It writes ``"means"``, ``[*B, K, A]``.
    The networks are those of TorchRL's ``MultiAgentMLP`` and share nothing.

    Arguments:
        action_spec: the action's spec, ``[*B, A]``, bounded, or a composite with the key
            ``"action"`` at its top.
        num_components: the number of means :math:`K`.
        observation_spec: where the input's size is read; without it the first layers are lazy.
        in_keys: what the networks read; several are concatenated.
        num_cells: widths of the hidden layers.
        activation_class: activation between the layers.

    Raises:
        ValueError: where the action is discrete or unbounded, or there is no component.

    Source:
        Dey and Sharon (2025), section 3.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl.data import Bounded
        >>> actor = MeanActors(Bounded(-2.0, 2.0, (1,)), num_components=5, num_cells=(64, 64))
        >>> actor(TensorDict({"observation": torch.zeros(8, 3)}, [8]))["means"].shape
        torch.Size([8, 5, 1])
    """

    def __init__(
        self,
        action_spec: TensorSpec,
        num_components: int,
        *,
        observation_spec: Composite | None = None,
        in_keys: Sequence[NestedKey] = ("observation",),
        num_cells: Sequence[int] = (256, 256),
        activation_class: type[nn.Module] = nn.ReLU,
    ) -> None:
        if num_components < 1:
            raise ValueError(f"num_components must be at least 1, got {num_components}.")
        leaf = action_leaf(action_spec)
        edges = box(leaf)
        networks = MultiAgentMLP(
            input_size(observation_spec, in_keys),
            leaf.shape[-1],
            num_components,
            centralized=False,
            share_params=False,
            num_cells=list(num_cells),
            activation_class=activation_class,
        )
        module = _Means(networks, torch.as_tensor(edges["low"]), torch.as_tensor(edges["high"]))
        super().__init__(module, in_keys=list(in_keys), out_keys=["means"])
        self.num_components = num_components


class _Means(nn.Module):
    """The networks on the same input, squashed into the box."""

    def __init__(self, networks: MultiAgentMLP, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.networks = networks
        self.register_buffer("centre", (high + low) / 2)
        self.register_buffer("half_width", (high - low) / 2)

    def forward(self, *inputs: Tensor) -> Tensor:
        features = torch.cat(inputs, -1).unsqueeze(-2)
        shape = (*features.shape[:-2], self.networks.n_agents, features.shape[-1])
        return self.centre + self.half_width * self.networks(features.expand(shape)).tanh()
