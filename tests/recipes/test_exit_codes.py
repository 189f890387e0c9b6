"""What the recipe refuses, in one line of stderr, and its exit codes."""

import signal
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv
from recipes.running import SHORT, frames_of, script, stop_at, train

from torchrl_mixture.trainers import ConfigError, RunError, loggers, newest_checkpoint


@pytest.fixture
def run_main(recipe, monkeypatch, capsys):
    """Run the recipe's main and return its exit code and what it said."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sac_mixture.py", *arguments])
        code = 0
        try:
            recipe.main()
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def check_refused(result, start, code=2):
    assert result[0] == code and result[1] == ""
    assert result[2].startswith(start), result[2]
    assert result[2].count("\n") == 1 and len(result[2]) < 800


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        (
            "optim.learning_rate=3",
            "optim.learning_rate=3: expected a known key, "
            "the nearest is optim.lr (a number above 0).\n",
        ),
        ("device=cuda", "device=cuda: expected a known key; --help lists them.\n"),
        ("optim.lr=inf", "optim.lr=inf: expected a number above 0.\n"),
        ("optim.lr", "optim.lr=(nothing): expected key=value.\n"),
        ("preset=clasic", "preset=clasic: expected "),
        ("resume=nowhere", "resume=nowhere: expected the folder of a run, with its config.yaml."),
        (
            "env.name=CartPole-v1",
            "env.name=CartPole-v1, with actions Discrete(2): expected a flat, bounded Box.",
        ),
        ("env.name=Pendulun-v1", "env.name=Pendulun-v1: expected an environment registered in"),
        (
            "env.library=atari",
            "env.library=atari: expected gymnasium | dm_control | torchrl_mixture.\n",
        ),
        (
            "collector.init_random_frames=10000",
            "collector.init_random_frames=10000: expected less than 10000 frames.",
        ),
        ("collector.total_frames=1005", "collector.total_frames=1005: expected a multiple of 10 "),
        ("env.num_envs=3", "collector.frames_per_batch=10: expected a multiple of 3 "),
        ("optim.utd_ratio=0.33", "optim.utd_ratio=0.33: expected a multiple of 1/10"),
        ("logger.backend=mlflow", "logger.backend=mlflow: expected csv | tensorboard | wandb.\n"),
    ],
)
def test_settings_are_refused(run_main, argument, line, tmp_path):
    check_refused(run_main(argument), line)
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_refused(run_main, monkeypatch, tmp_path):
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    check_refused(run_main("logger.backend=wandb"), "logger.backend=wandb: expected csv, or wandb")
    assert not list(tmp_path.iterdir())


def test_prioritised_replay_without_its_extension_is_refused(run_main, tmp_path):
    try:
        import torchrl._torchrl  # noqa: F401
    except ImportError:
        line = "replay_buffer.prioritized=True: expected false, since TorchRL's extension"
        check_refused(run_main("replay_buffer.prioritized=true"), line)
        assert not list(tmp_path.iterdir())
    else:
        pytest.skip("TorchRL's extension loads here")


def test_a_folder_that_cannot_be_written_is_refused(run_main, tmp_path):
    (tmp_path / "runs").write_text("a file")
    check_refused(run_main(), f"{tmp_path}/runs/sac_mixture: no run can be written there (")


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("network.hidden_sizes=[16]", "network.hidden_sizes=[16]: expected [8], as the run began"),
        ("env.name=Pendulum-v1", "env.name=Pendulum-v1: expected Swing-v0, as the run began; "),
        ("seed=1", "seed=1: expected 0, as the run began; when continued, collector.total_frames"),
        ("preset=classic", "preset=classic: expected no preset when a run is continued."),
        (
            "collector.total_frames=260",
            "collector.total_frames=260: expected more than the 260 frames that ",
        ),
        (
            "collector.total_frames=240",
            "collector.total_frames=240: expected more than the 260 frames that ",
        ),
    ],
)
def test_changes_of_a_continued_run_are_refused(run_main, finished, argument, line):
    before = (finished / "config.yaml").read_bytes(), frames_of(finished)
    check_refused(run_main(f"resume={finished}", argument), line)
    assert ((finished / "config.yaml").read_bytes(), frames_of(finished)) == before


@pytest.fixture
def finished(recipe):
    return train(recipe)


def test_what_there_is_nothing_of_is_refused(run_main, finished, tmp_path):
    higher = "collector.total_frames=400"
    checkpoint, _ = newest_checkpoint(finished / "checkpoints")
    (checkpoint / "components" / "0001-loss_module" / "state.json").write_text("{")
    line = f"{checkpoint}: this run cannot go on from it ("
    check_refused(run_main(f"resume={finished}", higher), line)
    for manifest in finished.glob("checkpoints/*/manifest.json"):
        manifest.unlink()
    line = f"{finished}/checkpoints: expected a complete checkpoint, found none.\n"
    check_refused(run_main(f"resume={finished}", higher), line)
    (finished / "config.yaml").write_text("[")
    check_refused(run_main(f"resume={finished}"), f"{finished}/config.yaml: cannot be read (")


class BrokenEnv(PendulumEnv):
    """The reward is not a number from step 215 on."""

    steps = 0

    def step(self, action):
        self.steps += 1
        observation, reward, *rest = super().step(action)
        return observation, np.nan if self.steps > 214 else reward, *rest


def test_data_that_are_not_finite_end_the_run_with_code_one(run_main, tmp_path):
    gymnasium.register("Broken-v0", BrokenEnv, max_episode_steps=20)
    code, out, error = run_main(*SHORT, "env.name=Broken-v0", "checkpoint.interval=10")
    (folder,) = (tmp_path / "runs" / "sac_mixture").iterdir()
    saved = folder / "checkpoints" / "checkpoint-000000000210"
    line = f"next.reward is nan at frame 220; the last good checkpoint is {saved}."
    assert (code, out, error) == (1, "", f"{line}\n")
    assert (folder / "log.txt").read_text().endswith(f"{line}\n")


def test_an_asked_stop_is_code_130(run_main, recipe, monkeypatch):
    make_trainer = recipe.make_trainer

    def stopping(config):
        trainer, run = make_trainer(config)
        stop_at(trainer, 100)
        return trainer, run

    monkeypatch.setattr(recipe, "make_trainer", stopping)
    code, out, error = run_main(*SHORT)
    assert (code, error) == (130, "") and out.startswith("Stopped at frame 100 of 260; resume=")


def test_signals_have_their_handlers_back(run_main):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run_main(*SHORT)[0] == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("code", [2, 1])
def test_debug_shows_the_traceback(recipe, monkeypatch, code):
    monkeypatch.setattr(sys, "argv", ["sac_mixture.py", "debug=true", "optim.lr=0"])
    if code == 1:
        monkeypatch.setattr(sys, "argv", ["sac_mixture.py", "debug=true", *SHORT])
        monkeypatch.setattr(recipe, "train_run", lambda *a: (_ for _ in ()).throw(RunError("x")))
    with pytest.raises(ConfigError if code == 2 else RunError):
        recipe.main()


def test_refused_as_a_script(tmp_path):
    refused = script("optim.lr=fast", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "optim.lr=fast: expected a number above 0.\n"
    shown = script("optim.lr=fast", "debug=true", cwd=tmp_path)
    assert shown.returncode == 1 and "Traceback (most recent call last)" in shown.stderr
    assert not list(tmp_path.iterdir())


def test_finished_as_a_script(tmp_path):
    finished = script(*SHORT[1:], "evaluation.episodes=1", cwd=tmp_path)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "In 260 frames the mean return went from" in finished.stdout
    (folder,) = (tmp_path / "runs" / "sac_mixture").iterdir()
    written = {file.name for file in folder.iterdir()}
    assert written == {"config.yaml", "progress.csv", "checkpoints", "curve.png"}


def test_help_ends_with_code_zero(run_main, tmp_path):
    code, out, error = run_main("--help")
    assert (code, error) == (0, "") and "checkpoint.interval=5000" in out
    assert not list(tmp_path.iterdir())
