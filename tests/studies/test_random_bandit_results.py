"""Selection of settings by numbers made by hand, and files."""

import pandas as pd
import pytest
import torch

from torchrl_mixture.studies.random_bandit_results import (
    SweepResult,
    gains,
    load_results,
    save_results,
)

STEP_SIZES, ALPHAS = (0.001, 0.01, 0.1), (0.1, 1.0)
# Reward in the first 90 % and in the last 10 %: [step size, alpha, bandit].
EARLY = torch.tensor(
    [[[0.9, 0.7], [0.1, 0.1]], [[0.2, 0.2], [0.0, 0.2]], [[0.0, 0.0], [0.3, 0.5]]]
)
LATE = torch.tensor([[[0.1, 0.1], [0.3, 0.7]], [[0.2, 0.6], [0.9, 0.5]], [[0.0, 1.0], [0.8, 0.8]]])


@pytest.fixture
def result():
    rewards = torch.cat((EARLY.unsqueeze(-1).expand(-1, -1, -1, 90), LATE.unsqueeze(-1)), -1)
    rewards = torch.cat((rewards, LATE.unsqueeze(-1).expand(-1, -1, -1, 9)), -1)
    return SweepResult("by hand", STEP_SIZES, ALPHAS, rewards)


def test_final_performance_is_the_mean_of_the_last_tenth_and_area_that_of_all(result):
    torch.testing.assert_close(result.performance("final"), LATE)
    torch.testing.assert_close(result.performance("area"), 0.9 * EARLY + 0.1 * LATE)


def test_best_setting_is_one_for_all_bandits(result):
    # Final: 0.8 for (0.1, 1.0), though 0.9 and 1.0 are reached elsewhere on single bandits.
    assert result.best("final") == (2, 1)
    assert result.best("area") == (0, 0)
    assert torch.equal(result.curves(), result.rewards[2, 1])
    assert torch.equal(result.curves("area"), result.rewards[0, 0])


def test_best_step_size_for_each_alpha(result):
    step_size, performance = result.by_alpha("final")
    assert step_size.tolist() == [2, 2]
    torch.testing.assert_close(performance, torch.tensor([[0.0, 1.0], [0.8, 0.8]]))
    step_size, performance = result.by_alpha("area")
    assert step_size.tolist() == [0, 2]
    torch.testing.assert_close(performance, torch.tensor([[0.82, 0.64], [0.35, 0.53]]))


def test_summary_has_means_intervals_and_the_best_of_all(result):
    summary = result.summary()
    assert len(summary) == 4
    final = summary[summary["measure"] == "final"].set_index("alpha")
    assert final["step_size"].tolist() == [0.1, 0.1]
    assert final["mean"].tolist() == pytest.approx([0.5, 0.8])
    assert final["best"].tolist() == [False, True]
    # Of two bandits a quarter of the resamples is one of them twice.
    assert final.loc[0.1, ["low", "high"]].tolist() == pytest.approx([0.0, 1.0])
    area = summary[summary["measure"] == "area"].set_index("alpha")
    assert area["best"].tolist() == [True, False]
    assert area["step_size"].tolist() == [0.001, 0.1]


def test_gains_are_differences_on_the_same_bandits(result):
    rewards = result.rewards.clone()
    rewards[0] += torch.tensor([[0.3], [0.5]])  # the bandits, with the first step size
    other = SweepResult("other", STEP_SIZES, ALPHAS, rewards)
    frame = gains(other, result)
    assert frame["method"].unique() == ["other"] and frame["base"].unique() == ["by hand"]
    for row, index in zip(frame.to_dict("records"), [0, 1, None], strict=True):
        if index is None:
            chosen = [one.performance("final")[one.best("final")] for one in (other, result)]
        else:
            chosen = [one.by_alpha("final")[1][index] for one in (other, result)]
        difference = chosen[0] - chosen[1]
        assert row["mean"] == pytest.approx(difference.mean().item())
        # Of two bandits a quarter of the resamples is one of them twice.
        ends = [difference.min().item(), difference.max().item()]
        assert [row["low"], row["high"]] == pytest.approx(ends)
    assert frame["alpha"].tolist()[:2] == list(ALPHAS) and frame["alpha"].isna().tolist()[2]
    assert frame["mean"].abs().max() > 0.01


def test_unknown_measure_is_refused(result):
    with pytest.raises(ValueError, match="measure must be 'final' or 'area', got 'mean'"):
        result.performance("mean")


def test_files_have_a_row_for_each_setting_and_bandit_and_can_be_read_again(result, tmp_path):
    other = SweepResult("other", STEP_SIZES, ALPHAS, result.rewards / 3)
    save_results((result, other), tmp_path / "new")
    table = pd.read_csv(tmp_path / "new" / "results.csv")
    assert table.columns.tolist() == ["method", "step_size", "alpha", "bandit", "final", "area"]
    assert len(table) == 2 * 3 * 2 * 2
    (row,) = table.query(
        "method == 'by hand' and step_size == 0.1 and alpha == 1.0 and bandit == 0"
    ).to_dict("records")
    assert row["final"] == pytest.approx(0.8) and row["area"] == pytest.approx(0.35)
    assert len(pd.read_csv(tmp_path / "new" / "summary.csv")) == 8

    again = load_results(tmp_path / "new")
    assert [each.method for each in again] == ["by hand", "other"]
    for read, written in zip(again, (result, other), strict=True):
        assert (read.step_sizes, read.alphas) == (STEP_SIZES, ALPHAS)
        torch.testing.assert_close(read.rewards, written.rewards, rtol=1e-5, atol=0)


def test_a_setting_that_diverged_is_never_the_best(result):
    rewards = result.rewards.clone()
    rewards[result.best("final")] = torch.nan
    other = SweepResult("other", STEP_SIZES, ALPHAS, rewards)
    assert other.best("final") != result.best("final")
    assert other.by_alpha("final")[1].isfinite().all()


def test_gains_need_the_same_temperatures(result):
    other = SweepResult("other", STEP_SIZES, (0.5, 5.0), result.rewards)
    with pytest.raises(ValueError, match=r"base must have the alphas \(0.5, 5.0\), got"):
        gains(other, result)
