"""The recipe of the bandit studies: what it leaves behind, and what it refuses."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from recipes.running import ENVIRONMENT, RECIPES

SMALL = {
    "bimodal": ["bimodal.num_trials=3"],
    "random": ["random.num_bandits=4", "random.num_steps=100"],
    "continuous": ["continuous.num_seeds=3", "continuous.num_steps=24"],
}
FILES = {
    "bimodal": {"stationary_points.csv", "policies.png", "points.png"},
    "random": {
        *(f"{name}.csv" for name in ("results", "curves", "summary", "gains")),
        *(f"{name}.png" for name in ("examples", "alphas", "every_bandit", "best_settings")),
    },
    "continuous": {"density.csv", "summary.csv", "density.png"},
}


def run(cwd, *arguments):
    command = [sys.executable, str(RECIPES / "bandits.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True)


@pytest.mark.parametrize("study", SMALL)
def test_a_study_leaves_its_tables_and_figures(study, tmp_path):
    done = run(tmp_path, f"study={study}", *SMALL[study], "seed=3")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs" / "bandits").iterdir()
    assert folder.name.endswith("-3")
    assert {file.name for file in folder.iterdir()} == {"config.yaml", *FILES[study]}
    assert all(file.stat().st_size > 100 for file in folder.iterdir())
    assert (
        done.stdout.splitlines()[-1] == f"Tables and figures are in {folder.relative_to(tmp_path)}"
    )
    if study == "bimodal":
        frame = pd.read_csv(folder / "stationary_points.csv")
        assert len(frame) == 15 * 2 * 3
        assert "none" in done.stdout
    elif study == "random":
        gains = pd.read_csv(folder / "gains.csv")
        assert gains["method"].nunique() == 5 and len(gains) == 5 * 5
        assert done.stdout.count(" is done") == 7
    else:
        summary = pd.read_csv(folder / "summary.csv")
        assert summary["seeds"].unique() == [3] and "TD3/DDPG" in set(summary["learner"])


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("study=rndom", "study=rndom: expected bimodal | random | continuous.\n"),
        ("random.num_steps=150", "random.num_steps=150: expected a multiple of 100.\n"),
        ("random.num_bandits=3", "random.num_bandits=3: expected an integer at least 4.\n"),
        ("seeds=1", "seeds=1: expected a known key, the nearest is seed (an integer "),
    ],
)
def test_refusals(argument, line, tmp_path):
    done = run(tmp_path, argument)
    assert done.returncode == 2 and done.stderr.startswith(line) and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_missing_matplotlib_is_told_before_the_work(tmp_path):
    (tmp_path / "hide.py").write_text(
        "import runpy, sys\n"
        "from importlib import util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: name != 'matplotlib' and find(name)\n"
        f"sys.argv = ['bandits.py']\nsys.path.insert(0, {str(RECIPES)!r})\n"
        f"runpy.run_path({str(RECIPES / 'bandits.py')!r}, run_name='__main__')\n"
    )
    command = [sys.executable, "hide.py"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("study=bimodal: expected Matplotlib and SciPy first: pip inst")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_an_interrupted_study_ends_at_once_with_its_processes(tmp_path):
    handler = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, str(RECIPES / "bandits.py"), "study=random"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=ENVIRONMENT,
        start_new_session=True,
        preexec_fn=handler,
        **options,
    )
    time.sleep(15)  # its processes train now
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=20)  # returns when no process holds the other ends
    assert process.returncode == 130 and said == ("", "Interrupted.\n")
