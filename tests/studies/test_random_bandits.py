"""Training on random bandits, all replicas at once."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from bandit_oracle import exact_reward
from oracles import assert_unbiased
from replica_noise import recorded_noise, replayed_noise
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, Normal

from torchrl_mixture.envs.bandit_rewards import RandomRewards
from torchrl_mixture.modules import MixtureParamExtractor
from torchrl_mixture.objectives import GumbelSoftmax, HalfReparam, Implicit, Likelihood
from torchrl_mixture.studies.random_bandits import (
    METHODS,
    Sweep,
    SweepSettings,
    train_method,
    train_methods,
)
from torchrl_mixture.studies.replicated_actor import ReplicatedActor
from torchrl_mixture.studies.reward_table import RewardTable
from torchrl_mixture.studies.shared_baseline import (
    ReplicatedMarginal,
    SharedHalfReparam,
    SharedLikelihood,
)

SMALL = SweepSettings(num_bandits=2, step_sizes=(1e-3, 1e-2), alphas=(1e-2, 1.0), batch_size=4)


def test_methods_and_settings_are_the_papers():
    estimators = {name: METHODS[name].make_estimator() for name in METHODS}
    assert {
        name: (METHODS[name].num_components, type(each)) for name, each in estimators.items()
    } == {
        "Like-Squashed": (1, SharedLikelihood),
        "Rep-Squashed": (1, HalfReparam),
        "Like-SGM": (5, SharedLikelihood),
        "HalfRep-SGM": (5, SharedHalfReparam),
        "GumbelRep-SGM": (5, GumbelSoftmax),
        "Marginal-SGM": (5, ReplicatedMarginal),
        "Implicit-SGM": (5, Implicit),
    }
    for name in ("Like-Squashed", "Like-SGM", "HalfRep-SGM"):
        assert estimators[name].num_baseline_samples == 30
    assert estimators["GumbelRep-SGM"].temperature == 1
    settings = SweepSettings()
    assert settings.step_sizes == settings.alphas == (1e-4, 1e-3, 1e-2, 1e-1)
    assert (settings.num_bandits, settings.num_steps, settings.batch_size) == (100, 10_000, 32)
    sweep = Sweep(METHODS["Like-SGM"], replace(SMALL, step_sizes=settings.step_sizes))
    assert [part.shape[-1] for part in sweep.actor.groups[0]] == [1, 16, 16, 16, 16, 15]
    groups = sweep.optimizer.param_groups
    assert [(group["lr"], group["betas"]) for group in groups] == [
        (step_size, (0.9, 0.999)) for step_size in settings.step_sizes
    ]


# The networks.


def separate_networks(actor):
    """Each replica as an ``nn.Sequential``, with its parameters."""
    for group in actor.groups:
        for replica in range(len(group[0])):
            w1, b1, w2, b2, w3, b3 = (nn.Parameter(part[replica].detach()) for part in group)
            layers = [nn.Linear(*w.shape[::-1]) for w in (w1, w2, w3)]
            for layer, w, b in zip(layers, (w1, w2, w3), (b1, b2, b3), strict=True):
                layer.weight, layer.bias = w, b
            yield nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def test_replicas_are_separate_networks_in_values_and_gradients(float64):
    actor = ReplicatedActor(num_groups=2, group_size=3, num_components=5)
    policy = actor()
    assert policy.batch_shape == (6,) and (policy.low, policy.high) == (-3, 3)
    draw = torch.randn(6, 5, 1)

    def score(logits, loc, scale, draw):
        return (logits * draw.squeeze(-1)).sum() + (loc.sin() * draw).sum() + (scale**2).sum()

    score(policy.logits, policy.loc, policy.scale, draw).backward()
    extractor = MixtureParamExtractor(5)
    for index, network in enumerate(separate_networks(actor)):
        logits, loc, scale = extractor(network(torch.ones(1)))
        torch.testing.assert_close(policy.logits[index], logits)
        torch.testing.assert_close(policy.loc[index], loc)
        torch.testing.assert_close(policy.scale[index], scale)
        score(logits, loc, scale, draw[index]).backward()
        group = actor.groups[index // 3]
        for part, single in zip(group, network.parameters(), strict=True):
            torch.testing.assert_close(part.grad[index % 3], single.grad)


@pytest.mark.parametrize("index", range(6))
def test_every_replica_has_the_initialisation_of_linear_layers_of_its_own(index):
    actor = ReplicatedActor(num_groups=2, group_size=500, num_components=5)
    layers = [nn.Linear(*((1, 16), (16, 16), (16, 15))[index // 2]) for _ in range(500)]
    linear = torch.stack([getattr(layer, ("weight", "bias")[index % 2]) for layer in layers])
    for group in actor.groups:
        assert group[index].shape == linear.shape
        assert abs(group[index].std() / linear.std() - 1) < 0.03
        assert abs(group[index].abs().max() / linear.abs().max() - 1) < 0.02
    assert not torch.equal(actor.groups[0][index], actor.groups[1][index])


# Updates.


@pytest.mark.parametrize("name", METHODS)
def test_updates_of_a_batch_of_replicas_are_those_of_each_replica_alone(name, float64):
    sweep = Sweep(METHODS[name], SMALL)
    start = [
        [part[i].detach().clone() for part in g] for g in sweep.actor.groups for i in range(4)
    ]
    with recorded_noise() as noise:
        reward = torch.stack([sweep.step() for _ in range(3)])
    all_rewards = RandomRewards.draw(2, seed=0)
    for replica, (row, m, n) in enumerate(itertools.product(range(2), repeat=3)):
        one = replace(
            SMALL, num_bandits=1, step_sizes=(SMALL.step_sizes[row],), alphas=(SMALL.alphas[m],)
        )
        single = Sweep(METHODS[name], one)
        parts = (all_rewards.means, all_rewards.stds, all_rewards.scale)
        single.rewards = RewardTable(RandomRewards(*(part[n : n + 1] for part in parts)))
        (group,) = single.actor.groups
        with torch.no_grad():
            for part, value in zip(group, start[replica], strict=True):
                part.copy_(value)
        with replayed_noise(noise, replica, 8):
            alone = torch.stack([single.step() for _ in range(3)])
        torch.testing.assert_close(reward[:, replica : replica + 1], alone)
        for part, together in zip(group, sweep.actor.groups[row], strict=True):
            torch.testing.assert_close(part[0], together[replica % 4], rtol=1e-6, atol=1e-9)


def test_first_update_moves_each_replica_by_its_step_size():
    sweep = Sweep(METHODS["Rep-Squashed"], replace(SMALL, step_sizes=(1e-4, 1e-1)))
    before = [group[-1].detach().clone() for group in sweep.actor.groups]
    sweep.step()
    for group, old, step_size in zip(sweep.actor.groups, before, (1e-4, 1e-1), strict=True):
        # Adam's first step has the length of its step size. One component's logit has no effect.
        moved = (group[-1] - old).abs()[:, 1:]
        torch.testing.assert_close(moved, torch.full_like(moved, step_size), rtol=1e-2, atol=0)


def test_reward_of_a_step_is_that_of_an_action_of_the_policy_before_the_update():
    sweep = Sweep(METHODS["HalfRep-SGM"], SMALL)
    torch.manual_seed(1)
    action = sweep.actor().sample()
    torch.manual_seed(1)
    reward = sweep.step()
    by_bandit = action.reshape(4, 2)
    exact, _ = exact_reward(RandomRewards.draw(2, seed=0), by_bandit)
    torch.testing.assert_close(reward, exact.flatten(), rtol=0, atol=1e-5)


def replicas_of_one(name, alpha, num):
    """A sweep whose replicas are all the same, as independent repeats."""
    settings = SweepSettings(1, (1e-3,), (alpha,) * num, batch_size=8)
    sweep = Sweep(METHODS[name], settings)
    with torch.no_grad():
        for part in sweep.actor.groups[0]:
            part.copy_(part[:1].expand_as(part))
        sweep.actor.groups[0][-1].mul_(3)  # components apart
    return sweep


def exact_gradient(sweep, alpha):
    """Gradient to the output's biases of one replica, by integration before the squashing."""
    policy, bias = sweep.actor(), sweep.actor.groups[0][-1]
    components = Normal(policy.loc[0, :, 0], policy.scale[0, :, 0])
    x = torch.linspace(-15, 15, 20001)
    log_density = MixtureSameFamily(Categorical(logits=policy.logits[0]), components).log_prob(x)
    log_slope = math.log(3) - 2 * (torch.logaddexp(x, -x) - math.log(2))
    reward, _ = exact_reward(RandomRewards.draw(1, seed=0), 3 * torch.tanh(x).unsqueeze(-1))
    integrand = log_density.exp() * (alpha * (log_density - log_slope) - reward[:, 0])
    (gradient,) = torch.autograd.grad(integrand.sum() * (x[1] - x[0]), bias)
    return gradient[0]


