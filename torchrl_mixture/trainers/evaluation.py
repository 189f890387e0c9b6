"""Returns of complete episodes on environments of their own, and when they are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.trainers import Trainer, TrainerHookBase


def derived_seed(seed: int, frames: int) -> int:
    """Mix a run's seed with its frame count.

    Example:
        >>> derived_seed(0, 100) == derived_seed(0, 100) != derived_seed(0, 200)
        True
    """
    return int(np.random.SeedSequence((seed, frames)).generate_state(1)[0] >> 1)


def play_episodes(env: EnvBase, policy: TensorDictModuleBase) -> TensorDict:
    """Play one episode in each copy of an environment to its end.

    Arguments:
        env: an environment of batch shape ``[N]``, which is reset first.
        policy: maps observations to actions, under the caller's exploration type.

    Returns:
        the undiscounted ``"return"`` and the ``"length"`` of each episode, ``[N]``, float64; where
        the environment says whether a step reached the goal (:func:`goal_env`), ``"success"``,
        bool: whether the last one did.

    Example:
        >>> from torchrl_mixture.modules import mixture_actor
        >>> from torchrl_mixture.trainers import gym_env
        >>> env = gym_env("Pendulum-v1", num_envs=3)
        >>> actor = mixture_actor(env.action_spec, num_components=2)
        >>> play_episodes(env, actor)["length"].tolist()
        [200.0, 200.0, 200.0]
    """
    tensordict = env.reset()
    returns, lengths = (torch.zeros(env.batch_size, dtype=torch.float64) for _ in range(2))
    success = torch.zeros(env.batch_size, dtype=torch.bool)
    has_goals = "is_success" in env.observation_spec
    running = torch.ones(env.batch_size, dtype=torch.bool)
    while running.any():
        stepped, tensordict = env.step_and_maybe_reset(policy(tensordict))
        returns += stepped["next", "reward"].squeeze(-1).cpu() * running
        lengths += running
        if has_goals:
            reached = stepped["next", "is_success"].squeeze(-1).cpu()
            success = torch.where(running, reached, success)
        running &= ~stepped["next", "done"].squeeze(-1).cpu()
    episodes = TensorDict({"return": returns, "length": lengths}, env.batch_size)
    return episodes.set("success", success) if has_goals else episodes


class EpisodeEvaluator:
    """Return statistics of a policy under each of its ways of acting.

    Every copy of the environment plays one episode to its end, all ways from the same initial
    states. TorchRL's ``Evaluator`` takes the first episodes to end, which on a batch of copies
    are the short ones. Training is not disturbed: the environments are the evaluator's own and
    the global random state is put back.

    Arguments:
        env: an environment of batch shape ``[N]``, one episode a copy.
        policies: by name, policies that act deterministically under TorchRL's exploration type
            ``DETERMINISTIC``; the first one is evaluated with sampled actions too, as
            ``"sampled"``.
        seed: with the frame count, it fixes initial states and sampled actions.

    Example:
        >>> from torchrl_mixture.modules import mixture_actor
        >>> from torchrl_mixture.trainers import gym_env
        >>> env = gym_env("Pendulum-v1", num_envs=2)
        >>> actor = mixture_actor(env.action_spec_unbatched, num_components=3)
        >>> row = EpisodeEvaluator(env, {"heaviest": actor}, seed=0)(frames=0)
        >>> row["episodes"], row["return_sampled_mean"] < 0
        (2, True)
    """

    def __init__(
        self, env: EnvBase, policies: Mapping[str, TensorDictModuleBase], seed: int
    ) -> None:
        self.env = env
        self.seed = seed
        self._ways = [
            (name, policy, ExplorationType.DETERMINISTIC) for name, policy in policies.items()
        ]
        self._ways.append(("sampled", next(iter(policies.values())), ExplorationType.RANDOM))

    @property
    def columns(self) -> list[str]:
        """The columns of the mean returns, in the order of the ways of acting."""
        return [f"return_{name}_mean" for name, *_ in self._ways]

    @torch.no_grad()
    def __call__(self, frames: int) -> dict[str, float]:
        """Evaluate the policies as they are.

        Arguments:
            frames: the frames of training so far.

        Returns:
            ``episodes``, and mean and standard deviation over the episodes of the return under
            each way of acting, ``return_<name>_mean`` and ``return_<name>_std``; with goals the
            share of the episodes that ended at theirs, ``success_<name>_mean``.
        """
        seed = derived_seed(self.seed, frames)
        row: dict[str, float] = {"episodes": self.env.numel()}
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            for name, policy, exploration in self._ways:
                torch.manual_seed(seed)
                self.env.set_seed(seed)
                with set_exploration_type(exploration):
                    episodes = play_episodes(self.env, policy)
                row[f"return_{name}_mean"] = episodes["return"].mean().item()
                row[f"return_{name}_std"] = episodes["return"].std(correction=0).item()
                if "success" in episodes:
                    row[f"success_{name}_mean"] = episodes["success"].double().mean().item()
        return row


class Evaluation(TrainerHookBase):
    """Evaluate at the start, at frame thresholds and at the end, and record a row each time.

    A row holds ``frames``, ``updates``, ``wall_seconds`` and, since the last row,
    ``steps_per_second``, both without the time that evaluations took; then what ``evaluate``
    returned, and the mean of each of the loss's outputs over the updates since the last row.

    Arguments:
        evaluate: maps the frame count to statistics of the policy as it is.
        record: receives the row.
        interval: frames from one evaluation to the next.

    Example:
        >>> hook = Evaluation(lambda frames: {"return": 1.0}, print, interval=1_000)
        >>> hook.last_row  # then hook.register(trainer)
        {}
    """

    def __init__(
        self,
        evaluate: Callable[[int], dict[str, float]],
        record: Callable[[dict[str, float]], None],
        interval: int,
    ) -> None:
        self.evaluate = evaluate
        self.record = record
        self.interval = interval
        self.last_row: dict[str, float] = {}
        self._updates = 0
        self._seconds = 0.0
        self._clock = perf_counter()
        self._metrics: TensorDictBase = TensorDict()

    def start(self) -> None:
        """Evaluate the policy that training starts from and start the clock."""
        self._clock = perf_counter()
        if not self.last_row:
            self._write_row()

    def accumulate(self, updates: int, metrics: TensorDictBase) -> None:
        """Add the mean ``metrics`` of the updates of one collected batch.

        Arguments:
            updates: the number of updates since the beginning.
            metrics: the mean of each output of the loss over this batch's updates.
        """
        weighted = metrics * (updates - self._updates)
        self._metrics = weighted if self._metrics.is_empty() else self._metrics + weighted
        self._updates = updates

    def __call__(self, batch: TensorDictBase) -> dict[str, float] | None:
        """Evaluate if this batch reached the next threshold, or the end."""
        frames = self.trainer.collected_frames
        due = self.last_row["frames"] // self.interval < frames // self.interval
        if due or frames >= self.trainer.total_frames:
            return self._write_row()
        return None

    def _write_row(self) -> dict[str, float]:
        last = self.last_row or {"frames": 0, "updates": 0, "wall_seconds": 0.0}
        frames = self.trainer.collected_frames
        self._seconds += perf_counter() - self._clock
        seconds, new_updates = (
            self._seconds - last["wall_seconds"],
            self._updates - last["updates"],
        )
        row: dict[str, float] = {
            "frames": frames,
            "updates": self._updates,
            "wall_seconds": self._seconds,
            "steps_per_second": (frames - last["frames"]) / seconds,
            **self.evaluate(frames),
            **{key: value.item() / new_updates for key, value in self._metrics.items()},
        }
        self.record(row)
        self.last_row, self._metrics = row, TensorDict()
        self._clock = perf_counter()
        return row

    def state_dict(self) -> dict[str, Any]:
        """The last row and the sums since then."""
        return {
            "last_row": dict(self.last_row),
            "updates": self._updates,
            "seconds": self._seconds + perf_counter() - self._clock,
            "metrics": self._metrics.to_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.last_row = dict(state_dict["last_row"])
        self._updates = state_dict["updates"]
        self._seconds = state_dict["seconds"]
        self._metrics = TensorDict(state_dict["metrics"])

    def register(self, trainer: Trainer, name: str = "evaluation") -> None:
        """Start on ``setup``, gather on ``post_optim_complete_log``, run on ``post_steps_log``."""
        self.trainer = trainer
        trainer.register_op("setup", self.start)
        trainer.register_op("post_optim_complete_log", self.accumulate)
        trainer.register_op("post_steps_log", self)
        trainer.register_module(name, self)
