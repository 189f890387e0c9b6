"""What the losses that have a mixture policy share."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, dispatch
from torch import Tensor
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.objectives import SACLoss

from torchrl_mixture import functional as F
from torchrl_mixture.distributions import ComponentMixture
from torchrl_mixture.modules.ensemble import EnsembleCall

__all__ = ["DIAGNOSTICS", "MixturePolicyLoss", "policy_diagnostics"]

DIAGNOSTICS = ("weight_entropy", "effective_components", "component_information")


class MixturePolicyLoss(SACLoss):
    """SAC whose policy is a mixture, with outputs that show whether the mixture lives.

    A base class: a subclass computes the actor's loss, and leaves its metadata, what it returns
    beside the losses among them, in ``_actor_metadata``.

    Arguments:
        actor_network: a policy whose distribution is a
            :class:`~torchrl_mixture.distributions.ComponentMixture`.
        *args: as in ``SACLoss``.
        **kwargs: as in ``SACLoss``.

    Raises:
        ValueError: where the actor's distribution is no mixture of this library.
    """

    def __init__(
        self, actor_network: ProbabilisticTensorDictSequential, *args: Any, **kwargs: Any
    ) -> None:
        _check_actor(actor_network)
        super().__init__(actor_network, *args, **kwargs)
        self.out_keys = [*self.out_keys, *DIAGNOSTICS]  # type: ignore[has-type]

    def _make_vmap(self) -> None:
        super()._make_vmap()
        self._vmap_qnetworkN0 = EnsembleCall(self.qvalue_network)

    def _policy(
        self, tensordict: TensorDictBase, params: TensorDictBase | None = None
    ) -> ComponentMixture:
        """The policy in each state, by the actor's parameters or others."""
        params = self.actor_network_params if params is None else params
        with (
            set_exploration_type(ExplorationType.RANDOM),
            params.to_module(self.actor_network, preserve_module_state=False),
        ):
            # Selected, so that the parameters are not written to the caller's batch.
            return self.actor_network.get_dist(
                tensordict.select(*self.actor_network.in_keys, strict=False)
            )

    @dispatch
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """SAC's losses and what the class returns beside them."""
        output = super().forward(tensordict)
        metadata = self.__dict__.pop("_actor_metadata")
        # Those of SAC's own names, alpha and entropy, take the place of SAC's.
        named = {name: metadata[name] for name in self.out_keys if name in metadata}
        for name, value in named.items():
            if self.reduction != "none":
                output.set(name, value)
            elif self.scalar_output_mode == "non_tensor":
                output.set_non_tensor(name, value)
        return output

    @torch.no_grad()
    def mixture_diagnostics(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """What is too slow for every update: look at it when logging.

        Arguments:
            tensordict: a batch with the actor's input.

        Returns:
            ``component_distance``, the mean pairwise Jeffreys divergence before squashing, in
            nats, zero for one component; ``component_weight`` ``[K]``, ``component_loc`` and
            ``component_scale`` ``[K, A]``, means over the batch.
        """
        policy = self._policy(tensordict)
        batch = tuple(range(len(policy.batch_shape)))
        return {
            "component_distance": policy.component_distance().mean(),
            "component_weight": policy.weights.mean(batch),
            "component_loc": policy.loc.mean(batch),
            "component_scale": policy.scale.mean(batch),
        }


def _check_actor(actor_network: ProbabilisticTensorDictSequential) -> None:
    distribution = actor_network.module[-1].distribution_class
    if isinstance(distribution, type) and not issubclass(distribution, ComponentMixture):
        raise ValueError(
            f"actor_network must have a ComponentMixture as its distribution, such as "
            f"mixture_actor makes, got {distribution.__name__}."
        )


@torch.no_grad()
def policy_diagnostics(policy: ComponentMixture) -> dict[str, Tensor]:
    """The :data:`DIAGNOSTICS` of a policy, means over the batch."""
    log_weights = policy.log_weights
    if policy.num_components == 1:
        zero, one = log_weights.new_zeros(()), log_weights.new_ones(())
        return dict(zip(DIAGNOSTICS, (zero, one, zero), strict=True))
    information = F.component_information(log_weights, policy.sample_responsibilities())
    return {
        "weight_entropy": F.weight_entropy(log_weights).mean(),
        "effective_components": F.effective_components(log_weights),
        "component_information": information.mean(),
    }