@pytest.mark.parametrize("name", METHODS)
def test_gradient_is_unbiased_against_integration(name, float64):
    torch.manual_seed(3)
    sweep = replicas_of_one(name, alpha=0.2, num=2000)
    bias = sweep.actor.groups[0][-1]
    truth = exact_gradient(sweep, 0.2)
    estimates = torch.cat(
        [torch.autograd.grad(sweep.loss(sweep.actor()).sum(), bias)[0] for _ in range(10)]
    )
    if name == "GumbelRep-SGM":  # biased for the weights, see the estimator
        truth, estimates = truth[5:], estimates[:, 5:]
    assert_unbiased(estimates, truth, precision=0.025)


@pytest.mark.parametrize(
    ("name", "estimator"), [("Like-SGM", Likelihood), ("HalfRep-SGM", HalfReparam)]
)
def test_shared_baseline_gives_the_variance_of_one_for_each_action(name, estimator, float64):
    torch.manual_seed(3)
    sweep = replicas_of_one(name, alpha=0.2, num=4000)
    bias = sweep.actor.groups[0][-1]
    squares = []
    for number, each in ((3, sweep.estimator), (3, estimator(3)), (1, estimator(1))):
        sweep.estimator = each
        each.num_baseline_samples = number
        grads = [torch.autograd.grad(sweep.loss(sweep.actor()).sum(), bias)[0] for _ in range(3)]
        gradient = torch.cat(grads)[:, :5]  # of the weights, where the baseline acts
        squares.append((gradient - gradient.mean(0)).square().sum(-1))
    shared, separate, fewer = squares

    def z_score(one, other):
        error = (one.var() + other.var()).div(len(one)).sqrt()
        return float((one.mean() - other.mean()) / error)

    assert abs(z_score(shared, separate)) < 4
    assert z_score(fewer, shared) > 10  # what a worse baseline would look like


