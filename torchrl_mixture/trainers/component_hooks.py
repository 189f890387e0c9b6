"""What a greedy mixture of means does in training: which components act, and where they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.trainers import Trainer, TrainerHookBase

from torchrl_mixture.modules import GreedyComponent, MeanActors
from torchrl_mixture.trainers.records import RunRecord
from torchrl_mixture.trainers.refusals import one_line

NUM_STATES = 200  # whose means are kept


class ComponentUse(TrainerHookBase):
    r"""Count which component acts, and which is the best on stored states.

    Random actions are not counted: of the batches of a warm-up the key ``"component"`` must be
    absent, as with this package's collectors, or -1, as with the policy's primer. TorchRL's
    ``Collector`` by itself writes 0 there.

    Arguments:
        greedy: the policy's choice of a component, one of :math:`K`.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl.data import Bounded, Composite, Unbounded
        >>> from torchrl.modules import MLP, ValueOperator
        >>> from torchrl_mixture.objectives import GamidLoss
        >>> spec = Bounded(-1.0, 1.0, (2,))
        >>> observed = Composite(observation=Unbounded((3,)))
        >>> actor = MeanActors(spec, num_components=2, observation_spec=observed)
        >>> critic = ValueOperator(MLP(5, 1), in_keys=["observation", "action"])
        >>> stored = TensorDict({"observation": torch.zeros(8, 3)}, [8])
        >>> loss = GamidLoss(actor, critic, action_spec=spec)
        >>> greedy = GreedyComponent(actor, loss.qvalue_network, loss.qvalue_network_params)
        >>> use = ComponentUse(greedy)  # then use.register(trainer)
        >>> sorted(use.diagnostics(stored))
        ['greedy_share_0', 'greedy_share_1']
    """

    def __init__(self, greedy: GreedyComponent) -> None:
        self.greedy = greedy
        self._used = torch.zeros(greedy.actor.num_components, dtype=torch.int64)

    def _count(self, components: Tensor) -> Tensor:
        chosen = components[components >= 0]
        return chosen.bincount(minlength=self.greedy.actor.num_components)

    def __call__(self, batch: TensorDictBase) -> None:
        """Count the components of a collected batch."""
        if "component" in batch:
            self._used += self._count(batch["component"]).cpu()

    @torch.no_grad()
    def diagnostics(self, stored: TensorDictBase) -> dict[str, Tensor]:
        """Give shares as columns of a row, for :func:`off_policy_trainer`.

        Arguments:
            stored: transitions ``[B]``.

        Returns:
            ``greedy_share_<k>``, how often component :math:`k` is the best in these states; and
            ``used_share_<k>``, how often it acted since the last call, unless none did.
        """
        actor = self.greedy.actor
        means = actor(stored.select(*actor.in_keys))["means"]
        counts = {"greedy_share": self._count(self.greedy.best(stored, means))}
        if self._used.any():
            counts["used_share"] = self._used
            self._used = torch.zeros_like(self._used)
        return {
            f"{name}_{component}": share
            for name, count in counts.items()
            for component, share in enumerate(count / count.sum())
        }

    def state_dict(self) -> dict[str, Any]:
        """What was counted since the last diagnostics."""
        return {"used": self._used}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._used = state_dict["used"].clone()

    def register(self, trainer: Trainer, name: str = "component_use") -> None:
        """Count on ``pre_steps_log``, which comes before an evaluation."""
        trainer.register_op("pre_steps_log", self)
        trainer.register_module(name, self)


class MeansRecord(TrainerHookBase):
    """Keep the means on stored states, before the first update and at each quarter of the run.

    The states of a moment are 200 of those that the trainer's :class:`Replay`, registered under
    its own name, holds then, evenly spread. The means are in
    the run's ``means.npz``, by the moment's frame count, ``[S, K, A]``;
    :func:`~torchrl_mixture.analysis.plot_means` draws them.

    Arguments:
        means: the means.
        record: the run's folder.

    Example:
        >>> from pathlib import Path
        >>> from torchrl.data import Bounded, Composite, Unbounded
        >>> observed = Composite(observation=Unbounded((3,)))
        >>> means = MeanActors(Bounded(-1.0, 1.0, (2,)), 5, observation_spec=observed)
        >>> hook = MeansRecord(means, RunRecord(Path("runs/a"), []))
        >>> hook.state_dict()  # then hook.register(trainer)
        {'moments': {}}
    """

    def __init__(self, means: MeanActors, record: RunRecord) -> None:
        self.means = means
        self.record = record
        self._moments: dict[str, Tensor] = {}

    def start(self) -> None:
        """Keep the first moment."""
        if not self._moments:
            self._keep()

    def __call__(self) -> None:
        """Keep the moment if a quarter of the run was completed since the last one."""
        if not self._moments:
            return
        frames, total = self.trainer.collected_frames, self.trainer.total_frames
        if 4 * int(list(self._moments)[-1]) // total < 4 * frames // total:
            self._keep()

    @torch.no_grad()
    def _keep(self) -> None:
        buffer = self.trainer._modules["replay_buffer"].buffer
        spread = torch.linspace(0, len(buffer) - 1, NUM_STATES, dtype=torch.float64).long()
        stored = buffer[spread].select(*self.means.in_keys)  # not drawn: nothing is disturbed
        self._moments[str(self.trainer.collected_frames)] = self.means(stored)["means"]
        self._write()

    def _write(self) -> None:
        arrays: dict[str, Any] = {
            frames: means.numpy(force=True) for frames, means in self._moments.items()
        }
        path = self.record.path / "means.npz"
        temporary = path.with_name(".means.npz.new")
        try:
            with open(temporary, "wb") as file:
                np.savez(file, **arrays)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            self.record.warn(f"means.npz was not written ({one_line(error)}).")

    def state_dict(self) -> dict[str, Any]:
        """The moments so far."""
        return {"moments": dict(self._moments)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._moments = dict(state_dict["moments"])

    def register(self, trainer: Trainer, name: str = "means") -> None:
        """Begin on ``pre_optim_steps``, when the warm-up is over, and go on on ``post_steps``."""
        self.trainer = trainer
        trainer.register_op("pre_optim_steps", self.start)
        trainer.register_op("post_steps", self)
        trainer.register_module(name, self)
