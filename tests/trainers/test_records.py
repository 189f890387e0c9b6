"""The folder of a run: its table, which is written whole, and its log."""

import csv
import os
import re
from dataclasses import dataclass
from datetime import datetime

import pytest
from omegaconf import OmegaConf

from torchrl_mixture.trainers import Refusal, RunRecord, records

RETURNS = {"return_mean_mean": -100.0, "return_mean_std": 10.0}
COLLAPSE = {"effective_components": 3.0, "component_information": 0.1 + 0.2}


@dataclass
class Config:
    seed: int = 7
    resume: str = ""


def create(root):
    return RunRecord.create("test", Config(), seed=7, root=root)


def table(record):
    with open(record.path / "progress.csv", newline="") as file:
        return list(csv.DictReader(file))


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_folder_and_late_columns(tmp_path):
    record = create(tmp_path)
    record.add({"frames": 0, **RETURNS})
    record.add({"frames": 10, **RETURNS, **COLLAPSE})
    assert record.path.parent == tmp_path / "test"
    assert re.fullmatch(r"\d{8}-\d{6}-\d{6}-7", record.path.name)
    assert OmegaConf.load(record.path / "config.yaml") == {"seed": 7, "resume": ""}
    first, second = table(record)
    assert list(first) == ["frames", *RETURNS, *COLLAPSE]
    assert first["effective_components"] == ""
    assert second["component_information"] == "0.30000000000000004"  # all digits
    assert create(tmp_path).path != record.path
    assert record.checkpoints == record.path / "checkpoints"


def test_runs_that_begin_at_once_have_folders_of_their_own(tmp_path, monkeypatch):
    moments = [datetime(2026, 1, 1), datetime(2026, 1, 1), datetime(2026, 1, 1, 1)]

    class Clock:
        @staticmethod
        def now():
            return moments.pop(0)

    monkeypatch.setattr(records, "datetime", Clock)
    first, second = (create(tmp_path) for _ in range(2))
    assert first.path != second.path and not moments


def test_table_is_never_seen_half_written(tmp_path, monkeypatch):
    record, seen = create(tmp_path), []
    replace = os.replace

    def watched(source, target):
        seen.append((os.path.exists(target) and open(target).read(), open(source).read()))
        replace(source, target)

    monkeypatch.setattr(records.os, "replace", watched)
    for frames in (0, 10):
        record.add({"frames": frames, **RETURNS})
    contents = [new for _, new in seen]
    assert [old for old, _ in seen] == [False, contents[0]]
    assert contents[1] == (record.path / "progress.csv").read_text()
    assert contents[1].startswith(contents[0]) and contents[0].endswith("\n")
    assert names(record.path) == ["config.yaml", "progress.csv"]


def test_a_row_that_was_not_written_is_written_with_the_next(tmp_path, monkeypatch, capsys):
    record = create(tmp_path)
    record.add({"frames": 0, **RETURNS})
    before = (record.path / "progress.csv").read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.csv.DictWriter, "writerows", full)
    record.add({"frames": 10, **RETURNS})
    line = "progress.csv was not written (No space left on device); it will be tried again."
    assert capsys.readouterr().err == f"{line}\n"
    assert (record.path / "progress.csv").read_bytes() == before
    assert names(record.path) == ["config.yaml", "log.txt", "progress.csv"]
    monkeypatch.undo()
    record.add({"frames": 20, **RETURNS})
    assert [row["frames"] for row in table(record)] == ["0", "10", "20"]


def interrupted(tmp_path):
    record = create(tmp_path)
    for frames in (0, 10, 20, 30):
        late = {"late": 1 / 3 + frames} if frames >= 20 else {}
        record.add({"frames": frames, "value": 0.1 * frames, "odd": 'a,"b', **late})
    return record


