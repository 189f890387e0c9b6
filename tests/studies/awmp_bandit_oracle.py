"""SAC-AWMP's bandit learner at a given place, and its parts in plain formulas."""

import torch
from torch.distributions import Normal

from torchrl_mixture.envs.bandit_rewards import continuous_bandit_reward

LOC = torch.tensor([-0.8, 0.2], dtype=torch.float64)
LOG_SCALE = torch.tensor([0.2, 0.5], dtype=torch.float64).log()
TEMPERATURE = 0.1  # so small that the gate is far from uniform


def placed(learner, loc=LOC, log_scale=LOG_SCALE):
    """All seeds at one place, with one prior that tells actions apart."""
    with torch.no_grad():
        learner.loc.copy_(loc.unsqueeze(-1).expand_as(learner.loc))
        learner.log_scale.copy_(log_scale.unsqueeze(-1).expand_as(learner.log_scale))
        torch.manual_seed(2)
        for part in learner.prior:
            part.copy_(torch.randn_like(part[:1]).expand_as(part))
    return learner


def gradients(learner):
    return learner.loc.grad[..., 0], learner.log_scale.grad[..., 0]


def prior_by_hand(parameters, action):
    """Probabilities ``[*B, K]`` by the network of one seed, of actions ``[*B]``."""
    w1, b1, w2, b2, w3, b3 = parameters
    hidden = torch.relu(action.unsqueeze(-1) * w1[:, 0] + b1)
    hidden = torch.relu(torch.einsum("...i,oi->...o", hidden, w2) + b2)
    logits = torch.einsum("...i,oi->...o", hidden, w3) + b3
    return logits.exp() / logits.exp().sum(-1, keepdim=True)


def scored(x, loc, log_scale):
    """Actions, weighted rewards and log-densities of draws before squashing, ``[*B, K]``."""
    action = x.tanh()
    log_prob = Normal(loc, log_scale.exp()).log_prob(x) - (1 - action**2).log()
    return action, 0.1 * continuous_bandit_reward(action), log_prob
