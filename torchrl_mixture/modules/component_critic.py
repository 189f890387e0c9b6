"""A critic with a value for each component."""

from __future__ import annotations

from collections.abc import Sequence

from tensordict.utils import NestedKey
from torch import nn
from torchrl.data import Composite, TensorSpec
from torchrl.modules import MLP, ValueOperator

from torchrl_mixture.modules.specs import action_leaf, input_size

__all__ = ["ComponentCritic"]


class ComponentCritic(ValueOperator):
    r"""A critic whose last layer has the value of each component, :math:`Q_k(s, a)`.

    It writes ``"state_action_value"``, ``[*B, K]``. With one value it is the critic of SAC.

    Arguments:
        action_spec: the action's spec, ``[*B, A]``, or a composite with the key ``"action"`` at
            its top.
        num_components: the number of values :math:`K`.
        observation_spec: where the size of the state is read.
        in_keys: what the network reads of the state; several are concatenated.
        num_cells: widths of the hidden layers, which the components share.
        activation_class: activation between the layers.

    Raises:
        ValueError: where there is no component, the action is discrete, or an input is not in the
            spec.

    Source:
        Baram et al. (2021), arXiv:2103.10176, section 6.

    Example:
        >>> import torch
        >>> from torchrl.data import Bounded, Unbounded
        >>> spec = Composite(observation=Unbounded((3,)))
        >>> critic = ComponentCritic(Bounded(-1.0, 1.0, (2,)), 5, observation_spec=spec)
        >>> critic(observation=torch.zeros(8, 3), action=torch.zeros(8, 2)).shape
        torch.Size([8, 5])
    """

    def __init__(
        self,
        action_spec: TensorSpec,
        num_components: int,
        *,
        observation_spec: Composite,
        in_keys: Sequence[NestedKey] = ("observation",),
        num_cells: Sequence[int] = (256, 256),
        activation_class: type[nn.Module] = nn.ReLU,
    ) -> None:
        if num_components < 1:
            raise ValueError(f"num_components must be at least 1, got {num_components}.")
        size = input_size(observation_spec, in_keys) + action_leaf(action_spec).shape[-1]
        net = MLP(size, num_components, num_cells=num_cells, activation_class=activation_class)
        super().__init__(net, in_keys=[*in_keys, "action"])
        self.num_components = num_components
