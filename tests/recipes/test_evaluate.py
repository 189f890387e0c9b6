"""Evaluating the policy of a run's folder."""

import os
import re
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from recipes.running import HINDSIGHT
from scipy import stats
from torchrl.checkpoint import Checkpoint
from torchrl.envs.utils import ExplorationType, set_exploration_type

from torchrl_mixture.modules import with_rule
from torchrl_mixture.trainers import (
    RunningNorm,
    goal_env,
    gym_env,
    load_config,
    make_test_env,
    normalize_like,
    play_episodes,
)

RECIPES = Path(__file__).parents[2] / "recipes"
NUMBER = r"(-?[\d.]+)"
LINE = re.compile(
    rf"(\w+) +mean {NUMBER}  sd {NUMBER}  min {NUMBER}  max {NUMBER}"
    rf"  95% of the mean \[{NUMBER}, {NUMBER}\]  length {NUMBER}"
    rf"(?:  success {NUMBER}  95% \[{NUMBER}, {NUMBER}\])?"
)


@pytest.fixture
def recipes(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.chdir(tmp_path)
    import evaluate
    import sac_mixture

    return evaluate, sac_mixture


@pytest.fixture
def make_run(recipes):
    def make(*arguments, name="time-0"):
        """Write a run as training leaves it, with untrained policies."""
        _, sac_mixture = recipes
        config = load_config(sac_mixture.Config, ["network.hidden_sizes=[8]", *arguments])
        run = Path("runs/sac_mixture") / name
        run.mkdir(parents=True)
        OmegaConf.save(OmegaConf.structured(config), run / "config.yaml")
        env = make_test_env(config)
        norm = RunningNorm(env.observation_spec["observation"].shape[-1])
        norm.moments.update(torch.randn(100, len(norm.moments.mean)) * 5 + 3)
        actors = []
        for folder in ("checkpoint-000000000100", "checkpoint-000000000200", "best"):
            torch.manual_seed(len(actors))
            actors.append(sac_mixture.make_actor(config, env))
            Checkpoint(policy=actors[-1], observation_norm=norm).save(run / "checkpoints" / folder)
        return run, actors, norm

    return make


@pytest.fixture
def main(recipes, monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
        capsys.readouterr()
        recipes[0].main()
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out.splitlines()

    return call


@pytest.mark.parametrize("checkpoint", ["latest", "best"])
def test_returns_are_those_of_the_checkpoint(make_run, main, checkpoint):
    run, actors, _ = make_run()
    heading, *lines = main(f"run={run}", "episodes=4", f"checkpoint={checkpoint}", "seed=5")
    folder = "best" if checkpoint == "best" else "checkpoint-000000000200"
    assert heading == f"4 episodes with {run / 'checkpoints' / folder}"
    found = {match[1]: match for match in map(LINE.fullmatch, lines)}
    assert list(found) == ["heaviest", "densest", "sampled"]
    actor = actors[2 if checkpoint == "best" else 1]
    for rule, match in found.items():
        env = gym_env("Pendulum-v1", 4)
        env.set_seed(5)
        torch.manual_seed(5)
        sampled = rule == "sampled"
        way = ExplorationType.RANDOM if sampled else ExplorationType.DETERMINISTIC
        with set_exploration_type(way), torch.no_grad():
            played = play_episodes(env, actor if sampled else with_rule(actor, rule))
        returns = played["return"]
        expected = (returns.mean(), returns.std(correction=0), returns.min(), returns.max())
        numbers = [float(match[place]) for place in range(2, 9)]
        assert numbers[:4] == pytest.approx([float(value) for value in expected], abs=0.06)
        assert numbers[2] <= numbers[4] <= numbers[0] <= numbers[5] <= numbers[3]
        assert numbers[6] == 200


def test_rounds_count_every_episode_once(recipes, make_run, main):
    evaluate, _ = recipes
    run, _, _ = make_run("env.name=Hopper-v5")
    config = load_config(evaluate.Config, [f"run={run}", "episodes=7", "seed=1"])
    policy = evaluate.Policy(config)
    env = policy.make_raw_env(3)
    line = LINE.fullmatch(evaluate.evaluate(policy, "heaviest", env, config))
    env.set_seed(1)
    actor, exploration = policy.ways["heaviest"]
    with set_exploration_type(exploration), torch.no_grad():
        returns = torch.cat([play_episodes(env, actor)["return"] for _ in range(3)])[:7]
    assert float(line[2]) == pytest.approx(returns.mean().item(), abs=0.06)
    assert 5 < float(line[8]) < 1000


def test_observations_are_normalised_as_in_the_run(make_run, main):
    run, actors, norm = make_run("env.normalize_observations=true")
    _, line = main(f"run={run}", "episodes=3", "rule=heaviest")
    env = normalize_like(gym_env("Pendulum-v1", 3), norm)
    env.set_seed(0)
    with set_exploration_type(ExplorationType.DETERMINISTIC), torch.no_grad():
        returns = play_episodes(env, actors[1])["return"]
    assert float(LINE.fullmatch(line)[2]) == pytest.approx(returns.mean().item(), abs=0.06)


@pytest.mark.parametrize("normalized", ["true", "false"])
def test_success_of_a_run_with_goals(recipes, make_run, main, normalized):
    """Wilson's interval of 0 of 20, as published, and of other numbers as SciPy has it."""
    run, actors, norm = make_run(*HINDSIGHT, f"env.normalize_observations={normalized}")
    heading, *lines = main(f"run={run}", "episodes=20", "seed=5")
    found = [LINE.fullmatch(line) for line in lines]
    assert [match[1] for match in found] == ["heaviest", "densest", "sampled"]
    env = goal_env("PointGoal-v0", 10)
    env = normalize_like(env, norm) if normalized == "true" else env
    reached = 0
    for seed in (5, 15):
        env.set_seed(seed)
        with set_exploration_type(ExplorationType.DETERMINISTIC), torch.no_grad():
            reached += int(play_episodes(env, actors[1])["success"].sum())
    interval = stats.binomtest(reached, 20).proportion_ci(method="wilson")
    numbers = [float(found[0][place]) for place in (9, 10, 11)]
    assert numbers == pytest.approx([reached / 20, *interval], abs=6e-4)


def test_other_runs_have_no_success(make_run, main):
    run, _, _ = make_run()
    assert all("success" not in line for line in main(f"run={run}", "episodes=1"))


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_video_shows_one_episode(make_run, main, ending):
    pytest.importorskip("pygame", reason="Pendulum is drawn with pygame, of the extra 'video'")
    run, _, _ = make_run()
    *_, last = main(f"run={run}", "episodes=1", "rule=densest", f"video=out.{ending}")
    assert last == f"An episode by rule densest is in out.{ending}"
    if ending == "gif":
        from PIL import Image

        film = Image.open("out.gif")
        assert (
            film.size == (500, 500) and 180 < film.n_frames <= 200
        )  # equal ones in a row are one
    else:
        av = pytest.importorskip("av", reason="the extra 'video' is not installed")
        with av.open("out.mp4") as film:
            assert sum(1 for _ in film.decode(video=0)) == 200


def refused(main, capsys, *arguments):
    with pytest.raises(SystemExit) as exit_info:
        main(*arguments)
    captured = capsys.readouterr()
    assert (exit_info.value.code, captured.out) == (2, "")
    assert captured.err.count("\n") == 1
    return captured.err.rstrip("\n")


def test_refused_folders(recipes, make_run, main, capsys):
    expected = "expected the folder of a run, with its config.yaml."
    assert refused(main, capsys, "run=nowhere") == f"run=nowhere: {expected}"
    Path("empty").mkdir()
    assert refused(main, capsys, "run=empty") == f"run=empty: {expected}"
    assert refused(main, capsys) == f"run=.: {expected}"

    run, _, _ = make_run()
    moved = Path("elsewhere/time-0")
    moved.parent.mkdir()
    run.rename(moved)
    line = refused(main, capsys, f"run={moved}")
    assert line.startswith(f"run={moved}: expected a folder in runs/RECIPE, with RECIPE ")
    assert "sac_mixture" in line


def test_refused_checkpoints(make_run, main, capsys):
    run, _, _ = make_run()
    best, old, new = sorted((run / "checkpoints").iterdir())
    other, _, _ = make_run("network.hidden_sizes=[16]", name="time-1")

    (best / "manifest.json").unlink()
    none = "expected a complete checkpoint, found none."
    assert refused(main, capsys, f"run={run}", "checkpoint=best") == f"{best}: {none}"

    (run / "config.yaml").write_text((other / "config.yaml").read_text())
    line = refused(main, capsys, f"run={run}")
    expected = (
        f"{new}: no policy of this run's settings (Failed to load checkpoint component 'policy'"
    )
    assert line.startswith(expected)
    assert line.endswith(").") and len(line) < 450

    for path in (old, new):
        (path / "manifest.json").write_text("{")
    assert refused(main, capsys, f"run={run}") == f"{run / 'checkpoints'}: {none}"


def test_refused_settings(make_run, main, capsys, monkeypatch):
    run, _, _ = make_run()
    line = refused(main, capsys, f"run={run}", "rule=greedy")
    assert line == "rule=greedy: expected all | heaviest | densest | sampled."
    line = refused(main, capsys, f"run={run}", "episodes=0")
    assert line.startswith("episodes=0: expected an integer above 0")
    line = refused(main, capsys, f"run={run}", "video=out.avi")
    assert line == "video=out.avi: expected a file that ends in .mp4 or .gif."
    line = refused(main, capsys, f"run={run}", "video=no/where/out.gif")
    unwritable = "(No such file or directory): expected a file that can be written."
    assert line == f"video=no/where/out.gif {unwritable}"
    monkeypatch.setitem(sys.modules, "av", None)
    line = refused(main, capsys, f"run={run}", "video=out.mp4")
    expected = "expected no video, or first: pip install 'torchrl_mixture[video]'."
    assert line == f"video=out.mp4: {expected}"
    assert not list(Path().glob("out.*"))


def test_what_cannot_be_drawn_is_refused_before_the_episodes(make_run, main, capsys, monkeypatch):
    run, _, _ = make_run("env.name=Hopper-v5")
    monkeypatch.setitem(os.environ, "MUJOCO_GL", "disable")
    line = refused(main, capsys, f"run={run}", "video=out.gif")
    assert line.startswith("env.name=Hopper-v5 (")
    assert line.endswith("): expected a task that can be drawn here.")
