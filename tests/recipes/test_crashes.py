"""Runs that are killed at random moments, half of them while a checkpoint is written."""

import random
import shutil
import time

import pytest
from recipes.running import SHORT, check_resumed, frames_of, rows, script
from recipes.test_signals import started, wait_for

from torchrl_mixture.trainers import newest_checkpoint

KILLS = 10
STAGED = ".checkpoint-*stage*"
SETTINGS = [
    *SHORT[2:],  # the task that scripts know
    "collector.total_frames=1000000",
    "evaluation.interval=200",
    "evaluation.episodes=1",
    "checkpoint.interval=10",
    "network.hidden_sizes=[800,800]",
    "optim.utd_ratio=0.1",
]


def in_checkpoints(tmp_path, pattern):
    return set(tmp_path.glob(f"runs/sac_mixture/*/checkpoints/{pattern}"))


def kill_one(tmp_path, arguments, seconds, writing):
    """Kill a run some time after it saved, or into its next saving; return what it left."""
    before = in_checkpoints(tmp_path, "checkpoint-*")
    with started(tmp_path, *arguments) as process:
        wait_for(lambda: in_checkpoints(tmp_path, "checkpoint-*") - before, process)
        if writing:
            wait_for(lambda: in_checkpoints(tmp_path, STAGED), process, poll=0.001)
        time.sleep(seconds)
        process.kill()
        process.wait()
    return in_checkpoints(tmp_path, STAGED)


@pytest.mark.slow
def test_killed_runs_go_on(recipe, tmp_path):
    moments, arguments, table = random.Random(0), SETTINGS, []
    for number in range(KILLS):
        writing = number % 2 == 1
        staged = kill_one(tmp_path, arguments, moments.uniform(0, 0.03 if writing else 1), writing)
        (folder,) = (tmp_path / "runs" / "sac_mixture").iterdir()
        recorded = frames_of(folder)
        _, frames = newest_checkpoint(folder / "checkpoints")
        table.append((frames, recorded[-1], len(staged)))
        assert recorded == list(range(0, recorded[-1] + 1, 200))
        kept = [row for row in rows(folder) if int(row["frames"]) <= frames]
        check_resumed(recipe, folder, tmp_path / "copy")
        shutil.rmtree(tmp_path / "copy")
        assert rows(folder) == kept
        arguments = [f"resume={folder}"]
    print("checkpoint  last row  killed while writing")
    print("\n".join(f"{frames:10} {row:9} {bool(staged)!s:>21}" for frames, row, staged in table))
    assert sum(staged > 0 for *_, staged in table) >= 3
    check_finished(folder, table[-1][0], tmp_path)


def check_finished(folder, frames, tmp_path):
    total = (frames // 200 + 2) * 200
    finished = script(f"resume={folder}", f"collector.total_frames={total}", cwd=tmp_path)
    assert finished.returncode == 0 and finished.stderr == ""
    assert frames_of(folder) == list(range(0, total + 1, 200))
    assert newest_checkpoint(folder / "checkpoints")[1] == total
    lines = (folder / "log.txt").read_text().splitlines()
    assert sum("begins a new episode" in line for line in lines) >= KILLS + 1
    assert [str(row["updates"]) for row in rows(folder)] == [
        str(max(0, (int(row["frames"]) - 190) // 10)) for row in rows(folder)
    ]
