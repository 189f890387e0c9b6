"""The figure of paths and values, by what is drawn on it."""

import sys

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from torchrl_mixture.envs import MultiGoal
from torchrl_mixture.studies import PathPanel, action_grid, plot_multi_goal

GOALS = [(5, 0), (-5, 0), (0, 5), (0, -5)]
BLUE, ORANGE, GREEN = "#0072b2", "#e69f00", "#009e73"


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, and the colours of their lines when they were."""
    figures = []
    save = Figure.savefig

    def record(self, *args, **kwargs):
        for axes in self.axes:
            for line in axes.lines:
                line.color_when_saved = to_hex(line.get_color())
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", record)
    return figures


def paths_of(count):
    positions = torch.rand(count, 7, 2)
    positions[0, 4:] = torch.nan
    return positions


def paths_in(axes, length=7):
    return [line for line in axes.lines if len(line.get_xdata()) == length]


def peak(x, y):
    """Values [3, G, G] with their maximum at one action, another height in each state."""
    values = -(action_grid(41) - torch.tensor([x, y])).square().sum(-1)
    return torch.stack([values + 10 * state for state in range(3)])


def contours(axes):
    return axes.collections[0]


def highest(axes):
    """The middle of the innermost filled contour."""
    filled = [path.vertices for path in contours(axes).get_paths() if len(path.vertices)]
    return (filled[-1].min(0) + filled[-1].max(0)) / 2


def test_paths_are_coloured_by_latent(drawn, tmp_path):
    one, two = paths_of(3), paths_of(4)
    panels = [PathPanel("single", one), PathPanel("family", two, torch.tensor([2, 0, 0, 1]))]
    path = plot_multi_goal(MultiGoal(), panels, tmp_path / "paths.pdf")
    assert path.read_bytes().startswith(b"%PDF") and "matplotlib.pyplot" not in sys.modules
    left, right = drawn[0].axes
    assert [axes.get_title() for axes in (left, right)] == ["single", "family"]
    for axes in (left, right):
        assert axes.get_aspect() == 1 and axes.get_xlabel() == "x" and axes.get_ylabel() == "y"
        assert sorted(tuple(patch.center) for patch in axes.patches) == sorted(GOALS)
    assert [line.color_when_saved for line in paths_in(left)] == ["#000000"] * 3
    for line, expected in zip(paths_in(left), one, strict=True):
        np.testing.assert_array_equal(line.get_xydata(), expected)
    assert left.get_legend() is None
    by_color = {}
    for line in paths_in(right):
        by_color.setdefault(line.color_when_saved, []).append(line.get_xydata())
    for color, chosen in ((BLUE, [1, 2]), (ORANGE, [3]), (GREEN, [0])):
        np.testing.assert_array_equal(by_color.pop(color), two[chosen])
    assert not by_color
    legend = right.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["0", "1", "2"]
    assert legend.get_title().get_text() == "z"


def test_states_have_the_same_mark_in_paths_and_values(drawn, tmp_path):
    panel, states = PathPanel("one", paths_of(2)), [(-1.0, 2.0), (3.0, 0.0), (0.5, 0.0)]
    plot_multi_goal(MultiGoal(), [panel], tmp_path / "a.png", q_soft=peak(0, 0), states=states)
    paths, *rest = drawn[0].axes
    marks = [line for line in paths.lines if line.get_markersize() == 8]
    assert [line.get_xydata()[0].tolist() for line in marks] == [list(s) for s in states]
    looks = [(line.get_marker(), line.color_when_saved) for line in marks]
    assert len(set(looks)) == 3
    rows = [axes for axes in rest if "state" in axes.get_ylabel()]
    labels = [axes.get_ylabel().splitlines()[0] for axes in rows]
    assert labels == ["state (-1, 2)", "state (3, 0)", "state (0.5, 0)"]
    assert [(axes.lines[0].get_marker(), axes.lines[0].color_when_saved) for axes in rows] == looks


def test_values_of_both_and_their_difference(drawn, tmp_path):
    soft, of_latent = peak(0.5, -0.5), 2 * peak(-0.5, 0.5)
    panel = PathPanel("one", paths_of(2))
    options = {"q_soft": soft, "q_z": of_latent, "latent": 1}
    plot_multi_goal(MultiGoal(), [panel, panel], tmp_path / "a.png", **options)
    panels = drawn[0].axes[2:11]  # the bars come after them
    titles = [axes.get_title() for axes in panels]
    assert titles[:3] == ["$Q_{soft}$", "$Q_z$, $z = 1$", "$Q_{soft} - Q_z$"]
    assert titles[3:] == [""] * 6
    for index, axes in enumerate(panels):
        state, column = divmod(index, 3)
        values = (soft, of_latent, soft - of_latent)[column][state]
        assert contours(axes).zmax == pytest.approx(values.max().item())
        assert contours(axes).zmin == pytest.approx(values.min().item())
        assert axes.get_aspect() == 1
        frame = BLUE if column == 0 else ORANGE
        assert (to_hex(axes.spines["left"].get_edgecolor()) == frame) == (column == 1)
    for index in (0, 3, 6):
        np.testing.assert_allclose(highest(panels[index]), (0.5, -0.5), atol=0.1)
        np.testing.assert_allclose(highest(panels[index + 1]), (-0.5, 0.5), atol=0.1)
    assert [axes.get_xlabel() for axes in panels[6:]] == ["action x"] * 3
    assert panels[3].get_ylabel().endswith("action y")


@pytest.mark.parametrize(("name", "title"), [("q_soft", "$Q_{soft}$"), ("q_z", "$Q_z$, $z = 0$")])
def test_values_of_one_alone(drawn, tmp_path, name, title):
    panel = PathPanel("one", paths_of(2))
    plot_multi_goal(MultiGoal(), [panel], tmp_path / "a.png", **{name: peak(0, 0)})
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles == ["one", title, *[""] * 5]  # two more states and three bars


@pytest.mark.parametrize("name", ["q_soft", "q_z"])
@pytest.mark.parametrize("shape", [(2, 5, 5), (3, 25)])
def test_refused_shapes(tmp_path, name, shape):
    panel, values = PathPanel("one", paths_of(2)), {name: torch.zeros(shape)}
    message = rf"{name} must be \[S, G, G\] with S = 3 states, got the shape \[{shape[0]}, "
    with pytest.raises(ValueError, match=message):
        plot_multi_goal(MultiGoal(), [panel], tmp_path / "a.png", **values)
    assert not (tmp_path / "a.png").exists()


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match="Matplotlib is missing, pip install"):
        plot_multi_goal(MultiGoal(), [PathPanel("one", paths_of(2))], tmp_path / "a.png")
