"""SAC-AWMP on the continuous bandit: an update by hand, SAC's gradient, and what it refuses."""

import math
from unittest import mock

import numpy as np
import pytest
import torch
from replica_noise import recorded_noise
from studies.awmp_bandit_oracle import TEMPERATURE, gradients, placed, prior_by_hand, scored
from torch.distributions import Normal
from torch.testing import assert_close

from torchrl_mixture.envs.bandit_rewards import continuous_bandit_reward
from torchrl_mixture.studies.bandit_learners import LEARNERS, AWMPLearner, SACLearner
from torchrl_mixture.studies.shared_baseline import SharedHalfReparam

pytestmark = pytest.mark.usefixtures("float64")

both_actions = pytest.mark.parametrize("prior_action", ["replay", "sampled"])


def hand_update(loc, log_scale, prior, noise, alpha, prior_action):
    """One seed's update: the prior after its step, and the gradients of the components."""
    gate_noise, uniform, act_noise, perturbation, noise = noise
    scale = log_scale.exp()
    _, reward, log_prob = scored(loc + scale * gate_noise[..., 0], loc, log_scale)
    gate = ((reward - alpha * log_prob) / TEMPERATURE).softmax(-1)
    rows = zip(gate.cumsum(-1), 1 - uniform, strict=True)
    chosen = torch.tensor([np.searchsorted(row.numpy(), float(level)) for row, level in rows])
    x = loc[chosen] + scale[chosen] * act_noise[:, 0]
    action, slope = x.tanh(), 1 - x.tanh() ** 2
    density = (gate * Normal(loc, scale).log_prob(x.unsqueeze(-1)).exp()).sum(-1) / slope
    share = (0.1 * continuous_bandit_reward(action)).exp() / density
    share = share / share.sum()
    leaves = [part.clone().requires_grad_() for part in prior]
    clean, other = (prior_by_hand(leaves, a) for a in (action, action + 0.04 * perturbation[:, 0]))
    marginal = share @ clean
    information = (share @ (clean * clean.log())).sum() - (marginal * marginal.log()).sum()
    divergence = (other * (other / clean).log()).sum(-1).mean()
    slopes = torch.autograd.grad(divergence - 0.1 * information, leaves)
    stepped = [
        part - 1e-3 * slope / (slope.abs() + 1e-8)
        for part, slope in zip(prior, slopes, strict=True)
    ]
    places = [part.clone().requires_grad_() for part in (loc, log_scale)]
    draws, reward, log_prob = scored(places[0] + places[1].exp() * noise[..., 0], *places)
    if prior_action == "replay":
        weights = prior_by_hand(stepped, action)
    else:
        weights = torch.stack(
            [prior_by_hand(stepped, draws[:, h].detach())[:, h] for h in range(len(loc))], -1
        )
        weights = weights / weights.sum(-1, keepdim=True)
    cost = (weights * (alpha * log_prob - reward)).sum(-1).mean()
    return stepped, torch.autograd.grad(cost, places)


@both_actions
def test_first_update_is_that_by_hand(prior_action):
    learner = AWMPLearner(
        4, 3, prior_action=prior_action, gate_temperature=TEMPERATURE, hidden_size=6
    )
    with torch.no_grad():
        learner.loc.normal_(0, 0.5)
        learner.log_scale.uniform_(-1.5, 0)
        for part in learner.prior:
            part.normal_()
    before = [part.detach().clone() for part in (learner.loc, learner.log_scale, *learner.prior)]
    with recorded_noise() as noise:
        learner.update(700)
    drawn = [values for _, values in noise]
    for seed in range(4):
        loc, log_scale, *prior = (part[seed] for part in before)
        stepped, expected = hand_update(
            loc[:, 0],
            log_scale[:, 0],
            prior,
            [values[:, seed] for values in drawn],
            0.2 * 0.9995**700,
            prior_action,
        )
        for part, exact in zip(learner.prior, stepped, strict=True):
            assert_close(part[seed].detach(), exact, rtol=1e-9, atol=1e-11)
        for part, exact in zip(gradients(learner), expected, strict=True):
            assert_close(part[seed], exact, rtol=1e-9, atol=1e-12)


@both_actions
def test_prior_and_components_have_gradients_of_their_own_losses_alone(prior_action):
    learner = placed(AWMPLearner(3, 2, prior_action=prior_action))
    components = [learner.loc, learner.log_scale]
    action, log_prob = learner.act()
    assert not action.requires_grad and not log_prob.requires_grad
    learner.prior_cost(action, log_prob).sum().backward()
    assert all(part.grad.abs().sum() > 0 for part in learner.prior)
    assert all(part.grad is None for part in components)
    learner.optimizer.zero_grad()
    learner.cost(action).sum().backward()
    assert all(part.grad is None for part in learner.prior)
    assert all((part.grad != 0).all() for part in components)


@both_actions
def test_one_component_is_the_reparameterised_single_gaussian(prior_action):
    torch.manual_seed(0)
    one = AWMPLearner(3, 1, prior_action=prior_action)
    sac = SACLearner(3, 1, SharedHalfReparam())
    with torch.no_grad():
        sac.loc.copy_(one.loc)
    assert one.loc.std() > 1e-2  # the seeds differ
    for step in range(20):
        with recorded_noise() as noise:
            one.update(step)
        last = noise[-1][1]  # of the actions that the components are trained with
        with mock.patch.object(torch, "randn", lambda shape, last=last, **_: last.reshape(shape)):
            sac.update(step)
        for part, exact in zip(gradients(one), gradients(sac), strict=True):
            assert_close(part, exact, rtol=1e-9, atol=1e-12)
    assert_close(one.loc, sac.loc, rtol=1e-9, atol=1e-12)
    action = torch.linspace(-0.999, 0.999, 101)
    assert_close(one.density(action), sac.density(action), rtol=1e-9, atol=1e-12)


