"""Gamid on the continuous bandit: its updates, its density, and what it finds."""

import math

import pytest
import torch
from torch.testing import assert_close

from torchrl_mixture.studies import GamidLearner, train_learner

pytestmark = pytest.mark.usefixtures("float64")


def learner_at(actions, **options):
    """A learner of one seed whose means are at some actions."""
    learner = GamidLearner(1, len(actions), **options)
    with torch.no_grad():
        learner.mean.copy_(torch.tensor([actions]).atanh())
    return learner


def gradient_by_hand(actions, temperature, variance):
    """Of the gain in each mean before the tanh, the others held constant."""
    slopes = []
    for i, own in enumerate(actions):
        narrow = -72 * (2 * own + 1.2) if abs(own + 0.6) < math.sqrt(1.1 / 18) / 2 else 0.0
        wide = -0.5 * (2 * own - 1.75) if -0.125 < own < 0.875 else 0.0
        others = [actions[j] for j in range(len(actions)) if j != i]
        overlaps = [math.exp(-((own - other) ** 2) / (2 * variance)) for other in others]
        pushes = [
            overlap * (own - other) / variance
            for overlap, other in zip(overlaps, others, strict=True)
        ]
        push = sum(pushes) / sum(overlaps)
        slopes.append((narrow + wide + temperature * push) * (1 - own**2))
    return torch.tensor([slopes])


@pytest.mark.parametrize("actions", [[0.3], [-0.55, 0.2], [-0.7, -0.3, 0.1, 0.95]])
@pytest.mark.parametrize("temperature, variance", [(0.0, 0.01), (0.1, 0.05), (2.0, 0.5)])
def test_update_follows_the_gradient_by_hand(actions, temperature, variance):
    learner = learner_at(actions, temperature=temperature, variance=variance)
    if len(actions) == 1:
        temperature = 0.0  # there is nothing to keep apart
        expected = torch.tensor([[-0.5 * (0.6 - 1.75) * (1 - 0.09)]])
    else:
        expected = gradient_by_hand(actions, temperature, variance)
    learner.optimizer = torch.optim.SGD([learner.mean], lr=1.0)
    before = learner.mean.detach().clone()
    learner.update(0)
    assert_close(learner.mean.detach() - before, expected, rtol=1e-10, atol=1e-12)


def test_density_is_that_of_the_epsilon_greedy_mixture():
    actions = [0.8, -0.6, 0.1]
    learner = learner_at(actions, noise_std=0.05, epsilon=0.3)
    grid = torch.linspace(-2, 3, 50_001)
    density = learner.density(grid)
    assert density.shape == (1, 50_001)
    mass = density[0] * (grid[1] - grid[0])
    for centre, weight in zip(actions, (0.1, 0.8, 0.1), strict=True):  # the reward is best at -0.6
        near = (grid - centre).abs() < 0.24
        assert mass[near].sum().item() == pytest.approx(weight, abs=1e-4)
        spread = (mass * (grid - centre).square())[near].sum() / weight
        assert spread.item() == pytest.approx(0.05**2, rel=1e-2)


def test_one_mean_is_the_deterministic_learner():
    torch.manual_seed(0)
    one = GamidLearner(4, 1, epsilon=0.0)
    means = one.mean.detach().squeeze(-1).clone()
    for step in range(100):
        one.update(step)
    result = train_learner("TD3/DDPG", num_seeds=4, moments=(0, 100))
    grid = result.action
    torch.manual_seed(0)
    assert_close(means, 0.05 * torch.randn(4, 1).squeeze(-1))
    assert_close(one.density(grid), result.density[1], rtol=1e-6, atol=1e-9)


def test_gamid_finds_the_global_mode():
    result = train_learner("Gamid", moments=(5000,))
    assert result.summary()["found"] >= 18
    assert (result.mode[result.found] + 0.6).abs().max() < 0.1


def test_with_the_printed_variance_the_means_stay_together():
    result = train_learner("Gamid, as printed", moments=(5000,))
    assert result.summary()["found"] <= 4
    assert (result.mode[~result.found] > 0.78).all()
