"""The recipe of several means from end to end, a few hundred frames long."""

import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from omegaconf import OmegaConf
from recipes.running import (
    HINDSIGHT,
    RECIPES,
    SHORT,
    build,
    rows,
    stop_at,
    train,
)
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, set_exploration_type

from torchrl_mixture.analysis import read_progress, report_run
from torchrl_mixture.trainers import gym_env, load_config, train_run


@pytest.fixture
def recipe(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.chdir(tmp_path)
    import gamid

    return gamid


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, its trainer and its folder, and what its main said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES))
        patch.chdir(tmp_path_factory.mktemp("finished"))
        import gamid

        trainer, run = build(gamid, *SHORT, "seed=3")
        assert train_run(trainer, run)
        return trainer, run.record.path.absolute()


def test_writes_its_record(recipe, finished):
    _, folder = finished
    assert folder.parts[-3:-1] == ("runs", "gamid") and folder.name.endswith("-3")
    config = load_config(recipe.Config, [*SHORT, "seed=3"])
    assert OmegaConf.load(folder / "config.yaml") == OmegaConf.structured(config)
    progress = read_progress(folder)
    assert progress["frames"] == [0, 130, 260]
    assert progress["updates"] == [0, 0, 70]
    learned = ["loss_actor", "loss_qvalue", "divergence", "component_distance"]
    assert all(np.isfinite(progress[key][-1]) for key in learned)
    assert progress["divergence"][-1] > 0 and progress["component_distance"][-1] > 0
    assert 1 <= progress["effective_components"][-1] <= 3
    means = [name for name in progress if name.startswith("return_") and name.endswith("_mean")]
    assert means == ["return_greedy_mean", "return_sampled_mean"]


def test_shares_are_columns(finished):
    first, warm_up, last = rows(finished[1])
    for share in ("greedy_share", "used_share"):
        assert first[f"{share}_0"] == ""  # nothing is stored
        shares = [float(last[f"{share}_{component}"]) for component in range(3)]
        assert sum(shares) == pytest.approx(1) and f"{share}_3" not in last
    assert warm_up["greedy_share_0"] and not warm_up["used_share_0"]


def use_of(recipe, *arguments):
    """A policy with two components, of which the second is the better in every state."""
    trainer, _ = build(recipe, *SHORT, "policy.num_components=2", *arguments)
    use = trainer._modules["component_use"]
    states = TensorDict({"observation": torch.randn(8, 3)}, [8])
    use.greedy.best = lambda tensordict, means: torch.tensor([1, 1, 1, 0, 1, 1, 1, 1])
    return use, states


def test_shares_count_the_best_and_the_used(recipe):
    use, states = use_of(recipe)
    assert {key: share.item() for key, share in use.diagnostics(states).items()} == {
        "greedy_share_0": 0.125,
        "greedy_share_1": 0.875,
    }
    use(TensorDict({"component": torch.tensor([[0, 1, 0]])}, [1, 3]))
    use(TensorDict({"component": torch.tensor([0])}, [1]))
    use(TensorDict({"observation": torch.zeros(1, 3)}, [1]))  # of the random warm-up
    other, _ = use_of(recipe)
    other.load_state_dict(use.state_dict())
    for one in (use, other):
        found = one.diagnostics(states)
        assert (found["used_share_0"], found["used_share_1"]) == (0.75, 0.25)
        assert "used_share_0" not in one.diagnostics(states)


def test_settings_reach_the_parts(recipe):
    trainer, _ = build(
        recipe,
        "env.name=Pendulum-v1",
        "network.hidden_sizes=[8]",
        "policy.num_components=4",
        "policy.epsilon_initial=0.7",
        "policy.noise_std=0.3",
        "loss.temperature_initial=0.5",
        "loss.variance=0.25",
        "loss.loss_function=smooth_l1",
        "loss.policy_noise=0.4",
        "loss.noise_clip=0.6",
        "loss.delay=3",
        "optim.gamma=0.5",
        "optim.tau=0.25",
        "optim.lr=0.125",
    )
    loss, stepper = trainer.loss_module, trainer.optimization_stepper
    greedy, noise = trainer.collector.policy
    assert greedy.actor.num_components == 4
    assert greedy.epsilon.item() == pytest.approx(0.7)
    assert (loss.temperature.item(), loss.variance.item()) == (0.5, 0.25)
    assert loss.loss_function == "smooth_l1" and loss.value_estimator.gamma == 0.5
    # the half-width of the pendulum's action is 2
    assert loss.policy_noise.tolist() == pytest.approx([0.8])
    assert loss.noise_clip.tolist() == pytest.approx([1.2])
    assert (noise.std * noise.sigma).tolist() == pytest.approx([0.6])
    assert (stepper.delay, stepper.target_updater.eps) == (3, 0.75)
    assert {group["lr"] for group in stepper.optimizer.param_groups} == {0.125}


def test_the_policy_follows_the_training(recipe):
    trainer, _ = build(recipe, *SHORT)
    greedy, _ = trainer.collector.policy
    assert greedy.qvalue_params is trainer.loss_module.qvalue_network_params
    held = [*trainer.loss_module.actor_network_params.flatten_keys().values()]
    pointers = {parameter.data_ptr() for parameter in held}
    assert {parameter.data_ptr() for parameter in greedy.actor.parameters()} <= pointers


class Uneven(gymnasium.Env):
    """Nothing happens, in a box of half-widths 1 and 20."""

    observation_space = Box(-1.0, 1.0, (3,), np.float32)
    action_space = Box(np.float32([-1, -10]), np.float32([1, 30]))

    def reset(self, *, seed=None, options=None):
        return np.zeros(3, np.float32), {}


