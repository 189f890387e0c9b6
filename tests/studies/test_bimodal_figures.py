"""Figures of the bimodal bandit, by what is drawn on them."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from torchrl_mixture.studies.bimodal import optimal_points, parameters, stationary_points
from torchrl_mixture.studies.bimodal_figures import plot_optimal_policies, plot_stationary_points
from torchrl_mixture.studies.bimodal_objective import log_density

PLOTS = [plot_optimal_policies, plot_stationary_points]


@pytest.fixture(scope="module")
def frame():
    return stationary_points(alphas=[0.1, 0.3, 0.4, 0.6], num_trials=10)


@pytest.fixture
def drawn(monkeypatch):
    """The figure that was last saved."""
    figures = []
    save = Figure.savefig

    def record(self, *args, **kwargs):
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", record)
    return figures


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def test_the_best_policies(frame, drawn, tmp_path):
    path = plot_optimal_policies(frame, tmp_path / "policies.png", alpha=0.3)
    assert path.stat().st_size > 10_000
    policies, rewards, modes = drawn[0].axes
    best = optimal_points(frame)
    for name, label in (("gaussian", "Gaussian"), ("mixture", "mixture")):
        of_name = best[best["policy"] == name].set_index("alpha")
        action, density = lines(policies)[label].T
        expected = np.exp(log_density(parameters(of_name.reset_index().iloc[1]), action))
        np.testing.assert_allclose(density, expected)
        alphas, heights = lines(rewards)[label].T
        assert alphas.tolist() == [0.1, 0.3, 0.4, 0.6]
        expected = [of_name["expected_reward"].get(alpha, 0) for alpha in alphas]
        assert heights.tolist() == expected
        assert (heights == 0).sum() == (2 if name == "gaussian" else 1)
    share = modes.lines[0].get_ydata()
    stationary = frame[(frame["policy"] == "mixture") & (frame["status"] == "converged")]
    at = stationary[stationary["alpha"] == 0.1]["num_modes"]
    assert share[0] == pytest.approx(100 * (at == 2).sum() / len(at))
    assert 0 < share[0] < 100
    assert share[2] == 100 and np.isnan(share[3])


def test_the_best_policies_where_one_has_none(frame, drawn, tmp_path):
    plot_optimal_policies(frame, tmp_path / "policies.png", alpha=0.4)
    assert list(lines(drawn[0].axes[0])) == ["mixture"]


def test_all_stationary_points(frame, drawn, tmp_path):
    path = plot_stationary_points(frame, tmp_path / "points.pdf", alphas=[0.1, 0.3, 0.4, 0.6])
    assert path.read_bytes().startswith(b"%PDF")
    panels = drawn[0].axes
    assert [axes.get_title() for axes in panels] == [f"α = {a}" for a in (0.1, 0.3, 0.4, 0.6)]
    for axes, alpha in zip(panels, (0.1, 0.3, 0.4, 0.6), strict=True):
        for name, label in (("gaussian", "Gaussian"), ("mixture", "mixture")):
            chosen = (frame["policy"] == name) & (frame["alpha"] == alpha)
            points = frame[chosen & (frame["status"] == "converged")]
            ranks, values = lines(axes)[f"{label}, objective"].T
            assert values.tolist() == sorted(points["objective"], reverse=True)
            assert ranks.tolist() == list(range(1, len(points) + 1))
            rewards = lines(axes)[f"{label}, reward"][:, 1]
            assert sorted(zip(values, rewards, strict=True)) == sorted(
                zip(points["objective"], points["expected_reward"], strict=True)
            )


@pytest.mark.parametrize("num_panels", [1, 2, 3])
def test_any_number_of_panels(frame, drawn, tmp_path, num_panels):
    plot_stationary_points(frame, tmp_path / "points.png", alphas=[0.1, 0.3, 0.4][:num_panels])
    assert len(drawn[0].axes) == num_panels


@pytest.mark.parametrize("plot", PLOTS)
def test_a_temperature_that_the_study_lacks_is_refused(frame, tmp_path, plot):
    argument = {"alpha": 0.2} if plot is plot_optimal_policies else {"alphas": [0.1, 0.2]}
    with pytest.raises(ValueError, match=r"the study's, \[0.1, 0.3, 0.4, 0.6\], got 0.2"):
        plot(frame, tmp_path / "figure.png", **argument)


@pytest.mark.parametrize("plot", PLOTS)
def test_without_matplotlib(frame, tmp_path, monkeypatch, plot):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    argument = {} if plot is plot_optimal_policies else {"alphas": [0.1]}
    with pytest.raises(ModuleNotFoundError, match="Matplotlib is missing, pip install"):
        plot(frame, tmp_path / "figure.png", **argument)
