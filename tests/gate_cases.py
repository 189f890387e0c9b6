"""Gated policies and the states that they act in."""

from __future__ import annotations

import copy
import math

import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.modules import MLP, ValueOperator

from torchrl_mixture.modules import ComponentCritic, GatedPolicy, PriorNetwork, mixture_actor
from torchrl_mixture.objectives import AWMPLoss

K, A, ALPHA, TEMPERATURE = 3, 2, 0.3, 0.5
LOW, HIGH = torch.tensor([-1.5, -2.0]), torch.tensor([1.0, 1.5])


def make(acting="mixture", size=K, **kwargs):
    spec = Composite(observation=Unbounded((3,)))
    action = Bounded(LOW, HIGH, dtype=torch.float64)
    kwargs = {"gate_temperature": TEMPERATURE, "alpha": ALPHA, **kwargs}
    actor = mixture_actor(action, size, observation_spec=spec, learn_weights=False, num_cells=(8,))
    loss = AWMPLoss(
        actor,
        [ComponentCritic(action, 1, observation_spec=spec, num_cells=(8,)) for _ in range(2)],
        ValueOperator(MLP(3, 1, num_cells=[8]), in_keys=["observation"]),
        prior_network=PriorNetwork(size, action, observation_spec=spec),
    )
    params = loss.target_qvalue_network_params
    return loss, GatedPolicy(actor, loss.qvalue_network, params, acting=acting, **kwargs)


def states(*shape):
    return TensorDict({"observation": torch.randn(*shape, 3)}, shape)


def edges(policy: GatedPolicy) -> tuple[Tensor, Tensor]:
    """The box of the actions, ``[A]`` each."""
    spec = policy.actor.spec["action"]
    return spec.low.reshape(-1, spec.shape[-1])[0], spec.high.reshape(-1, spec.shape[-1])[0]


def boxed(policy: GatedPolicy, inside: Tensor) -> Tensor:
    low, high = edges(policy)
    return (low + (high - low) * (inside.tanh() + 1) / 2).detach()


def log_density(policy: GatedPolicy, data: TensorDict, actions: Tensor) -> Tensor:
    """``[B, K]`` of actions ``[B, K, A]`` under their own component, from torch.distributions."""
    mixture = policy.actor.get_dist(data.select("observation"))
    low, high = edges(policy)
    inside = (actions - (high + low) / 2) / ((high - low) / 2)
    normal = torch.distributions.Normal(mixture.loc, mixture.scale).log_prob(inside.atanh())
    return (normal - ((1 - inside**2) * (high - low) / 2).log()).sum(-1).detach()


def gate_of(
    policy: GatedPolicy,
    data: TensorDict,
    actions: Tensor,
    alpha: float = ALPHA,
    temperature: float = TEMPERATURE,
    own: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``[B, K]``, by calling each critic for each component; the actions' log-densities."""
    own = log_density(policy, data, actions) if own is None else own
    values = []
    for params in policy.qvalue_params.unbind(0):
        critic = copy.deepcopy(policy.critics.network)
        params.data.to_module(critic)
        state = data["observation"]
        scores = [critic(observation=state, action=actions[:, k]) for k in range(actions.shape[1])]
        values.append(torch.cat(scores, -1))
    logits = (torch.stack(values).amin(0).detach() - alpha * own) / temperature
    weights = (logits - logits.amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-1, keepdim=True), own


def draws(policy: GatedPolicy, data: TensorDict) -> Tensor:
    """What the policy draws: the gate's, then the action's, ``[B, K, A]`` each."""
    mixture = policy.actor.get_dist(data.select("observation"))
    return boxed(policy, mixture.loc + mixture.scale * torch.randn_like(mixture.loc))


def mean_weights(
    policy: GatedPolicy,
    prior: PriorNetwork,
    data: TensorDict,
    count: int,
    alpha: float,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """``[B, K]`` of gates and of the prior, as means over draws.

    A gate is scored before an action rounds to the edge.
    """
    states = data.select("observation")
    mixture, (low, high) = policy.actor.get_dist(states), edges(policy)
    normal, gates, weights = torch.distributions.Normal(mixture.loc, mixture.scale), [], []
    for _ in range(count):
        x = (mixture.loc + mixture.scale * torch.randn_like(mixture.loc)).detach()
        slope = 2 * (math.log(2) - x - torch.nn.functional.softplus(-2 * x))
        own = (normal.log_prob(x) - slope - ((high - low) / 2).log()).sum(-1).detach()
        gates.append(gate_of(policy, data, boxed(policy, x), alpha, temperature, own)[0])
        with set_exploration_type(ExplorationType.RANDOM):
            acted = policy(states.copy())
        odds = prior.module(torch.cat([acted["observation"], acted["action"]], -1)).detach().exp()
        weights.append(odds / odds.sum(-1, keepdim=True))
    return torch.stack(gates).mean(0), torch.stack(weights).mean(0)


def modes(policy: GatedPolicy, data: TensorDict) -> Tensor:
    """The components' actions where nothing is random, ``[B, K, A]``."""
    return boxed(policy, policy.actor.get_dist(data.select("observation")).loc)
