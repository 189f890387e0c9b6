r"""Does a mixture find higher peaks? A hundred random bandits, every setting at once.

The critic is the true reward and the observation is the constant 1, so that the actor alone is
studied. This makes an update cheap, without a change to what is learned:

* The states of a minibatch are all the same and actions in the replay buffer are never read, so
  that neither the buffer (5000 in the paper) nor what it holds has an influence. The network is
  evaluated once and the minibatch is 32 draws from one distribution.
* The paper takes its baseline from thirty fresh draws in each state. Here thirty draws serve all
  32 actions, which changes neither the mean nor the variance of the gradient, see
  :mod:`~torchrl_mixture.studies.shared_baseline`. As everywhere in this library the baseline
  contains the entropy term; the paper's is of the reward alone.
* All bandits and settings are replicas in one batch of tensors: 100 bandits, 4 step sizes and 4
  temperatures are 1,600 networks.

Source:
    "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), section 5.3,
    figures 6, 10 and 11.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from torchrl_mixture.distributions import TanhNormalMixture
from torchrl_mixture.envs.bandit_rewards import RandomRewards
from torchrl_mixture.objectives.estimators import (
    GradientEstimator,
    GumbelSoftmax,
    HalfReparam,
    Implicit,
)
from torchrl_mixture.studies.random_bandit_results import NUM_BLOCKS, SweepResult
from torchrl_mixture.studies.replicated_actor import ReplicatedActor
from torchrl_mixture.studies.reward_table import RewardTable
from torchrl_mixture.studies.shared_baseline import (
    ReplicatedMarginal,
    SharedHalfReparam,
    SharedLikelihood,
)

__all__ = [
    "METHODS",
    "Method",
    "SweepSettings",
    "train_method",
    "train_methods",
]


@dataclass(frozen=True)
class Method:
    """A policy and how its gradient is estimated."""

    num_components: int
    make_estimator: Callable[[], GradientEstimator]


# The first five names are the paper's; the other two estimators are not in it.
METHODS = {
    "Like-Squashed": Method(1, lambda: SharedLikelihood(30)),
    "Rep-Squashed": Method(1, HalfReparam),
    "Like-SGM": Method(5, lambda: SharedLikelihood(30)),
    "HalfRep-SGM": Method(5, lambda: SharedHalfReparam(30)),
    "GumbelRep-SGM": Method(5, GumbelSoftmax),
    "Implicit-SGM": Method(5, Implicit),
    "Marginal-SGM": Method(5, ReplicatedMarginal),
}


# Training.


@dataclass(frozen=True)
class SweepSettings:
    r"""What is trained, the paper's by default.

    The paper leaves open the number of steps and the bandits' seed. Ours: 10,000 and 0.

    Arguments:
        num_bandits: :math:`N`.
        step_sizes: Adam's, :math:`L` of them.
        alphas: temperatures :math:`\alpha`, :math:`M` of them.
        num_steps: interactions, each followed by an update; a multiple of 100.
        batch_size: actions of an update.
        hidden_size: units in each of the two hidden layers.
        bandit_seed: of the rewards.
        seed: of networks and actions.

    Raises:
        ValueError: where the number of steps is not a positive multiple of 100.
    """

    num_bandits: int = 100
    step_sizes: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    alphas: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    num_steps: int = 10_000
    batch_size: int = 32
    hidden_size: int = 16
    bandit_seed: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.num_steps % NUM_BLOCKS:
            raise ValueError(
                f"num_steps must be a positive multiple of {NUM_BLOCKS}, got {self.num_steps}."
            )


class Sweep:
    """One method in training, on all bandits with all settings.

    Replicas stand in the order ``[L, M, N]``: step sizes, temperatures, bandits.

    Arguments:
        method: policy and estimator.
        settings: what is trained.
    """

    def __init__(self, method: Method, settings: SweepSettings) -> None:
        num_alphas, self.num_bandits = len(settings.alphas), settings.num_bandits
        self.shape = (len(settings.step_sizes), num_alphas, self.num_bandits)
        self.batch_size = settings.batch_size
        self.rewards = RewardTable(RandomRewards.draw(self.num_bandits, settings.bandit_seed))
        self.alpha = torch.tensor(settings.alphas).repeat_interleave(self.num_bandits)
        self.alpha = self.alpha.repeat(len(settings.step_sizes))
        self.estimator = method.make_estimator()
        self.actor = ReplicatedActor(
            len(settings.step_sizes),
            num_alphas * self.num_bandits,
            method.num_components,
            settings.hidden_size,
        )
        groups: list[dict[str, Any]] = [
            {"params": group.parameters(), "lr": step_size}
            for group, step_size in zip(self.actor.groups, settings.step_sizes, strict=True)
        ]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.999), fused=True)

    def q_function(self, action: Tensor) -> Tensor:
        """The true reward of actions ``[*B, R, 1]``, ``[*B, R]``."""
        by_bandit = action.squeeze(-1).unflatten(-1, (-1, self.num_bandits))
        return self.rewards(by_bandit).flatten(-2)

    def loss(self, policy: TanhNormalMixture) -> Tensor:
        """Mean cost of each replica's minibatch, ``[R]``."""
        minibatch = policy.expand((self.batch_size, *policy.batch_shape))
        cost, _ = self.estimator(minibatch, self.q_function, self.alpha)
        return cost.mean(0)

    def step(self) -> Tensor:
        """Act once, then update once; returns the rewards of the actions, ``[R]``."""
        policy = self.actor()
        reward = self.q_function(policy.sample())
        self.optimizer.zero_grad()
        self.loss(policy).sum().backward()  # replicas share no parameter: a sum keeps them apart
        self.optimizer.step()
        return reward


