"""The study of bounds and estimates: its integrals, its columns, and its figure."""

import math
import sys

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from oracles import random_parameters
from scipy import integrate, stats

from torchrl_mixture.distributions import NormalMixture, TanhNormalMixture
from torchrl_mixture.studies import compare_entropies, integrated_entropy, plot_entropies
from torchrl_mixture.studies.mixture_entropy import BOUNDS, DISTANCES, ESTIMATES


@pytest.fixture(scope="module")
def frame():
    return compare_entropies(distances=[0.0, 1.0, 3.0, 7.0], num_repeats=4000)


def by_scipy(logits, loc, scale, half_width=None):
    """Entropy in one or two dimensions, adaptive over the values before squashing."""
    weights = np.exp(logits - np.logaddexp.reduce(logits))

    def integrand(*x):
        density = weights @ stats.norm.pdf(np.array(x), loc, scale).prod(-1)
        slope = 0.0
        if half_width is not None:
            slope = sum(math.log(half_width) - 2 * math.log(math.cosh(value)) for value in x)
        return -density * (math.log(density) - slope)

    if loc.shape[-1] == 1:
        return integrate.quad(integrand, -9, 9, epsabs=1e-12, limit=200)[0]
    nodes, node_weights = np.polynomial.legendre.leggauss(300)
    x = 8 * np.stack(np.meshgrid(nodes, nodes), -1)
    density = stats.norm.pdf(x[..., None, :], loc, scale).prod(-1) @ weights
    score = np.log(density)
    if half_width is not None:
        score -= (math.log(half_width) - 2 * np.log(np.cosh(x))).sum(-1)
    return float((-density * score * np.outer(node_weights, node_weights)).sum() * 64)


@pytest.mark.parametrize("size", [1, 2])
def test_integrated_entropy_equals_that_of_scipy(size):
    parameters = [p.detach() for p in random_parameters(components=3, size=size)]
    arrays = [p.numpy() for p in parameters]
    tolerance = 1e-9
    line, box = NormalMixture(*parameters), TanhNormalMixture(*parameters, -2.0, 3.0)
    assert float(integrated_entropy(line)) == pytest.approx(by_scipy(*arrays), abs=tolerance)
    expected = by_scipy(*arrays, half_width=2.5)
    assert float(integrated_entropy(box)) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("size", [1, 2])
def test_integrated_entropy_in_a_box_with_edges_of_its_own(size):
    parameters = [p.detach() for p in random_parameters(components=2, size=size)]
    low, high = torch.tensor([-1.0, 0.0])[:size], torch.tensor([3.0, 10.0])[:size]
    standard = integrated_entropy(TanhNormalMixture(*parameters))
    box = integrated_entropy(TanhNormalMixture(*parameters, low.double(), high.double()))
    assert float(box - standard) == pytest.approx(math.log(2) + (size - 1) * math.log(5))


@pytest.mark.parametrize("distance", [0.0, 7.0])
@pytest.mark.parametrize("scales", [(0.5, 0.5), (0.5, 0.05)])
def test_integrated_entropy_at_the_ends_of_the_study(distance, scales):
    loc = torch.tensor([[-distance / 4], [distance / 4]]).double()
    scale = torch.tensor(scales).double().unsqueeze(-1)
    mixture = NormalMixture(torch.zeros(2).double(), loc, scale)

    def integrand(x):
        density = stats.norm.pdf(x, loc[:, 0], scale[:, 0]).mean()
        return -density * math.log(density)

    points = [float(m) + s * float(u) for m, u in zip(loc, scale, strict=True) for s in (-8, 8)]
    expected, _ = integrate.quad(
        integrand, min(points), max(points), points=points, epsabs=1e-11, limit=500
    )
    assert float(integrated_entropy(mixture)) == pytest.approx(expected, abs=1e-8)


def test_rows_and_columns(frame):
    assert len(frame) == 2 * 2 * 4
    assert frame.groupby(["kind", "size"])["distance"].apply(list).tolist() == [[0, 1, 3, 7]] * 4
    statistics = [f"{name}_{of}" for name in ESTIMATES for of in ("mean", "variance")]
    assert list(frame) == ["kind", "size", "distance", "exact", *BOUNDS, *statistics]
    assert np.isfinite(frame.drop(columns="kind").to_numpy()).all()
    assert DISTANCES[0] == 0 and DISTANCES[-1] == 7


def test_every_estimate_evaluates_as_many_log_densities(monkeypatch):
    counts = {}
    draw = {"stratified": "entropy_stratified", "two_sample": "entropy_two_sample"}
    draw["monte_carlo"] = "entropy_mc"
    for name, method in draw.items():

        def count(self, num_samples, name=name):
            counts[name] = num_samples
            return torch.zeros(self.batch_shape)

        monkeypatch.setattr(NormalMixture, method, count)
    compare_entropies(distances=[1.0], num_repeats=2)
    components = 2
    evaluations = {
        "stratified": counts["stratified"] * components * components,
        "two_sample": counts["two_sample"] * components * (components + 1),
        "monte_carlo": counts["monte_carlo"] * components,
    }
    assert evaluations == dict.fromkeys(ESTIMATES, 12)


