"""Where the settings of the recipe awmp go, what its parts share, and what is refused."""

import sys

import pytest
import torch
from recipes.running import AWMP, build
from torchrl.envs.utils import ExplorationType, set_exploration_type

from torchrl_mixture.trainers import train_run

SETTINGS = [
    "env.name=Pendulum-v1",
    "network.hidden_sizes=[8,9]",
    "prior.hidden_sizes=[6,7]",
    "prior.lr=0.25",
    "prior.newest=77",
    "prior.batch_size=11",
    "prior.information_coef=0.3",
    "prior.noise_std=0.5",
    "prior.noise=multiplicative",
    "policy.num_components=4",
    "policy.loc_spread=0.7",
    "policy.acting=convex",
    "loss.prior_action=sampled",
    "loss.gate_temperature=1.5",
    "loss.gate_entropy_coef=0.02",
    "loss.loss_function=smooth_l1",
    "loss.alpha=0.6",
    "optim.gamma=0.5",
    "optim.tau=0.375",
    "optim.tau_qvalue=0.0625",
    "optim.lr=0.125",
]


@pytest.fixture
def recipe(awmp_recipe):
    return awmp_recipe


@pytest.fixture
def trainer(recipe):
    return build(recipe, *SETTINGS)[0]


def shapes(module):
    return [tuple(part.shape) for part in module.values(True, True)]


def test_settings_reach_the_loss(trainer):
    loss = trainer.loss_module
    assert (loss.prior_action, loss.loss_function) == ("sampled", "smooth_l1")
    assert loss.gate_temperature.item() == 1.5 and loss.value_estimator.gamma == 0.5
    assert loss.gate_entropy_coef.item() == pytest.approx(0.02)
    assert loss._alpha.item() == pytest.approx(0.6) and loss.fixed_alpha
    critics = [(2, 8, 4), (2, 8), (2, 9, 8), (2, 9), (2, 1, 9), (2, 1)]
    assert sorted(shapes(loss.qvalue_network_params)) == sorted(critics)
    value = [(8, 3), (8,), (9, 8), (9,), (1, 9), (1,)]
    assert sorted(shapes(loss.value_network_params)) == sorted(value)
    actor = [(8, 3), (8,), (9, 8), (9,), (8, 9), (8,)]  # means and scales, no weights
    assert [tuple(part.shape) for part in trainer._policy.actor.parameters()] == actor
    first, second = loss.qvalue_network_params["module", "0", "weight"]
    assert not first.equal(second)


def test_settings_reach_the_policy(trainer):
    policy = trainer._policy
    assert trainer.collector.policy is policy
    assert policy.acting == "convex" and policy.gate_temperature.item() == 1.5
    assert policy.alpha.item() == pytest.approx(0.6)
    dist = policy.actor.get_dist(trainer.collector.env.reset())
    assert dist.num_components == 4 and dist.loc[:, 0].max() - dist.loc[:, 0].min() > 0.5


def test_settings_reach_the_steps(trainer):
    stepper = trainer.optimization_stepper
    assert stepper.target_updater.taus == {
        "target_value_network_params": 0.375,
        "target_qvalue_network_params": 0.0625,
    }
    assert {group["lr"] for group in stepper.optimizer.param_groups} == {0.125}
    names = {group["name"] for group in stepper.optimizer.param_groups}
    assert names == {"actor", "qvalue", "value"}  # the temperature is fixed


def test_both_updates_are_compiled_or_none(recipe, trainer):
    for each, asked in ((trainer, False), (build(recipe, *AWMP, "optim.compile=true")[0], True)):
        stepper = each.optimization_stepper
        found = [one._compiled is not None for one in (stepper, stepper.auxiliary["prior"])]
        assert found == [asked, asked]


def test_the_seed_fixes_all_networks(recipe):
    found = []
    for ambient, seed in enumerate((3, 3, 4)):
        torch.manual_seed(ambient)
        loss = build(recipe, *AWMP, f"seed={seed}")[0].loss_module
        parts = {**loss.state_dict(), **loss.prior_network.state_dict()}
        weights = [value for key, value in parts.items() if key.endswith("weight")]
        assert len(weights) >= 10
        found.append(weights)
    assert all(a.equal(b) for a, b in zip(*found[:2], strict=True))
    assert not any(a.equal(b) for a, b in zip(*found[1:], strict=True))


