"""Soft actor-critic for a family of policies that can be told apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
from tensordict.utils import NestedKey
from torch import Tensor
from torch.func import functional_call
from torchrl.objectives import SACLoss

from torchrl_mixture import functional as F
from torchrl_mixture.modules import Discriminator
from torchrl_mixture.modules.ensemble import EnsembleCall
from torchrl_mixture.objectives.checks import check_choice

__all__ = ["Diversity", "MEDELoss"]

Diversity = Literal["mede", "diayn"]


class MEDELoss(SACLoss):
    r"""SAC for the policies of a latent variable, paid for being told apart by a discriminator.

    With ``diversity="mede"``, the values of actions that are drawn now have a term more, in the
    actor's loss and in the critics' target:

    .. math::
        L_\pi &= \mathbb E_{(s, z)}\, \mathbb E_{a \sim \pi(\cdot \mid s, z)}
            \left[\alpha \log \pi(a \mid s, z) - c \log q(z \mid s, a)
            - \min_e Q_e(s, a, z)\right] \\
        y &= r + \gamma\, (1 - d) \left[\min_e Q_e'(s', a', z) - \alpha \log \pi(a' \mid s', z)
            + c \log q(z \mid s', a')\right]

    The actor's gradient goes through the discriminator to the action. By default :math:`c` is the
    temperature :math:`\alpha`, with which the optimal policies are a decomposition of the
    maximum-entropy policy where :math:`p(z \mid s)` is the same in all states; with a smaller one
    each of them tends to that policy itself, with a larger one their mixture is another. The
    paper has no temperature in its formulas and 0.3 in its experiments; if that was on the
    entropy alone, as its words are, it is ``diversity_coef=1.0``. The printed critic's loss lacks
    :math:`\gamma`.

    With ``diversity="diayn"``, the paper's baseline, the reward has a term more and nothing else
    changes:

    .. math::
        \hat r = r + c \log q(z \mid s), \qquad c = 1 \text{ by default}

    and with ``task_reward=False``, as in DIAYN itself,

    .. math::
        \hat r = c \left[\log q(z \mid s) - \log p(z)\right], \qquad p(z) = 1 / Z

    Everything else is TorchRL's :class:`~torchrl.objectives.SACLoss`, whose keyword arguments it
    takes; with one latent value and the task's reward the two are equal. The temperature is
    adapted to the entropy of the policies, without the discriminator's term.

    The discriminator is not a part of this loss: it is neither among its parameters nor in its
    ``state_dict``, and is trained, saved and moved by
    :class:`~torchrl_mixture.objectives.DiscriminatorLoss`.

    Arguments:
        actor_network: a policy that reads ``"latent"``, such as
            :func:`~torchrl_mixture.modules.latent_actor` makes.
        qvalue_network: the critic, which reads ``"latent"`` too, such as
            :func:`~torchrl_mixture.modules.latent_critic` makes; give a list of critics to keep
            their initialisation.
        value_network: as in ``SACLoss``.
        discriminator: :math:`q(z \mid s, a)` with ``"mede"``; with ``"diayn"``
            :math:`q(z \mid s)`, or one that reads the action too.
        diversity: ``"mede"`` or ``"diayn"``.
        diversity_coef: :math:`c`, in units of the reward; a number is a buffer, which can be
            scheduled.
        task_reward: whether the task's reward counts; without it ``diversity`` must be
            ``"diayn"``.
        **kwargs: the keyword arguments of ``SACLoss``. Its default ``loss_function`` is
            ``"smooth_l1"``; the paper uses ``"l2"``, halved.

    Raises:
        ValueError: where ``diversity`` is unknown, the discriminator does not read the action
            that ``"mede"`` needs or reads there what the critics do not, the coefficient is
            negative, or the task's reward is left out of ``"mede"``.

    Source:
        Cohen et al. (2019), equation 12 and section 4; Eysenbach et al. (2019), "Diversity is all
        you need".

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl.data import Bounded, Composite, Unbounded
        >>> from torchrl_mixture.modules import latent_actor, latent_critic
        >>> action, spec = Bounded(-1.0, 1.0, (2,)), Composite(observation=Unbounded((3,)))
        >>> discriminator = Discriminator(4, action, observation_spec=spec)
        >>> loss = MEDELoss(
        ...     latent_actor(action, 4, observation_spec=spec),
        ...     latent_critic(action, 4, observation_spec=spec),
        ...     discriminator=discriminator,
        ...     alpha_init=0.3,
        ...     fixed_alpha=True,
        ... )
        >>> batch = TensorDict(
        ...     {
        ...         "observation": torch.randn(8, 3),
        ...         "action": torch.rand(8, 2),
        ...         "latent": torch.eye(4).repeat(2, 1),
        ...         "next": {
        ...             "observation": torch.randn(8, 3),
        ...             "latent": torch.eye(4).repeat(2, 1),
        ...             "reward": torch.randn(8, 1),
        ...             "done": torch.zeros(8, 1, dtype=torch.bool),
        ...             "terminated": torch.zeros(8, 1, dtype=torch.bool),
        ...         },
        ...     },
        ...     batch_size=[8],
        ... )
        >>> sorted(loss(batch).keys())
        ['alpha', 'entropy', 'loss_actor', 'loss_alpha', 'loss_qvalue']
    """

    @dataclass
    class _AcceptedKeys(SACLoss._AcceptedKeys):
        """SAC's keys, and that of the latent that acts, one-hot ``[*B, Z]``."""

        latent: NestedKey = "latent"

    default_keys = _AcceptedKeys
    _schedulable_buffers = frozenset({"diversity_coef"})

    discriminator: Discriminator

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        qvalue_network: TensorDictModule | list[TensorDictModule],
        value_network: TensorDictModule | None = None,
        *,
        discriminator: Discriminator,
        diversity: Diversity = "mede",
        diversity_coef: float | None = None,
        task_reward: bool = True,
        **kwargs: Any,
    ) -> None:
        _check_diversity(diversity, task_reward, diversity_coef)
        if diversity == "mede" and discriminator.form != "state_action":
            raise ValueError(
                f"discriminator must read the action with diversity='mede', it reads "
                f"{discriminator.in_keys}."
            )
        # Not registered: it is a part of its own loss, and its parameters are shared with it.
        self.__dict__["discriminator"] = discriminator
        super().__init__(actor_network, qvalue_network, value_network, **kwargs)
        read = self.qvalue_network.in_keys
        if diversity == "mede" and not set(discriminator.in_keys) <= set(read):
            raise ValueError(
                f"discriminator must read what the critics read, {read}, with diversity='mede', "
                f"it reads {discriminator.in_keys}."
            )
        self.diversity = diversity
        self.task_reward = task_reward
        if diversity_coef is None and diversity == "diayn":
            diversity_coef = 1.0
        coef = None if diversity_coef is None else float(diversity_coef)
        self.register_coeff_buffer("diversity_coef", coef)

    def _make_vmap(self) -> None:
        super()._make_vmap()
        self._critics = EnsembleCall(self.qvalue_network)
        self._vmap_qnetworkN0: Callable[..., TensorDictBase] = self._critics

    def _set_in_keys(self) -> None:
        super()._set_in_keys()
        keys = [*self.discriminator.in_keys, self.tensor_keys.latent]
        self._in_keys = list(dict.fromkeys([*self.in_keys, *keys]))

    def _log_q(self, tensordict: TensorDictBase) -> Tensor:
        """Log-probability of the latent, ``[*B]``, with gradients to the inputs alone."""
        frozen = {name: value.detach() for name, value in self.discriminator.named_parameters()}
        inputs = tensordict.select(*self.discriminator.in_keys)
        logits = functional_call(self.discriminator, frozen, (inputs,))["latent_logits"]
        return F.latent_log_prob(logits, tensordict[self.tensor_keys.latent])

    @contextmanager
    def _paid_for_drawn_actions(self) -> Iterator[None]:
        """Add the discriminator's term to the critics' values of actions that are drawn now."""
        if self.diversity == "mede":
            self._vmap_qnetworkN0 = self._critics_and_log_q
        try:
            yield
        finally:
            self._vmap_qnetworkN0 = self._critics

    def _critics_and_log_q(
        self, tensordict: TensorDictBase, params: TensorDictBase
    ) -> TensorDictBase:
        output = self._critics(tensordict, params)
        coef = self._alpha if self.diversity_coef is None else self.diversity_coef
        paid = coef * self._log_q(tensordict).unsqueeze(-1)
        key = self.tensor_keys.state_action_value
        return output.set(key, output.get(key) + paid)

    def actor_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """The actor's loss, and without gradient the log-density."""
        with self._paid_for_drawn_actions():
            # A copy, so that the policy's parameters are not written to the caller's batch.
            return super().actor_loss(tensordict.copy())

    def _compute_target_v2(self, tensordict: TensorDictBase) -> Tensor:
        with self._paid_for_drawn_actions():
            return super()._compute_target_v2(tensordict)

    def value_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the value network, where there is one."""
        with self._paid_for_drawn_actions():
            return super().value_loss(tensordict)

    def qvalue_v1_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """The critics' loss, where there is a value network."""
        return super().qvalue_v1_loss(self._with_reward(tensordict))

    def qvalue_v2_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """The critics' loss."""
        return super().qvalue_v2_loss(self._with_reward(tensordict))

    def _with_reward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The batch with DIAYN's reward."""
        if self.diversity != "diayn":
            return tensordict
        key = ("next", self.tensor_keys.reward)
        reward, latent = tensordict.get(key), tensordict.get(self.tensor_keys.latent)
        with torch.no_grad():
            log_q = self._log_q(tensordict).reshape(reward.shape)
        if self.task_reward:
            reward = reward + self.diversity_coef * log_q
        else:
            reward = self.diversity_coef * (log_q + math.log(latent.shape[-1]))
        return tensordict.copy().set(key, reward)


def _check_diversity(diversity: str, task_reward: bool, coef: float | None) -> None:
    check_choice("diversity", diversity, Diversity)
    if not task_reward and diversity != "diayn":
        raise ValueError(f"task_reward=False must have diversity='diayn', got {diversity!r}.")
    if coef is not None and not coef >= 0:
        raise ValueError(f"diversity_coef must be None or at least 0, got {coef}.")
