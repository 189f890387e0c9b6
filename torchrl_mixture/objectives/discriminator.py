"""How a discriminator learns which latent value acted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDict, TensorDictBase, TensorDictParams
from tensordict.nn import dispatch
from tensordict.utils import NestedKey
from torchrl.objectives import LossModule

from torchrl_mixture import functional as F
from torchrl_mixture.modules import Discriminator

__all__ = ["DiscriminatorLoss"]


class DiscriminatorLoss(LossModule):
    r"""Cross-entropy of a discriminator on stored transitions.

    .. math::
        L_q = -\mathbb E_{(s, a, z)} \log q(z \mid s, a)
        \qquad\text{or}\qquad -\mathbb E_{(s, z)} \log q(z \mid s)

    Its outputs end in ``state_action`` or ``state``, by what the discriminator reads, so that the
    losses of both can be logged together: ``loss_discriminator_*``; without gradient
    ``accuracy_*``, the share of transitions whose latent is the likeliest, and ``log_q_*``, the
    mean of :math:`\log q` in nats, the discriminability. Guessing gives :math:`1 / Z` and
    :math:`-\log Z`.

    Stored transitions are those of all policies since the beginning, so that :math:`q` lags
    behind the policies as they are.

    Arguments:
        discriminator: see :class:`~torchrl_mixture.modules.Discriminator`.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; with ``"none"`` the loss alone is
            returned, ``[*B]``.

    Raises:
        ValueError: where the reduction is unknown.

    Source:
        Cohen et al. (2019), section 4; the outputs are those of its figure 2.

    Example:
        >>> from torchrl.data import Composite, Unbounded
        >>> spec = Composite(observation=Unbounded((3,)))
        >>> loss = DiscriminatorLoss(Discriminator(4, observation_spec=spec))
        >>> batch = TensorDict({"observation": torch.zeros(4, 3), "latent": torch.eye(4)}, [4])
        >>> sorted(loss(batch).keys())
        ['accuracy_state', 'log_q_state', 'loss_discriminator_state']
    """

    @dataclass
    class _AcceptedKeys:
        """Those of the latent that acted, one-hot ``[*B, Z]``, and of the replay's weights."""

        latent: NestedKey = "latent"
        priority_weight: NestedKey = "priority_weight"

    tensor_keys: _AcceptedKeys
    default_keys = _AcceptedKeys

    discriminator: Discriminator
    discriminator_params: TensorDictParams
    target_discriminator_params: TensorDictParams

    def __init__(self, discriminator: Discriminator, *, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(
                f"reduction must be one of ['mean', 'sum', 'none'], got {reduction!r}."
            )
        super().__init__()
        self._in_keys: list[NestedKey] = []
        self.convert_to_functional(discriminator, "discriminator")
        self.reduction = reduction
        self.form = discriminator.form
        self.out_keys = [f"loss_discriminator_{self.form}"]
        if reduction != "none":
            self.out_keys += [f"accuracy_{self.form}", f"log_q_{self.form}"]

    @property
    def in_keys(self) -> list[NestedKey]:
        """What the discriminator reads, and the latent."""
        return self._in_keys or [*self.discriminator.in_keys, self.tensor_keys.latent]

    @in_keys.setter
    def in_keys(self, keys: list[NestedKey]) -> None:
        self._in_keys = keys

    def _forward_value_estimator_keys(self, **kwargs: NestedKey) -> None:
        """There is no value estimator."""

    @dispatch
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The cross-entropy and what it is judged by, see the class."""
        latent = tensordict[self.tensor_keys.latent]
        with self.discriminator_params.to_module(self.discriminator, preserve_module_state=False):
            inputs = tensordict.select(*self.discriminator.in_keys)
            logits = self.discriminator(inputs)["latent_logits"]
        log_q = F.latent_log_prob(logits, latent)
        weights = self._maybe_get_priority_weight(tensordict)
        loss = self._reduce_loss(-log_q, tensordict=tensordict, weights=weights)
        batch_size = tensordict.batch_size if self.reduction == "none" else []
        output = TensorDict({f"loss_discriminator_{self.form}": loss}, batch_size=batch_size)
        if self.reduction != "none":
            with torch.no_grad():
                output.set(f"accuracy_{self.form}", F.latent_accuracy(logits, latent))
                output.set(f"log_q_{self.form}", log_q.mean())
        self._clear_weakrefs(tensordict, output, "discriminator_params")
        return output
