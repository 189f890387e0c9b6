"""Runs that Ctrl-C, SIGTERM or a full disk reach in the middle."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest
from recipes.running import (
    COMMAND,
    ENVIRONMENT,
    SHORT,
    build,
    check_resumed,
    frames_of,
    script,
)

from torchrl_mixture.trainers import newest_checkpoint, train_run

LONG = [
    *SHORT[2:],  # the task that scripts know
    "collector.total_frames=1000000",
    "evaluation.interval=500000",
    "evaluation.episodes=1",
    "checkpoint.interval=500000",
]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_batch_with_a_checkpoint(recipe, number, tmp_path, capsys):
    trainer, run = build(recipe, *SHORT)
    trainer.register_op("batch_process", lambda batch: at_frame(trainer, 100, number, batch))
    assert not train_run(trainer, run)
    assert trainer.collected_frames == 110
    assert newest_checkpoint(run.record.checkpoints)[1] == 110
    line = f"Stopped at frame 110 of 260; resume={run.record.path} goes on from frame 110.\n"
    assert capsys.readouterr() == (line, "")
    check_resumed(recipe, run.record.path, tmp_path / "copy")


def at_frame(trainer, frames, number, batch, times=1):
    if trainer.collected_frames == frames:
        for _ in range(times):
            signal.raise_signal(number)
    return batch


def test_the_second_signal_interrupts_at_once(recipe):
    before = signal.getsignal(signal.SIGINT)
    trainer, run = build(recipe, *SHORT)
    trainer.register_op("batch_process", lambda b: at_frame(trainer, 100, signal.SIGINT, b, 2))
    with pytest.raises(KeyboardInterrupt):
        train_run(trainer, run)
    assert trainer.collected_frames == 100 and signal.getsignal(signal.SIGINT) is before


@contextmanager
def started(folder, *arguments):
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(found, process, seconds=120, poll=0.05):
    """Wait until there is something to find, and return it."""
    end = time.monotonic() + seconds
    while not (result := found()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(poll)
    return result


def begun(tmp_path):
    return lambda: list(tmp_path.glob("runs/sac_mixture/*/progress.csv"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_script_that_is_asked_to_stop(recipe, number, tmp_path):
    with started(tmp_path, *LONG) as process:
        (table,) = wait_for(begun(tmp_path), process)
        time.sleep(2)
        process.send_signal(number)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 130 and error == ""
    _, frames = newest_checkpoint(table.parent / "checkpoints")
    assert 0 < frames < 1_000_000
    assert out.startswith(f"Stopped at frame {frames} of 1000000; resume=runs/sac_mixture/")
    check_resumed(recipe, table.parent, tmp_path / "copy")


@pytest.mark.slow
def test_a_script_that_is_interrupted_twice_ends_at_once(tmp_path):
    # one batch of a million frames: without the second signal it would go on for minutes
    settings = ["collector.frames_per_batch=250000", "collector.init_random_frames=250000"]
    with started(tmp_path, *LONG, *settings) as process:
        (table,) = wait_for(begun(tmp_path), process)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=10)
    assert process.returncode == 130 and out == ""
    assert error.count("\n") == 1 and "Traceback" not in error
    assert frames_of(table.parent) == [0]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    os.chdir(tmp_path)
    subprocess.run(["umount", "-l", str(folder)], check=True)


DISK = [
    *SHORT[2:],
    "collector.total_frames=400",
    "evaluation.interval=200",
    "evaluation.episodes=1",
    "checkpoint.interval=200",
]


@pytest.mark.slow
def test_a_run_on_a_small_disk_goes_on_without_checkpoints(small_disk):
    finished = script(*DISK, cwd=small_disk)
    assert finished.returncode == 0, finished.stderr
    assert "In 400 frames the mean return went from" in finished.stdout
    (folder,) = (small_disk / "runs" / "sac_mixture").iterdir()
    assert frames_of(folder) == [0, 200, 400]
    warned = finished.stderr.splitlines()
    end = "was not written (17 MB are needed, 8 MB are free)."
    for frames in (200, 400):
        assert f"{folder}/checkpoints/checkpoint-{frames:012d} {end}" in warned
    assert all("was not written" in line for line in warned)
    assert [line[20:] for line in (folder / "log.txt").read_text().splitlines()] == warned


@pytest.mark.slow
@pytest.mark.parametrize("when", ["from the start", "in the middle"])
def test_a_run_on_a_full_disk_goes_on_to_its_end(small_disk, when):
    settings = [*DISK, "collector.total_frames=4000", "optim.utd_ratio=0.1"]
    with started(small_disk, *settings) as process:
        pattern = "config.yaml" if when == "from the start" else "progress.csv"
        wait_for(lambda: list(small_disk.glob(f"runs/*/*/{pattern}")), process)
        fill(small_disk)
        out, error = process.communicate(timeout=120)
    assert "checkpoint-000000004000 was not written (" in error
    assert "progress.csv was not written (No space left on device); it will be tried" in error
    assert "Traceback" not in error and process.returncode == 0
    assert "The run is in" in out


def fill(folder):
    """Leave not a byte."""
    with open(folder / "filler", "wb", buffering=0) as file:
        for size in (2**16, 2**8, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