def test_weights_of_actions_do_not_depend_on_the_value_of_the_state():
    """As it is one number for all actions, to which a softmax is blind."""
    learner = placed(AWMPLearner(3, 2))
    costs, action = [], learner.act()
    for shift in (0.0, 40.0):
        torch.manual_seed(0)
        with mock.patch.object(
            AWMPLearner,
            "value",
            lambda self, a, shift=shift: 0.1 * continuous_bandit_reward(a[..., 0]) + shift,
        ):
            costs.append(learner.prior_cost(*action))
    assert_close(*costs, rtol=1e-9, atol=1e-12)


def test_begins_as_sac_does():
    learner = AWMPLearner(20)
    assert learner.loc.shape == learner.log_scale.shape == (20, 5, 1)
    assert 0.04 < learner.loc.std() < 0.06 and (learner.policy().scale == math.e).all()
    shapes = [(20, 32, 1), (20, 32), (20, 32, 32), (20, 32), (20, 5, 32), (20, 5)]
    assert [part.shape for part in learner.prior] == shapes
    for part, size_in in zip(learner.prior, (1, 1, 32, 32, 32, 32), strict=True):
        assert 0.9 * size_in**-0.5 < part.abs().max() <= size_in**-0.5
    before = [learner.loc.detach().clone(), learner.log_scale.detach().clone()]
    with recorded_noise() as noise:
        learner.update(0)
    assert [(kind, drawn.shape) for kind, drawn in noise] == [
        ("randn", (256, 20, 5, 1)),  # the gate's
        ("rand", (256, 20)),  # of the component that acts
        ("randn", (256, 20, 1)),
        ("randn", (256, 20, 1)),  # the prior's perturbation
        ("randn", (256, 20, 5, 1)),  # the components'
    ]
    for part, old in zip((learner.loc, learner.log_scale), before, strict=True):
        assert_close((part - old).abs(), torch.full_like(old, 1e-3), rtol=1e-2, atol=0)


def test_prior_learns_to_divide_the_actions():
    """A component of its own for either of two heaps of actions, from an undecided start."""
    learner = AWMPLearner(4, 2)
    side = (torch.arange(256) % 2 * 2 - 1).double()
    action = (0.6 * side[:, None, None] + 0.05 * torch.randn(256, 4, 1)).clamp(-0.99, 0.99)
    for _ in range(400):
        learner._descend(learner.prior_cost(action, torch.zeros(256, 4)))
    probability = learner.prior_logits(action).softmax(-1)
    left, right = (probability[side == value].mean(0) for value in (-1, 1))
    assert ((left - right).abs() > 0.8).all()


def test_only_draws_part_components_and_send_each_away_from_what_it_is_given():
    """Of two at one place the first is given the actions on the left, the second the others."""
    means = {}
    for prior_action in ("replay", "sampled"):
        learner = AWMPLearner(5, 2, prior_action=prior_action, hidden_size=2)
        placed(learner, torch.zeros(2), torch.zeros(2)).optimizer.param_groups[1]["lr"] = 0.0
        layers = (torch.tensor([[-1.0], [1.0]]), torch.eye(2), 40 * torch.eye(2))
        with torch.no_grad():
            for weight, bias, layer in zip(
                learner.prior[::2], learner.prior[1::2], layers, strict=True
            ):
                weight.copy_(layer.expand_as(weight))
                bias.zero_()
        sides = torch.tensor([-0.5, 0.5])[:, None, None].expand(2, 5, 1)
        owner = learner.prior_logits(sides).softmax(-1)[:, 0].detach()
        assert_close(owner, torch.eye(2), rtol=0, atol=1e-6)
        for step in range(150):
            learner.update(step)
        means[prior_action] = learner.loc[..., 0].detach()
    # 150 steps of at most 1e-3. The reward draws all to the right, by less.
    assert (means["sampled"][:, 0] > 0.1).all() and (means["sampled"][:, 1] < -0.1).all()
    assert ((means["replay"] > 0) & (means["replay"] < 0.08)).all()


@both_actions
def test_update_is_finite_where_actions_round_to_the_edges(prior_action):
    learner = AWMPLearner(2, 3, prior_action=prior_action)
    placed(learner, torch.tensor([-30.0, 0.0, 30.0]), torch.tensor([2.0, -20.0, 5.0]))
    learner.update(0)
    learner.update(1)
    parts = (learner.loc, learner.log_scale, *learner.prior)
    assert all(part.isfinite().all() for part in parts)
    assert learner.density(torch.linspace(-1, 1, 2003)[1:-1]).isfinite().all()


def test_learners_have_both_actions_of_the_prior_and_five_components():
    for name, prior_action in {"SAC-AWMP": "replay", "SAC-AWMP, sampled": "sampled"}.items():
        learner = LEARNERS[name](4)
        assert isinstance(learner, AWMPLearner) and learner.prior_action == prior_action
        assert learner.loc.shape == (4, 5, 1)
        assert (learner.gate_temperature, learner.information_coef) == (1.0, 0.1)
        assert (learner.noise_std, learner.reward_weight) == (0.04, 0.1)


def test_unknown_action_of_the_prior_is_refused():
    with pytest.raises(ValueError, match=r"prior_action must be one of \('replay', 'sampled'\)"):
        AWMPLearner(3, prior_action="both")
