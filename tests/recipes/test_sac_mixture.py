"""The recipe from end to end, a few hundred frames long."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from recipes.running import HINDSIGHT, RECIPES, SHORT, build, frames_of, rows, train
from torchrl.checkpoint import Checkpoint
from torchrl.objectives import SACLoss

from torchrl_mixture.analysis import read_progress, report_run
from torchrl_mixture.trainers import (
    gym_env,
    load_config,
    make_envs,
    train_run,
    updates_per_batch,
    with_goals,
)


def test_writes_its_record(recipe):
    path = train(recipe, "seed=3")
    assert path.parent == Path("runs/sac_mixture")
    assert path.name.endswith("-3")
    config = load_config(recipe.Config, [*SHORT, "seed=3"])
    assert OmegaConf.load(path / "config.yaml") == OmegaConf.structured(config)

    progress = read_progress(path)
    assert progress["frames"] == [0, 130, 260]
    assert progress["updates"] == [0, 0, 70]  # the batch that ends the warm-up is followed by ten
    learned = ("loss_actor", "loss_qvalue", "effective_components", "component_information")
    assert all(torch.isfinite(torch.tensor(progress[key][-1])) for key in learned)
    assert 1 <= progress["effective_components"][-1] <= 3
    assert progress["component_distance"][-1] > 0
    assert all(mean < 0 for mean in progress["return_sampled_mean"])


def test_every_way_of_acting_has_its_columns(recipe):
    (row, *_) = rows(train(recipe, "policy.deterministic=densest"))
    means = [name for name in row if name.startswith("return_") and name.endswith("_mean")]
    assert means[0] == "return_densest_mean" and means[-1] == "return_sampled_mean"
    assert {"return_heaviest_mean", "return_sampled_std"} <= set(row)


def test_checkpoints_of_a_run(recipe):
    folder = train(recipe, "checkpoint.interval=50")
    found = sorted(path.name for path in (folder / "checkpoints").iterdir())
    # every 50 frames; the last two, the one of the end among them
    assert found == ["best", "checkpoint-000000000250", "checkpoint-000000000260"]


def test_checkpoint_restores_the_loss(recipe):
    config = load_config(recipe.Config, [*SHORT, "seed=4"])
    path = train(recipe, "seed=4")
    env = gym_env(config.env.name)
    critics = [recipe.make_critic(config, env) for _ in range(2)]
    loss = recipe.make_loss(config, recipe.make_actor(config, env), critics)
    loss.make_value_estimator(gamma=config.optim.gamma)
    before = loss.log_alpha.clone()
    saved = path / "checkpoints" / "checkpoint-000000000260"
    Checkpoint(loss_module=loss).load(saved, components=["loss_module"])
    assert not loss.log_alpha.equal(before)
    action = loss.actor_network(env.reset())["action"]
    assert env.action_spec.is_in(action)


def test_best_policy_is_that_of_the_best_row(recipe):
    best = Checkpoint.manifest(train(recipe) / "checkpoints" / "best")["metadata"]
    (folder,) = Path("runs/sac_mixture").iterdir()
    table = rows(folder)
    column = next(name for name in table[0] if name.endswith("_mean"))
    row = max(table, key=lambda row: float(row[column]))
    assert best == {"value": float(row[column]), "collected_frames": int(row["frames"])}


def test_evaluations_do_not_disturb_training(recipe):
    often, once = (read_progress(train(recipe, f"evaluation.interval={n}")) for n in (210, 260))
    assert len(often["frames"]) > len(once["frames"])
    for key in ("return_heaviest_mean", "return_sampled_mean", "component_distance"):
        assert often[key][-1] == once[key][-1]


def test_checkpoints_do_not_disturb_training(recipe):
    often, once = (rows(train(recipe, f"checkpoint.interval={n}")) for n in (20, 10_000))
    for key in ("return_heaviest_mean", "return_sampled_mean", "component_distance"):
        assert [row[key] for row in often] == [row[key] for row in once]


@pytest.mark.parametrize("name", ["gumbel", "likelihood", "marginal", "implicit"])
def test_estimators(recipe, name):
    folder = train(recipe, f"loss.gradient_estimator={name}", "collector.total_frames=210")
    assert rows(folder)[-1]["updates"] == "20"


def test_another_loss(recipe):
    def make_loss(config, actor, critics):
        return SACLoss(actor, critics, loss_function="l2")

    (row, *_, last) = rows(train(recipe, "policy.num_components=1", make_loss=make_loss))
    assert last["updates"] == "70" and float(last["loss_actor"])
    assert "effective_components" not in row


@pytest.mark.parametrize("copies", [2, 5])
def test_copies_of_the_environment(recipe, copies):
    trainer, run = build(recipe, *SHORT, f"env.num_envs={copies}")
    trainer.train()
    assert frames_of(run.record.path) == [0, 130, 260]
    assert len(trainer._modules["replay_buffer"].buffer) == 260


def test_settings_reach_the_trainer(recipe):
    trainer, run = build(
        recipe,
        *SHORT,
        "replay_buffer.n_steps=3",
        "optim.gamma=0.5",
        "optim.tau=0.25",
        "optim.lr=0.125",
        "replay_buffer.size=77",
        "optim.utd_ratio=0.5",
    )
    replay, stepper = trainer._modules["replay_buffer"], trainer.optimization_stepper
    assert (replay.multi_step.n_steps, replay.multi_step.gamma) == (3, 0.5)
    assert trainer.loss_module.value_estimator.gamma == 0.5
    assert stepper.target_updater.eps == 0.75
    assert {group["lr"] for group in stepper.optimizer.param_groups} == {0.125}
    assert replay.buffer.storage.max_size == 77 and replay.buffer.batch_size == 8
    assert trainer.optim_steps_per_batch == 5 == updates_per_batch(run.config)


def test_settings_reach_the_policy_and_the_loss(recipe):
    arguments = {
        "policy.num_components": "4",
        "policy.learn_weights": "false",
        "policy.loc_spread": "0.7",
        "policy.deterministic": "densest",
        "loss.loss_function": "smooth_l1",
        "loss.alpha_init": "0.3",
        "loss.fixed_alpha": "true",
        "network.hidden_sizes": "[8]",
    }
    config = load_config(recipe.Config, [f"{key}={value}" for key, value in arguments.items()])
    env = gym_env(config.env.name)
    actor = recipe.make_actor(config, env)
    loss = recipe.make_loss(config, actor, [recipe.make_critic(config, env) for _ in range(2)])
    policy = actor.get_dist(env.reset())
    assert policy.num_components == 4 and policy.deterministic == "densest"
    assert policy.weights.tolist() == [0.25] * 4
    assert actor.module[0].module[1].loc_offset.max().item() == pytest.approx(0.7)
    assert loss.loss_function == "smooth_l1"
    assert loss.log_alpha.exp().item() == pytest.approx(0.3) and not loss.log_alpha.requires_grad


@pytest.mark.parametrize(
    ("arguments", "estimator"),
    [
        (["half", "loss.num_baseline_samples=7"], "HalfReparam(num_baseline_samples=7)"),
        (["likelihood", "loss.num_baseline_samples=0"], "Likelihood(num_baseline_samples=0)"),
        (["gumbel", "loss.temperature=0.5"], "GumbelSoftmax(temperature=0.5)"),
        (["marginal"], "Marginal()"),
        (["implicit"], "Implicit()"),
    ],
)
def test_settings_reach_the_estimator(recipe, arguments, estimator):
    name, *rest = arguments
    config = load_config(recipe.Config, [f"loss.gradient_estimator={name}", *rest])
    env = gym_env(config.env.name)
    critics = [recipe.make_critic(config, env) for _ in range(2)]
    loss = recipe.make_loss(config, recipe.make_actor(config, env), critics)
    assert repr(loss.gradient_estimator) == estimator


def presets():
    return sorted(path.stem for path in (RECIPES / "config" / "sac_mixture").glob("*.yaml"))


def test_there_are_presets():
    assert {"classic", "mujoco", "dm_control"} <= set(presets())


@pytest.mark.parametrize("preset", presets())
def test_presets_fit_the_recipe(recipe, preset):
    config = load_config(recipe.Config, [f"preset={preset}", "evaluation.episodes=1"])
    assert updates_per_batch(config) > 0
    if config.env.library == "dm_control":
        pytest.importorskip("dm_control", reason="needs the extra 'dmc'")
    assert make_envs(config)[0].action_spec_unbatched.ndim == 1


@pytest.mark.parametrize(
    ("preset", "hidden", "batch", "tau", "size"),
    [
        ("classic", [64, 64], 32, 0.01, 100_000),
        ("mujoco", [256, 256], 100, 0.005, 1_000_000),
        ("ant", [256, 256], 100, 0.005, 1_000_000),
    ],
)
def test_presets_have_the_papers_values(recipe, preset, hidden, batch, tau, size):
    config = load_config(recipe.Config, [f"preset={preset}"])
    assert config.network.hidden_sizes == hidden
    assert (config.optim.batch_size, config.optim.tau) == (batch, tau)
    assert config.replay_buffer.size == size
    assert config.loss.num_baseline_samples == 30
    assert config.policy.num_components == 5
    assert config.loss.fixed_alpha == (preset == "classic")


TASKS = {
    "pendulum": ("torchrl_mixture", "Pendulum"),
    "shaped_pendulum": ("torchrl_mixture", "ShapedPendulum"),
    "acrobot": ("torchrl_mixture", "Acrobot"),
    "shaped_acrobot": ("torchrl_mixture", "ShapedAcrobot"),
    "mountain_car": ("torchrl_mixture", "MountainCar"),
    "shaped_mountain_car": ("torchrl_mixture", "ShapedMountainCar"),
    "shifted_hopper": ("torchrl_mixture", "ShiftedHopper"),
    "shifted_walker2d": ("torchrl_mixture", "ShiftedWalker2d"),
    "shifted_halfcheetah": ("torchrl_mixture", "ShiftedHalfCheetah"),
    "shifted_ant": ("torchrl_mixture", "ShiftedAnt"),
    "shifted_swimmer": ("torchrl_mixture", "ShiftedSwimmer"),
    "fetch_reach": ("gymnasium", "FetchReach-v4"),
    "fetch_slide": ("gymnasium", "FetchSlide-v4"),
    "adroit_pen": ("gymnasium", "AdroitHandPen-v1"),
    "fetch_reach_her": ("gymnasium", "FetchReach-v4"),
    "fetch_push_her": ("gymnasium", "FetchPush-v4"),
    "fetch_slide_her": ("gymnasium", "FetchSlide-v4"),
    "fetch_pick_and_place_her": ("gymnasium", "FetchPickAndPlace-v4"),
}


@pytest.mark.parametrize("preset", TASKS)
def test_presets_have_the_tasks_of_their_names(recipe, preset):
    config = load_config(recipe.Config, [f"preset={preset}"])
    assert (config.env.library, config.env.name) == TASKS[preset]


@pytest.mark.parametrize("preset", [preset for preset in TASKS if preset.endswith("_her")])
def test_presets_with_goals_in_hindsight(recipe, preset):
    config = load_config(recipe.Config, [f"preset={preset}"])
    assert with_goals(config) and config.replay_buffer.her_ratio == 0.8
    assert (config.optim.lr, config.optim.gamma, config.optim.batch_size) == (1e-3, 0.95, 256)
    assert (config.network.hidden_sizes, config.optim.tau) == ([256] * 3, 0.05)
    assert config.collector.init_random_frames == 1_000
    reach = preset == "fetch_reach_her"
    assert config.collector.total_frames == (10_000 if reach else 1_000_000)


def test_goals_in_hindsight_from_end_to_end(recipe):
    trainer, run = build(recipe, *SHORT, *HINDSIGHT)
    assert train_run(trainer, run)
    assert trainer.loss_module.actor_network.in_keys[:2] == ["observation", "desired_goal"]
    assert trainer.loss_module.qvalue_network.in_keys == ["observation", "desired_goal", "action"]
    (_, *rest), last = rows(run.record.path), rows(run.record.path)[-1]
    assert len(rest) == 2 and 0 <= float(last["success_sampled_mean"]) <= 1
    names = ("heaviest", "densest", "sampled")
    columns = [name for name in last if name.endswith("_mean")]
    assert columns == [f"{kind}_{way}_mean" for way in names for kind in ("return", "success")]
    assert report_run(run.record.path).endswith("curve.png")  # the figure is one of returns
    stored = trainer._modules["replay_buffer"].buffer[:]
    assert stored["next", "desired_goal"].equal(stored["desired_goal"])
    assert "is_success" not in stored.keys(True)


@pytest.mark.slow
def test_goals_in_hindsight_are_what_is_learned_from(recipe):
    """Of the goals that are pursued at random few are reached; nearly all are in the end."""
    settings = ["collector.total_frames=4000", "collector.init_random_frames=500"]
    settings += ["optim.batch_size=64", "network.hidden_sizes=[64,64]", "optim.gamma=0.9"]
    settings += ["evaluation.interval=4000", "evaluation.episodes=50", "loss.alpha_init=0.1"]
    first, last = rows(train(recipe, *HINDSIGHT, *settings))
    assert float(first["success_heaviest_mean"]) < 0.3
    assert float(last["success_heaviest_mean"]) > 0.9


def test_help_lists_every_key(recipe, capsys):
    with pytest.raises(SystemExit) as exit_info:
        load_config(recipe.Config, ["--help"])
    printed = capsys.readouterr().out
    assert exit_info.value.code == 0
    assert "loss.gradient_estimator=half" in printed and "optim.tau=0.01" in printed
