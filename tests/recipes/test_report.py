"""What a run has to say at its end: a sentence, its folder and its figure."""

import sys

import pytest
from recipes.running import SHORT, train

from torchrl_mixture.analysis import plot_learning_curve, read_progress, report_run

RETURNS = "return_heaviest_mean,return_heaviest_std,return_sampled_mean,return_sampled_std"
COLLAPSE = "effective_components,component_information"


@pytest.fixture
def folder(tmp_path):
    """The folder of a run whose collapse columns begin with the second row."""
    table = f"frames,{RETURNS},{COLLAPSE}\n0,-100,10,-120,20,,\n10,-7.4,10,-120,20,3.0,0.4\n"
    (tmp_path / "progress.csv").write_text(table)
    return tmp_path


def test_figure(folder):
    path = plot_learning_curve(folder, folder / "curve.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "matplotlib.pyplot" not in sys.modules


def test_figure_without_a_mixture(folder):
    (folder / "progress.csv").write_text(f"frames,{RETURNS}\n0,-1,1,-2,1\n10,-1,1,-2,1\n")
    path = plot_learning_curve(folder, folder / "curve.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "components" not in report_run(folder)


def test_report(folder):
    assert read_progress(folder)["frames"] == [0.0, 10.0]
    sentence, where, figure = report_run(folder).splitlines()
    assert sentence == (
        "In 10 frames the mean return went from -100 to -7.4, with 3.0 effective components."
    )
    assert where.endswith(str(folder)) and figure.endswith("curve.png")
    assert (folder / "curve.png").is_file()


def test_without_matplotlib(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(ModuleNotFoundError, match=r"torchrl_mixture\[plots\]"):
        plot_learning_curve(folder, folder / "curve.png")
    assert report_run(folder).splitlines()[-1].startswith("no figure: Matplotlib is missing")


def test_of_a_run_that_was_trained(recipe):
    folder = train(recipe)
    total = SHORT[1].partition("=")[2]
    assert report_run(folder).startswith(f"In {total} frames the mean return went from -")
