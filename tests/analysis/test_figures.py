"""Figures of columns of run records."""

import sys

import numpy as np
import pytest

from torchrl_mixture.analysis import (
    figures,
    plot_discriminability,
    plot_learning_curve,
    plot_metric,
)


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the last figure."""
    kept = []
    new_figure = figures.new_figure
    monkeypatch.setattr(
        figures, "new_figure", lambda *size: kept.append(new_figure(*size)) or kept[-1]
    )
    return lambda: kept[-1].axes


def write_run(folder, table):
    folder.mkdir()
    (folder / "progress.csv").write_text(table)
    return folder


@pytest.fixture
def runs(tmp_path):
    """Three runs; one of them was stopped, and one has a row more."""
    return [
        write_run(tmp_path / "a", "frames,divergence\n0,\n10,1.0\n20,2.0\n30,3\n"),
        write_run(tmp_path / "b", "frames,divergence\n0,\n10,3.0\n15,9\n20,8.0\n30,3\n"),
        write_run(tmp_path / "c", "frames,divergence,other\n0,,\n10,5.0,1\n20,5.0,1\n"),
    ]


def test_mean_and_band_over_runs(runs, drawn, tmp_path):
    path = plot_metric({"tau = 0": runs, "tau = 10": runs[:1]}, "divergence", tmp_path / "d.png")
    assert path.read_bytes().startswith(b"\x89PNG") and "matplotlib.pyplot" not in sys.modules
    (axes,) = drawn()
    several, alone = axes.lines
    assert [line.get_label() for line in axes.lines] == ["tau = 0", "tau = 10"]
    np.testing.assert_array_equal(several.get_xdata(), [0, 10, 20])
    np.testing.assert_allclose(several.get_ydata(), [np.nan, 3, 5])
    np.testing.assert_array_equal(alone.get_ydata()[1:], [1, 2, 3])
    corners = axes.collections[0].get_paths()[0].vertices
    at_ten, at_twenty = (corners[corners[:, 0] == frame, 1] for frame in (10, 20))
    spread = np.sqrt(8 / 3)  # of 1, 3, 5
    np.testing.assert_allclose(sorted(set(at_ten.round(9))), [3 - spread, 3 + spread], rtol=1e-6)
    spread = np.sqrt(6)  # of 2, 8, 5
    np.testing.assert_allclose(
        sorted(set(at_twenty.round(9))), [5 - spread, 5 + spread], rtol=1e-6
    )
    assert axes.get_xlabel() == "frames" and axes.get_ylabel() == "divergence"


def test_refused_columns_and_runs(runs, tmp_path):
    with pytest.raises(ValueError, match=r"column .* got 'other', but .*/a has frames, diverg"):
        plot_metric({"x": [runs[2], runs[0]]}, "other", tmp_path / "d.png")
    with pytest.raises(ValueError, match=r"runs\['x'\] must have a folder at least"):
        plot_metric({"x": []}, "other", tmp_path / "d.png")
    assert not (tmp_path / "d.png").exists()


@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        ("effective_components,component_information", ["(nats)", "component information"]),
        ("divergence,effective_components", ["effective components", "sum of divergences"]),
        (
            "effective_components,component_information,divergence",
            ["effective components", "component information"],
        ),
        ("effective_components", []),
    ],
)
def test_lower_panel_shows_two_diagnostics(drawn, tmp_path, columns, labels):
    values = ",".join("1" for _ in columns.split(","))
    table = f"frames,return_x_mean,return_x_std,{columns}\n0,1,1,{values}\n"
    folder = write_run(tmp_path / "a", table)
    plot_learning_curve(folder, tmp_path / "c.png")
    _, *lower = drawn()
    shown = " ".join(axes.get_ylabel() for axes in lower)
    assert len(lower) == len(labels) and all(label in shown for label in labels)


def write_latents(folder, shares, values):
    """A run with that many latents and the log-probabilities at frames 0, 10 and 20."""
    names = ",".join(f"share_z{z}" for z in range(shares))
    rows = [
        f"{frame},{','.join(['0.5'] * shares)},{value},{2 * value}"
        for frame, value in zip((10, 20), values, strict=True)
    ]
    empty = "0" + "," * (shares + 2)
    heading = f"frames,{names},log_q_state_action,log_q_state"
    return write_run(folder, "\n".join([heading, empty, *rows]) + "\n")


def test_discriminability_over_seeds(drawn, tmp_path):
    mede = [
        write_latents(tmp_path / f"m{i}", 4, v) for i, v in enumerate([(-1, -0.2), (-2, -0.4)])
    ]
    diayn = [write_latents(tmp_path / "d", 10, (-2.0, -1.5))]
    path = plot_discriminability({"MEDE": mede, "DIAYN": diayn}, tmp_path / "q.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    panels = drawn()
    assert [axes.get_title() for axes in panels] == [
        r"$\log q(z \mid s, a)$",
        r"$\log q(z \mid s)$",
    ]
    for axes, factor in zip(panels, (1, 2), strict=True):
        of_mede, of_diayn, *guesses = axes.lines
        np.testing.assert_array_equal(of_mede.get_xdata(), [0, 10, 20])
        np.testing.assert_allclose(of_mede.get_ydata()[1:], [-1.5 * factor, -0.3 * factor])
        np.testing.assert_allclose(of_diayn.get_ydata()[1:], [-2.0 * factor, -1.5 * factor])
        corners = axes.collections[0].get_paths()[0].vertices
        at_ten = corners[corners[:, 0] == 10, 1]
        np.testing.assert_allclose([at_ten.min(), at_ten.max()], [-2 * factor, -1 * factor])
        assert [line.get_ydata()[0] for line in guesses] == pytest.approx([-1.386294, -2.302585])
        told = [text.get_text() for text in axes.texts]
        assert told == ["guess, Z = 4", "guess, Z = 10"]
        assert axes.get_xlabel() == "frames"
    names = [text.get_text() for text in panels[1].get_legend().get_texts()]
    assert names == ["MEDE", "DIAYN"]


def test_discriminability_of_runs_without_latents_is_refused(runs, tmp_path):
    with pytest.raises(ValueError, match=r"column .* got 'log_q_state_action', but .*/a has"):
        plot_discriminability({"x": runs}, tmp_path / "q.png")
    with pytest.raises(ValueError, match=r"runs\['x'\] must have a folder at least"):
        plot_discriminability({"x": []}, tmp_path / "q.png")
    assert not (tmp_path / "q.png").exists()
