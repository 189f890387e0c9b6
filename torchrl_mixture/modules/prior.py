"""The network that weighs the components of a mixture by state and action."""

from __future__ import annotations

from collections.abc import Sequence

from tensordict.nn import TensorDictModule
from tensordict.utils import NestedKey
from torch import nn
from torchrl.data import Composite, TensorSpec
from torchrl.modules import MLP

from torchrl_mixture.modules.specs import action_leaf, input_size

__all__ = ["PriorNetwork"]


class PriorNetwork(TensorDictModule):
    r"""The prior of components, :math:`P(h \mid s, a)`, as logits.

    It writes ``"prior_logits"``, ``[*B, K]``, whose softmax is the prior.

    Arguments:
        num_components: the number of components :math:`K`.
        action_spec: the action's spec, ``[*B, A]``, or a composite with the key ``"action"`` at
            its top.
        observation_spec: where the size of the state is read.
        in_keys: what the network reads of the state; several are concatenated, and the action
            after them.
        num_cells: widths of the hidden layers.
        activation_class: activation between the layers.

    Raises:
        ValueError: where there is no component, the action is discrete, or an input is not in
            the spec.

    Source:
        Hou et al. (2020), section 3.1; the paper does not say its size, and the widths are those
        of the authors' code. The code's decoder, which that paper does not have, is left out.

    Example:
        >>> from torchrl.data import Bounded, Unbounded
        >>> spec = Composite(observation=Unbounded((3,)))
        >>> prior = PriorNetwork(4, Bounded(-1.0, 1.0, (2,)), observation_spec=spec)
        >>> prior.in_keys, prior.out_keys
        (['observation', 'action'], ['prior_logits'])
    """

    def __init__(
        self,
        num_components: int,
        action_spec: TensorSpec,
        *,
        observation_spec: Composite,
        in_keys: Sequence[NestedKey] = ("observation",),
        num_cells: Sequence[int] = (400, 300),
        activation_class: type[nn.Module] = nn.ReLU,
    ) -> None:
        if num_components < 1:
            raise ValueError(f"num_components must be at least 1, got {num_components}.")
        size = input_size(observation_spec, in_keys) + action_leaf(action_spec).shape[-1]
        net = MLP(size, num_components, num_cells=num_cells, activation_class=activation_class)
        super().__init__(net, in_keys=[*in_keys, "action"], out_keys=["prior_logits"])
        self.num_components = num_components
