"""Priors, their losses, and batches with an advantage and the behaviour's log-density."""

from __future__ import annotations

import torch
from tensordict import TensorDict
from torch import nn
from torchrl.data import Bounded, Composite, Unbounded

from torchrl_mixture.modules import PriorNetwork
from torchrl_mixture.objectives import AWMPPriorLoss

K = 3
OUT_KEYS = [
    "loss_prior",
    "prior_information",
    "prior_marginal_entropy",
    "prior_conditional_entropy",
    "prior_divergence",
    "prior_effective_sample_size",
]


def make_prior(num_components: int = K, **kwargs: object) -> PriorNetwork:
    """One whose logits differ enough that every term of the loss counts."""
    spec = Composite(observation=Unbounded((3,)))
    action = Bounded(torch.tensor([-1.5, -2.0]), torch.tensor([1.0, 1.5]))
    kwargs = {"num_cells": (8,), "activation_class": nn.Tanh, "observation_spec": spec, **kwargs}
    prior = PriorNetwork(num_components, action, **kwargs)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.mul_(4)
    return prior


def make_loss(num_components: int = K, **kwargs: object) -> AWMPPriorLoss:
    return AWMPPriorLoss(make_prior(num_components), **{"noise_std": 0.3, **kwargs})


def make_batch(*shape: int) -> TensorDict:
    shape = shape or (16,)
    content = {
        "observation": torch.randn(*shape, 3),
        "action": torch.rand(*shape, 2) * 2 - 1,
        "advantage": torch.randn(*shape, 1),
        "action_log_prob": torch.randn(*shape) - 1,
    }
    return TensorDict(content, shape)


def step(loss: AWMPPriorLoss, batch: TensorDict, seed: int = 1) -> tuple[TensorDict, dict]:
    """What a loss returns for a seed, and the gradients by name."""
    loss.zero_grad()
    torch.manual_seed(seed)
    output = loss(batch)
    output["loss_prior"].backward()
    return output, {name: value.grad.clone() for name, value in loss.named_parameters()}
