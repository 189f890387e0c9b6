"""A run's folder and its figure."""

import csv
import sys
from dataclasses import dataclass
from datetime import datetime

import pytest
from omegaconf import OmegaConf

from torchrl_mixture.analysis import plot_learning_curve, read_progress, report_run
from torchrl_mixture.trainers import RunRecord, records


@dataclass
class Config:
    seed: int = 7


RETURNS = {
    "return_deterministic_mean": -100.0,
    "return_deterministic_std": 10.0,
    "return_sampled_mean": -120.0,
    "return_sampled_std": 20.0,
}
COLLAPSE = {"effective_components": 3.0, "component_information": 0.4}


def test_folder_and_late_columns(tmp_path):
    record = RunRecord("test", Config(), seed=7, root=tmp_path)
    record.add({"frames": 0, **RETURNS})
    record.add({"frames": 10, **RETURNS, **COLLAPSE})
    assert record.path.parent == tmp_path / "test"
    assert record.path.name.endswith("-7")
    assert OmegaConf.load(record.path / "config.yaml") == {"seed": 7}
    with open(record.path / "progress.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["effective_components"] == ""
    assert rows[1]["effective_components"] == "3.0"
    assert RunRecord("test", Config(), seed=7, root=tmp_path).path != record.path


@pytest.mark.parametrize("extra", [{}, COLLAPSE])
def test_figure(tmp_path, extra):
    record = RunRecord("test", Config(), seed=7, root=tmp_path)
    record.add({"frames": 0, **RETURNS})
    record.add({"frames": 10, **RETURNS, **extra})
    path = plot_learning_curve(record.path, tmp_path / "curve.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "matplotlib.pyplot" not in sys.modules


def test_report(tmp_path):
    record = RunRecord("test", Config(), seed=7, root=tmp_path)
    record.add({"frames": 0, **RETURNS})
    record.add({"frames": 10, **RETURNS, **COLLAPSE, "return_deterministic_mean": -7.4})
    assert read_progress(record.path)["frames"] == [0.0, 10.0]
    sentence, folder, figure = report_run(record.path).splitlines()
    assert sentence == (
        "In 10 frames the mean return went from -100 to -7.4, with 3.0 effective components."
    )
    assert folder.endswith(str(record.path))
    assert figure.endswith("curve.png")
    assert (record.path / "curve.png").is_file()


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    record = RunRecord("test", Config(), seed=7, root=tmp_path)
    record.add({"frames": 0, **RETURNS})
    with pytest.raises(ModuleNotFoundError, match=r"torchrl_mixture\[plots\]"):
        plot_learning_curve(record.path, tmp_path / "curve.png")
    assert report_run(record.path).splitlines()[-1].startswith("no figure: Matplotlib is missing")


def test_runs_that_begin_at_once_have_folders_of_their_own(tmp_path, monkeypatch):
    moments = [datetime(2026, 1, 1), datetime(2026, 1, 1), datetime(2026, 1, 1, 1)]

    class Clock:
        @staticmethod
        def now():
            return moments.pop(0)

    monkeypatch.setattr(records, "datetime", Clock)
    first, second = (RunRecord("test", Config(), seed=7, root=tmp_path) for _ in range(2))
    assert first.path != second.path and not moments
