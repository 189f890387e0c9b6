"""Acting through a gate, by what the critics think of each component."""

from __future__ import annotations

from copy import copy
from typing import Literal, TypeAlias, get_args

import torch
from tensordict import TensorDictBase, TensorDictParams
from tensordict.nn import (
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    TensorDictModuleBase,
)
from torch import Tensor
from torchrl.data import Bounded, Unbounded
from torchrl.envs import TensorDictPrimer
from torchrl.envs.utils import ExplorationType, exploration_type

from torchrl_mixture import functional as F
from torchrl_mixture.distributions import ComponentMixture
from torchrl_mixture.modules.ensemble import EnsembleCall, check_critic_keys, component_values
from torchrl_mixture.modules.specs import uniform_log_prob

__all__ = ["Acting", "GatedPolicy"]

Acting: TypeAlias = Literal["mixture", "convex"]


class GatedPolicy(TensorDictModuleBase):
    r"""A mixture policy whose weights are a softmax of what its components are worth.

    .. math::
        \rho(h \mid s) \propto \exp\!\left[\frac1T \left(\min_e Q_e(s, a_h)
            - \alpha \log \pi_h(a_h \mid s)\right)\right], \qquad a_h \sim \pi_h(\cdot \mid s)

    One draw of each component makes the gate, which thus is a random estimate; the action is made
    of further draws. With one component there is no gate. The paper has two policies that are not
    the same. With ``acting="mixture"``, its equation 15, a component drawn from the gate acts,

    .. math::
        h \sim \rho, \quad a \sim \pi_h, \qquad
        \log \mu = \log \sum_h \rho(h \mid s)\, \pi_h(a \mid s)

    With ``acting="convex"``, its equation 25 and the authors' code, every component acts a share:

    .. math::
        a = \sum_h \rho(h \mid s)\, a_h, \qquad
        \log \mu = \log \pi_k(a_k \mid s) - A \log \rho(k \mid s), \quad
        k = \arg\max_h \rho(h \mid s)

    Written are ``"action"``, ``[*B, A]``, ``"action_log_prob"``, :math:`\log \mu`, ``[*B]``, and
    with ``"mixture"`` ``"component"``, int64 ``[*B]``; a convex action is of no component.

    With ``"mixture"`` :math:`\mu` is the density given the gate, not its mean over gates. An
    importance weight :math:`1 / \mu` of the pair of gate and action is unbiased all the same.

    The convex action's density is a convolution without a closed form, and neither the paper
    (whose equations 26 and 27 use it) nor the code has it: the code records the density of
    exploration noise times the weight of one component. Written is the density given the gate and
    the draws of all but the heaviest component. It is exact, and finite, as
    :math:`\rho(k \mid s) \ge 1 / K`; its mean over those draws is the action's density, and the
    mean of its logarithm is at least that of the action's, so that :math:`-\log \mu` is on
    average a lower bound on the entropy. As an importance weight it is biased for bounded actions,
    for the draws of the others leave a part of the box out of reach. The mixture's density at the
    convex action would be a surrogate that is next to zero where the action lies between
    components.

    Where an exploration type other than ``RANDOM`` is set, the components' modes take the place
    of all draws, in the gate too, and ``"mixture"`` takes the heaviest component: nothing is
    random. (The authors' code evaluates with a gate of draws.) The entropy in the gate is then
    :math:`-\log \pi_h` at the mode, where the critics do not see how wide a component is: this
    gate favours wide components.

    Arguments:
        actor: a policy whose distribution is a
            :class:`~torchrl_mixture.distributions.ComponentMixture`; its own weights are not used.
        qvalue_network: the critic as a module, such as ``loss.qvalue_network``; it reads
            ``"action"`` and writes ``"state_action_value"``.
        qvalue_params: parameters of an ensemble of it, ``[E]``; the paper's are those of
            ``loss.target_qvalue_network_params``. Shared, so that the policy follows the training.
        acting: ``"mixture"`` or ``"convex"``.
        gate_temperature: :math:`T`, positive; see
            :class:`~torchrl_mixture.objectives.AWMPLoss`. A buffer.
        alpha: :math:`\alpha`, at least 0. A buffer; where the loss learns it, set it with
            ``policy.alpha.copy_(output["alpha"])``.

    Raises:
        ValueError: where an argument is none of those allowed, or the critic has other keys.

    Source:
        Hou et al. (2020), equations 15 to 17 and 25, and algorithm 1, line 5.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl.data import Composite
        >>> from torchrl.modules import MLP, ValueOperator
        >>> from torchrl_mixture.modules import ComponentCritic, PriorNetwork, mixture_actor
        >>> from torchrl_mixture.objectives import AWMPLoss
        >>> action, spec = Bounded(-1.0, 1.0, (2,)), Composite(observation=Unbounded((3,)))
        >>> actor = mixture_actor(action, 4, observation_spec=spec, learn_weights=False)
        >>> critics = [ComponentCritic(action, 1, observation_spec=spec) for _ in range(2)]
        >>> value = ValueOperator(MLP(3, 1), in_keys=["observation"])
        >>> prior = PriorNetwork(4, action, observation_spec=spec)
        >>> loss = AWMPLoss(actor, critics, value, prior_network=prior)
        >>> policy = GatedPolicy(
        ...     actor, loss.qvalue_network, loss.target_qvalue_network_params, alpha=0.2
        ... )
        >>> sorted(policy(TensorDict({"observation": torch.zeros(8, 3)}, [8])).keys())
        ['action', 'action_log_prob', 'component', 'observation']
    """

    gate_temperature: Tensor
    alpha: Tensor

    def __init__(
        self,
        actor: ProbabilisticTensorDictSequential,
        qvalue_network: TensorDictModule,
        qvalue_params: TensorDictParams,
        *,
        acting: Acting = "mixture",
        gate_temperature: float = 1.0,
        alpha: float,
    ) -> None:
        _check(acting, gate_temperature, alpha, qvalue_network)
        super().__init__()
        self.actor = actor
        self.qvalue_params = qvalue_params
        self.critics = EnsembleCall(qvalue_network)
        self.acting = acting
        self.register_buffer("gate_temperature", torch.tensor(float(gate_temperature)))
        self.register_buffer("alpha", torch.tensor(float(alpha)))
        observed = [key for key in qvalue_network.in_keys if key != "action"]
        self.in_keys = list(dict.fromkeys([*actor.in_keys, *observed]))
        self.out_keys = _out_keys(acting)

    def make_tensordict_primer(self) -> TensorDictPrimer:
        """The transform for a collector's random warm-up.

        It marks its actions with the component -1, and their density is that of the uniform
        distribution over the box.

        Raises:
            ValueError: where the actor's spec has no bounded action.
        """
        action = self.actor.spec["action"]
        if not isinstance(action, Bounded):
            raise ValueError(
                f"actor must have a bounded action in its spec, for others random actions have no "
                f"density, got {type(action).__name__}."
            )
        initial = {"action_log_prob": uniform_log_prob(action)}
        if self.acting == "mixture":
            initial["component"] = torch.tensor(-1)
        specs = {key: Unbounded((), dtype=value.dtype) for key, value in initial.items()}
        return TensorDictPrimer(specs, default_value=initial, expand_specs=True)

    def acting_as(self, acting: Acting) -> GatedPolicy:
        """The same policy with another way of acting; networks and buffers are shared.

        Arguments:
            acting: ``"mixture"`` or ``"convex"``.

        Raises:
            ValueError: where it is neither.
        """
        _check_acting(acting)
        variant = copy(self)
        variant.acting = acting
        variant.out_keys = _out_keys(acting)
        return variant

    @torch.no_grad()
    def get_dist(self, tensordict: TensorDictBase) -> ComponentMixture:
        """The mixture with the gate's weights, where actions are random those of new draws.

        Arguments:
            tensordict: a batch of states, ``[*B]``.
        """
        policy = self.actor.get_dist(tensordict.select(*self.actor.in_keys))
        if policy.num_components == 1:
            return policy
        return policy.with_weights(self._log_gate(tensordict, policy, _random()))

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Weigh the components and act."""
        gated, random = self.get_dist(tensordict), _random()
        if self.acting == "convex":
            action, log_prob = _act_convex(gated, random)
        else:
            component, action, log_prob = _act_mixture(gated, random)
            tensordict.set("component", component)
        tensordict.set("action_log_prob", log_prob)
        return tensordict.set("action", action)

    def _log_gate(
        self, tensordict: TensorDictBase, policy: ComponentMixture, random: bool
    ) -> Tensor:
        actions, _, log_prob = _component_actions(policy, random)
        values = component_values(self.critics, self.qvalue_params, tensordict, actions)
        options = F.soft_option_values(values.squeeze(-1).amin(0), log_prob, self.alpha)
        return F.gate_log_prob(options, self.gate_temperature)


def _random() -> bool:
    return exploration_type() in (ExplorationType.RANDOM, None)


def _out_keys(acting: Acting) -> list[str]:
    return ["action", "action_log_prob", *(["component"] if acting == "mixture" else [])]


def _component_actions(policy: ComponentMixture, random: bool) -> tuple[Tensor, Tensor, Tensor]:
    """An action of each component, and the log-densities of the mixture's and its own there."""
    if random:
        return policy.rsample_components_and_log_prob()
    return policy.modes_and_log_prob()


