"""Two clusters of equal weight: what training finds, and what the released signs find."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from tensordict import TensorDict
from torch.testing import assert_close
from torchrl.data import Bounded, Composite, Unbounded

from torchrl_mixture.modules import PriorNetwork
from torchrl_mixture.objectives import AWMPPriorLoss


def make_clusters():
    """Three of four states and actions are about -0.7, the others, with weight 3, about 0.7.

    That weight is all in the advantage of one half of them, of the others half in the density.
    """
    right = torch.arange(200) % 4 == 0
    centre = torch.where(right, 0.7, -0.7).unsqueeze(-1)
    gain = torch.where(right, math.log(3), 0.0)
    half = torch.arange(200) % 8 < 4
    content = {
        "observation": centre + 0.1 * torch.randn(200, 1),
        "action": centre + 0.1 * torch.randn(200, 1),
        "advantage": torch.where(half, gain, gain / 2).unsqueeze(-1) - 0.5,
        "action_log_prob": torch.where(half, 0.0, -gain / 2) + 0.3,
    }
    return TensorDict(content, [200]), right


def make_prior():
    return PriorNetwork(
        2,
        Bounded(-1.0, 1.0, (1,)),
        observation_spec=Composite(observation=Unbounded((1,))),
        num_cells=(32,),
    )


def released_loss(prior, batch, sign):
    """The authors' terms of information and perturbation; sign 1 is theirs, -1 an entropy's.

    The conditional entropy is a sum over the batch, the marginal one has a factor of 4.
    """
    inputs = torch.cat([batch["observation"], batch["action"]], -1)
    prob = prior.module(inputs).softmax(-1)
    noisy = prior.module(inputs + 0.005 * torch.randn_like(inputs) * inputs.abs()).softmax(-1)
    weights = (batch["advantage"].squeeze(-1) - batch["action_log_prob"]).exp().unsqueeze(-1)
    weights = weights / weights.mean()
    conditional = (sign * weights * prob * (prob + 1e-8).log()).sum()
    mean = (weights * prob).mean(0)
    marginal = (sign * mean * (mean + 1e-8).log()).sum()
    divergence = (prob * ((prob + 1e-8) / (noisy + 1e-8)).log()).sum()
    return 0.1 * (conditional - 4 * marginal) + divergence


def information(prior, batch, weights):
    prob = prior(batch.copy())["prior_logits"].softmax(-1).detach().double().numpy()
    share = weights / weights.sum()
    return entropy(share @ prob) - share @ entropy(prob, axis=-1)


def train(prior, lossfn, steps=80):
    optimizer = torch.optim.Adam(prior.parameters(), 0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        lossfn().backward()
        optimizer.step()


@pytest.mark.parametrize("noise", ["additive", "multiplicative"])
@pytest.mark.parametrize("seed", [0, 1])
def test_training_finds_the_information_of_two_clusters(seed, noise):
    torch.manual_seed(seed)
    prior, (batch, right) = make_prior(), make_clusters()
    loss = AWMPPriorLoss(prior, noise=noise)
    before = loss(batch)["prior_information"]
    assert before < 0.5 * math.log(2)
    train(prior, lambda: loss(batch)["loss_prior"])
    output = loss(batch)
    mass = np.where(right, 3.0, 1.0)
    assert information(prior, batch, mass) == pytest.approx(math.log(2), rel=0.02)
    assert output["prior_information"].item() == pytest.approx(math.log(2), rel=0.02)
    # Of the transitions as they are, three to one, the same prior tells less.
    unweighted = entropy([0.75, 0.25])
    assert information(prior, batch, np.ones(200)) == pytest.approx(unweighted, rel=0.02)
    choice = prior(batch.copy())["prior_logits"].argmax(-1)
    assert choice[right].unique().numel() == choice[~right].unique().numel() == 1
    assert choice[right][0] != choice[~right][0]
    # Half of the weight is on 50 transitions, half on 150.
    effective = torch.tensor(math.sqrt(100 * 300))
    assert_close(output["prior_effective_sample_size"], effective)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_released_signs_lose_the_information(seed):
    """From a prior that has it already; with the minus of an entropy the same terms keep it."""
    torch.manual_seed(seed)
    prior, (batch, right) = make_prior(), make_clusters()
    mass = np.where(right, 3.0, 1.0)
    loss = AWMPPriorLoss(prior)
    train(prior, lambda: loss(batch)["loss_prior"])
    assert information(prior, batch, mass) > 0.98 * math.log(2)
    other = copy.deepcopy(prior)
    train(other, lambda: released_loss(other, batch, sign=-1))
    assert information(other, batch, mass) > 0.98 * math.log(2)
    train(prior, lambda: released_loss(prior, batch, sign=1))
    assert information(prior, batch, mass) < 0.02 * math.log(2)
