"""Observations normalised by their running mean and standard deviation."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import nn
from torchrl.data import Bounded, TensorSpec
from torchrl.envs import EnvBase, Transform, TransformedEnv
from torchrl.envs.transforms.transforms import _apply_to_composite

CLIP = 10.0
VARIANCE_FLOOR = 1e-8


class RunningMoments(nn.Module):
    """Mean and variance of all vectors seen so far.

    Batches are merged by their own means and variances, in float64, so that neither a mean that
    is large beside the deviation nor a million frames cost precision.

    Arguments:
        size: the size ``O`` of a vector.

    Example:
        >>> moments = RunningMoments(1)
        >>> moments.update(torch.tensor([[1.0], [3.0]]))
        >>> moments.update(torch.tensor([[5.0]]))
        >>> moments.mean.item(), round(moments.variance.item(), 4)
        (3.0, 2.6667)
    """

    count: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.zeros(size, dtype=torch.float64))

    @torch.no_grad()
    def update(self, vectors: torch.Tensor) -> None:
        """Take in vectors ``[*B, O]``, at least one."""
        vectors = vectors.reshape(-1, vectors.shape[-1]).double()
        variance, mean = torch.var_mean(vectors, 0, correction=0)
        self.count += len(vectors)
        share = len(vectors) / self.count
        distance = mean - self.mean
        self.mean += share * distance
        self.variance.lerp_(variance, share).add_(share * (1 - share) * distance.square())


class RunningNorm(Transform):
    """Normalise ``"observation"`` by the running moments of the observations, and clip at 10.

    TorchRL's ``VecNormV2`` is not used: with several copies it counts those that are not reset
    whenever another one is, its float32 difference of squares becomes NaN for observations whose
    mean is large beside their deviation, and with a decay its early scale is wrong.

    Arguments:
        size: the size ``O`` of an observation.

    Example:
        >>> norm = RunningNorm(3)
        >>> sorted(norm.state_dict())
        ['moments.count', 'moments.mean', 'moments.variance']
    """

    def __init__(self, size: int) -> None:
        super().__init__(in_keys=["observation"], out_keys=["observation"])
        self.moments = RunningMoments(size)
        self.frozen = False

    def follower(self) -> RunningNorm:
        """Make a transform that shares these moments and never changes them."""
        follower = RunningNorm(len(self.moments.mean))
        follower.moments, follower.frozen = self.moments, True
        return follower

    def _apply_transform(self, obs: torch.Tensor) -> torch.Tensor:
        deviation = (self.moments.variance + VARIANCE_FLOOR).sqrt()
        normalized = (obs.double() - self.moments.mean) / deviation
        return normalized.clamp(-CLIP, CLIP).to(obs.dtype)

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        if not self.frozen:
            self.moments.update(next_tensordict["observation"])
        return super()._call(next_tensordict)

    def _reset(
        self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase
    ) -> TensorDictBase:
        reset = tensordict.get("_reset", None)  # absent where all copies are reset
        if not self.frozen:
            observation = tensordict_reset["observation"]
            self.moments.update(observation if reset is None else observation[reset.squeeze(-1)])
        return super()._call(tensordict_reset)

    @_apply_to_composite
    def transform_observation_spec(self, observation_spec: TensorSpec) -> TensorSpec:
        return Bounded(
            -CLIP,
            CLIP,
            shape=observation_spec.shape,
            dtype=observation_spec.dtype,
            device=observation_spec.device,
        )


def normalize_observations(env: EnvBase) -> TransformedEnv:
    """Normalise a training environment's observations by their running mean and deviation.

    The moments are over all frames of all copies, first observations included, and are those at
    the time of the frame: stored observations are not normalised again.

    Arguments:
        env: an environment of batch shape ``[*B]`` with observations ``[*B, O]``.

    Returns:
        the environment; its ``transform``, a :class:`RunningNorm`, has the moments in its
        ``state_dict`` and is what :func:`normalize_like` takes.

    Example:
        >>> from torchrl_mixture.trainers import gym_env
        >>> env = normalize_observations(gym_env("Pendulum-v1", num_envs=2))
        >>> _ = env.rollout(5)
        >>> int(env.transform.moments.count)
        12
    """
    return TransformedEnv(env, RunningNorm(env.observation_spec["observation"].shape[-1]))


def normalize_like(env: EnvBase, norm: RunningNorm) -> TransformedEnv:
    """Normalise a test environment's observations by the moments of a training environment.

    Arguments:
        env: an environment of batch shape ``[*B]`` with observations ``[*B, O]``.
        norm: the training environment's transform, whose moments are shared and never changed.

    Returns:
        the environment.

    Example:
        >>> from torchrl_mixture.trainers import gym_env
        >>> train_env = normalize_observations(gym_env("Pendulum-v1"))
        >>> test_env = normalize_like(gym_env("Pendulum-v1", num_envs=4), train_env.transform)
        >>> _ = train_env.rollout(5), test_env.rollout(5)
        >>> int(train_env.transform.moments.count)
        6
    """
    return TransformedEnv(env, norm.follower())
