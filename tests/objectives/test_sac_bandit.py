"""One state, one known solution: exp(Q / alpha), in two modes."""

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torchrl.data import Bounded
from torchrl.modules import ValueOperator
from torchrl.objectives import SACLoss

from torchrl_mixture.distributions import TanhNormalMixture
from torchrl_mixture.modules import mixture_actor
from torchrl_mixture.objectives import Likelihood

ALPHA = 0.5


class Bimodal(nn.Module):
    """Q = alpha * log-density of a mixture, which is hence the best policy."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.best = TanhNormalMixture(
            torch.tensor([0.3, 0.7]).log(),
            torch.tensor([[-0.9], [0.8]]),
            torch.tensor([[0.25], [0.35]]),
        )

    def forward(self, observation, action):
        log_prob = self.best.log_prob(action).unsqueeze(-1)
        return ALPHA * log_prob + 0 * self.unused


def train(make_loss, estimator, num_components, steps):
    net = nn.Linear(1, 3 * num_components)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    actor = mixture_actor(Bounded(-1.0, 1.0, (1,)), num_components, net=net, loc_spread=0.5)
    critics = [ValueOperator(Bimodal(), in_keys=["observation", "action"]) for _ in range(2)]
    if estimator == "stock":
        loss = SACLoss(actor, critics, alpha_init=ALPHA, fixed_alpha=True)
    else:
        loss = make_loss(
            estimator, actor=actor, critics=critics, alpha_init=ALPHA, fixed_alpha=True
        )
    batch = TensorDict({"observation": torch.ones(256, 1)}, [256])
    optimizer = torch.optim.Adam(net.parameters(), 3e-2)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-2 * (1 - step / steps)
        optimizer.zero_grad()
        loss.actor_loss(batch)[0].backward()
        optimizer.step()
    return actor.get_dist(TensorDict({"observation": torch.ones(1)}, [])), critics[0].module.best


@torch.no_grad()
def divergence(policy, best):
    action = torch.linspace(-0.9999, 0.9999, 20001).unsqueeze(-1)
    log_prob, best_log_prob = policy.log_prob(action), best.log_prob(action)
    gap = log_prob.exp() * (log_prob - best_log_prob)
    return torch.trapezoid(gap, action.squeeze(-1)).item()


@pytest.mark.parametrize(
    ("estimator", "most"),
    [
        ("half", 0.005),
        ("likelihood", 0.005),
        (Likelihood(num_baseline_samples=30), 0.005),
        ("marginal", 0.005),
        ("implicit", 0.005),
        ("stock", 0.005),
    ],
    ids=["half", "likelihood", "likelihood of 30", "marginal", "implicit", "TorchRL's SACLoss"],
)
def test_finds_the_best_policy(estimator, most, make_loss):
    policy, best = train(make_loss, estimator, 2, 400)
    assert divergence(policy, best) < most
    low, high = sorted(component.item() for component in policy.loc.tanh().flatten())
    assert low < -0.5 < 0.5 < high  # both modes


def test_gumbel_finds_the_better_mode(make_loss):
    """Its gradient to the weights sees Q's slope at one mode alone, not the other's height."""
    policy, best = train(make_loss, "gumbel", 2, 400)
    assert policy.mean > 0.3
    assert divergence(policy, best) < -torch.tensor(0.7).log() + 0.02


def test_one_component_cannot(make_loss):
    assert divergence(*train(make_loss, "half", 1, 400)) > 0.3
