"""The figure of a mixture's means, and the directions that it shows."""

import sys

import numpy as np
import pytest
import torch

from torchrl_mixture.analysis import components, plot_means, principal_components, report_run


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(200, 4, generator=generator) @ torch.diag(torch.tensor([1.0, 5, 0.1, 3]))


def test_directions_are_those_of_the_covariance(points):
    points = points.double() + 7
    found, shares = principal_components(points, 3)
    variances, vectors = np.linalg.eigh(np.cov(points.numpy().T))
    np.testing.assert_allclose(shares, variances[:0:-1] / variances.sum())
    directions = vectors[:, :0:-1]
    signs = [np.sign(column[np.abs(column).argmax()]) for column in directions.T]
    centred = points.numpy() - points.numpy().mean(0)
    np.testing.assert_allclose(found, centred @ (directions * signs), atol=1e-10)


def test_all_directions_keep_the_distances(points):
    points = points.double()
    found, shares = principal_components(points, 4)
    torch.testing.assert_close(torch.pdist(found), torch.pdist(points))
    assert shares.sum().item() == pytest.approx(1)
    assert shares.tolist() == sorted(shares.tolist(), reverse=True)


def test_one_dimension_is_centred(points):
    found, shares = principal_components(points[:, 1:2], 1)
    torch.testing.assert_close(found, points[:, 1:2] - points[:, 1].mean())
    assert shares.tolist() == [1]


@pytest.mark.parametrize("count", [0, 5])
def test_refused_count(points, count):
    with pytest.raises(ValueError, match=f"count must be from 1 to 4, .*, got {count}"):
        principal_components(points, count)


def write_means(folder, size, moments=("20", "70", "130")):
    """Means of three components around 0, 10 and 20 along the first axis, in 50 states."""
    generator = np.random.default_rng(0)
    centre = np.zeros((3, size))
    centre[:, 0] = [0, 10, 20]
    arrays = {name: centre + generator.normal(size=(50, 3, size)) for name in moments}
    np.savez(folder / "means.npz", **arrays)
    return arrays


@pytest.fixture
def panels(monkeypatch):
    """The figures that are drawn."""
    drawn = []
    new_figure = components.new_figure

    def keep(*size):
        drawn.append(new_figure(*size))
        return drawn[-1]

    monkeypatch.setattr(components, "new_figure", keep)
    return lambda: drawn[-1].axes


@pytest.mark.parametrize("size", [2, 6])
def test_a_panel_is_a_moment_and_a_colour_a_component(tmp_path, panels, size):
    arrays = write_means(tmp_path, size)
    path = plot_means(tmp_path, tmp_path / "means.png")
    assert path.read_bytes().startswith(b"\x89PNG") and "matplotlib.pyplot" not in sys.modules
    axes = panels()
    assert [panel.get_title() for panel in axes] == ["frame 20", "frame 70", "frame 130"]
    everything = np.concatenate([array.reshape(-1, size) for array in arrays.values()])
    for panel, array in zip(axes, arrays.values(), strict=True):
        colours = {tuple(dots.get_facecolor()[0]) for dots in panel.collections}
        assert len(panel.collections) == len(colours) == 3
        for component, dots in enumerate(panel.collections):
            x, y = np.asarray(dots.get_offsets()).T
            # the first direction is nearly the first axis, on which the components lie apart
            expected = array[:, component, 0] - everything[:, 0].mean()
            assert np.abs(x - expected).max() < 0.5
            assert len(y) == 50 and y.std() > 0
    assert axes[0].get_xlim() == axes[2].get_xlim()


def test_one_dimension_is_drawn_by_component(tmp_path, panels):
    arrays = write_means(tmp_path, 1, ["5"])
    plot_means(tmp_path, tmp_path / "means.png")
    (panel,) = panels()
    assert panel.get_ylabel() == "component"
    for component, dots in enumerate(panel.collections):
        x, y = np.asarray(dots.get_offsets()).T
        np.testing.assert_allclose(x, arrays["5"][:, component, 0] - arrays["5"].mean())
        assert set(y) == {component}


def test_report_names_the_figure(tmp_path, monkeypatch):
    (tmp_path / "progress.csv").write_text(
        "frames,return_greedy_mean,return_greedy_std\n0,-9,1\n10,-1,1\n"
    )
    assert report_run(tmp_path).splitlines()[-1].endswith("curve.png")
    write_means(tmp_path, 2)
    assert report_run(tmp_path).splitlines()[-1] == f"The means are in {tmp_path}/means.png"
    assert (tmp_path / "means.png").is_file()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    lines = report_run(tmp_path).splitlines()
    assert len(lines) == 3 and lines[-1].startswith("no figure: Matplotlib is missing")
