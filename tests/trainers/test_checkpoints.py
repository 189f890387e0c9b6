"""Which checkpoints are kept, and what happens where one cannot be written."""

import json
import shutil
from collections import namedtuple

import pytest
import torch
from torch import nn
from torchrl.checkpoint import Checkpoint

from torchrl_mixture.trainers import Refusal, RunCheckpoints, checkpoints
from torchrl_mixture.trainers.checkpoints import newest_checkpoint, tensor_bytes

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def lines():
    return []


@pytest.fixture
def rotation(tmp_path, lines):
    return RunCheckpoints(tmp_path / "run" / "checkpoints", lines.append)


def module(value):
    net = nn.Linear(1, 1)
    nn.init.constant_(net.weight, value)
    return Checkpoint(net=net)


def value_in(path):
    net = nn.Linear(1, 1)
    Checkpoint(net=net).load(path)
    return net.weight.item()


def names(rotation):
    return sorted(path.name for path in rotation.directory.iterdir())


def test_the_last_two_are_kept(rotation, lines):
    for step in (5, 10, 20, 1_000_000):
        path = rotation.save(module(step), step=step)
        assert rotation.latest() == path
    assert names(rotation) == ["checkpoint-000000000020", "checkpoint-000001000000"]
    assert value_in(path) == 1_000_000
    assert newest_checkpoint(rotation.directory) == (path, 1_000_000)
    assert not lines


def test_the_best_is_replaced_by_a_better_one_only(rotation, lines):
    for frames, value in ((0, -5.0), (10, -7.0), (20, float("nan")), (30, -5.0)):
        rotation.save_best(module(frames), value, frames)
    assert value_in(rotation.best_path) == 0
    rotation.save_best(module(40), -4.5, 40)
    assert value_in(rotation.best_path) == 40
    reopened = RunCheckpoints(rotation.directory, lines.append)
    reopened.save_best(module(50), -4.6, 50)
    assert value_in(rotation.best_path) == 40
    reopened.save_best(module(60), -4.4, 60)
    assert value_in(rotation.best_path) == 60
    metadata = Checkpoint.manifest(rotation.best_path)["metadata"]
    assert metadata == {"value": -4.4, "collected_frames": 60}
    assert names(rotation) == ["best"] and not lines


def test_the_best_is_no_checkpoint_to_go_on_from_and_is_never_rotated(rotation):
    rotation.save_best(module(1), 1.0, 1)
    with pytest.raises(Refusal, match=r"expected a complete checkpoint, found none\.$"):
        newest_checkpoint(rotation.directory)
    for step in (1, 2, 3):
        rotation.save(module(step), step=step)
    assert names(rotation) == ["best", "checkpoint-000000000002", "checkpoint-000000000003"]


def test_leftovers_are_removed_and_nothing_else(rotation):
    rotation.clean()  # of a folder that is not there yet
    rotation.save(module(1), step=1)
    rotation.save_best(module(1), 1.0, 1)
    for name in (".checkpoint-2.stage-1", ".checkpoint-1.delete-2", ".best.backup-3"):
        (rotation.directory / name / "components").mkdir(parents=True)
    (rotation.directory / ".file.new").write_text("")
    rotation.clean()
    assert set(names(rotation)) - {".file.new"} == {"best", "checkpoint-000000000001"}


def test_the_best_outlives_a_crash_while_it_is_replaced(rotation):
    """TorchRL puts the old one aside, then the new one in its place."""
    rotation.save_best(module(1), 1.0, 1)
    rotation.best_path.rename(rotation.directory / ".best.backup-1")
    rotation.clean()
    assert value_in(rotation.best_path) == 1


def test_incomplete_checkpoints_are_not_chosen(rotation):
    for step in (1, 2):
        path = rotation.save(module(step), step=step)
    (path / "manifest.json").unlink()
    assert newest_checkpoint(rotation.directory)[1] == 1
    first = rotation.directory / "checkpoint-000000000001" / "manifest.json"
    first.write_text(first.read_text()[:50])
    with pytest.raises(Refusal, match="found none"):
        newest_checkpoint(rotation.directory)


def test_no_folder_of_checkpoints_is_refused(tmp_path):
    with pytest.raises(Refusal) as refused:
        newest_checkpoint(tmp_path / "none")
    expected = "expected a complete checkpoint, found none."
    assert str(refused.value) == f"{tmp_path / 'none'}: {expected}"


def test_full_disk_is_told_in_a_line_and_nothing_is_written(rotation, lines, monkeypatch):
    rotation.save(module(1), step=1)
    rotation.save_best(module(1), 1.0, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 10**6, 10**6))
    path = rotation.save(module(2), step=2)
    rotation.save_best(module(2), 2.0, 2)
    needs = "was not written (17 MB are needed, 1 MB are free)."
    assert lines == [f"{path} {needs}", f"{rotation.best_path} {needs}"]
    assert names(rotation) == ["best", "checkpoint-000000000001"]
    assert value_in(rotation.best_path) == 1
    monkeypatch.undo()
    rotation.save(module(3), step=3)
    assert rotation.latest().name == "checkpoint-000000000003" and len(lines) == 2


def test_a_best_policy_that_was_not_written_does_not_count(rotation, lines, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 0))
    rotation.save_best(module(1), 1.0, 1)
    monkeypatch.undo()
    rotation.save_best(module(2), 0.5, 2)
    assert len(lines) == 1 and value_in(rotation.best_path) == 2


def test_space_is_compared_with_the_size_of_the_state(rotation, lines, monkeypatch):
    large = Checkpoint(net=nn.Linear(1_000, 1_000, bias=False))
    assert tensor_bytes(large.components["net"].state_dict()) == 4_000_000
    exact = 4_000_000 + checkpoints.MARGIN
    for free in (exact - 1, exact):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: Usage(free, 0, free))
        rotation.save(large, step=free)
    assert len(lines) == 1 and newest_checkpoint(rotation.directory)[1] == exact


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        PermissionError(13, "Permission denied"),
        RuntimeError("unable to write to file <a.memmap>: No space left on device (28)"),
    ],
    ids=["full", "denied", "torch"],
)
def test_errors_of_writing_are_told_in_a_line(rotation, lines, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(Checkpoint, "save", fail)
    path = rotation.save(module(1), step=1)
    rotation.save_best(module(1), 1.0, 1)
    said = getattr(error, "strerror", None) or str(error)
    for line, which in zip(lines, (path, rotation.best_path), strict=True):
        assert line == f"{which} was not written ({said})."


def test_a_folder_that_cannot_be_made_is_told_in_a_line(tmp_path, lines):
    (tmp_path / "run").write_text("")
    rotation = RunCheckpoints(tmp_path / "run" / "checkpoints", lines.append)
    path = rotation.save(module(1), step=1)
    rotation.save_best(module(1), 1.0, 1)
    assert len(lines) == 2 and lines[0].startswith(f"{path} was not written (")
    assert all(line.count("\n") == 0 for line in lines)


def test_metadata_say_where_the_run_was(rotation):
    path = rotation.save(module(1), step=7, metadata={"collected_frames": 7})
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["metadata"] == {"collected_frames": 7}


def test_bytes_of_nested_states():
    state = {"a": torch.zeros(3), "b": [torch.zeros(2, dtype=torch.float64), {"c": None}], "d": 1}
    assert tensor_bytes(state) == 28


def test_other_errors_of_saving_are_not_hidden(rotation, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Checkpoint, "save", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        rotation.save(module(1), step=1)
