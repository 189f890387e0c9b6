"""One gradient step of an off-policy loss: backward, fused Adam, target update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import nn
from torchrl.objectives import LossModule
from torchrl.objectives.utils import TargetNetUpdater
from torchrl.trainers import OptimizationStepper, Trainer


def parameter_groups(loss_module: LossModule) -> dict[str, list[nn.Parameter]]:
    """Sort the trainable parameters of a loss by the part they belong to.

    A part is named after the loss's attribute: ``actor_network_params`` gives ``"actor"``,
    ``qvalue_network_params`` gives ``"qvalue"``, ``log_alpha`` gives ``"alpha"``.

    Arguments:
        loss_module: the loss; target parameters are not among its parameters.

    Returns:
        the parameters of each part, in the order in which the loss holds them.
    """
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in loss_module.named_parameters():
        part = name.split(".")[0].removesuffix("_params").removesuffix("_network")
        groups.setdefault(part.removeprefix("log_"), []).append(parameter)
    return groups


class AdamStepper(OptimizationStepper):
    """Minimise the sum of a loss's ``loss*`` outputs with one fused Adam.

    Every parameter receives the gradient it would receive from an optimiser of its own, because
    TorchRL's losses cut the graph between actor, critics and temperature: one optimiser with a
    parameter group a part equals one optimiser a part, and is faster.

    Arguments:
        loss_module: the loss, the one given to the :class:`~torchrl.trainers.Trainer`.
        lr: the step size of all parts, or a step size for each part by name (see
            :func:`parameter_groups`).
        target_updater: stepped after each gradient step; ``None`` for a loss without targets.
        compile: compile the forward and backward passes. Adam stays eager: its fused kernel is
            faster than what the compiler makes of it.

    Raises:
        ValueError: if ``lr`` names other parts than the loss has.

    Example:
        >>> from torchrl.modules import MLP, QValueActor
        >>> from torchrl.objectives import DQNLoss, SoftUpdate
        >>> actor = QValueActor(MLP(3, 2), in_keys=["observation"], action_space="categorical")
        >>> loss = DQNLoss(actor, action_space="categorical", delay_value=True)
        >>> updater = SoftUpdate(loss, tau=0.01)
        >>> stepper = AdamStepper(loss, lr={"value": 1e-3}, target_updater=updater)
        >>> [group["name"] for group in stepper.optimizer.param_groups]
        ['value']
    """

    def __init__(
        self,
        loss_module: LossModule,
        *,
        lr: float | Mapping[str, float] = 3e-4,
        target_updater: TargetNetUpdater | None = None,
        compile: bool = False,
    ) -> None:
        groups = parameter_groups(loss_module)
        rates = lr if isinstance(lr, Mapping) else dict.fromkeys(groups, lr)
        if set(rates) != set(groups):
            raise ValueError(
                f"lr names the parts {sorted(rates)}, but this loss has {sorted(groups)}."
            )
        self.optimizer = torch.optim.Adam(
            [
                {"params": parameters, "lr": rates[part], "name": part}
                for part, parameters in groups.items()
            ],
            fused=True,
        )
        self.target_updater = target_updater
        self._compiled = torch.compile(loss_module) if compile else None

    def step(self, trainer: Trainer, sub_batch: TensorDictBase) -> TensorDictBase:
        """Take one gradient step and one target step.

        Arguments:
            trainer: the trainer whose loss is minimised.
            sub_batch: transitions ``[B]``.

        Returns:
            the loss's outputs, detached, the same keys at every call.
        """
        compute_loss = trainer.compute_loss if self._compiled is None else self._compiled
        outputs = compute_loss(sub_batch)
        total = sum(value for key, value in outputs.items() if key.startswith("loss"))
        total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.target_updater is not None:
            self.target_updater.step()
        return outputs.detach()

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's state; the loss and the targets are saved with the loss."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.optimizer.load_state_dict(state_dict["optimizer"])
