"""Losses of gated mixtures with a value network and a prior."""

from __future__ import annotations

import torch
from objectives.awmp_cases import make_prior
from objectives.sacm_cases import GAMMA, K, make_actor, make_critics
from torch import nn
from torchrl.modules import MLP, ProbabilisticActor, ValueOperator

from torchrl_mixture.modules import PriorNetwork
from torchrl_mixture.objectives import AWMPLoss

ALPHA = 0.3
LOSSES = ["loss_actor", "loss_qvalue", "loss_alpha", "loss_value"]
SCALARS = [
    "alpha",
    "entropy",
    "weight_entropy",
    "effective_components",
    "component_information",
    "prior_effective_components",
]


def make_value(**kwargs: object) -> ValueOperator:
    kwargs = {"num_cells": [8], "activation_class": nn.ReLU, **kwargs}
    return ValueOperator(MLP(3, 1, **kwargs), in_keys=["observation"])


def make_loss(
    num_components: int = K,
    *,
    actor: ProbabilisticActor | None = None,
    critics: nn.Module | list[nn.Module] | None = None,
    value: nn.Module | None = None,
    prior: PriorNetwork | None = None,
    gamma: float = GAMMA,
    keys: dict | None = None,
    **kwargs: object,
) -> AWMPLoss:
    number = kwargs.get("num_qvalue_nets", 2)
    loss = AWMPLoss(
        make_actor(num_components, learn_weights=False) if actor is None else actor,
        make_critics(1, number) if critics is None else critics,
        make_value() if value is None else value,
        prior_network=make_prior(num_components) if prior is None else prior,
        **{"loss_function": "l2", "alpha_init": ALPHA, **kwargs},
    )
    loss.set_keys(**(keys or {}))  # before the estimator, which looks for the value's key
    loss.make_value_estimator(gamma=gamma)
    return loss


def shift_targets(loss: AWMPLoss) -> None:
    """Targets that differ from the networks, so that each shows where it is used."""
    for params in (loss.target_qvalue_network_params, loss.target_value_network_params):
        for parameter in params.values(True, True):
            parameter.data.add_(0.5 * torch.randn_like(parameter))
