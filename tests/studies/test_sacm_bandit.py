"""SACM on the continuous bandit: its gradients, those of SAC and MEDE, and what it does."""

import math

import pytest
import torch
from oracles import assert_unbiased
from replica_noise import recorded_noise
from torch.distributions import Normal
from torch.testing import assert_close

from torchrl_mixture.envs.bandit_rewards import continuous_bandit_reward
from torchrl_mixture.studies.bandit_learners import (
    LEARNERS,
    MEDELearner,
    SACLearner,
    SACMLearner,
)
from torchrl_mixture.studies.shared_baseline import SharedHalfReparam

pytestmark = pytest.mark.usefixtures("float64")

# The first two overlap. None of them reaches the jump of the reward at 0.875, which a pathwise
# gradient does not see.
LOC = torch.tensor([-0.9, -0.6, 0.15], dtype=torch.float64)
LOG_SCALE = torch.tensor([0.3, 0.2, 0.25], dtype=torch.float64).log()

both_entropies = pytest.mark.parametrize("actor_entropy", ["component", "mixture"])


def placed(learner, loc=LOC, log_scale=LOG_SCALE):
    with torch.no_grad():
        learner.loc.copy_(loc.unsqueeze(-1).expand_as(learner.loc))
        learner.log_scale.copy_(log_scale.unsqueeze(-1).expand_as(learner.log_scale))
    return learner


def gradients(learner):
    return learner.loc.grad[..., 0], learner.log_scale.grad[..., 0]


def integrated_gradients(actor_entropy, alpha):
    """Of each component's integral, with the density that the logarithm is taken of."""
    loc, log_scale = (part.clone().requires_grad_() for part in (LOC, LOG_SCALE))
    x = torch.linspace(-4, 3, 70_001)
    density = Normal(loc, log_scale.exp()).log_prob(x.unsqueeze(-1)).exp()  # [G, K]
    log_slope = (1 - x.tanh() ** 2).log()
    reward = continuous_bandit_reward(x.tanh())
    cost = 0.0
    for index in range(3):
        inside = density[:, index] if actor_entropy == "component" else density.mean(-1)
        # Below 1e-300 there is nothing to integrate, and the logarithm would be infinite.
        integrand = alpha * (inside.clamp_min(1e-300).log() - log_slope) - 0.1 * reward
        cost = cost + (density[:, index] * integrand).sum() * (x[1] - x[0]) / 3
    return torch.autograd.grad(cost, (loc, log_scale))


@both_entropies
@pytest.mark.parametrize("step", [0, 2000])
def test_gradient_matches_integration(actor_entropy, step):
    learner = placed(SACMLearner(1000, 3, actor_entropy=actor_entropy))
    learner.update(step)
    expected = integrated_gradients(actor_entropy, 0.2 * 0.9995**step)
    for part, truth in zip(gradients(learner), expected, strict=True):
        assert_unbiased(part, truth, precision=0.01)


@both_entropies
def test_one_component_is_the_reparameterised_single_gaussian(actor_entropy):
    torch.manual_seed(0)
    one = SACMLearner(3, 1, actor_entropy=actor_entropy)
    torch.manual_seed(0)
    sac = SACLearner(3, 1, SharedHalfReparam())
    assert one.loc.std() > 1e-2  # the seeds differ
    for step in range(20):
        for learner in (one, sac):
            torch.manual_seed(step)
            learner.update(step)
        for part, exact in zip(gradients(one), gradients(sac), strict=True):
            assert_close(part, exact, rtol=1e-9, atol=1e-12)
    assert_close(one.loc, sac.loc, rtol=1e-9, atol=1e-12)


def test_components_with_their_own_entropies_are_as_many_single_gaussians():
    together = placed(SACMLearner(1, 3))
    apart = placed(SACLearner(3, 1, SharedHalfReparam()), LOC[:, None], LOG_SCALE[:, None])
    for learner in (together, apart):
        torch.manual_seed(0)
        learner.update(100)
    for part, single in zip(gradients(together), gradients(apart), strict=True):
        assert_close(3 * part[0], single[:, 0], rtol=1e-9, atol=1e-12)


