"""The policies of a latent actor, one by one and as one."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase, TensorDictSequential
from tensordict.utils import NestedKey
from torch import Tensor
from torchrl.modules import ProbabilisticActor

from torchrl_mixture.distributions import ComponentMixture
from torchrl_mixture.modules.actor import PARAMETERS, policy_of
from torchrl_mixture.modules.discriminator import Discriminator
from torchrl_mixture.modules.specs import check_num_latents

__all__ = ["LatentPolicy"]


class LatentPolicy(TensorDictModuleBase):
    r"""A latent actor, and what it becomes when it is deployed.

    Called, it is the actor, which reads ``"latent"``. :meth:`with_latent` and :meth:`marginal`
    give policies that read the state alone, with the actor's parameters.

    Arguments:
        actor: see :func:`~torchrl_mixture.modules.latent_actor`.
        num_latents: the number of values :math:`Z`.
        discriminator: :math:`q(z \mid s)`, which weighs the marginal; without it all values
            have the same weight.

    Raises:
        ValueError: where there is no latent value, the actor does not read ``"latent"``, or the
            discriminator reads what the actor does not or has another number of values.

    Source:
        Cohen et al. (2019), section 3.3.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl.data import Bounded, Composite, Unbounded
        >>> from torchrl_mixture.modules import latent_actor
        >>> spec = Composite(observation=Unbounded((3,)))
        >>> actor = latent_actor(Bounded(-1.0, 1.0, (2,)), 4, observation_spec=spec)
        >>> policy = LatentPolicy(actor, 4, Discriminator(4, observation_spec=spec))
        >>> state = TensorDict({"observation": torch.zeros(8, 3)}, [8])
        >>> policy.with_latent(2)(state.copy())["action"].shape
        torch.Size([8, 2])
        >>> policy.marginal().get_dist(state).num_components
        4
    """

    def __init__(
        self,
        actor: ProbabilisticActor,
        num_latents: int,
        discriminator: Discriminator | None = None,
    ) -> None:
        check_num_latents(num_latents)
        if "latent" not in actor.in_keys:
            raise ValueError(f"actor must read 'latent', it reads {actor.in_keys}.")
        further = set(discriminator.in_keys) - set(actor.in_keys) if discriminator else set()
        if further:
            raise ValueError(
                f"discriminator must read the state alone, {_state_keys(actor)}, it reads "
                f"{sorted(map(str, further))} too."
            )
        if discriminator is not None and discriminator.num_latents != num_latents:
            raise ValueError(
                f"discriminator must have num_latents = {num_latents} values, it has "
                f"{discriminator.num_latents}."
            )
        super().__init__()
        self.actor = actor
        self.num_latents = num_latents
        self.discriminator = discriminator
        self.in_keys = list(actor.in_keys)
        self.out_keys = list(actor.out_keys)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Act with the latent that is in the data.

        Arguments:
            tensordict: the state and ``"latent"``, one-hot ``[*B, Z]``.

        Returns:
            the same with the action.
        """
        return self.actor(tensordict)

    def with_latent(self, latent: int) -> TensorDictSequential:
        r"""The policy of one latent value, :math:`\pi(a \mid s, z)`.

        Arguments:
            latent: :math:`z`, between 0 and :math:`Z - 1`.

        Raises:
            ValueError: if there is no such value.
        """
        if not 0 <= latent < self.num_latents:
            raise ValueError(
                f"latent must be at least 0 and below {self.num_latents}, got {latent}."
            )
        return TensorDictSequential(_Latent(_latents(self)[latent]), self.actor)

    def marginal(self) -> ProbabilisticActor:
        r"""The mixture of the policies of all latent values.

        .. math::
            \pi(a \mid s) = \sum_z q(z \mid s)\, \pi(a \mid s, z)

        A component is a policy, in the order of the latent values. A value is drawn anew at every
        step; :class:`~torchrl_mixture.modules.ComponentSelector` holds one.

        Returns:
            an actor as :func:`~torchrl_mixture.modules.mixture_actor` makes them.

        Raises:
            ValueError: if the actor's distribution is no mixture of this library.
        """
        sampler = self.actor.module[-1]
        if not issubclass(sampler.distribution_class, ComponentMixture):
            raise ValueError(
                f"actor must have a ComponentMixture as its distribution, such as latent_actor "
                f"makes, got {sampler.distribution_class.__name__}."
            )
        return policy_of(
            _MarginalParameters(self),
            self.actor.spec["action"],
            sampler.distribution_class,
            sampler.distribution_kwargs,
        )

    def policies(self) -> dict[str, TensorDictModuleBase]:
        """The policies that read the state alone, by name.

        Returns:
            ``"marginal"``, then one for each latent value, ``"z0"``, ``"z1"``, ...
        """
        latents = {f"z{latent}": self.with_latent(latent) for latent in range(self.num_latents)}
        return {"marginal": self.marginal(), **latents}


def _latents(policy: LatentPolicy) -> Tensor:
    """All latent values, one-hot ``[Z, Z]``, where the actor's parameters are."""
    like = next(policy.actor.parameters())
    return torch.eye(policy.num_latents, dtype=like.dtype, device=like.device)


def _state_keys(actor: ProbabilisticActor) -> list[NestedKey]:
    return [key for key in actor.in_keys if key != "latent"]


class _Latent(TensorDictModuleBase):
    """Write one latent value into the data."""

    def __init__(self, one_hot: Tensor) -> None:
        super().__init__()
        self.in_keys: list[NestedKey] = []
        self.out_keys = ["latent"]
        self.register_buffer("one_hot", one_hot, persistent=False)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        return tensordict.set("latent", self.one_hot.expand(*tensordict.shape, -1))


class _MarginalParameters(TensorDictModuleBase):
    """Write the parameters of the policies of all latent values, as those of one mixture."""

    def __init__(self, policy: LatentPolicy) -> None:
        super().__init__()
        self.network = policy.actor.module[0]
        self.discriminator = policy.discriminator
        self.in_keys = _state_keys(policy.actor)
        self.out_keys = list(PARAMETERS)
        self.register_buffer("latents", _latents(policy), persistent=False)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        state = tensordict.select(*self.in_keys, strict=False)
        shape = (*state.shape, len(self.latents))
        each = state.unsqueeze(-1).expand(shape)
        each = self.network(each.set("latent", self.latents.expand(*shape, -1)))
        log_weights = each["logits"].log_softmax(-1) + self._log_weights(state).unsqueeze(-1)
        tensordict.set("logits", log_weights.flatten(-2))
        for key in ("loc", "scale"):
            tensordict.set(key, each[key].flatten(-3, -2))
        return tensordict

    def _log_weights(self, state: TensorDictBase) -> Tensor:
        if self.discriminator is None:
            return torch.zeros_like(self.latents[0])
        return self.discriminator(state)["latent_logits"].log_softmax(-1)