def test_settings_reach_the_prior(trainer):
    prior, newest = (
        trainer.optimization_stepper.auxiliary["prior"],
        trainer._modules["prior_replay"],
    )
    loss = prior.loss_module
    assert {group["lr"] for group in prior.optimizer.param_groups} == {0.25}
    assert (loss.noise, loss.noise_std.item()) == ("multiplicative", 0.5)
    assert loss.information_coef.item() == pytest.approx(0.3)
    found = [tuple(part.shape) for part in trainer.loss_module.prior_network.parameters()]
    assert found == [(6, 4), (6,), (7, 6), (7,), (4, 7), (4,)]
    assert newest.buffer.storage.max_size == 77 and newest.buffer.batch_size == 11
    assert newest.loss is trainer.loss_module and prior.sample == newest.sample


def pointers(parameters):
    return {parameter.data_ptr() for parameter in parameters}


def of_adam(stepper):
    return pointers(part for group in stepper.optimizer.param_groups for part in group["params"])


def test_each_part_is_learned_once_and_used_by_all(recipe):
    """The policy acts by what the loss trains, and the loss reads the prior that is trained."""
    trainer, run = build(recipe, *AWMP)
    loss, policy, stepper = trainer.loss_module, trainer._policy, trainer.optimization_stepper
    prior_stepper = stepper.auxiliary["prior"]
    assert policy.qvalue_params is loss.target_qvalue_network_params
    prior = pointers(loss.prior_network.parameters())
    assert len(prior) == 4 and prior == pointers(prior_stepper.loss_module.parameters())
    assert prior == of_adam(prior_stepper) and not prior & of_adam(stepper)
    actor = pointers(policy.actor.parameters())
    assert len(actor) == 4 and actor < of_adam(stepper) == pointers(loss.parameters())
    assert not pointers(loss.target_qvalue_network_params.values(True, True)) & of_adam(stepper)
    assert policy.in_keys == ["observation"] and list(stepper.auxiliary) == ["prior"]
    used = {"prior": loss.prior_network, "actor": policy.actor}
    before = {
        name: [part.clone() for part in module.parameters()] for name, module in used.items()
    }
    targets = [value.clone() for value in policy.qvalue_params.values(True, True)]
    assert train_run(trainer, run)
    for name, module in used.items():
        moved = [not a.equal(b) for a, b in zip(before[name], module.parameters(), strict=True)]
        assert all(moved), name
    after = policy.qvalue_params.values(True, True)
    assert not any(a.equal(b) for a, b in zip(targets, after, strict=True))


@pytest.fixture
def filled(recipe):
    """A trainer whose buffers have the transitions of the warm-up."""
    trainer, _ = build(recipe, *AWMP)
    replay, newest = (trainer._modules[name] for name in ("replay_buffer", "prior_replay"))
    for batch in trainer.collector:
        newest.extend(replay.extend(batch))
        if len(replay.buffer) == 200:
            return trainer


def test_no_part_gets_a_gradient_of_the_others_loss(filled):
    loss, prior = filled.loss_module, filled.optimization_stepper.auxiliary["prior"]
    batch = prior.sample(None)
    prior.loss_module(batch)["loss_prior"].backward()
    assert [part.grad for part in loss.parameters()] == [None] * len(list(loss.parameters()))
    gradients = [part.grad.clone() for part in loss.prior_network.parameters()]
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    output = loss(filled._modules["replay_buffer"].sample(None))
    sum(value for key, value in output.items() if key.startswith("loss")).backward()
    left = [part.grad for part in loss.prior_network.parameters()]
    assert all(a.equal(b) for a, b in zip(gradients, left, strict=True))
    assert all(part.grad is not None for part in loss.actor_network_params.values(True, True))


def test_the_actor_is_weighed_by_the_prior_as_it_was_trained(filled):
    """The loss of the actor moves with the prior, and with nothing else of it."""
    loss, batch = filled.loss_module, filled._modules["replay_buffer"].sample(None)

    def outputs():
        torch.manual_seed(1)
        return loss(batch.copy())

    before = outputs()
    prior = filled.optimization_stepper.auxiliary["prior"]
    for _ in range(30):
        prior.update(batch)
    after = outputs()
    changed = {key for key in before.keys() if not before[key].equal(after[key])}
    assert changed == {"loss_actor", "prior_effective_components", "entropy", "loss_alpha"}


