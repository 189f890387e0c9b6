"""The network that guesses which latent value acted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tensordict.nn import TensorDictModule
from tensordict.utils import NestedKey
from torch import nn
from torchrl.data import Composite, TensorSpec
from torchrl.modules import MLP

from torchrl_mixture.modules.specs import action_leaf, check_num_latents, input_size

__all__ = ["Discriminator"]


class Discriminator(TensorDictModule):
    r"""A classifier of the latent value that acted, :math:`q(z \mid s, a)` or :math:`q(z \mid s)`.

    It writes ``"latent_logits"``, ``[*B, Z]``.

    Arguments:
        num_latents: the number of values :math:`Z`.
        action_spec: the action's spec, ``[*B, A]``, or a composite with the key ``"action"`` at
            its top; without it the action is not read.
        observation_spec: where the size of the state is read.
        in_keys: what the network reads of the state; several are concatenated.
        num_cells: widths of the hidden layers.
        activation_class: activation between the layers.

    Raises:
        ValueError: where there is no latent value, the action is discrete, or an input is not in
            the spec.

    Source:
        Cohen et al. (2019), section 4; two hidden layers of 256 units are those of appendix B.

    Example:
        >>> from torchrl.data import Bounded, Unbounded
        >>> spec = Composite(observation=Unbounded((3,)))
        >>> Discriminator(4, observation_spec=spec).in_keys
        ['observation']
        >>> Discriminator(4, Bounded(-1.0, 1.0, (2,)), observation_spec=spec).in_keys
        ['observation', 'action']
    """

    def __init__(
        self,
        num_latents: int,
        action_spec: TensorSpec | None = None,
        *,
        observation_spec: Composite,
        in_keys: Sequence[NestedKey] = ("observation",),
        num_cells: Sequence[int] = (256, 256),
        activation_class: type[nn.Module] = nn.ReLU,
    ) -> None:
        check_num_latents(num_latents)
        size, keys = input_size(observation_spec, in_keys), list(in_keys)
        if action_spec is not None:
            size += action_leaf(action_spec).shape[-1]
            keys.append("action")
        net = MLP(size, num_latents, num_cells=num_cells, activation_class=activation_class)
        super().__init__(net, in_keys=keys, out_keys=["latent_logits"])
        self.num_latents = num_latents
        self.form: Literal["state", "state_action"] = (
            "state" if action_spec is None else "state_action"
        )