@pytest.mark.parametrize(("frames", "kept"), [(0, 1), (19, 2), (20, 3), (30, 4), (99, 4)])
def test_reopening_drops_what_comes_after_the_checkpoint(tmp_path, frames, kept):
    record = interrupted(tmp_path)
    before = table(record)
    reopened = RunRecord.reopen(record.path, frames)
    assert table(reopened) == before  # nothing has changed so far
    reopened.resume(Config(resume=str(record.path)))
    assert table(reopened) == before[:kept]
    reopened.add({"frames": 100, "value": 1.5, "odd": "c", "late": 2.0})
    rows = [{**row, "late": row.get("late", "")} for row in before[:kept]]
    assert table(reopened) == [
        *rows,
        {"frames": "100", "value": "1.5", "odd": "c", "late": "2.0"},
    ]


def test_reopening_keeps_the_table_byte_for_byte(tmp_path):
    record = interrupted(tmp_path)
    before = (record.path / "progress.csv").read_bytes()
    RunRecord.reopen(record.path, frames=30).resume(Config())
    assert (record.path / "progress.csv").read_bytes() == before
    RunRecord.reopen(record.path, frames=20).resume(Config())
    last = before.rstrip().rindex(b"\n") + 1
    assert (record.path / "progress.csv").read_bytes() == before[:last]


def test_reopening_writes_the_settings_from_here_on(tmp_path):
    record = create(tmp_path)
    reopened = RunRecord.reopen(record.path, frames=0)
    assert OmegaConf.load(record.path / "config.yaml") == {"seed": 7, "resume": ""}
    reopened.resume(Config(seed=9, resume=str(record.path)))
    assert OmegaConf.load(record.path / "config.yaml") == {"seed": 9, "resume": ""}


def test_reopening_without_a_table(tmp_path):
    record = create(tmp_path)
    reopened = RunRecord.reopen(record.path, frames=5)
    reopened.resume(Config())
    reopened.add({"frames": 10})
    assert [row["frames"] for row in table(reopened)] == ["10"]


@pytest.mark.parametrize("content", ["value\n1\n", "frames,value\nx,1\n", "frames\n1\n\n,\n"])
def test_a_table_that_cannot_be_read_is_refused(tmp_path, content):
    record = create(tmp_path)
    (record.path / "progress.csv").write_text(content)
    with pytest.raises(Refusal) as refused:
        RunRecord.reopen(record.path, frames=5)
    line = str(refused.value)
    assert line.startswith(f"{record.path}: the run cannot go on there (") and "\n" not in line
    assert (record.path / "progress.csv").read_text() == content


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "runs").write_text("a file")
    (tmp_path / "with").mkdir()
    (tmp_path / "with" / "test").write_text("a file")
    for root in (tmp_path / "runs", tmp_path / "with"):
        with pytest.raises(Refusal) as refused:
            create(root)
        assert str(refused.value).startswith(f"{root / 'test'}: no run can be written there (")
        assert "\n" not in str(refused.value)
    with pytest.raises(Refusal, match="the run cannot go on there"):
        RunRecord.reopen(tmp_path / "gone", frames=5).resume(Config())


def test_log_prints_and_keeps_lines_with_the_time(tmp_path, capsys):
    record = create(tmp_path)
    record.log("said")
    record.warn("warned")
    record.append("kept")
    assert capsys.readouterr() == ("said\n", "warned\n")
    lines = (record.path / "log.txt").read_text().splitlines()
    times, texts = zip(*((line[:19], line[20:]) for line in lines), strict=True)
    assert texts == ("said", "warned", "kept")
    assert all(datetime.fromisoformat(time).year >= 2026 for time in times)


def test_log_goes_on_where_it_cannot_be_kept(tmp_path, capsys):
    record = create(tmp_path)
    (record.path / "log.txt").mkdir()
    record.log("said")
    assert capsys.readouterr().out == "said\n"


def test_a_folder_is_locked_while_a_run_goes_on_there(tmp_path):
    record = create(tmp_path)
    record.lock()
    other = RunRecord.reopen(record.path, frames=0)
    with pytest.raises(Refusal, match="another process is training there"):
        other.lock()
    record.unlock()
    other.lock()
    other.unlock()
    assert names(record.path) == ["config.yaml"]
