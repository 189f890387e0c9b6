"""The components' temperatures, and what is returned beside the losses."""

import pytest
import torch
from objectives.sacm_cases import ALPHA, K, make_loss
from torch.testing import assert_close

from torchrl_mixture import functional as F


def entropies(loss, batch):
    """Of each component's draws, over many."""
    with torch.no_grad():
        policy = loss._policy(batch)
        return -policy.rsample_components_and_log_prob((2000,))[2].mean((0, 1))


def test_each_temperature_moves_towards_its_own_target(make_batch):
    """It rises where the entropy is below the target, and falls where it is above."""
    loss, batch = make_loss(), make_batch()
    own = entropies(loss, batch)
    offsets = torch.tensor([0.5, -0.5, 0.0])
    loss = make_loss(actor=loss.actor_network, target_entropy=(own + offsets).tolist())
    before = loss.log_alpha.detach().clone()
    optimizer = torch.optim.SGD([loss.log_alpha], 0.1)
    gradients = []
    for _ in range(60):
        optimizer.zero_grad()
        loss(batch.copy())["loss_alpha"].backward()
        gradients.append(loss.log_alpha.grad.clone())
        optimizer.step()
    gradients = torch.stack(gradients)
    error = gradients.std(0) / len(gradients) ** 0.5
    assert ((gradients.mean(0) + offsets).abs() < 4.5 * error).all()
    assert (error < 0.1).all()
    moved = (loss.log_alpha - before) / 6
    assert moved[0] > 0.2 and moved[1] < -0.2 and moved[2].abs() < 4.5 * error[2]


@pytest.mark.parametrize("fixed_alpha", [False, True])
def test_temperatures_begin_where_they_are_told(fixed_alpha):
    loss = make_loss(4, fixed_alpha=fixed_alpha)
    assert_close(loss._alpha, torch.full((4,), ALPHA))
    assert ("log_alpha" in dict(loss.named_parameters())) is not fixed_alpha


def test_temperatures_stay_between_their_bounds(make_batch):
    loss = make_loss(min_alpha=0.1, max_alpha=0.5)
    with torch.no_grad():
        loss.log_alpha.copy_(torch.tensor([0.01, 0.3, 2.0]).log())
    loss(make_batch())
    assert_close(loss.log_alpha.detach().exp(), torch.tensor([0.1, 0.3, 0.5]))


@pytest.mark.parametrize("target", ["auto", -2.0])
def test_one_target_is_everyones(target, make_batch):
    one, each = make_loss(target_entropy=target), make_loss(target_entropy=[-2.0] * K)
    copy_parameters(one, each)
    batch = make_batch()
    for loss in (one, each):
        torch.manual_seed(1)
        loss.output = loss(batch.copy())["loss_alpha"]
    assert_close(one.output, each.output)


def copy_parameters(source, target):
    for value, own in zip(source.parameters(), target.parameters(), strict=True):
        own.data.copy_(value)


def test_mixture_diagnostics(make_batch):
    loss, batch = make_loss(), make_batch()
    found = loss.mixture_diagnostics(batch)
    policy = loss.actor_network.get_dist(batch.select("observation"))
    assert_close(found["component_weight"], policy.logits.softmax(-1).mean(0).detach())
    assert_close(found["component_loc"], policy.loc.mean(0).detach())
    assert_close(found["component_scale"], policy.scale.mean(0).detach())
    loc, scale = policy.loc.double(), policy.scale.double()
    pairs = [(i, j) for i in range(K) for j in range(i)]
    distance = 0.0
    for i, j in pairs:
        p, q = (torch.distributions.Normal(loc[:, k], scale[:, k]) for k in (i, j))
        kl = torch.distributions.kl_divergence
        distance += (kl(p, q) + kl(q, p)).sum(-1).mean().item() / len(pairs)
    assert found["component_distance"].item() == pytest.approx(distance, rel=1e-4)


def test_entropy_is_the_stratified_estimate(make_batch):
    """By the density of the mixture at one draw of each component."""
    loss, batch = make_loss(actor_entropy="component"), make_batch()
    torch.manual_seed(1)
    loss._compute_target_v2(batch)  # its draws come first
    policy = loss._policy(batch)
    actions, *_ = policy.rsample_components_and_log_prob()
    log_prob = torch.stack([policy.log_prob(actions[:, k]) for k in range(K)], -1)
    expected = F.stratified_entropy(policy.log_weights, log_prob).mean()
    torch.manual_seed(1)
    assert_close(loss(batch)["entropy"], expected, rtol=1e-4, atol=1e-4)
