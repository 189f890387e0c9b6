"""Goals that are replaced after the fact by what was achieved."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from tensordict import TensorDictBase
from tensordict.utils import NestedKey
from torch import Tensor
from torchrl.data import HERReplayBuffer
from torchrl.data.replay_buffers import Storage

from torchrl_mixture.trainers.environments_gymnasium import goal_env
from torchrl_mixture.trainers.refusals import ConfigError, one_line

Reward = Callable[[TensorDictBase], Tensor]
GOALS = (("next", "achieved_goal"), ("next", "desired_goal"))


class HindsightReplayBuffer(HERReplayBuffer):
    r"""TorchRL's replay with goals in hindsight, with the goals of the papers.

    Of the first :math:`\lfloor \rho B \rfloor` of :math:`B` drawn transitions, the goal becomes
    one that was achieved after a step of the same episode, this one or a later one:

    .. math::
        g' = \phi(s_{j + 1}), \quad j \sim \mathrm{Uniform}\{t, \dots, T - 1\}, \qquad
        r' = r(\phi(s_{t + 1}), g')

    with :math:`\phi(s_{j+1})` the stored ``("next", "achieved_goal")`` and :math:`T - 1` the
    last stored step of the episode, which may still go on. ``"desired_goal"``,
    ``("next", "desired_goal")`` and the reward change. ``done`` and ``terminated`` do not: they
    stay those of the goal that was pursued. That is right where reaching a goal does not end an
    episode, as in the Fetch tasks; where it does, a transition that reaches its new goal still
    counts as one that goes on.

    Episodes are told apart by ``end_key`` and the order of writing: one environment writes,
    and without ``prefetch``. Here the transitions are taken in that order, in which an episode
    is one stretch, wherever the storage wraps. TorchRL's class takes them in the order of the
    slots; it cannot draw once the storage is full, its goals are those achieved before the
    step, and it takes rewards of shape ``[B, 1]`` only.

    Arguments:
        reward_fn: maps transitions ``[B]`` with their new goals to rewards ``[B]`` or
            ``[B, 1]``; they are stored in the dtype of the rewards that they replace.
        achieved_goal_key: the goals that may be taken.
        **kwargs: of TorchRL's ``HERReplayBuffer``, such as ``her_ratio``, :math:`\rho`, the
            ``strategy``, ``storage`` and ``batch_size``.

    Source:
        Andrychowicz et al. (2017), section 4.5, strategy "future"; its four new goals for each
        transition are :math:`\rho = 0.8`.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl.data import LazyTensorStorage
        >>> def reward(transitions):
        ...     next = transitions["next"]
        ...     return -(next["achieved_goal"] != next["desired_goal"]).any(-1).float()
        >>> buffer = HindsightReplayBuffer(
        ...     reward, her_ratio=1.0, storage=LazyTensorStorage(10), batch_size=4
        ... )
        >>> steps = torch.arange(3.0).unsqueeze(-1)
        >>> goal, done = torch.full((3, 1), 9.0), steps == 2
        >>> following = {"achieved_goal": steps + 1, "desired_goal": goal, "reward": goal * 0 - 1}
        >>> _ = buffer.extend(TensorDict({
        ...     "achieved_goal": steps,
        ...     "desired_goal": goal,
        ...     "next": TensorDict({**following, "done": done}, [3]),
        ... }, [3]))
        >>> minibatch = buffer.sample()
        >>> bool((minibatch["desired_goal"] >= minibatch["next", "achieved_goal"]).all())
        True
    """

    def __init__(
        self,
        reward_fn: Reward,
        *,
        achieved_goal_key: NestedKey = ("next", "achieved_goal"),
        **kwargs: Any,
    ) -> None:
        super().__init__(reward_fn, achieved_goal_key=achieved_goal_key, **kwargs)
        self.reward_fn = partial(_reward_like_stored, reward_fn, self.reward_key)
        self._forget()

    def _forget(self) -> None:
        self._seen, self._ends = 0, torch.zeros(0, dtype=torch.long)

    def _oldest(self) -> int:
        """The slot of the oldest transition."""
        return (self.writer._cursor - len(self)) % self.storage.max_size

    def _get_episode_ends(self, storage: Storage) -> Tensor:
        """The last transitions of the stored episodes, counted from the oldest one."""
        self._read_new_ends(storage)
        newest = torch.tensor([len(storage) - 1])
        return torch.cat([self._ends - (self.write_count - len(storage)), newest])

    def _read_new_ends(self, storage: Storage) -> None:
        """Look at what was written since the last time; of the rest the ends are known."""
        count, stored = self.write_count, len(storage)
        new = min(count - self._seen, stored)
        if new == 0:
            return
        order = torch.arange(stored - new, stored)
        slots = (order + self._oldest()) % storage.max_size
        ended = storage.get(slots).get(self.end_key).reshape(-1).cpu()
        ends = torch.cat([self._ends, order[ended] + (count - stored)])
        self._ends = ends[ends >= count - stored]
        self._seen = count

    def _get_episode_range(self, idx: Tensor, episode_ends: Tensor) -> tuple[Tensor, Tensor]:
        return super()._get_episode_range(self._order(idx), episode_ends)

    def _sample_goal_indices(
        self, her_idx: Tensor, ep_starts: Tensor, ep_ends: Tensor, storage_len: int
    ) -> Tensor:
        order = super()._sample_goal_indices(self._order(her_idx), ep_starts, ep_ends, storage_len)
        return (order + self._oldest()) % self.storage.max_size

    def _order(self, slots: Tensor) -> Tensor:
        """Count from the oldest transition."""
        return (slots.cpu() - self._oldest()) % self.storage.max_size

    @property
    def episode_ends(self) -> Tensor:
        """Which of all transitions ever written, counted from 0, end the stored episodes.

        The newest is among them: whoever loads what is stored begins a new episode.
        """
        if not len(self):
            return self._ends
        return self._get_episode_ends(self.storage).unique() + (self.write_count - len(self))

    @episode_ends.setter
    def episode_ends(self, ends: Tensor) -> None:
        self._ends, self._seen = ends, self.write_count

    def empty(self, empty_write_count: bool = True) -> None:
        super().empty(empty_write_count)
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "episode_ends": self.episode_ends}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(dict(state_dict))  # it takes a key out
        self.episode_ends = state_dict["episode_ends"]

    def loads(self, path: Any) -> None:
        super().loads(path)
        self._forget()


def _reward_like_stored(reward_fn: Reward, key: NestedKey, transitions: TensorDictBase) -> Tensor:
    stored = transitions[key]
    return reward_fn(transitions).to(stored).reshape(stored.shape)


def goal_reward(name: str) -> Reward:
    """Take the reward of a Gymnasium environment with goals, for transitions with other goals.

    Arguments:
        name: as for :func:`goal_env`.

    Returns:
        maps transitions ``[B]`` to the rewards ``[B]`` that the environment's ``compute_reward``
        gives for ``("next", "achieved_goal")`` and ``("next", "desired_goal")``.

    Raises:
        ConfigError: as :func:`goal_env`, and if the environment has no such function, or if it
            does not give the rewards of two steps at once.

    Example:
        >>> reward, steps = goal_reward("FetchReach-v4"), goal_env("FetchReach-v4").rollout(3)
        >>> bool((reward(steps) == steps["next", "reward"].squeeze(-1)).all())
        True
    """
    env = goal_env(name)
    with torch.random.fork_rng([]):
        env.set_seed(0)
        steps = env.rollout(2)

    def reward(transitions: TensorDictBase) -> Tensor:
        goals = (transitions[key].numpy(force=True) for key in GOALS)
        return torch.as_tensor(np.asarray(compute(*goals, {})))

    reason = "its compute_reward does not give the rewards of two steps"
    try:
        compute = env.get_wrapper_attr("compute_reward")
        found = reward(steps)
        fits = found.shape == (2,) and torch.allclose(
            found.float(), steps["next", "reward"].flatten(), atol=1e-4
        )
    except Exception as error:  # an environment's function may fail in any way
        fits, reason = False, one_line(error)
    if not fits:
        allowed = "a task whose compute_reward takes batches of goals"
        raise ConfigError("env.name", f"{name} ({reason})", allowed)
    return reward
