"""MEDE on the continuous bandit: its gradient, its density, and what it finds."""

import math

import pytest
import torch
from oracles import assert_unbiased
from replica_noise import recorded_noise
from torch.distributions import Categorical, MixtureSameFamily, Normal
from torch.testing import assert_close

from torchrl_mixture.envs.bandit_rewards import continuous_bandit_reward
from torchrl_mixture.studies import MEDELearner, SACLearner, train_learner
from torchrl_mixture.studies.shared_baseline import SharedHalfReparam

pytestmark = pytest.mark.usefixtures("float64")

# None of them reaches the jump of the reward at 0.875, which a pathwise gradient does not see.
LOC = torch.tensor([-0.9, -0.6, 0.15], dtype=torch.float64)
LOG_SCALE = torch.tensor([0.3, 0.2, 0.25], dtype=torch.float64).log()


def learner_at(num_seeds, loc, log_scale):
    learner = MEDELearner(num_seeds, len(loc))
    with torch.no_grad():
        learner.loc.copy_(loc.unsqueeze(-1).expand_as(learner.loc))
        learner.log_scale.copy_(log_scale.unsqueeze(-1).expand_as(learner.log_scale))
    return learner


def mixture(loc, log_scale):
    return MixtureSameFamily(Categorical(torch.ones(len(loc))), Normal(loc, log_scale.exp()))


def integrated_gradient(alpha):
    """Of the mixture's expected reward and entropy, in locations and log-scales."""
    loc, log_scale = (part.clone().requires_grad_() for part in (LOC, LOG_SCALE))
    x = torch.linspace(-4, 3, 70_001)
    log_prob = mixture(loc, log_scale).log_prob(x)
    log_density = log_prob - (1 - x.tanh() ** 2).log()
    gain = 0.1 * continuous_bandit_reward(x.tanh()) - alpha * log_density
    objective = (log_prob.exp() * gain).sum() * (x[1] - x[0])
    return torch.autograd.grad(objective, (loc, log_scale))


@pytest.mark.parametrize("step", [0, 2000])
def test_gradient_is_that_of_the_mixtures_entropy_and_reward(step):
    learner = learner_at(1200, LOC, LOG_SCALE)
    learner.update(step)
    expected = integrated_gradient(0.2 * 0.9995**step)
    for part, truth in zip((learner.loc, learner.log_scale), expected, strict=True):
        assert_unbiased(-part.grad[..., 0], truth, precision=0.01)


def test_policies_apart_have_the_gradient_of_each_alone():
    """Far from each other the discriminator is sure, and its logarithm has no slope."""
    far = torch.tensor([-40.0, 0.0, 40.0])
    together = learner_at(1, far, torch.zeros(3))
    with recorded_noise() as noise:
        together.update(0)
    ((_, drawn),) = noise
    loc = far.clone().requires_grad_()
    x = loc + drawn[:, 0, :, 0]
    own = Normal(loc, 1.0).log_prob(x) - 2 * (math.log(2) - x - torch.log1p((-2 * x).exp()))
    gain = 0.1 * continuous_bandit_reward(x.tanh()) - 0.2 * own
    (expected,) = torch.autograd.grad(gain.mean(), loc)
    assert_close(-together.loc.grad[0, :, 0], expected, rtol=1e-9, atol=1e-12)


def test_one_policy_is_the_reparameterised_single_gaussian():
    learners = []
    for make in (lambda: MEDELearner(3, 1), lambda: SACLearner(3, 1, SharedHalfReparam())):
        torch.manual_seed(0)
        learners.append(make())
        for step in range(20):
            learners[-1].update(step)
    one, sac = learners
    assert_close(one.loc, sac.loc, rtol=1e-9, atol=1e-12)
    assert_close(one.log_scale, sac.log_scale, rtol=1e-9, atol=1e-12)
    assert one.loc.std() > 1e-2  # the seeds differ


def test_begins_as_sac_does():
    learner = MEDELearner(20)
    assert learner.loc.shape == learner.log_scale.shape == (20, 5, 1)
    assert 0.04 < learner.loc.std() < 0.06 and (learner.policy().scale == math.e).all()
    before = [learner.loc.detach().clone(), learner.log_scale.detach().clone()]
    with recorded_noise() as noise:
        learner.update(0)
    assert [drawn.shape for _, drawn in noise] == [(256, 20, 5, 1)]
    for part, old in zip((learner.loc, learner.log_scale), before, strict=True):
        assert_close((part - old).abs(), torch.full_like(old, 1e-3), rtol=1e-3, atol=0)


def test_update_is_finite_where_actions_round_to_the_edges():
    learner = learner_at(2, torch.tensor([-30.0, 0.0, 30.0]), torch.tensor([2.0, -20.0, 5.0]))
    learner.update(0)
    assert all(part.isfinite().all() for part in (learner.loc, learner.log_scale))


def test_density_is_that_of_the_mixture_with_equal_weights():
    loc, log_scale = torch.tensor([-0.9, 0.1, 0.7]), torch.tensor([-0.5, -1.0, 0.3])
    action = torch.linspace(-1, 1, 2003)[1:-1]
    exact = mixture(loc, log_scale).log_prob(action.atanh()).exp() / (1 - action**2)
    density = learner_at(2, loc, log_scale).density(action)
    assert_close(density, exact.expand(2, -1), rtol=1e-7, atol=1e-9)


@pytest.mark.slow
def test_policies_that_begin_together_do_not_find_the_global_mode():
    result = train_learner("MEDE", num_seeds=5, moments=(5000,))
    assert result.summary()["found"] == 0
    assert (result.mode > 0.9).all()  # as of the reparameterised single Gaussian