@pytest.mark.parametrize("copies", [1, 5])
def test_noise_has_the_scale_of_each_action(recipe, copies):
    if "UnevenNoise-v0" not in gymnasium.registry:
        gymnasium.register("UnevenNoise-v0", Uneven)
    env = gym_env("UnevenNoise-v0", copies if copies > 1 else None)
    config = load_config(recipe.Config, ["policy.noise_std=0.05", "network.hidden_sizes=[8]"])
    torch.manual_seed(0)
    policy = recipe.make_actor(config, env)
    shape = [20_000 // copies, copies] if copies > 1 else [20_000]
    states = TensorDict({"observation": torch.zeros(*shape, 3)}, shape)
    with torch.no_grad():
        noisy = policy(states.clone())
        with set_exploration_type(ExplorationType.DETERMINISTIC):
            clean = policy(states.clone())
    assert clean["action"].flatten(0, -2).std(0).max() < 1e-4  # the same in all states
    same = noisy["component"] == clean["component"]
    difference = (noisy["action"] - clean["action"])[same]
    assert 0.9 < same.float().mean() < 0.94  # 1 - epsilon + epsilon / K, here 0.92
    assert difference.std(0).tolist() == pytest.approx([0.05, 1.0], rel=0.05)


def test_one_component_is_td3(recipe):
    last = rows(train(recipe, "policy.num_components=1"))[-1]
    assert float(last["divergence"]) == 0 and float(last["effective_components"]) == 1
    assert float(last["used_share_0"]) == 1


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("policy.epsilon_initial=1.5", "expected a number at least 0 and at most 1"),
        ("policy.epsilon_fraction=0", "expected a number above 0 and at most 1"),
        ("policy.num_components=0", "expected an integer above 0"),
        ("loss.temperature_final=-1", "expected a number at least 0"),
        ("loss.variance=0", "expected a number above 0"),
        ("loss.delay=0", "expected an integer above 0"),
        ("loss.temperature=1", "expected a known key, the nearest is loss.temperature_"),
        ("env.name=CartPole-v1", "expected a flat, bounded Box"),
    ],
)
def test_settings_are_refused(recipe, monkeypatch, capsys, tmp_path, argument, line):
    monkeypatch.setattr(sys, "argv", ["gamid.py", argument])
    with pytest.raises(SystemExit) as end:
        recipe.main()
    said = capsys.readouterr()
    assert (end.value.code, said.out) == (2, "")
    assert said.err.startswith(argument.partition("=")[0]) and line in said.err
    assert said.err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_report_and_evaluation(recipe, finished, monkeypatch, capsys):
    trainer, folder = finished
    said = report_run(folder).splitlines()
    assert said[0].startswith("In 260 frames the mean return went from ")
    assert [line.rpartition("/")[2] for line in said[2:]] == ["curve.png", "means.png"]
    assert all((folder / name).is_file() for name in ("curve.png", "means.png"))
    import evaluate

    for checkpoint in ("latest", "best"):
        arguments = [f"run={folder}", "episodes=4", f"checkpoint={checkpoint}"]
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
        evaluate.main()
        heading, *lines = capsys.readouterr().out.splitlines()
        assert heading.endswith("best" if checkpoint == "best" else "checkpoint-000000000260")
        assert [line.split()[0] for line in lines] == ["greedy", "sampled"]
        assert all("mean -" in line for line in lines)
    restored = evaluate.Policy(load_config(evaluate.Config, [f"run={folder}"])).actor
    states = TensorDict({"observation": torch.randn(500, 3)}, [500])
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        one, two = (policy(states.clone()) for policy in (restored, trainer.collector.policy))
    assert one["component"].equal(two["component"]) and one["action"].equal(two["action"])
    assert len(one["component"].unique()) > 1


def test_goals_in_hindsight(recipe):
    trainer, run = build(recipe, *SHORT, *HINDSIGHT)
    assert train_run(trainer, run)
    greedy, loss = trainer.collector.policy[0], trainer.loss_module
    assert greedy.actor.in_keys == ["observation", "desired_goal"]
    assert loss.qvalue_network.in_keys == ["observation", "desired_goal", "action"]
    last = rows(run.record.path)[-1]
    assert 0 <= float(last["success_greedy_mean"]) <= 1 and float(last["used_share_0"]) <= 1
    assert np.load(run.record.path / "means.npz")["260"].shape == (200, 3, 2)


def test_an_asked_stop_is_code_130(recipe, monkeypatch, capsys):
    trainer, run = build(recipe, *SHORT)
    stop_at(trainer, 100)
    monkeypatch.setattr(recipe, "make_trainer", lambda config: (trainer, run))
    monkeypatch.setattr(sys, "argv", ["gamid.py"])
    with pytest.raises(SystemExit) as end:
        recipe.main()
    said = capsys.readouterr().out.splitlines()
    assert end.value.code == 130 and said[0].startswith("Stopped at frame 100 of 260; resume=")
    assert said[-1].endswith("curve.png")  # there are no means before the first update


@pytest.mark.slow
def test_pendulum_is_learned(recipe):
    trainer, run = build(recipe, "collector.total_frames=6000", "evaluation.episodes=5")
    assert train_run(trainer, run)
    returns = read_progress(run.record.path)["return_greedy_mean"]
    assert max(returns[-3:]) > returns[0] + 300 and max(returns[-3:]) > -500
