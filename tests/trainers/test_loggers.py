"""Rows as curves of TensorBoard and Weights & Biases."""

import importlib.util
from pathlib import Path

import pytest

from torchrl_mixture.trainers import ConfigError, loggers
from torchrl_mixture.trainers.loggers import check_backend, row_logger

ROWS = [{"frames": 0, "alpha": 1.0}, {"frames": 10.0, "alpha": 0.5, "loss_actor": -2.0}]


def test_csv_needs_nothing_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_backend("csv")
    log = row_logger("csv", tmp_path)
    for row in ROWS:
        assert log(row) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("backend", ["tensorboard", "wandb"])
def test_missing_packages_are_refused_with_the_way_to_get_them(backend, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as refused:
        check_backend(backend)
    install = f"pip install 'torchrl_mixture[{backend}]'"
    line = f"logger.backend={backend}: expected csv, or {backend} after: {install}."
    assert str(refused.value) == line
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    check_backend(backend)


@pytest.mark.parametrize("backend", ["tensorboard", "wandb"])
def test_the_named_extra_is_declared(backend):
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    assert any(name.startswith(backend) for name in extras.get(backend, []))


class Stub:
    def __init__(self, calls):
        self.calls = calls

    def __call__(self, kind, **options):
        self.calls.append((kind, options))
        return self

    def log_scalar(self, name, value, step):
        self.calls.append((name, value, step))


def test_wandb_continues_the_run_of_the_same_name(monkeypatch):
    calls = []
    monkeypatch.setattr(loggers, "get_logger", Stub(calls))
    log = row_logger("wandb", Path("runs/sac_mixture/20260101-0"))
    for row in ROWS:
        log(row)
    (kind, options), *scalars = calls
    assert kind == "wandb"
    assert options["logger_name"] == "runs/sac_mixture/20260101-0"
    assert options["experiment_name"] == "20260101-0"
    assert options["wandb_kwargs"] == {
        "project": "sac_mixture",
        "id": "20260101-0",
        "resume": "allow",
    }
    assert ("alpha", 0.5, 10) in scalars and ("loss_actor", -2.0, 10) in scalars
    assert all(isinstance(step, int) for *_, step in scalars)


def test_tensorboard_has_every_column_over_frames(tmp_path):
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = row_logger("tensorboard", tmp_path)
    for row in ROWS:
        log(row)
    files = list(tmp_path.rglob("events.out.tfevents*"))
    assert files
    events = EventAccumulator(str(files[0].parent)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("alpha")] == [(0, 1.0), (10, 0.5)]
    assert [(e.step, e.value) for e in events.Scalars("loss_actor")] == [(10, -2.0)]