def _check_name(name: str) -> None:
    if name not in METHODS:
        raise ValueError(f"name must be one of {sorted(METHODS)}, got {name!r}.")


def train_method(name: str, settings: SweepSettings) -> SweepResult:
    """Train one method on all bandits with all settings.

    The same settings give the same numbers, bit for bit. PyTorch's global generator is left as it
    was. Methods of as many components begin with the same networks.

    Arguments:
        name: one of ``METHODS``.
        settings: what is trained.

    Returns:
        the rewards of the actions taken, averaged over each per cent of the steps.

    Raises:
        ValueError: where the method is unknown.

    Example:
        >>> result = train_method("HalfRep-SGM", SweepSettings(num_bandits=2, num_steps=100))
        >>> result.rewards.shape
        torch.Size([4, 4, 2, 100])
    """
    _check_name(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        sweep = Sweep(METHODS[name], settings)
        length = settings.num_steps // NUM_BLOCKS
        blocks = [
            torch.stack([sweep.step() for _ in range(length)]).mean(0) for _ in range(NUM_BLOCKS)
        ]
    rewards = torch.stack(blocks, -1).unflatten(0, sweep.shape)
    return SweepResult(name, settings.step_sizes, settings.alphas, rewards)


def train_methods(
    names: Sequence[str] = tuple(METHODS),
    settings: SweepSettings | None = None,
    workers: int = 2,
) -> Iterator[SweepResult]:
    """Train several methods in processes of one thread each.

    The processes are spawned: a script that calls this needs ``if __name__ == "__main__":``. They
    start when the first result is asked for.

    Arguments:
        names: of ``METHODS``.
        settings: what is trained; the paper's by default.
        workers: processes.

    Returns:
        the results, each as soon as it is there.

    Raises:
        ValueError: where a method is unknown.
    """
    for name in names:
        _check_name(name)
    train = partial(train_method, settings=settings or SweepSettings())
    # The last of METHODS are the slow ones: begun first, they are not left over at the end.
    order = list(reversed(names))
    with multiprocessing.get_context("spawn").Pool(workers, _start_worker) as pool:
        yield from pool.imap_unordered(train, order)


def _start_worker() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who is interrupted is the parent; it ends us
