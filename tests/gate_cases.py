"""Gated policies and the states that they act in."""

from __future__ import annotations

import torch
from tensordict import TensorDict
from torchrl.data import Bounded, Composite, Unbounded
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
