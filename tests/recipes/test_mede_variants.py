"""The recipe of latent policies with each of its settings, a few hundred frames long."""

import math
import sys

import pytest
from recipes.running import HINDSIGHT, LATENT, LEARNED, build, rows

from torchrl_mixture.trainers import train_run


@pytest.fixture
def recipe(mede_recipe):
    return mede_recipe


def trained(recipe, *arguments):
    trainer, run = build(recipe, *LATENT, *arguments)
    assert train_run(trainer, run)
    return trainer, rows(run.record.path)[-1], run.record.path


def test_by_default_the_coefficient_is_the_temperature(recipe):
    mede, diayn = (
        build(recipe, *LATENT, *arguments)[0].loss_module
        for arguments in ([], ["loss.diversity=diayn"])
    )
    assert mede.diversity_coef is None and diayn.diversity_coef == 1.0
    assert diayn.discriminator.form == "state"


@pytest.mark.parametrize("task_reward", ["true", "false"])
def test_diayn(recipe, task_reward):
    settings = ["loss.diversity=diayn", f"loss.task_reward={task_reward}"]
    trainer, last, folder = trained(recipe, *settings)
    assert trainer.loss_module.task_reward == (task_reward == "true")
    assert all(math.isfinite(float(last[key])) for key in LEARNED)
    # The reward that is recorded is the task's in either case.
    assert float(last["return_latents_mean"]) < -20
    # 20 steps of the pendulum cost at least 20; log q - log p is below log 3 a step.
    batch = trainer._modules["replay_buffer"].buffer[:]
    loss = trainer.loss_module
    paid = loss._with_reward(batch)["next", "reward"]
    assert (paid.min() < -5) == (task_reward == "true")
    assert paid.max() <= math.log(3) and batch["next", "reward"].min() < -5


def test_separate_networks(recipe):
    trainer, last, _ = trained(recipe, "network.separate=true")
    policy = trainer._policy
    shapes = {tuple(part.shape) for part in policy.actor.parameters()}
    assert all(shape[0] == 3 for shape in shapes)
    assert all(math.isfinite(float(last[key])) for key in LEARNED)


def test_one_latent_is_sac(recipe):
    trainer, last, _ = trained(recipe, "policy.num_latents=1")
    assert float(last["log_q_state"]) == float(last["log_q_state_action"]) == 0
    assert float(last["accuracy_state"]) == float(last["share_z0"]) == 1
    assert float(last["component_distance"]) == 0
    assert last["return_latents_mean"] == last["return_best_latent_mean"]


def test_temperature_is_adapted_if_asked(recipe):
    _, last, _ = trained(recipe, "loss.fixed_alpha=false", "loss.alpha_init=0.3")
    assert float(last["alpha"]) != pytest.approx(0.3, abs=1e-4)


def test_several_copies_and_steps(recipe):
    arguments = ["env.num_envs=5", "replay_buffer.n_steps=2"]
    trainer, last, _ = trained(recipe, *arguments)
    assert last["updates"] == "70"
    assert all(math.isfinite(float(last[key])) for key in LEARNED)
    assert len(trainer._modules["replay_buffer"].buffer) == 260 - 5 * 2


def test_goals_in_hindsight(recipe, monkeypatch, capsys):
    trainer, last, folder = trained(recipe, *HINDSIGHT)
    policy, loss = trainer._policy, trainer.loss_module
    assert policy.actor.in_keys == ["observation", "desired_goal", "latent"]
    assert loss.discriminator.in_keys == ["observation", "desired_goal", "action"]
    assert loss.qvalue_network.in_keys == ["observation", "desired_goal", "action", "latent"]
    for way in ("marginal", "z0", "z1", "z2", "sampled"):
        assert 0 <= float(last[f"success_{way}_mean"]) <= 1
    minibatch = trainer._modules["replay_buffer"].sample(None)
    assert minibatch["next", "latent"].equal(minibatch["latent"])
    import evaluate

    monkeypatch.setattr(sys, "argv", ["evaluate.py", f"run={folder}", "episodes=2"])
    evaluate.main()
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["marginal", "z0", "z1", "z2", "sampled"]
    assert all("success" in line for line in lines)


@pytest.mark.slow
def test_fetch_with_goals_in_hindsight(recipe):
    settings = ["env.name=FetchReach-v4", "replay_buffer.her_ratio=0.8"]
    settings += ["collector.total_frames=120", "collector.init_random_frames=100"]
    settings += ["evaluation.interval=120", "evaluation.episodes=1"]
    _, last, _ = trained(recipe, *settings)
    assert last["updates"] == "30" and math.isfinite(float(last["loss_qvalue"]))
    assert float(last["success_marginal_mean"]) in (0.0, 1.0)
