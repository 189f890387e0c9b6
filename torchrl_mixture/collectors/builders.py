"""TorchRL collectors for policies that hold a component or a latent, or act through a gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from tensordict.nn import TensorDictModuleBase
from torchrl.collectors import BaseCollector, Collector
from torchrl.envs import EnvBase, InitTracker, Transform
from torchrl.modules import ProbabilisticActor

from torchrl_mixture.collectors.latent import LatentPrimer
from torchrl_mixture.modules import ComponentSelector, GatedPolicy, Hold

__all__ = ["GatedCollector", "LatentCollector", "MixtureCollector"]

EnvMaker: TypeAlias = EnvBase | Callable[..., EnvBase]


def MixtureCollector(  # noqa: N802
    env: EnvMaker | Sequence[EnvMaker],
    actor: ProbabilisticActor,
    *,
    hold: Hold = "step",
    return_log_prob: bool = False,
    return_component_log_prob: bool = False,
    **collector_kwargs: Any,
) -> BaseCollector:
    """A collector whose policy holds a component of a mixture actor.

    A function: it puts a :class:`~torchrl_mixture.modules.ComponentSelector` around the actor and
    its primer onto the environments, and returns what TorchRL's ``Collector`` makes of them. The
    selector shares the actor's parameters. To the batch it adds ``"component"`` ``[*B, T]``, -1
    in the random warm-up, and the log-densities that are asked for.

    Arguments:
        env: an environment, to which the transforms are appended, or a function that makes one,
            or one of these for each worker.
        actor: see :class:`~torchrl_mixture.modules.ComponentSelector`.
        hold: ``"step"``, ``"episode"`` or a number of steps.
        return_log_prob: add ``"action_log_prob"`` ``[*B, T]``.
        return_component_log_prob: add ``"component_log_prob"`` ``[*B, T]``.
        **collector_kwargs: the keyword arguments of TorchRL's ``Collector``, among them
            ``backend`` and ``num_collectors``.

    Raises:
        ValueError: as :class:`~torchrl_mixture.modules.ComponentSelector`.

    Example:
        >>> from torchrl.envs import GymEnv
        >>> from torchrl_mixture.modules import mixture_actor
        >>> env = GymEnv("Pendulum-v1")
        >>> actor = mixture_actor(env.action_spec, 5, observation_spec=env.observation_spec)
        >>> collector = MixtureCollector(
        ...     env, actor, hold=10, frames_per_batch=100, total_frames=200, init_random_frames=100
        ... )
        >>> [int(batch["component"].min()) < 0 for batch in collector]
        [True, False]
    """
    selector = ComponentSelector(
        actor,
        hold,
        return_log_prob=return_log_prob,
        return_component_log_prob=return_component_log_prob,
    )
    env = _with_transform(env, selector.make_tensordict_primer())
    return Collector(env, selector, **collector_kwargs)


def GatedCollector(  # noqa: N802
    env: EnvMaker | Sequence[EnvMaker], policy: GatedPolicy, **collector_kwargs: Any
) -> BaseCollector:
    """A collector that records how likely a gated policy's actions were.

    A function: it puts the policy's primer onto the environments, and returns what TorchRL's
    ``Collector`` makes of them. In the random warm-up ``"action_log_prob"``, ``[*B, T]``, is then
    that of uniform actions, and ``"component"``, where the policy writes it, is -1.

    Arguments:
        env: an environment, to which the transforms are appended, or a function that makes one,
            or one of these for each worker.
        policy: the policy.
        **collector_kwargs: the keyword arguments of TorchRL's ``Collector``.

    Raises:
        ValueError: where the action has no bounds.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl.envs import GymEnv
        >>> from torchrl_mixture.modules import ComponentCritic, GatedPolicy, mixture_actor
        >>> env = GymEnv("Pendulum-v1")
        >>> known = {"observation_spec": env.observation_spec}
        >>> actor = mixture_actor(env.action_spec, 4, learn_weights=False, **known)
        >>> critic = ComponentCritic(env.action_spec, 1, **known)
        >>> params = TensorDict.from_modules(critic, critic, as_module=True)
        >>> policy = GatedPolicy(actor, critic, params, alpha=0.2)
        >>> collector = GatedCollector(
        ...     env, policy, frames_per_batch=10, total_frames=20, init_random_frames=10
        ... )
        >>> [bool((batch["component"] < 0).all()) for batch in collector]
        [True, False]
    """
    env = _with_transform(env, policy.make_tensordict_primer())
    return Collector(env, policy, **collector_kwargs)


def LatentCollector(  # noqa: N802
    env: EnvMaker | Sequence[EnvMaker],
    actor: TensorDictModuleBase,
    num_latents: int,
    **collector_kwargs: Any,
) -> BaseCollector:
    """A collector that gives the actor a latent for every episode.

    A function: it puts a :class:`LatentPrimer` onto the environments, and returns what TorchRL's
    ``Collector`` makes of them.

    Arguments:
        env: an environment, to which the transforms are appended, or a function that makes one,
            or one of these for each worker.
        actor: a policy that reads ``"latent"``, one-hot ``[*B, Z]``.
        num_latents: the number of values :math:`Z`.
        **collector_kwargs: the keyword arguments of TorchRL's ``Collector``.

    Raises:
        ValueError: where there is no value to draw.

    Example:
        >>> from torchrl.envs import GymEnv
        >>> from torchrl_mixture.modules import mixture_actor
        >>> env = GymEnv("Pendulum-v1")
        >>> actor = mixture_actor(env.action_spec, 1, in_keys=["observation", "latent"])
        >>> collector = LatentCollector(env, actor, 4, frames_per_batch=10, total_frames=10)
        >>> next(iter(collector))["latent"].shape
        torch.Size([10, 4])
    """
    return Collector(_with_transform(env, LatentPrimer(num_latents)), actor, **collector_kwargs)


def _with_transform(
    env: EnvMaker | Sequence[EnvMaker], transform: Transform
) -> EnvMaker | list[EnvMaker]:
    """The environment, or what makes it in a worker, with what the policy needs.

    Done here and not by ``auto_register_policy_transforms``, which only local collectors have.
    """
    if isinstance(env, EnvBase):
        return _append(env, transform)
    if isinstance(env, Sequence):
        return [_with_transform(one, transform.clone()) for one in env]
    return partial(_make_with_transform, env, transform)


def _make_with_transform(
    make: Callable[..., EnvBase], transform: Transform, **kwargs: Any
) -> EnvBase:
    return _append(make(**kwargs), transform.clone())


def _append(env: EnvBase, transform: Transform) -> EnvBase:
    # Without a tracker TorchRL warns that it will append one itself from 0.15 on.
    if "is_init" not in env.observation_spec.keys():
        env = env.append_transform(InitTracker())
    return env.append_transform(transform)
