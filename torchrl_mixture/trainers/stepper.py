"""One gradient step of off-policy losses: backward, fused Adam, target update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
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
        auxiliary: steppers of further losses by name, such as a discriminator's; each takes its
            step before this one, and is saved with its loss.
        sample: maps a minibatch to the one that this stepper trains on; as it is by default.

    Raises:
        ValueError: if ``lr`` names other parts than the loss has, or an auxiliary loss has an
            output of this one's name or auxiliaries itself.

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
        auxiliary: Mapping[str, AdamStepper] | None = None,
        sample: Callable[[TensorDictBase], TensorDictBase] | None = None,
    ) -> None:
        groups = parameter_groups(loss_module)
        rates = lr if isinstance(lr, Mapping) else dict.fromkeys(groups, lr)
        if set(rates) != set(groups):
            raise ValueError(
                f"lr names the parts {sorted(rates)}, but this loss has {sorted(groups)}."
            )
        _check_auxiliary(loss_module, auxiliary or {})
        self.optimizer = torch.optim.Adam(
            [
                {"params": parameters, "lr": rates[part], "name": part}
                for part, parameters in groups.items()
            ],
            fused=True,
        )
        self.loss_module = loss_module
        self.target_updater = target_updater
        self.auxiliary = dict(auxiliary or {})
        self.sample = sample
        self.updates = 0
        self._compiled = torch.compile(loss_module) if compile else None

    def step(self, trainer: Trainer, sub_batch: TensorDictBase) -> TensorDictBase:
        """Take one step of each auxiliary loss, then of this one and of its targets.

        Arguments:
            trainer: the trainer.
            sub_batch: transitions ``[B]``.

        Returns:
            the outputs of all losses, detached, the same keys at every call.
        """
        outputs = [stepper.update(sub_batch) for stepper in self.auxiliary.values()]
        loss = trainer.compute_loss if self._compiled is None else self._compiled
        merged = self._update(loss, sub_batch)
        for further in outputs:
            merged.update(further)
        return merged

    def update(self, sub_batch: TensorDictBase) -> TensorDictBase:
        """Take one gradient step of this loss alone, and one of its targets.

        Arguments:
            sub_batch: transitions ``[B]``.

        Returns:
            the loss's outputs, detached.
        """
        loss = self.loss_module if self._compiled is None else self._compiled
        return self._update(loss, sub_batch)

    def _update(
        self, loss: Callable[[TensorDictBase], TensorDictBase], sub_batch: TensorDictBase
    ) -> TensorDictBase:
        self.updates += 1
        outputs = loss(sub_batch if self.sample is None else self.sample(sub_batch))
        self._descend(sum(value for key, value in outputs.items() if key.startswith("loss")))
        if self.target_updater is not None:
            self.target_updater.step()
        return outputs.detach()

    def _descend(self, total: Tensor) -> None:
        """Take a gradient step of the parameters that a loss depends on."""
        total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's state and the auxiliary losses; this loss is saved by the trainer."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "updates": self.updates,
            "auxiliary": {
                name: {"loss_module": stepper.loss_module.state_dict(), **stepper.state_dict()}
                for name, stepper in self.auxiliary.items()
            },
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.updates = state_dict["updates"]
        for name, stepper in self.auxiliary.items():
            saved = state_dict["auxiliary"][name]
            stepper.loss_module.load_state_dict(saved["loss_module"])
            stepper.load_state_dict(saved)


def _check_auxiliary(loss_module: LossModule, auxiliary: Mapping[str, AdamStepper]) -> None:
    taken = set(loss_module.out_keys)
    for name, stepper in auxiliary.items():
        if stepper.auxiliary:
            raise ValueError(f"auxiliary[{name!r}] must have no auxiliary steppers of its own.")
        keys = set(stepper.loss_module.out_keys)
        if shared := sorted(keys & taken):
            raise ValueError(
                f"auxiliary[{name!r}] must have outputs of other names, got {shared}."
            )
        taken |= keys