def test_gradients_of_mixture_entropy_and_of_mede_differ_by_scores_of_mean_zero():
    sacm = placed(SACMLearner(600, 3, actor_entropy="mixture"))
    mede = placed(MEDELearner(600, 3))
    for learner in (sacm, mede):
        torch.manual_seed(0)
        with recorded_noise() as noise:
            learner.update(0)
    ((_, drawn),) = noise
    x = LOC + LOG_SCALE.exp() * drawn[..., 0]  # [256, 600, K], held constant
    leaves = [part.expand(600, 3).clone().requires_grad_() for part in (LOC, LOG_SCALE)]
    components = Normal(leaves[0].unsqueeze(-2), leaves[1].exp().unsqueeze(-2))
    each = components.log_prob(x.unsqueeze(-1))  # of the actions of all under all
    scores = each.logsumexp(-1) - each.diagonal(dim1=-2, dim2=-1)
    expected = torch.autograd.grad(0.2 * scores.mean((0, -1)).sum(), leaves)
    for ours, other, exact in zip(gradients(sacm), gradients(mede), expected, strict=True):
        difference = ours - other
        assert_close(difference, exact, rtol=1e-7, atol=1e-12)
        error = difference.std(0) / math.sqrt(600)
        assert (difference.mean(0) / error).abs().max() < 4.5
        assert error.max() < 0.01 * ours.mean(0).norm()  # a difference worth finding would show


@both_entropies
def test_begins_as_sac_does(actor_entropy):
    learner = SACMLearner(20, actor_entropy=actor_entropy)
    assert learner.loc.shape == learner.log_scale.shape == (20, 5, 1)
    assert 0.04 < learner.loc.std() < 0.06 and (learner.policy().scale == math.e).all()
    assert_close(learner.policy().weights, torch.full((20, 5), 0.2))
    before = [learner.loc.detach().clone(), learner.log_scale.detach().clone()]
    with recorded_noise() as noise:
        learner.update(0)
    assert [drawn.shape for _, drawn in noise] == [(256, 20, 5, 1)]
    for part, old in zip((learner.loc, learner.log_scale), before, strict=True):
        assert_close((part - old).abs(), torch.full_like(old, 1e-3), rtol=1e-3, atol=0)


def test_only_the_entropy_of_the_mixture_drives_components_apart():
    """On the slope of the wide mode, from the same place, with the same noise."""
    loc, log_scale = torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.3]).log()
    distance = {}
    for actor_entropy in ("component", "mixture"):
        learner = placed(SACMLearner(5, 2, actor_entropy=actor_entropy), loc, log_scale)
        torch.manual_seed(0)
        for step in range(150):
            learner.update(step)
        distance[actor_entropy] = (learner.loc[:, 1] - learner.loc[:, 0]).detach()
    assert (distance["component"] < 0.1).all()
    assert (distance["mixture"] > 0.2).all()


@both_entropies
def test_update_is_finite_where_actions_round_to_the_edges(actor_entropy):
    learner = SACMLearner(2, 3, actor_entropy=actor_entropy)
    placed(learner, torch.tensor([-30.0, 0.0, 30.0]), torch.tensor([2.0, -20.0, 5.0]))
    learner.update(0)
    assert all(part.isfinite().all() for part in (learner.loc, learner.log_scale))


def test_learners_have_both_entropies_and_five_components():
    entropies = {"SACM": "component", "SACM, mixture entropy": "mixture"}
    for name, actor_entropy in entropies.items():
        learner = LEARNERS[name](4)
        assert isinstance(learner, SACMLearner) and learner.actor_entropy == actor_entropy
        assert learner.loc.shape == (4, 5, 1)


def test_unknown_entropy_is_refused():
    with pytest.raises(
        ValueError, match="actor_entropy must be 'component' or 'mixture', got 'both'"
    ):
        SACMLearner(3, actor_entropy="both")
