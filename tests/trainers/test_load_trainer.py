"""Going on from a checkpoint: what is refused, in one line, and that nothing is unpickled."""

import json
import pickle
import re

import pytest
import torch
from torchrl.checkpoint import Checkpoint, GlobalRNGState

from torchrl_mixture.trainers import Refusal, Replay, RunCheckpoints, replay_buffer
from torchrl_mixture.trainers.checkpoints import load_trainer


@pytest.fixture
def build(make_trainer, tmp_path):
    """Build a trainer with a buffer that saves itself at its end."""

    def with_buffer(**options):
        trainer = make_trainer(**options)
        trainer.checkpoint = Checkpoint(rng=GlobalRNGState())
        trainer.checkpoint_rotation = RunCheckpoints(tmp_path, print)
        trainer.save_trainer_interval = 10**9
        Replay(replay_buffer(100, batch_size=8)).register(trainer)
        return trainer

    return with_buffer


@pytest.fixture
def saved(build, tmp_path):
    trainer = build()
    trainer.train()
    return trainer, tmp_path / "checkpoint-000000000042"


def refusal(trainer, path):
    with pytest.raises(Refusal) as refused:
        load_trainer(trainer, path)
    line = str(refused.value)
    ways = ("this run cannot go on from it (", "it is damaged (")
    assert line.startswith(tuple(f"{path}: {way}" for way in ways)) and line.endswith(
        (").", "; where it is removed, the one before it is used.")
    )
    assert "\n" not in line and len(line) < 300 + 80 + len(str(path))
    return line


def test_everything_is_restored(build, saved):
    trainer, path = saved
    expected = torch.get_rng_state()  # nothing was drawn since it was saved
    other = build()
    assert not torch.get_rng_state().equal(expected)
    load_trainer(other, path)
    assert torch.get_rng_state().equal(expected)
    assert other.collected_frames == 42 and other._optim_count == 22
    assert other.collector._frames == 42
    for one, two in (
        (trainer.loss_module, other.loss_module),
        (trainer._modules["replay_buffer"], other._modules["replay_buffer"]),
    ):
        left, right = one.state_dict(), two.state_dict()
        assert str(left) == str(right)
    left, right = (
        t.optimization_stepper.optimizer.state_dict()["state"] for t in (trainer, other)
    )
    assert all(left[i][k].equal(right[i][k]) for i in left for k in left[i])


def test_nothing_is_unpickled(build, saved, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("unpickled")

    for owner, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(owner, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    other = build()
    load_trainer(other, saved[1])
    assert other.collected_frames == 42


def test_a_checkpoint_holds_no_pickles(saved):
    kinds = {file.suffix for file in saved[1].rglob("*") if file.is_file()}
    assert kinds == {".json", ".memmap"}


@pytest.mark.parametrize("options", [{"hidden": 16}, {"task": "Pendulum-v1"}])
def test_another_network_or_task_is_refused(build, saved, options):
    line = refusal(build(**options), saved[1])
    assert "Failed to load checkpoint component" in line


def test_a_checkpoint_of_something_else_is_refused(build, tmp_path):
    Checkpoint(notes={"a": 1}).save(tmp_path / "other")
    assert "missing" in refusal(build(), tmp_path / "other")
    (tmp_path / "nothing").mkdir()
    refusal(build(), tmp_path / "nothing")
    (tmp_path / "file").write_text("words")
    refusal(build(), tmp_path / "file")


def files(path, pattern):
    found = sorted(path.glob(f"components/*/{pattern}"))
    assert found
    return found


PATTERNS = [
    "state/*.memmap",
    "state/meta.json",
    "state.json",
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("part", ["loss_module", "replay_buffer", "trainer_module"])
def test_truncated_files_are_refused(build, saved, pattern, part):
    path = saved[1]
    file = max(
        (file for file in files(path, pattern) if part in str(file)),
        key=lambda file: file.stat().st_size,
    )
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    line = refusal(build(), path)
    assert ("it is damaged" in line) == (pattern != "state.json")
    assert part in line


@pytest.mark.parametrize("part", ["loss_module", "replay_buffer", "trainer_state", "rng"])
def test_missing_files_are_refused(build, saved, part):
    path = saved[1]
    for file in files(path, "state.json"):
        if part in str(file):
            file.unlink()
    line = refusal(build(), path)
    assert f"component '{part}" in line and "No such file" in line


@pytest.mark.parametrize("text", ["{", "", '{"format": "other"}', None])
def test_a_missing_or_broken_manifest_is_refused(build, saved, text):
    manifest = saved[1] / "manifest.json"
    manifest.unlink() if text is None else manifest.write_text(text)
    line = refusal(build(), saved[1])
    expected = "No such file" if text is None else "manifest|not contain a TorchRL checkpoint"
    assert re.search(expected, line)


def test_a_manifest_of_another_version_is_refused(build, saved):
    manifest = saved[1] / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format_version": 99}))
    assert "format version 99" in refusal(build(), saved[1])
