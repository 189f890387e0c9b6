"""SAC-AWMP on the continuous bandit: its gradients and its gate, integrated."""

import math
from unittest import mock

import pytest
import torch
from oracles import assert_unbiased
from studies.awmp_bandit_oracle import (
    LOC,
    LOG_SCALE,
    TEMPERATURE,
    gradients,
    placed,
    prior_by_hand,
    scored,
)
from torch.distributions import Normal
from torch.testing import assert_close

from torchrl_mixture.studies import bandit_awmp_learner
from torchrl_mixture.studies.bandit_learners import AWMPLearner

pytestmark = pytest.mark.usefixtures("float64")

both_actions = pytest.mark.parametrize("prior_action", ["replay", "sampled"])


def integrals(alpha, loc=LOC, log_scale=LOG_SCALE, nodes=2001):
    """Weights of standard normal nodes ``[G]``; actions and costs of both components there."""
    z = torch.linspace(-8, 8, nodes)
    mass = Normal(0.0, 1.0).log_prob(z).exp() * (z[1] - z[0])
    action, reward, log_prob = scored(loc + log_scale.exp() * z.unsqueeze(-1), loc, log_scale)
    return mass, action, alpha * log_prob - reward


def integrated_gate(alpha):
    """Mean and standard deviation of the weight of the first of two components."""
    mass, _, cost = integrals(alpha)
    first = torch.sigmoid((cost[:, 1] - cost[:, 0].unsqueeze(-1)) / TEMPERATURE)
    mean = mass @ first @ mass
    return mean, (mass @ first.square() @ mass - mean.square()).sqrt()


def integrated_gradients(learner, alpha):
    """Of each component's cost, with the mean weight that the prior gives to the action."""
    parameters = [part[0].detach() for part in learner.prior]
    leaves = [part.clone().requires_grad_() for part in (LOC, LOG_SCALE)]
    # Many nodes, as the reward's slope jumps.
    mass, action, cost = integrals(alpha, *leaves, nodes=40_001)
    owned = prior_by_hand(parameters, action.detach())  # [G, K, K], the last axis the owner's
    if learner.prior_action == "replay":
        first, _ = integrated_gate(alpha)
        gate = torch.stack((first, 1 - first))
        weights = torch.einsum("g,j,gjh->h", mass, gate, owned)
    else:
        other_mass, other, _ = integrals(alpha, nodes=201)
        other = prior_by_hand(parameters, other).diagonal(dim1=-2, dim2=-1)
        means = [
            (owned[:, h, h, None] / (owned[:, h, h, None] + other[:, 1 - h])) @ other_mass
            for h in range(2)
        ]
        weights = torch.stack(means, -1)
    return torch.autograd.grad((mass.unsqueeze(-1) * weights * cost).sum(), leaves)


@both_actions
@pytest.mark.parametrize("step", [0, 2000])
def test_gradient_matches_integration(prior_action, step):
    learner = AWMPLearner(
        7500, 2, prior_action=prior_action, gate_temperature=TEMPERATURE, hidden_size=4
    )
    placed(learner).optimizer.param_groups[1]["lr"] = 0.0  # the prior stays
    expected = integrated_gradients(learner, 0.2 * 0.9995**step)
    learner.update(step)
    for part, truth in zip(gradients(learner), expected, strict=True):
        assert_unbiased(part, truth)


def mixture_cdf(weight, action):
    each = Normal(LOC, LOG_SCALE.exp()).cdf(action.atanh().unsqueeze(-1))
    return weight * each[..., 0] + (1 - weight) * each[..., 1]


@pytest.mark.parametrize("step", [0, 2000])
def test_actions_have_the_integrated_mean_of_the_gate(step):
    learner = placed(AWMPLearner(4000, 2, gate_temperature=TEMPERATURE))
    learner.alpha = 0.2 * 0.9995**step
    weight, _ = integrated_gate(learner.alpha)
    assert (weight - 0.5).abs() > 0.04  # where a gate of equal weights would be seen
    action, _ = learner.act()
    for edge in torch.tensor([-0.75, -0.5, 0.0, 0.4]):
        exact = float(mixture_cdf(weight, edge))
        share = float((action <= edge).double().mean())
        assert abs(share - exact) < 4.5 * math.sqrt(exact * (1 - exact) / action.numel())


@pytest.mark.parametrize("step", [0, 2000])
def test_density_is_the_mixtures_with_the_integrated_mean_of_the_gate(step):
    learner = placed(AWMPLearner(2, 2, gate_temperature=TEMPERATURE))
    learner.alpha = 0.2 * 0.9995**step
    weight, spread = integrated_gate(learner.alpha)
    action = torch.linspace(-1, 1, 2003)[1:-1]
    each = Normal(LOC, LOG_SCALE.exp()).log_prob(action.atanh().unsqueeze(-1)).exp()
    each = each / (1 - action**2).unsqueeze(-1)
    state = torch.get_rng_state()
    with mock.patch.object(bandit_awmp_learner, "NUM_GATES", 2**16):
        density = learner.density(action)
    assert torch.equal(state, torch.get_rng_state())  # its draws are the same at all times
    middle = (density - each[:, 1]) / (each[:, 0] - each[:, 1])
    found = middle[:, (each[:, 0] - each[:, 1]).abs() > 0.1]  # the weight, at every action
    assert_close(found, found[:1, :1].expand_as(found), rtol=1e-6, atol=1e-8)
    assert abs(found[0, 0] - weight) < 4.5 * spread / 2**8  # more even than random draws
    assert abs(weight - 0.5) > 9 * 4.5 * spread / 2**8
