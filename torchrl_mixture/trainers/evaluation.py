"""Returns of complete episodes on environments of their own."""

from __future__ import annotations

import numpy as np
import torch
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type


def episode_returns(env: EnvBase, policy: TensorDictModuleBase) -> torch.Tensor:
    """Roll a batch of environments until each has finished one episode.

    Arguments:
        env: an environment of batch shape ``[N]``, which is reset first.
        policy: maps observations to actions, under the caller's exploration type.

    Returns:
        the undiscounted returns ``[N]``, float64.

    Example:
        >>> from torchrl_mixture.modules import mixture_actor
        >>> from torchrl_mixture.trainers import gym_env
        >>> env = gym_env("Pendulum-v1", num_envs=3)
        >>> actor = mixture_actor(env.action_spec, num_components=2)
        >>> episode_returns(env, actor).shape
        torch.Size([3])
    """
    tensordict = env.reset()
    returns = torch.zeros(env.batch_size, dtype=torch.float64)
    running = torch.ones(env.batch_size, dtype=torch.bool)
    while running.any():
        stepped, tensordict = env.step_and_maybe_reset(policy(tensordict))
        returns += stepped["next", "reward"].squeeze(-1).cpu() * running
        running &= ~stepped["next", "done"].squeeze(-1).cpu()
    return returns


class Evaluator:
    """Return statistics of a policy, acting deterministically and acting as in training.

    Both ways start from the same initial states. Training is not disturbed: the environments are
    the evaluator's own and the global random state is put back.

    Arguments:
        env: an environment of batch shape ``[N]``, one episode a copy.
        policy: the policy to evaluate.
        seed: with the frame count, it fixes initial states and sampled actions.

    Example:
        >>> from torchrl_mixture.modules import mixture_actor
        >>> from torchrl_mixture.trainers import gym_env
        >>> env = gym_env("Pendulum-v1", num_envs=2)
        >>> actor = mixture_actor(env.action_spec_unbatched, num_components=3)
        >>> row = Evaluator(env, actor, seed=0)(frames=0)
        >>> row["episodes"], row["return_sampled_mean"] < 0
        (2, True)
    """

    def __init__(self, env: EnvBase, policy: TensorDictModuleBase, seed: int) -> None:
        self.env = env
        self.policy = policy
        self.seed = seed

    @torch.no_grad()
    def __call__(self, frames: int) -> dict[str, float]:
        """Evaluate the policy as it is.

        Arguments:
            frames: the frames of training so far.

        Returns:
            ``episodes``, and mean and standard deviation over the episodes of
            ``return_deterministic`` and ``return_sampled``.
        """
        seed = int(np.random.SeedSequence((self.seed, frames)).generate_state(1)[0] >> 1)
        row: dict[str, float] = {"episodes": self.env.numel()}
        ways = {
            "deterministic": ExplorationType.DETERMINISTIC,
            "sampled": ExplorationType.RANDOM,
        }
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            for name, exploration in ways.items():
                torch.manual_seed(seed)
                self.env.set_seed(seed)
                with set_exploration_type(exploration):
                    returns = episode_returns(self.env, self.policy)
                row[f"return_{name}_mean"] = returns.mean().item()
                row[f"return_{name}_std"] = returns.std(correction=0).item()
        return row