def test_the_temperature_of_the_policy_is_that_of_the_loss(filled):
    """The gate that acts is the one that the loss computes, of the same draws."""
    loss, policy = filled.loss_module, filled._policy
    batch = filled._modules["replay_buffer"].buffer[:]
    torch.manual_seed(1)
    of_the_loss = loss.mixture_diagnostics(batch)["component_weight"]
    torch.manual_seed(1)
    with set_exploration_type(ExplorationType.RANDOM):
        weights = policy.get_dist(batch).weights.mean(0)
    torch.testing.assert_close(weights, of_the_loss)
    assert (weights - 1 / 3).abs().max() > 1e-3


NEAREST = ": expected a known key, the nearest is "
REFUSED = [
    (["prior.newest=5"], "prior.newest=5: expected at least 10 (collector.frames_per_batch)."),
    (
        ["prior.newest=99", "collector.frames_per_batch=100"],
        "prior.newest=99: expected at least 100 (collector.frames_per_batch).",
    ),
    (["prior.newest=0"], "prior.newest=0: expected an integer above 0 and at most 1000000000."),
    (
        ["prior.batch_size=0"],
        "prior.batch_size=0: expected an integer above 0 and at most 1000000.",
    ),
    (["prior.lr=0"], "prior.lr=0: expected a number above 0."),
    (["prior.information_coef=-1"], "prior.information_coef=-1: expected a number at least 0."),
    (["prior.noise_std=-1"], "prior.noise_std=-1: expected a number at least 0."),
    (["prior.noise=none"], "prior.noise=none: expected additive | multiplicative."),
    (
        ["prior.hidden_sizes=[0]"],
        "prior.hidden_sizes=[0]: expected a list of integers, each above 0.",
    ),
    (["loss.prior_action=both"], "loss.prior_action=both: expected replay | sampled."),
    (["loss.gate_temperature=0"], "loss.gate_temperature=0: expected a number above 0."),
    (["loss.gate_entropy_coef=-1"], "loss.gate_entropy_coef=-1: expected a number at least 0."),
    (["loss.loss_function=l1"], "loss.loss_function=l1: expected l2 | smooth_l1."),
    (["loss.alpha=0"], "loss.alpha=0: expected a number above 0."),
    (["policy.acting=mean"], "policy.acting=mean: expected mixture | convex."),
    (["policy.num_components=0"], "policy.num_components=0: expected an integer above 0."),
    (["policy.loc_spread=-1"], "policy.loc_spread=-1: expected a number at least 0."),
    (["optim.tau=0"], "optim.tau=0: expected a number above 0 and at most 1."),
    (["optim.tau_qvalue=2"], "optim.tau_qvalue=2: expected a number above 0 and at most 1."),
    (
        ["replay_buffer.her_ratio=0.5", "env.num_envs=2"],
        "env.num_envs=2: expected 1 with replay_buffer.her_ratio=0.5.",
    ),
    (["loss.alpha_init=0.2"], f"loss.alpha_init=0.2{NEAREST}loss.alpha (a number above 0)."),
    (
        ["policy.hold=step"],
        f"policy.hold=step{NEAREST}policy.loc_spread (a number at least 0).",
    ),
    (["--unknown"], "--unknown=(nothing): expected key=value."),
    (
        ["--num_components=3"],
        f"--num_components=3{NEAREST}policy.num_components (an integer above 0).",
    ),
]


@pytest.mark.parametrize(("arguments", "line"), REFUSED)
def test_settings_are_refused(recipe, monkeypatch, capsys, tmp_path, arguments, line):
    monkeypatch.setattr(sys, "argv", ["awmp.py", *arguments])
    with pytest.raises(SystemExit) as end:
        recipe.main()
    said = capsys.readouterr()
    assert (end.value.code, said.out, said.err) == (2, "", line + "\n")
    assert not list(tmp_path.iterdir())


def test_as_many_newest_as_frames_of_a_batch_are_enough(recipe):
    trainer, _ = build(recipe, *AWMP, "prior.newest=10")
    assert trainer._modules["prior_replay"].buffer.storage.max_size == 10
