"""Which component of a mixture acts, and for how long."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs import TensorDictPrimer
from torchrl.envs.utils import ExplorationType, exploration_type
from torchrl.modules import ProbabilisticActor, SafeProbabilisticTensorDictSequential

from torchrl_mixture.distributions import ComponentMixture
from torchrl_mixture.modules.specs import uniform_log_prob

__all__ = ["ComponentSelector", "Hold"]

Hold: TypeAlias = Literal["step", "episode"] | int

# Collectors drop keys that begin with an underscore from what they return.
_STEPS_LEFT = "_component_steps_left"


class ComponentSelector(TensorDictModuleBase):
    r"""A policy that acts with one component of a mixture actor, held for a while.

    .. math::
        k_t \sim w(s_t) \text{ where a choice is due, else } k_t = k_{t-1}, \qquad
        a_t \sim p_{k_t}(\cdot \mid s_t)

    It writes ``"action"`` ``[*B, A]`` and ``"component"``, int64 ``[*B]``. What it remembers
    lies in the tensordict alone: the primer of :meth:`make_tensordict_primer` sets
    ``"component"`` to -1 at every reset, the environment carries it from step to step, and -1
    asks for a choice. A random warm-up of a collector leaves it at -1, so that the first step of
    the policy chooses, be it in the middle of an episode.

    An exploration type other than ``RANDOM`` chooses the component that the actor's rule
    ``deterministic`` names and takes its location; with ``hold="step"`` this is the actor's
    deterministic action. With ``RANDOM`` and ``hold="step"`` it draws what the actor draws from
    the same seed.

    The environment needs the primer. A collector appends it with
    ``auto_register_policy_transforms=True``, in every worker;
    :func:`~torchrl_mixture.collectors.MixtureCollector` does so on every backend. For
    ``env.rollout`` and TorchRL's ``Evaluator`` append it to the environment, as in the example.

    Arguments:
        actor: a policy whose distribution is a
            :class:`~torchrl_mixture.distributions.ComponentMixture`, such as
            :func:`~torchrl_mixture.modules.mixture_actor` makes.
        hold: choose anew at every ``"step"``, at every reset (``"episode"``), or every so many
            steps, counted from the reset or the end of the warm-up.
        return_log_prob: also write ``"action_log_prob"`` ``[*B]``, the mixture's log-density at
            the action; in the random warm-up that of the uniform distribution over the box,
            :math:`-\sum_d \log(\text{high}_d - \text{low}_d)`.
        return_component_log_prob: also write ``"component_log_prob"`` ``[*B]``, the log-density
            of the acting component; in the warm-up as above.

    Raises:
        ValueError: where the actor's distribution is no mixture of this library, ``hold`` is none
            of those, or a log-density is asked for and the actor's ``spec`` has no bounded action.

    Example:
        >>> from torchrl.envs import GymEnv
        >>> from torchrl_mixture.modules import mixture_actor
        >>> env = GymEnv("Pendulum-v1")
        >>> actor = mixture_actor(env.action_spec, 5, observation_spec=env.observation_spec)
        >>> selector = ComponentSelector(actor, hold="episode")
        >>> env = env.append_transform(selector.make_tensordict_primer())
        >>> data = env.rollout(20, selector)
        >>> data["component"].shape, len(data["component"].unique())
        (torch.Size([20]), 1)
    """

    def __init__(
        self,
        actor: ProbabilisticActor,
        hold: Hold = "step",
        *,
        return_log_prob: bool = False,
        return_component_log_prob: bool = False,
    ) -> None:
        _check(actor, hold)
        super().__init__()
        self.actor = actor
        self.hold = hold
        held_keys = [] if hold == "step" else ["component"]
        initial = {"component": torch.tensor(-1)}
        if isinstance(hold, int):
            held_keys.append(_STEPS_LEFT)
            initial[_STEPS_LEFT] = torch.tensor(0)
        if return_log_prob:
            initial["action_log_prob"] = _uniform_log_prob(actor, "return_log_prob")
        if return_component_log_prob:
            initial["component_log_prob"] = _uniform_log_prob(actor, "return_component_log_prob")
        self._initial = initial
        self.in_keys = [*actor.in_keys, *held_keys]
        self.out_keys = ["action", *initial]
        self.spec = Composite(action=actor.spec["action"], **self._state_spec())

    def _state_spec(self) -> dict[str, Unbounded]:
        return {key: Unbounded((), dtype=value.dtype) for key, value in self._initial.items()}

    def make_tensordict_primer(self) -> TensorDictPrimer:
        """The transform that resets and carries what the selector writes beside the action."""
        return TensorDictPrimer(
            self._state_spec(), default_value=dict(self._initial), expand_specs=True
        )

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Choose where a choice is due, and act."""
        # Selected, so that the mixture's parameters are not written to the caller's tensordict.
        mixture = self.actor.get_dist(tensordict.select(*self.actor.in_keys))
        exploration = exploration_type() or self.actor.default_interaction_type
        if exploration is ExplorationType.RANDOM:
            component = self._hold(tensordict, mixture.choose_component())
            acting = mixture.component(component)
            action = acting.sample()
        else:
            component = self._hold(tensordict, mixture.deterministic_component)
            acting = mixture.component(component)
            action = acting.deterministic_sample
        tensordict.set("action", action)
        tensordict.set("component", component)
        if "action_log_prob" in self._initial:
            tensordict.set("action_log_prob", mixture.log_prob(action))
        if "component_log_prob" in self._initial:
            tensordict.set("component_log_prob", acting.log_prob(action))
        return tensordict

    def _hold(self, tensordict: TensorDictBase, choice: Tensor) -> Tensor:
        """The choice where one is due, elsewhere the component that is held."""
        if self.hold == "step":
            return choice
        held = tensordict["component"]
        if self.hold == "episode":
            return torch.where(held < 0, choice, held)
        steps_left = tensordict[_STEPS_LEFT]
        due = steps_left == 0  # at every reset, and all through the warm-up
        tensordict.set(_STEPS_LEFT, torch.where(due, self.hold, steps_left) - 1)
        return torch.where(due, choice, held)


def _check(actor: ProbabilisticActor, hold: Hold) -> None:
    is_actor = isinstance(actor, SafeProbabilisticTensorDictSequential)
    kind = actor.module[-1].distribution_class if is_actor else type(actor)
    if not (isinstance(kind, type) and issubclass(kind, ComponentMixture)):
        raise ValueError(
            f"actor must be a ProbabilisticActor with a ComponentMixture as its distribution, "
            f"such as mixture_actor makes, got {getattr(kind, '__name__', kind)}."
        )
    is_steps = isinstance(hold, int) and not isinstance(hold, bool) and hold >= 1
    if not (is_steps or hold in ("step", "episode")):
        raise ValueError(
            f"hold must be 'step', 'episode' or a number of steps of at least 1, got {hold!r}."
        )


def _uniform_log_prob(actor: ProbabilisticActor, asked_by: str) -> Tensor:
    """Log-density of the random warm-up's actions, whose box all environments share."""
    spec = actor.spec["action"]
    if not isinstance(spec, Bounded):
        raise ValueError(
            f"{asked_by} must be False where the actor's spec has no bounded action, for random "
            f"actions have no density there; got {asked_by}=True for {type(spec).__name__}."
        )
    return uniform_log_prob(spec)
