"""The newest transitions, on which the prior of SAC-AWMP is trained."""

from __future__ import annotations

from tensordict import TensorDictBase
from torchrl.trainers import Trainer

from torchrl_mixture.objectives import AWMPLoss
from torchrl_mixture.trainers.replay import Replay, replay_buffer

__all__ = ["PriorReplay"]


class PriorReplay(Replay):
    r"""Keep the newest transitions, and draw them with their advantage.

    The paper calls such data "semi off-policy": they are of the policies of late, whose states
    the importance weights of the prior's loss take to be those of the present one. The advantage,
    :meth:`~torchrl_mixture.objectives.AWMPLoss.advantage`, is that of the target networks when
    the minibatch is drawn. The density of the action is the one that was recorded when it was
    taken, ``"action_log_prob"``; see :func:`~torchrl_mixture.collectors.GatedCollector`. With
    several copies of the environment a batch is stored copy after copy.

    Give :meth:`sample` to the :class:`AdamStepper` of the
    :class:`~torchrl_mixture.objectives.AWMPPriorLoss`, and register the hook before the first
    batch.

    Arguments:
        loss: the loss that has the critics and the value network.
        size: the number of newest transitions :math:`M`.
        batch_size: the number of transitions in a minibatch.

    Source:
        Hou et al. (2020), section 3.3 and algorithm 1, lines 9 to 12; table 3 has
        :math:`M = 5000` and minibatches of 50.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from torchrl.data import Bounded, Composite, Unbounded
        >>> from torchrl.modules import MLP, ValueOperator
        >>> from torchrl_mixture.modules import ComponentCritic, PriorNetwork, mixture_actor
        >>> action, spec = Bounded(-1.0, 1.0, (2,)), Composite(observation=Unbounded((3,)))
        >>> loss = AWMPLoss(
        ...     mixture_actor(action, 4, observation_spec=spec, learn_weights=False),
        ...     ComponentCritic(action, 1, observation_spec=spec),
        ...     ValueOperator(MLP(3, 1), in_keys=["observation"]),
        ...     prior_network=PriorNetwork(4, action, observation_spec=spec),
        ... )
        >>> replay = PriorReplay(loss, size=5_000, batch_size=50)
        >>> content = {
        ...     "observation": torch.randn(100, 3),
        ...     "action": torch.rand(100, 2),
        ...     "action_log_prob": torch.randn(100),
        ... }
        >>> batch = replay.extend(TensorDict(content, [100]))
        >>> replay.sample(batch)["advantage"].shape
        torch.Size([50, 1])
    """

    def __init__(self, loss: AWMPLoss, *, size: int, batch_size: int) -> None:
        read = [*loss.qvalue_network.in_keys, *loss.value_network.in_keys]
        keys = dict.fromkeys([*read, *loss.prior_network.in_keys, "action_log_prob"])
        super().__init__(replay_buffer(size, batch_size), list(keys))
        self.loss = loss

    def sample(self, batch: TensorDictBase) -> TensorDictBase:
        """Return a minibatch of the newest transitions, whatever is given."""
        newest = super().sample(batch)
        return newest.set("advantage", self.loss.advantage(newest))

    def register(self, trainer: Trainer, name: str = "prior_replay") -> None:
        """Store on ``batch_process``; it is the stepper that draws."""
        trainer.register_op("batch_process", self.extend)
        trainer.register_module(name, self)
