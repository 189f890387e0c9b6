"""Intervals against normal theory, exact cases and published numbers."""

import math
from unittest import mock

import pytest
import torch

from torchrl_mixture.analysis import statistics
from torchrl_mixture.analysis.statistics import bootstrap_interval, wilson_interval


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([0.3], 0.3, 0.3),
        ([0.0, 1.0], 0.0, 1.0),
        ([0.0, 0.0, 1.0], 0.0, 1.0),  # three ones: probability 1/27, above 2.5 %
        ([0.0, 0.0, 0.0, 1.0], 0.0, 0.75),  # four ones: 1/256; three or more: 13/256
    ],
)
def test_bootstrap_of_few_values_has_the_quantiles_of_all_resamples(values, low, high):
    ends = torch.stack(bootstrap_interval(torch.tensor(values, dtype=torch.float64)))
    torch.testing.assert_close(ends, torch.tensor([low, high], dtype=torch.float64))


def test_bootstrap_of_many_normal_values_is_the_interval_of_normal_theory(float64):
    values = 3 + 2 * torch.randn(400)
    low, high = bootstrap_interval(values)
    error = values.std(correction=0) / math.sqrt(400)
    # The quantile of 10,000 resamples has a standard error of 0.027 of the mean's.
    assert abs((low - values.mean()) / error + 1.96) < 0.12
    assert abs((high - values.mean()) / error - 1.96) < 0.12


def test_bootstrap_covers_the_mean_as_often_as_it_should(float64):
    values = torch.randn(600, 30)
    low, high = bootstrap_interval(values, num_resamples=2000)
    covered = ((low < 0) & (high > 0)).double().mean()
    # Normal quantiles with the standard deviation of thirty values: a t distribution's 93.5 %.
    assert abs(covered - 0.935) < 4 * math.sqrt(0.935 * 0.065 / 600)


def test_bootstrap_of_each_row_is_that_of_the_row_alone():
    values = torch.rand(2, 3, 25)
    low, high = bootstrap_interval(values)
    assert low.shape == high.shape == (2, 3) and low.dtype == torch.float32
    for i in range(2):
        for j in range(3):
            alone = bootstrap_interval(values[i, j])
            torch.testing.assert_close((low[i, j], high[i, j]), alone)


def test_bootstrap_in_pieces_gives_the_same_numbers():
    values = torch.rand(7, 25)
    whole = bootstrap_interval(values, num_resamples=500)
    with mock.patch.object(statistics, "_CHUNK", 1200):  # two rows, 48 resamples
        torch.testing.assert_close(bootstrap_interval(values, num_resamples=500), whole)


def test_bootstrap_depends_on_its_seed_alone():
    values = torch.rand(25)
    state = torch.get_rng_state()
    first = bootstrap_interval(values)
    torch.rand(1)
    assert bootstrap_interval(values) == first
    torch.set_rng_state(state)
    assert bootstrap_interval(values, seed=1) != first
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(), (3, 0)])
def test_bootstrap_of_nothing_is_refused(shape):
    with pytest.raises(ValueError, match=r"values must be \[\*B, n\] with n > 0, got shape"):
        bootstrap_interval(torch.zeros(shape))


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_has_the_published_numbers(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


@pytest.mark.parametrize("trials", [1, 3, 20, 1000])
def test_wilson_interval_is_that_of_scipy(trials):
    scipy_stats = pytest.importorskip("scipy.stats")
    for successes in {0, 1, trials // 3, trials}:
        test = scipy_stats.binomtest(successes, trials)
        assert wilson_interval(successes, trials) == pytest.approx(
            tuple(test.proportion_ci(method="wilson")), abs=1e-12
        )


def test_wilson_interval_of_all_or_none_does_not_leave_zero_and_one():
    for trials in range(1, 200):
        none, every = wilson_interval(0, trials), wilson_interval(trials, trials)
        assert 0 <= none[0] < 1e-12 and 0 < none[1] < 1
        assert 0 < every[0] < 1 and 1 - 1e-12 < every[1] <= 1


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes, trials):
    name = "trials must be at least 1, got 0" if trials == 0 else "successes must be from 0 to 5"
    with pytest.raises(ValueError, match=name):
        wilson_interval(successes, trials)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_interval_of_counts_is_that_of_the_same_numbers(dtype):
    values = torch.tensor([0, 1] * 50)
    expected = bootstrap_interval(values.float())
    for end, other in zip(bootstrap_interval(values.to(dtype)), expected, strict=True):
        assert end.dtype == torch.float32 and end.item() == other.item()
    assert 0 < expected[0] < 0.5 < expected[1] < 1