@pytest.mark.parametrize("name", ["HalfRep-SGM", "Rep-Squashed"])
def test_bandit_with_one_mode_is_solved(name):
    sweep = Sweep(METHODS[name], SweepSettings(1, (2e-2,), (1e-4, 1e-3)))
    normal = RandomRewards(torch.full((1, 30), 0.7), torch.full((1, 30), 0.5), torch.ones(1))
    sweep.rewards = RewardTable(replace(normal, scale=normal.peak()))
    reward = torch.stack([sweep.step() for _ in range(250)])
    assert (reward[-50:].mean(0) > 0.99).all()


# A run.


def test_blocks_are_means_over_a_hundredth_of_the_steps(seed):
    settings = replace(SMALL, num_steps=300, seed=4)
    result = train_method("Rep-Squashed", settings)
    torch.manual_seed(4)
    sweep = Sweep(METHODS["Rep-Squashed"], settings)
    first = torch.stack([sweep.step() for _ in range(6)]).reshape(2, 3, 2, 2, 2)
    assert result.rewards.shape == (2, 2, 2, 100)
    torch.testing.assert_close(result.rewards[..., :2].movedim(-1, 0), first.mean(1))


def test_same_seed_gives_the_same_numbers_and_leaves_the_global_generator_alone():
    settings = replace(SMALL, num_steps=100)
    state = torch.get_rng_state()
    first, again = (train_method("HalfRep-SGM", settings).rewards for _ in range(2))
    other = train_method("HalfRep-SGM", replace(settings, seed=1)).rewards
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.slow
def test_processes_give_what_one_process_gives():
    settings = replace(SMALL, num_steps=100)
    names = ("HalfRep-SGM", "Rep-Squashed")
    results = {result.method: result for result in train_methods(names, settings, workers=2)}
    assert set(results) == set(names)
    for name in names:
        assert torch.equal(results[name].rewards, train_method(name, settings).rewards)


@pytest.mark.parametrize("num_steps", [0, 150, -100])
def test_number_of_steps_must_be_a_multiple_of_a_hundred(num_steps):
    with pytest.raises(ValueError, match=f"num_steps must be .* 100, got {num_steps}"):
        SweepSettings(num_steps=num_steps)


def test_unknown_method_is_refused():
    with pytest.raises(ValueError, match="name must be one of .*'Like-SGM'.* got 'Like'"):
        train_method("Like", SMALL)
    with pytest.raises(ValueError, match="name must be one of .*'Like-SGM'.* got 'Like'"):
        next(train_methods(["Rep-Squashed", "Like"], SMALL))
