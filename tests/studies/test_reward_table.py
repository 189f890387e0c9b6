"""The table that stands in for the rewards of random bandits."""

import torch
from bandit_oracle import exact_reward

from torchrl_mixture.envs.bandit_rewards import RandomRewards
from torchrl_mixture.studies.reward_table import RewardTable


def test_table_is_within_1e6_of_reward_and_slope_everywhere_in_the_box(float64):
    rewards = RandomRewards.draw(num_bandits=20, seed=0)
    action = torch.empty(5000, 20).uniform_(-3, 3)
    action[0], action[1] = -3, 3
    action.requires_grad_()
    value = RewardTable(rewards)(action)
    (slope,) = torch.autograd.grad(value.sum(), action)
    exact_value, exact_slope = exact_reward(rewards, action.detach())
    assert (value - exact_value).abs().max() < 1e-6
    assert (slope - exact_slope).abs().max() < 1e-6


def test_table_in_single_precision_is_off_by_rounding_alone():
    rewards = RandomRewards.draw(num_bandits=20, seed=0)
    action = torch.empty(5000, 20).uniform_(-3, 3).requires_grad_()
    value = RewardTable(rewards)(action)
    (slope,) = torch.autograd.grad(value.sum(), action)
    double = RandomRewards(rewards.means.double(), rewards.stds.double(), rewards.scale.double())
    exact_value, exact_slope = exact_reward(double, action.detach().double())
    assert (value - exact_value).abs().max() < 3e-6
    assert (slope - exact_slope).abs().max() < 3e-5
