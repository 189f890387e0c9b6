"""Learners of the continuous bandit, all seeds at once."""

import math
from dataclasses import replace

import pytest
import torch
from oracles import assert_unbiased
from replica_noise import recorded_noise, replayed_noise
from torch.distributions import Categorical, MixtureSameFamily, Normal

from torchrl_mixture.analysis.statistics import wilson_interval
from torchrl_mixture.envs.bandit_rewards import continuous_bandit_reward
from torchrl_mixture.objectives import GradientEstimator
from torchrl_mixture.studies.bandit_learners import LEARNERS, DeterministicLearner, SACLearner
from torchrl_mixture.studies.continuous_bandit import BanditResult, train_learner

GRID = torch.linspace(-1, 1, 2003)[1:-1]


def parameters(learner):
    return [part for group in learner.optimizer.param_groups for part in group["params"]]


@pytest.mark.parametrize("name", LEARNERS)
def test_updates_of_all_seeds_are_those_of_each_seed_alone(name, float64):
    together = LEARNERS[name](7)
    start = [part.detach().clone() for part in parameters(together)]
    with recorded_noise() as noise:
        for step in range(3):
            together.update(step)
    for index in range(7):
        alone = LEARNERS[name](1)
        with torch.no_grad():
            for part, value in zip(parameters(alone), start, strict=True):
                part.copy_(value[index : index + 1])
        with replayed_noise(noise, index, 7):
            for step in range(3):
                alone.update(step)
        for part, batch in zip(parameters(alone), parameters(together), strict=True):
            torch.testing.assert_close(part[0], batch[index], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(
            alone.density(GRID.double())[0], together.density(GRID.double())[index]
        )


class Spy(GradientEstimator):
    """Keeps what it is called with."""

    def forward(self, policy, q_function, alpha):
        self.shape, self.alpha = policy.batch_shape, float(alpha)
        self.value = q_function(torch.tensor([[-0.6], [0.5], [0.9]]))
        return (policy.logits.unsqueeze(-1) + policy.loc - policy.scale).sum((-1, -2)), None


def test_sac_has_the_released_codes_settings():
    spy = Spy()
    learner = SACLearner(20, 1, spy)
    policy = learner.policy()
    torch.testing.assert_close(policy.scale, torch.full((20, 1, 1), math.e))
    assert 0.02 < policy.loc.std() < 0.1 and (policy.low, policy.high) == (-1, 1)
    parts = (learner.logits, learner.loc, learner.log_scale)
    before = [part.detach().clone() for part in parts]
    learner.update(0)
    assert spy.shape == (256, 20) and spy.alpha == pytest.approx(0.2)
    exact = 0.1 * torch.tensor([1.1, 0.5 - 0.125 * 0.75**2, 0.0])
    torch.testing.assert_close(spy.value, exact, rtol=0, atol=1e-6)
    for part, old, step in zip(parts, before, (-1e-3, -1e-3, 1e-3), strict=True):
        torch.testing.assert_close(part - old, torch.full_like(old, step), rtol=1e-3, atol=0)
    learner.update(3000)
    assert spy.alpha == pytest.approx(0.2 * 0.9995**3000)


@pytest.mark.parametrize("num_components", [1, 5])
def test_sac_density_is_that_of_the_squashed_mixture(num_components, float64):
    learner = SACLearner(3, num_components, Spy())
    with torch.no_grad():
        learner.logits.normal_()
        learner.log_scale.uniform_(-2, 0)
        learner.loc.normal_(0, 0.7)
    action = torch.linspace(-1, 1, 20_003)[1:-1]
    density = learner.density(action)
    x = torch.atanh(action)
    for index in range(3):
        line = MixtureSameFamily(
            Categorical(logits=learner.logits[index]),
            Normal(learner.loc[index, :, 0], learner.log_scale[index, :, 0].exp()),
        )
        exact = line.log_prob(x).exp() / (1 - action**2)
        torch.testing.assert_close(density[index], exact.detach(), rtol=1e-7, atol=1e-9)
    mass = density.sum(-1) * (action[1] - action[0])
    torch.testing.assert_close(mass, torch.ones(3), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["SAC", "Mixture SAC"])
def test_likelihood_gradient_is_unbiased_though_the_reward_jumps(name, float64):
    learner = LEARNERS[name](2000)
    with torch.no_grad():
        learner.loc.copy_((0.9 + torch.linspace(0, 1, learner.loc.shape[1])).unsqueeze(-1))
        learner.log_scale.fill_(-1.0)
    policy, alpha = learner.policy(), 0.05
    line = MixtureSameFamily(
        Categorical(logits=policy.logits[0]), Normal(policy.loc[0, :, 0], policy.scale[0, :, 0])
    )
    x = torch.linspace(-2, 5, 70_001)
    log_prob = line.log_prob(x)
    log_slope = (1 - torch.tanh(x) ** 2).log()
    value = 0.1 * continuous_bandit_reward(torch.tanh(x))
    objective = (log_prob.exp() * (alpha * (log_prob - log_slope) - value)).sum()
    objective = objective * (x[1] - x[0])
    truth = torch.autograd.grad(objective, learner.loc)[0][0, :, 0]
    estimates = []
    for _ in range(4):
        minibatch = learner.policy().expand((16, 2000))
        cost, _ = learner.estimator(minibatch, learner._value, torch.tensor(alpha))
        estimates.append(torch.autograd.grad(cost.mean(0).sum(), learner.loc)[0][..., 0])
    assert_unbiased(torch.cat(estimates), truth, precision=0.02)


def test_deterministic_learner_climbs_the_reward_at_its_mean(float64):
    learner = DeterministicLearner(5)
    action = torch.tensor([-0.7, -0.5, -0.3, 0.8, 0.9])
    with torch.no_grad():
        learner.mean.copy_(torch.atanh(action))
    learner.update(0)
    moved = learner.mean - torch.atanh(action)
    # Towards -0.6 from both sides; none where the reward is zero; up the wide mode.
    torch.testing.assert_close(
        moved, torch.tensor([1e-3, -1e-3, 0.0, 1e-3, 0.0]), rtol=1e-4, atol=0
    )
    for step in range(1, 600):
        learner.update(step)
    reached = learner.mean.tanh()
    torch.testing.assert_close(reached[:2], torch.full((2,), -0.6), rtol=0, atol=1e-2)
    assert 0.87 < reached[3] < 0.88  # the top of the wide mode, which is its edge
    density = learner.density(GRID.double())
    exact = Normal(reached.unsqueeze(-1), 0.1).log_prob(GRID.double()).exp()
    torch.testing.assert_close(density, exact.detach())


def made_up(modes):
    """A result whose last densities peak at the given actions, its first ones at -0.6."""
    action = torch.linspace(-1, 1, 4001)
    peaks = torch.stack((torch.full((len(modes),), -0.6), torch.tensor(modes)))
    return BanditResult("made up", (0, 9), action, -(action - peaks.unsqueeze(-1)).abs())


def test_global_mode_is_found_where_the_densest_last_action_lies_in_its_support():
    result = made_up([-0.6, -0.7235, -0.7245, -0.4765, -0.4755, 0.8])
    torch.testing.assert_close(result.mode[1], torch.tensor(-0.7235))
    assert result.found.tolist() == [True, True, False, True, False, False]
    for action, inside in zip(result.mode, result.found, strict=True):
        assert (continuous_bandit_reward(action) > 0) == (inside or action > 0)
    summary = result.summary()
    assert (summary["found"], summary["seeds"], summary["share"]) == (3, 6, 0.5)
    assert (summary["low"], summary["high"]) == wilson_interval(3, 6)


def test_densities_are_taken_after_so_many_updates_from_one_seed():
    state = torch.get_rng_state()
    result, again = (train_learner("SAC", num_seeds=3, moments=(0, 2, 5)) for _ in range(2))
    other = train_learner("SAC", num_seeds=3, moments=(0, 2, 5), seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(result.density, again.density)
    assert not torch.equal(result.density[0], other.density[0])
    torch.manual_seed(0)
    learner = LEARNERS["SAC"](3)
    for step in range(5):
        if step in (0, 2):
            assert torch.equal(learner.density(GRID), result.density[(0, 2).index(step)])
        learner.update(step)
    assert torch.equal(learner.density(GRID), result.density[2])


def test_table_has_a_row_for_each_moment_seed_and_tenth_action():
    result = made_up([0.5, 0.8])
    table = replace(result, action=result.action[:21], density=result.density[..., :21])
    table = table.table()
    assert table.columns.tolist() == ["learner", "step", "seed", "action", "density"]
    assert len(table) == 2 * 2 * 3
    row = table.query("step == 9 and seed == 1").iloc[1]
    assert row["density"] == pytest.approx(float(result.density[1, 1, 10]))
    assert row["action"] == pytest.approx(float(result.action[10]))


def test_unknown_learner_is_refused():
    with pytest.raises(ValueError, match="name must be one of .*'SAC'.* got 'DQN'"):
        train_learner("DQN")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LEARNERS if "Gamid" not in name])
def test_all_but_gamid_miss_the_global_mode(name):
    result = train_learner(name)
    assert not result.found.any()
    if name != "SAC-AWMP, sampled":  # its components flee from both sides
        assert (result.mode > 0.78).all()
