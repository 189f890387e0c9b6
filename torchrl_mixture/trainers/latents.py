"""What the policies of a latent variable do in training: their returns, their data, their use."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.envs import EnvBase
from torchrl.trainers import Trainer, TrainerHookBase

from torchrl_mixture.modules import LatentPolicy
from torchrl_mixture.trainers.evaluation import EpisodeEvaluator


class LatentEvaluator(EpisodeEvaluator):
    r"""Return statistics of the policy of each latent value, of all of them, and of the marginal.

    Beside what :class:`EpisodeEvaluator` measures of ``"marginal"``, sampled too, and of each
    latent ``"z0"``, ``"z1"``, ..., the row has the mean and standard deviation over the latents
    of their mean returns, ``return_latents_mean`` and ``return_latents_std``, and the mean and
    standard deviation over episodes of the best one, ``return_best_latent_mean`` and
    ``return_best_latent_std``:

    .. math::
        \frac{1}{Z} \sum_z \bar R_z, \qquad \max_z \bar R_z

    The best is chosen by the episodes it is measured on, and is too high by as much as their
    noise.

    Arguments:
        env: an environment of batch shape ``[N]``, one episode a copy.
        policy: the policies.
        seed: as for :class:`EpisodeEvaluator`.

    Source:
        Cohen et al. (2019), table 1: "average" and "max".

    Example:
        >>> from torchrl_mixture.modules import latent_actor
        >>> from torchrl_mixture.trainers import gym_env
        >>> env = gym_env("Pendulum-v1", num_envs=2)
        >>> actor = latent_actor(
        ...     env.action_spec_unbatched, 2, observation_spec=env.observation_spec
        ... )
        >>> evaluator = LatentEvaluator(env, LatentPolicy(actor, 2), seed=0)
        >>> evaluator.columns[:2]
        ['return_latents_mean', 'return_best_latent_mean']
    """

    def __init__(self, env: EnvBase, policy: LatentPolicy, seed: int) -> None:
        super().__init__(env, policy.policies(), seed)
        self._latents = [f"return_z{latent}" for latent in range(policy.num_latents)]

    @property
    def columns(self) -> list[str]:
        """The columns of the mean returns, that over all latents first."""
        return ["return_latents_mean", "return_best_latent_mean", *super().columns]

    def __call__(self, frames: int) -> dict[str, float]:
        """Evaluate the policies as they are, see the class.

        Arguments:
            frames: the frames of training so far.
        """
        row = super().__call__(frames)
        best = max(self._latents, key=lambda column: row[f"{column}_mean"])
        returns = [row[f"{column}_mean"] for column in self._latents]
        means = torch.tensor(returns, dtype=torch.float64)
        return {
            "episodes": row.pop("episodes"),
            "return_latents_mean": means.mean().item(),
            "return_latents_std": means.std(correction=0).item(),
            "return_best_latent_mean": row[f"{best}_mean"],
            "return_best_latent_std": row[f"{best}_std"],
            **row,
        }


class LatentUse(TrainerHookBase):
    r"""Tell how much of the stored data is of each latent, and how far the policies are apart.

    Arguments:
        policy: the policies.

    Source:
        The distance is the divergence of Cohen et al. (2019), theorem 1, before squashing.

    Example:
        >>> from torchrl.data import Bounded, Composite, Unbounded
        >>> from torchrl_mixture.modules import latent_actor
        >>> spec = Composite(observation=Unbounded((3,)))
        >>> actor = latent_actor(Bounded(-1.0, 1.0, (2,)), 4, observation_spec=spec)
        >>> hook = LatentUse(LatentPolicy(actor, 4))  # then hook.register(trainer)
    """

    def __init__(self, policy: LatentPolicy) -> None:
        self.mixture = policy.marginal()

    @torch.no_grad()
    def diagnostics(self, stored: TensorDictBase) -> dict[str, Tensor]:
        r"""Measure the data and the policies, as :func:`off_policy_trainer` asks for it.

        Arguments:
            stored: some stored transitions.

        Returns:
            ``share_z0``, ``share_z1``, ..., the share of each latent in all that the trainer's
            :class:`Replay`, registered under its own name, holds; and ``component_distance``, the
            mean over the states and over the pairs of latents of
            :math:`D_{KL}(\pi_i \Vert \pi_j) + D_{KL}(\pi_j \Vert \pi_i)`, in nats.
        """
        buffer = self.trainer._modules["replay_buffer"].buffer
        shares = buffer.storage[:]["latent"].mean(0)
        policies = self.mixture.get_dist(stored.select(*self.mixture.in_keys))
        return {
            **{f"share_z{latent}": share for latent, share in enumerate(shares.unbind())},
            "component_distance": policies.component_distance().mean(),
        }

    def register(self, trainer: Trainer, name: str = "latent_use") -> None:
        """Know the trainer; there is no state."""
        self.trainer = trainer
