"""Storing every transition and drawing minibatches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.utils import NestedKey
from torchrl.data import (
    LazyTensorStorage,
    ReplayBuffer,
    TensorDictPrioritizedReplayBuffer,
    TensorDictReplayBuffer,
)
from torchrl.envs.transforms import MultiStepTransform
from torchrl.trainers import Trainer, TrainerHookBase

from torchrl_mixture.trainers.hindsight import HindsightReplayBuffer, goal_reward
from torchrl_mixture.trainers.refusals import ConfigError
from torchrl_mixture.trainers.settings import OffPolicyConfig, with_goals

TRANSITION_KEYS: tuple[NestedKey, ...] = (
    "observation",
    "action",
    ("next", "observation"),
    ("next", "reward"),
    ("next", "done"),
    ("next", "terminated"),
    ("next", "truncated"),
)
GOAL_KEYS: tuple[NestedKey, ...] = (
    "achieved_goal",
    "desired_goal",
    ("next", "achieved_goal"),
    ("next", "desired_goal"),
)


def replay_buffer(
    size: int, batch_size: int, *, priorities: tuple[float, float] | None = None
) -> ReplayBuffer:
    """Build a replay buffer in memory.

    Arguments:
        size: the number of transitions kept.
        batch_size: the number of transitions in a minibatch.
        priorities: exponents of the errors and of the weights for prioritised replay; without
            them minibatches are uniform.

    Raises:
        ConfigError: if TorchRL's extension for prioritised replay does not load.

    Example:
        >>> replay_buffer(1_000, batch_size=32).batch_size
        32
    """
    storage = LazyTensorStorage(size)
    if priorities is None:
        return ReplayBuffer(storage=storage, batch_size=batch_size)
    alpha, beta = priorities
    try:
        return TensorDictPrioritizedReplayBuffer(
            alpha=alpha, beta=beta, storage=storage, batch_size=batch_size
        )
    except RuntimeError:
        allowed = f"false, since TorchRL's extension does not load with torch {torch.__version__}"
        raise ConfigError("replay_buffer.prioritized", True, allowed) from None


def make_buffer(config: OffPolicyConfig) -> ReplayBuffer:
    """Build the replay buffer of a recipe's settings."""
    settings = config.replay_buffer
    if with_goals(config):
        return HindsightReplayBuffer(
            goal_reward(config.env.name),
            her_ratio=settings.her_ratio,
            storage=LazyTensorStorage(settings.size),
            batch_size=config.optim.batch_size,
        )
    exponents = (settings.priority_alpha, settings.priority_beta)
    return replay_buffer(
        settings.size,
        config.optim.batch_size,
        priorities=exponents if settings.prioritized else None,
    )


def transition_keys(config: OffPolicyConfig) -> tuple[NestedKey, ...]:
    """What is stored of a transition with a recipe's settings."""
    return (*TRANSITION_KEYS, *GOAL_KEYS) if with_goals(config) else TRANSITION_KEYS


class Replay(TrainerHookBase):
    r"""Store every collected transition and draw the minibatches.

    Storing happens on ``batch_process``, which runs during the random warm-up too, and the
    end-of-episode signals are stored as the environment gave them. With :math:`n` steps, a
    transition has the reward

    .. math::
        \sum_{i=0}^{m-1} \gamma^i r_{t+i}

    and the next observation and end-of-episode signals of step :math:`t + m - 1`, with
    :math:`m = n`, or less where the episode ends before; :math:`m` is stored as
    ``"steps_to_next_obs"``, which TorchRL's value estimators read. The last :math:`n` steps of
    each copy of the environment wait for those that follow.

    Arguments:
        buffer: the replay buffer, with its batch size set.
        keys: what to store of a transition; the rest of the batch is dropped.
        n_steps: the number of rewards :math:`n`.
        gamma: the discount :math:`\gamma` of the rewards.

    Example:
        >>> replay = Replay(replay_buffer(100, batch_size=4), keys=["observation"])
        >>> batch = replay.extend(TensorDict({"observation": torch.zeros(10, 3)}, [10]))
        >>> len(replay.buffer), replay.sample(batch).shape
        (10, torch.Size([4]))
    """

    def __init__(
        self,
        buffer: ReplayBuffer,
        keys: Sequence[NestedKey] = TRANSITION_KEYS,
        *,
        n_steps: int = 1,
        gamma: float = 0.99,
    ) -> None:
        self.buffer = buffer
        self.keys = tuple(keys)
        self.multi_step: MultiStepTransform | None = None
        if n_steps > 1:
            # Without done_keys the signals are those of the last step, as they must be: a
            # transition that runs into the end would otherwise bootstrap from it.
            self.multi_step = MultiStepTransform(n_steps, gamma, done_keys=[])

    def extend(self, batch: TensorDictBase) -> TensorDictBase:
        """Store the batch ``[*B, T]`` as ``T * prod(B)`` transitions and return it unchanged."""
        transitions = batch.select(*self.keys)
        if self.multi_step is not None:
            transitions = self.multi_step.inv(transitions)
            if transitions is None:  # all of them wait for the steps that follow
                return batch
            transitions = transitions.select(*self.keys, "steps_to_next_obs")
        self.buffer.extend(transitions.reshape(-1))
        return batch

    def sample(self, batch: TensorDictBase) -> TensorDictBase:
        """Return a minibatch ``[buffer.batch_size]``, whatever was collected."""
        return self.buffer.sample()

    def state_dict(self) -> dict[str, Any]:
        """The transitions that there are, and the state of the parts of the buffer."""
        buffer = self.buffer
        hindsight = isinstance(buffer, HindsightReplayBuffer)
        return {
            "transitions": buffer.storage[:].to_dict() if len(buffer) else {},
            "writer": buffer.writer.state_dict(),
            "sampler": buffer.sampler.state_dict(),
            **({"episode_ends": buffer.episode_ends} if hindsight else {}),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned into an empty buffer."""
        if state_dict["transitions"]:
            transitions = TensorDict(state_dict["transitions"]).auto_batch_size_(1)
            self.buffer.storage.set(torch.arange(len(transitions)), transitions)
        self.buffer.writer.load_state_dict(state_dict["writer"])
        self.buffer.sampler.load_state_dict(state_dict["sampler"])
        if isinstance(self.buffer, HindsightReplayBuffer):
            self.buffer.episode_ends = state_dict["episode_ends"]

    def register(self, trainer: Trainer, name: str = "replay_buffer") -> None:
        """Store on ``batch_process``, draw on ``process_optim_batch``.

        The priorities of a :class:`~torchrl.data.TensorDictReplayBuffer` follow the loss's
        ``"td_error"`` on ``post_optim_log``, the stage that sees the minibatch after its update.
        """
        trainer.register_op("batch_process", self.extend)
        trainer.register_op("process_optim_batch", self.sample)
        if isinstance(self.buffer, TensorDictReplayBuffer):
            trainer.register_op("post_optim_log", self.buffer.update_tensordict_priority)
        trainer.register_module(name, self)
