"""How fast the target networks of a loss follow."""

from __future__ import annotations

from collections.abc import Mapping

from torchrl.objectives import LossModule
from torchrl.objectives.utils import TargetNetUpdater

__all__ = ["PartwiseSoftUpdate"]


class PartwiseSoftUpdate(TargetNetUpdater):
    r"""Polyak averaging with a rate of its own for each part of a loss.

    .. math::
        \bar\theta_i \leftarrow \tau_i\, \theta_i + (1 - \tau_i)\, \bar\theta_i

    TorchRL's ``SoftUpdate`` has one rate for all.

    Arguments:
        loss_module: the loss.
        taus: :math:`\tau_i`, from 0 to 1, for each part that has a target network, by its name:
            ``"value"`` is that of ``target_value_network_params``.

    Raises:
        ValueError: where the parts are not those of the loss, or a rate is out of its range.

    Source:
        Hou et al. (2020), algorithm 1, lines 21 and 22.

    Example:
        >>> from torchrl.data import Bounded, Composite, Unbounded
        >>> from torchrl.modules import MLP, ValueOperator
        >>> from torchrl.objectives import SACLoss
        >>> from torchrl_mixture.modules import ComponentCritic, mixture_actor
        >>> action, spec = Bounded(-1.0, 1.0, (2,)), Composite(observation=Unbounded((3,)))
        >>> loss = SACLoss(
        ...     mixture_actor(action, 1, observation_spec=spec),
        ...     ComponentCritic(action, 1, observation_spec=spec),
        ...     ValueOperator(MLP(3, 1), in_keys=["observation"]),
        ... )
        >>> target = PartwiseSoftUpdate(loss, {"value": 0.005, "qvalue": 0.001})
        >>> target.step()
    """

    def __init__(self, loss_module: LossModule, taus: Mapping[str, float]) -> None:
        super().__init__(loss_module)
        parts = {
            name.removeprefix("target_").removesuffix("_network_params"): name
            for name in self._targets.keys()
        }
        if set(taus) != set(parts):
            raise ValueError(
                f"taus must have the parts {sorted(parts)} that have targets, got {sorted(taus)}."
            )
        for part, tau in taus.items():
            if not 0 <= tau <= 1:
                raise ValueError(f"taus[{part!r}] must be from 0 to 1, got {tau}.")
        self.taus = {parts[part]: tau for part, tau in taus.items()}

    def step(self) -> None:
        """Move every target a share of the way."""
        for name, tau in self.taus.items():
            source = self._sources.get(name.removeprefix("target_"))
            self._targets.get(name).data.lerp_(source.data, tau)
