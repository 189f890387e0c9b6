"""What the figures of the bandit studies show."""

from unittest import mock

import pytest
import torch

from torchrl_mixture.analysis.statistics import bootstrap_interval
from torchrl_mixture.envs.bandit_rewards import RandomRewards
from torchrl_mixture.studies import bandit_figures
from torchrl_mixture.studies.continuous_bandit import BanditResult
from torchrl_mixture.studies.random_bandit_results import SweepResult

ALPHAS = (0.001, 0.1)


@pytest.fixture
def results():
    return [SweepResult(n, (0.01, 0.1), ALPHAS, torch.rand(2, 2, 12, 100)) for n in ("one", "two")]


def drawn(plot, *arguments, path):
    """The figure that a plotting function writes to a file."""
    with mock.patch.object(bandit_figures, "_save", wraps=bandit_figures._save) as save:
        assert plot(*arguments, path) == path
    assert path.stat().st_size > 0
    return save.call_args.args[0]


def line(axes, index):
    return torch.from_numpy(axes.lines[index].get_ydata().astype("float32"))


@pytest.mark.parametrize("measure", ["final", "area"])
def test_dots_and_bars_are_means_and_intervals_of_the_best_step_sizes(results, tmp_path, measure):
    plot = lambda results, path: bandit_figures.plot_alphas(results, path, measure)  # noqa: E731
    (axes,) = drawn(plot, results, path=tmp_path / "figure.png").axes
    assert axes.get_xscale() == "log"
    for result, container in zip(results, axes.containers, strict=True):
        _, performance = result.by_alpha(measure)
        dots, _, (bars,) = container
        torch.testing.assert_close(
            torch.from_numpy(dots.get_ydata().astype("float32")), performance.mean(-1)
        )
        ends = torch.tensor([segment[:, 1].tolist() for segment in bars.get_segments()])
        torch.testing.assert_close(ends, torch.stack(bootstrap_interval(performance), -1))
        assert dots.get_xdata() == pytest.approx(ALPHAS, rel=0.1)


def test_best_curves_are_means_over_bandits_with_bands(results, tmp_path):
    figure = drawn(bandit_figures.plot_best_settings, results, path=tmp_path / "figure.pdf")
    left, right = figure.axes
    for index, result in enumerate(results):
        torch.testing.assert_close(line(left, index), result.curves().mean(0))
        low, high = bootstrap_interval(result.curves().mT)
        vertices = left.collections[index].get_paths()[0].vertices[:, 1]
        assert vertices.min() == pytest.approx(float(low.min()))
        assert vertices.max() == pytest.approx(float(high.max()))
    assert "all of training" in right.get_ylabel()


def test_examples_show_rewards_and_the_same_bandits_curves(results, tmp_path):
    rewards = RandomRewards.draw(num_bandits=12, seed=0)
    plot = lambda results, path: bandit_figures.plot_examples(  # noqa: E731
        results, rewards, path, (5, 11)
    )
    axes = drawn(plot, results, path=tmp_path / "figure.png").axes
    for column, bandit in enumerate((5, 11)):
        middle = rewards(torch.zeros(12))[bandit]
        torch.testing.assert_close(line(axes[column], 0)[300], middle)
        torch.testing.assert_close(line(axes[2 + column], 1), results[1].curves()[bandit])


def test_every_bandit_has_its_panel(results, tmp_path):
    figure = drawn(bandit_figures.plot_every_bandit, results, path=tmp_path / "figure.png")
    panels = [axes for axes in figure.axes if axes.axison]
    assert len(panels) == 12
    for bandit, axes in enumerate(panels):
        torch.testing.assert_close(line(axes, 1), results[1].curves()[bandit])


def test_densities_have_a_row_for_each_learner_and_a_column_for_each_moment(tmp_path):
    action = torch.linspace(-1, 1, 201)
    density = torch.rand(3, 4, 201)
    density[-1, 0, 40] = 5.0  # the mode of the first seed is -0.6
    density[-1, 1:, 190] = 4.0
    results = [BanditResult(name, (0, 10, 20), action, density) for name in ("one", "two")]
    plot = lambda results, path: bandit_figures.plot_densities(  # noqa: E731
        results, action.square(), path
    )
    axes = drawn(plot, results, path=tmp_path / "figure.png").axes
    assert len(axes) == 6
    assert [each.get_title() for each in axes[:3]] == ["0 updates", "10 updates", "20 updates"]
    assert axes[3].get_ylabel() == "two\n1 of 4 find\nthe global mode"
    torch.testing.assert_close(line(axes[5], 1), density[2, 1] / 5)
