"""One update of TD3's losses, whose actor and targets move less often than its critics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.objectives import TD3Loss
from torchrl.objectives.utils import TargetNetUpdater

from torchrl_mixture.trainers.stepper import AdamStepper


class TD3Stepper(AdamStepper):
    """A step of the critics at every update; of actor and targets at every ``delay``-th.

    The actor's loss is computed when it is due alone, with the critics as they are after their
    step. The outputs have the actor's last ones in between, so that their keys are always the
    same; each is its mean over the minibatch.

    Arguments:
        loss_module: the loss, the one given to the :class:`~torchrl.trainers.Trainer`.
        delay: the number of updates from one step of the actor to the next.
        lr: as for :class:`AdamStepper`; the parts are ``"actor"`` and ``"qvalue"``.
        target_updater: stepped after each step of the actor.
        compile: compile the forward and backward passes of both losses.

    Raises:
        ValueError: if ``lr`` names other parts than the loss has, or ``delay`` is below 1.

    Source:
        Fujimoto et al. (2018), "Addressing Function Approximation Error in Actor-Critic
        Methods", algorithm 1.

    Example:
        >>> from torchrl.data import Bounded
        >>> from torchrl.modules import MLP, Actor, ValueOperator
        >>> spec = Bounded(-1.0, 1.0, (2,))
        >>> critic = ValueOperator(MLP(5, 1), in_keys=["observation", "action"])
        >>> loss = TD3Loss(Actor(MLP(3, 2)), critic, action_spec=spec)
        >>> stepper = TD3Stepper(loss, lr=1e-3)
        >>> [group["name"] for group in stepper.optimizer.param_groups]
        ['actor', 'qvalue']
    """

    def __init__(
        self,
        loss_module: TD3Loss,
        *,
        delay: int = 2,
        lr: float | Mapping[str, float] = 1e-3,
        target_updater: TargetNetUpdater | None = None,
        compile: bool = False,
    ) -> None:
        if delay < 1:
            raise ValueError(f"delay must be at least 1, got {delay}.")
        super().__init__(loss_module, lr=lr, target_updater=target_updater)
        self.delay = delay
        self._losses = {"qvalue": loss_module.value_loss, "actor": loss_module.actor_loss}
        if compile:
            self._losses = {part: torch.compile(loss) for part, loss in self._losses.items()}
        self._actor_outputs: dict[str, Tensor] = {}

    def _update(
        self, loss: Callable[[TensorDictBase], TensorDictBase], sub_batch: TensorDictBase
    ) -> TensorDictBase:
        self.updates += 1
        outputs = self._step("qvalue", sub_batch)
        sub_batch.set(self.loss_module.tensor_keys.priority, outputs.pop("td_error").amax(0))
        if self.updates % self.delay == 0:
            self._actor_outputs = _means(self._step("actor", sub_batch))
            if self.target_updater is not None:
                self.target_updater.step()
        elif not self._actor_outputs:
            with torch.no_grad():
                value, metadata = self._losses["actor"](sub_batch)
            self._actor_outputs = _means({"loss_actor": value, **metadata})
        return TensorDict({**self._actor_outputs, **_means(outputs)})

    def _step(self, part: str, sub_batch: TensorDictBase) -> dict[str, Tensor]:
        """Take a step of one part and return what its loss did, detached."""
        value, metadata = self._losses[part](sub_batch)
        self._descend(value)
        return {f"loss_{part}": value.detach()} | {
            key: output.detach() for key, output in metadata.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """As :meth:`AdamStepper.state_dict`, and the actor's last outputs."""
        return {**super().state_dict(), "actor_outputs": dict(self._actor_outputs)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        super().load_state_dict(state_dict)
        self._actor_outputs = dict(state_dict["actor_outputs"])


def _means(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.mean() for key, value in outputs.items()}