def test_columns_are_those_of_the_mixture(frame):
    half = 0.25 / 2**0.5
    loc = torch.tensor([[-half, -half], [half, half]]).double()
    mixture = TanhNormalMixture(torch.zeros(2).double(), loc, 0.5 * torch.ones(2, 2).double())
    row = frame[(frame["kind"] == "tanh") & (frame["size"] == 2) & (frame["distance"] == 1)]
    expected = {
        "exact": by_scipy(np.zeros(2), loc.numpy(), np.full((2, 2), 0.5), half_width=1.0),
        "lower": mixture.entropy_lower_bound(),
        "bhattacharyya": mixture.entropy_pairwise("bhattacharyya"),
        "kl": mixture.entropy_pairwise("kl"),
        "upper": mixture.entropy_upper_bound(),
    }
    for name, value in expected.items():
        assert float(row[name].item()) == pytest.approx(float(value), abs=1e-6)


def test_bounds_hold_the_entropy_and_meet_it_at_both_ends(frame):
    lower, bhattacharyya, kl, upper = (frame[name] for name in BOUNDS)
    exact = frame["exact"]
    chain = [lower, bhattacharyya, exact, kl, upper]
    assert all((a <= b + 1e-8).all() for a, b in zip(chain, chain[1:], strict=False))
    together, apart = frame["distance"] == 0, frame["distance"] == 7
    for bound in (lower, bhattacharyya, kl):
        np.testing.assert_allclose(bound[together], exact[together], atol=1e-8)
    for bound in (bhattacharyya, kl, upper):
        np.testing.assert_allclose(bound[apart], exact[apart], atol=3e-3)
    biases = frame.set_index(["kind", "size", "distance"])
    biases = biases[list(BOUNDS)].sub(biases["exact"], axis=0)
    np.testing.assert_allclose(biases.loc["normal"], biases.loc["tanh"], atol=1e-7)


def test_estimates_are_unbiased(frame):
    for name in ESTIMATES:
        error = (frame[f"{name}_variance"] / 4000) ** 0.5
        assert ((frame[f"{name}_mean"] - frame["exact"]).abs() < 4.5 * error).all()


def test_two_sample_variance_is_the_greater_for_equal_weights(frame):
    assert (frame["two_sample_variance"] > 1.3 * frame["stratified_variance"]).all()


def test_seed_and_the_global_generator():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, again = (compare_entropies([1.0], num_repeats=10, seed=3) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert first.equals(again)
    other = compare_entropies([1.0], num_repeats=10, seed=4)
    assert (other["stratified_mean"] != first["stratified_mean"]).all()


def test_a_narrow_component_on_a_wide_one():
    frame = compare_entropies([0.0], weights=(0.8, 0.2), scales=(0.5, 0.15), num_repeats=6000)
    row = frame[(frame["kind"] == "normal") & (frame["size"] == 1)].iloc[0]
    one = row["stratified_variance"] * ESTIMATES["stratified"]
    two = row["two_sample_variance"] * ESTIMATES["two_sample"]
    assert one == pytest.approx(0.467, rel=0.08) and two == pytest.approx(0.382, rel=0.08)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": (0.5, 0.6)}, r"weights must be two .* sum to 1, got \(0.5, 0.6\)"),
        ({"weights": (1.0, 0.0)}, r"weights must be two positive .* got \(1.0, 0.0\)"),
        ({"weights": (1.0,)}, r"weights must be two .* got \(1.0,\)"),
        ({"scales": (0.5,)}, r"scales must be two positive numbers, got \(0.5,\)"),
        ({"scales": (0.5, 0.0)}, r"scales must be two positive numbers, got \(0.5, 0.0\)"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        compare_entropies(**arguments)


@pytest.mark.parametrize("shape", [(2, 3), (4, 2, 1)])
def test_integral_refuses_what_it_cannot_hold(shape):
    mixture = NormalMixture(torch.zeros(shape[:-1]), torch.zeros(shape), torch.ones(shape))
    with pytest.raises(ValueError, match=rf"A at most 2, got loc \({shape[0]}, {shape[1]}"):
        integrated_entropy(mixture)


def test_figure(frame, tmp_path, monkeypatch):
    figures = []
    save = Figure.savefig

    def record(self, *args, **kwargs):
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", record)
    path = plot_entropies(frame, tmp_path / "entropies.png")
    assert path.stat().st_size > 20_000
    panels = np.array(figures[0].axes).reshape(2, 4)
    assert [axes.get_title() for axes in panels[0]] == [
        "normal, line",
        "normal, plane",
        "tanh-normal, line",
        "tanh-normal, plane",
    ]
    names = {
        "upper bound": "upper",
        "pairwise, Kullback-Leibler": "kl",
        "pairwise, Bhattacharyya": "bhattacharyya",
        "lower bound": "lower",
        "stratified": "stratified_mean",
        "two-sample": "two_sample_mean",
        "Monte Carlo": "monte_carlo_mean",
    }
    for (_, rows), (above, below) in zip(frame.groupby(["kind", "size"]), panels.T, strict=True):
        drawn = {line.get_label(): line.get_xydata() for line in above.lines[:-1]}
        assert list(drawn) == list(names)
        for label, column in names.items():
            np.testing.assert_allclose(drawn[label][:, 0], rows["distance"])
            np.testing.assert_allclose(drawn[label][:, 1], rows[column] - rows["exact"])
        drawn = {line.get_label(): line.get_ydata() for line in below.lines}
        assert list(drawn) == ["stratified", "two-sample", "Monte Carlo"]
        for label, variance in drawn.items():
            column = names[label].replace("mean", "variance")
            np.testing.assert_allclose(variance, rows[column])
            assert 0 <= variance.max() <= below.get_ylim()[1] and below.get_ylim()[0] == 0
    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == list(names)


def test_without_matplotlib(frame, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match="Matplotlib is missing, pip install"):
        plot_entropies(frame, tmp_path / "figure.png")
