"""The recipe from end to end, a few hundred frames long."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torchrl.checkpoint import Checkpoint
from torchrl.objectives import SACLoss

from torchrl_mixture.analysis import read_progress
from torchrl_mixture.trainers import gym_env, load_config

RECIPES = Path(__file__).parents[2] / "recipes"
SHORT = [
    "collector.total_frames=260",
    "collector.init_random_frames=200",
    "evaluation.interval=130",
    "evaluation.episodes=2",
    "network.hidden_sizes=[8]",
    "policy.num_components=3",
    "optim.batch_size=8",
]


@pytest.fixture
def recipe(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.chdir(tmp_path)
    import sac_mixture

    return sac_mixture


def test_writes_its_record(recipe, tmp_path):
    config = load_config(recipe.Config, [*SHORT, "seed=3"])
    path = recipe.train(config)
    assert path.parent == Path("runs/sac_mixture")
    assert path.name.endswith("-3")
    assert OmegaConf.load(path / "config.yaml") == OmegaConf.structured(config)

    progress = read_progress(path)
    assert progress["frames"] == [0, 130, 260]
    assert progress["updates"] == [0, 0, 70]  # the batch that ends the warm-up is followed by ten
    learned = ("loss_actor", "loss_qvalue", "effective_components", "component_information")
    assert all(torch.isfinite(torch.tensor(progress[key][-1])) for key in learned)
    assert 1 <= progress["effective_components"][-1] <= 3
    assert progress["component_distance"][-1] > 0
    assert all(mean < 0 for mean in progress["return_sampled_mean"])


def test_checkpoint_restores_the_loss(recipe):
    config = load_config(recipe.Config, [*SHORT, "seed=4"])
    path = recipe.train(config)
    env = gym_env(config.env.name)
    critics = [recipe.make_critic(config, env) for _ in range(2)]
    loss = recipe.make_loss(config, recipe.make_actor(config, env), critics)
    loss.make_value_estimator(gamma=config.optim.gamma)
    before = loss.log_alpha.clone()
    Checkpoint(loss_module=loss).load(path / "checkpoints" / "final", components=["loss_module"])
    assert not loss.log_alpha.equal(before)
    action = loss.actor_network(env.reset())["action"]
    assert env.action_spec.is_in(action)


def test_same_seed_same_run(recipe):
    config = load_config(recipe.Config, SHORT)
    first, second = (read_progress(recipe.train(config)) for _ in range(2))
    for key in ("return_deterministic_mean", "return_sampled_mean", "loss_qvalue", "alpha"):
        assert first[key][-1] == second[key][-1]


def test_evaluations_do_not_disturb_training(recipe):
    often, once = (
        read_progress(
            recipe.train(load_config(recipe.Config, [*SHORT, f"evaluation.interval={n}"]))
        )
        for n in (210, 260)
    )
    assert len(often["frames"]) > len(once["frames"])
    for key in ("return_deterministic_mean", "return_sampled_mean", "component_distance"):
        assert often[key][-1] == once[key][-1]


@pytest.mark.parametrize("name", ["gumbel", "likelihood", "marginal", "implicit"])
def test_estimators(recipe, name):
    config = load_config(
        recipe.Config,
        [*SHORT, f"loss.gradient_estimator={name}", "collector.total_frames=210"],
    )
    assert read_progress(recipe.train(config))["updates"][-1] == 20


def test_another_loss(recipe):
    def make_loss(config, actor, critics):
        return SACLoss(actor, critics, loss_function="l2")

    config = load_config(recipe.Config, [*SHORT, "policy.num_components=1"])
    progress = read_progress(recipe.train(config, make_loss))
    assert progress["updates"][-1] == 70
    assert "effective_components" not in progress


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        (
            "optim.learning_rate=3",
            "optim.learning_rate=3: expected a known key, "
            "the nearest is optim.lr (a number above 0).",
        ),
        (
            "env.name=CartPole-v1",
            "env.name=CartPole-v1, with actions Discrete(2): expected a flat, bounded Box.",
        ),
        (
            "collector.init_random_frames=10000",
            "collector.init_random_frames=10000: expected less than 10000 frames.",
        ),
        ("optim.lr=inf", "optim.lr=inf: expected a number above 0."),
        ("device=cuda", "device=cuda: expected a known key; --help lists them."),
        ("collector.total_frames=1005", "collector.total_frames=1005: expected a multiple of 10."),
        ("optim.utd_ratio=0.33", "optim.utd_ratio=0.33: expected a multiple of 1/10"),
        ("optim.utd_ratio=0.01", "optim.utd_ratio=0.01: expected a multiple of 1/10"),
    ],
)
def test_refusals(recipe, argument, line, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["sac_mixture.py", argument])
    with pytest.raises(SystemExit) as exit_info:
        recipe.main()
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(line)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_as_a_script(tmp_path):
    def run(*arguments):
        command = [sys.executable, str(RECIPES / "sac_mixture.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    refused = run("optim.lr=fast")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "optim.lr=fast: expected a number above 0.\n"

    finished = run(*SHORT)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "In 260 frames the mean return went from" in finished.stdout
    (folder,) = (tmp_path / "runs" / "sac_mixture").iterdir()
    written = {file.name for file in folder.iterdir()}
    assert written == {"config.yaml", "progress.csv", "checkpoints", "curve.png"}


@pytest.mark.parametrize("preset", [path.stem for path in (RECIPES / "config").glob("*.yaml")])
def test_presets_fit_the_recipe(recipe, preset):
    config = load_config(recipe.Config, [f"preset={preset}"])
    assert recipe.updates_per_batch(config) > 0
    assert gym_env(config.env.name).action_spec.ndim == 1


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


@pytest.mark.parametrize(
    ("preset", "hidden", "batch", "tau", "size"),
    [("classic", [64, 64], 32, 0.01, 100_000), ("mujoco", [256, 256], 100, 0.005, 1_000_000)],
)
def test_presets_have_the_papers_values(recipe, preset, hidden, batch, tau, size):
    config = load_config(recipe.Config, [f"preset={preset}"])
    assert config.network.hidden_sizes == hidden
    assert (config.optim.batch_size, config.optim.tau) == (batch, tau)
    assert config.replay_buffer.size == size
    assert config.loss.num_baseline_samples == 30
    assert config.policy.num_components == 5
    assert config.loss.fixed_alpha == (preset == "classic")


def test_help_lists_every_key(recipe, capsys):
    with pytest.raises(SystemExit) as exit_info:
        load_config(recipe.Config, ["--help"])
    printed = capsys.readouterr().out
    assert exit_info.value.code == 0
    assert "loss.gradient_estimator=half" in printed and "optim.tau=0.01" in printed