def _act_mixture(gated: ComponentMixture, random: bool) -> tuple[Tensor, Tensor, Tensor]:
    """A component ``[*B]``, its action ``[*B, A]`` and the log-density there ``[*B]``."""
    if random:
        return gated.rsample_component_and_log_prob()
    actions, log_prob, _ = gated.modes_and_log_prob()
    component = gated.log_weights.argmax(-1)
    return component, F.take_component(actions, component), _take(log_prob, component)


def _act_convex(gated: ComponentMixture, random: bool) -> tuple[Tensor, Tensor]:
    """The weighted mean of actions, ``[*B, A]``, and its log-density given all but one."""
    actions, _, log_prob = _component_actions(gated, random)
    action = (gated.weights.unsqueeze(-1) * actions).sum(-2)
    action = action.clamp(actions.amin(-2), actions.amax(-2))  # rounding would leave the box
    given = log_prob - actions.shape[-1] * gated.log_weights
    return action, _take(given, gated.log_weights.argmax(-1))


def _take(values: Tensor, component: Tensor) -> Tensor:
    """The component's entry of ``[*B, K]``."""
    return values.gather(-1, component.unsqueeze(-1)).squeeze(-1)


def _check_acting(acting: str) -> None:
    if acting not in get_args(Acting):
        raise ValueError(f"acting must be one of {get_args(Acting)}, got {acting!r}.")


def _check(
    acting: str, gate_temperature: float, alpha: float, qvalue_network: TensorDictModule
) -> None:
    _check_acting(acting)
    if not gate_temperature > 0:
        raise ValueError(f"gate_temperature must be positive, got {gate_temperature}.")
    if not alpha >= 0:
        raise ValueError(f"alpha must be at least 0, got {alpha}.")
    check_critic_keys(qvalue_network)
