"""Actor and critic of a family of policies, one for each value of a latent variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tensordict.utils import NestedKey
from torch import Tensor, nn
from torchrl.data import Composite, TensorSpec
from torchrl.modules import MLP, ProbabilisticActor, ValueOperator

from torchrl_mixture.modules.actor import mixture_actor
from torchrl_mixture.modules.batched import BatchedMLP
from torchrl_mixture.modules.specs import action_leaf, check_num_latents, input_size

__all__ = ["SeparateMLP", "latent_actor", "latent_critic"]


class SeparateMLP(BatchedMLP):
    r"""A network of its own for each value of a latent variable.

    .. math::
        f(x, z) = f_z(x)

    All networks are evaluated as one batched product and the latent's is taken: an update costs
    :math:`Z` times the arithmetic, and needs no index that depends on the data.

    Arguments:
        num_latents: the number of values :math:`Z`.
        in_features: the size of :math:`x`.
        out_features: the size of the output.
        num_cells: widths of the hidden layers.
        activation_class: activation between the layers.

    Source:
        Cohen et al. (2019), appendix B, for the ant.

    Example:
        >>> net = SeparateMLP(4, in_features=5, out_features=2, num_cells=(64, 64))
        >>> net(torch.zeros(8, 3), torch.zeros(8, 2), torch.eye(4)[[0, 1, 2, 3] * 2]).shape
        torch.Size([8, 2])
    """

    def __init__(
        self,
        num_latents: int,
        in_features: int,
        out_features: int,
        num_cells: Sequence[int],
        activation_class: type[nn.Module] = nn.ReLU,
    ) -> None:
        sizes = [in_features, *num_cells, out_features]
        super().__init__(num_latents, sizes, activation_class)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Evaluate the latent's network on the inputs before it, which are concatenated.

        Arguments:
            inputs: ``[*B, size]`` each, and last the latent, one-hot ``[*B, Z]``.

        Returns:
            ``[*B, out_features]``.
        """
        *features, latent = inputs
        outputs = super().forward(torch.cat(features, -1))
        return (latent.unsqueeze(-1) * outputs).sum(-2)


def latent_actor(
    action_spec: TensorSpec,
    num_latents: int,
    *,
    observation_spec: Composite,
    in_keys: Sequence[NestedKey] = ("observation",),
    num_cells: Sequence[int] = (256, 256),
    activation_class: type[nn.Module] = nn.ReLU,
    separate: bool = False,
    num_components: int = 1,
    **kwargs: Any,
) -> ProbabilisticActor:
    r"""A policy for each value of a latent variable.

    .. math::
        \pi(a \mid s, z), \qquad z \in \{0, \dots, Z - 1\}

    It reads ``"latent"``, one-hot ``[*B, Z]``, besides the state, as
    :func:`~torchrl_mixture.collectors.LatentCollector` provides it.

    Arguments:
        action_spec: as for :func:`~torchrl_mixture.modules.mixture_actor`.
        num_latents: the number of values :math:`Z`.
        observation_spec: where the size of the state is read; the latent need not be in it.
        in_keys: what the network reads of the state; several are concatenated.
        num_cells: widths of the hidden layers.
        activation_class: activation between the layers.
        separate: a network of its own for each value, :class:`SeparateMLP`, in place of one that
            has the one-hot latent as further inputs.
        num_components: components of the policy of one value; one is a single Gaussian.
        **kwargs: further arguments of :func:`~torchrl_mixture.modules.mixture_actor`.

    Returns:
        A TorchRL ``ProbabilisticActor``.

    Raises:
        ValueError: where there is no latent value, or as ``mixture_actor``.

    Source:
        Cohen et al. (2019), section 4 and appendix B.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl.data import Bounded, Unbounded
        >>> spec = Composite(observation=Unbounded((3,)))
        >>> actor = latent_actor(Bounded(-1.0, 1.0, (2,)), 4, observation_spec=spec)
        >>> batch = TensorDict({"observation": torch.zeros(4, 3), "latent": torch.eye(4)}, [4])
        >>> actor(batch)["action"].shape
        torch.Size([4, 2])
    """
    learn_weights = kwargs.get("learn_weights", True)
    outputs = num_components * (2 * action_leaf(action_spec).shape[-1] + learn_weights)
    inputs = input_size(observation_spec, in_keys)
    return mixture_actor(
        action_spec,
        num_components,
        in_keys=[*in_keys, "latent"],
        net=_network(num_latents, inputs, outputs, num_cells, activation_class, separate),
        **kwargs,
    )


def latent_critic(
    action_spec: TensorSpec,
    num_latents: int,
    *,
    observation_spec: Composite,
    in_keys: Sequence[NestedKey] = ("observation",),
    num_cells: Sequence[int] = (256, 256),
    activation_class: type[nn.Module] = nn.ReLU,
    separate: bool = False,
) -> ValueOperator:
    r"""A critic for each value of a latent variable, :math:`Q(s, a, z)`.

    Arguments:
        action_spec: the action's spec, ``[*B, A]``, or a composite with the key ``"action"`` at
            its top.
        num_latents: the number of values :math:`Z`.
        observation_spec: where the size of the state is read; the latent need not be in it.
        in_keys: what the network reads of the state; several are concatenated.
        num_cells: widths of the hidden layers.
        activation_class: activation between the layers.
        separate: as for :func:`latent_actor`.

    Returns:
        A TorchRL ``ValueOperator`` that reads the state, ``"action"`` and ``"latent"``.

    Raises:
        ValueError: where there is no latent value, the action is discrete, or an input is not in
            the spec.

    Source:
        Cohen et al. (2019), section 4 and appendix B.

    Example:
        >>> from torchrl.data import Bounded, Unbounded
        >>> spec = Composite(observation=Unbounded((3,)))
        >>> latent_critic(Bounded(-1.0, 1.0, (2,)), 4, observation_spec=spec).in_keys
        ['observation', 'action', 'latent']
    """
    inputs = input_size(observation_spec, in_keys) + action_leaf(action_spec).shape[-1]
    net = _network(num_latents, inputs, 1, num_cells, activation_class, separate)
    return ValueOperator(net, in_keys=[*in_keys, "action", "latent"])


def _network(
    num_latents: int,
    size_in: int,
    size_out: int,
    num_cells: Sequence[int],
    activation_class: type[nn.Module],
    separate: bool,
) -> nn.Module:
    check_num_latents(num_latents)
    if separate:
        return SeparateMLP(num_latents, size_in, size_out, num_cells, activation_class)
    return MLP(
        size_in + num_latents, size_out, num_cells=num_cells, activation_class=activation_class
    )
