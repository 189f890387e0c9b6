"""What the sweep over random bandits found: selection of settings, intervals, files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from torch import Tensor

from torchrl_mixture.analysis.statistics import bootstrap_interval

__all__ = ["NUM_BLOCKS", "Measure", "SweepResult", "gains", "load_results", "save_results"]

NUM_BLOCKS = 100
_FINAL_BLOCKS = 10
_KEYS = ["method", "step_size", "alpha", "bandit"]

Measure = Literal["final", "area"]
"""Mean reward of the last 10 % of the steps, or of all of them."""


@dataclass(frozen=True)
class SweepResult:
    """The rewards of one method.

    One setting is chosen for all bandits, by the mean over them.

    Arguments:
        method: its name.
        step_sizes: :math:`L` of them.
        alphas: temperatures, :math:`M` of them.
        rewards: mean reward in each per cent of the steps, ``[L, M, N, 100]``, with :math:`N`
            bandits.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), section 5.3
        and appendix D.5.

    Example:
        >>> rewards = torch.tensor([0.2, 0.6]).view(2, 1, 1, 1).expand(2, 1, 3, 100)
        >>> result = SweepResult("made up", (0.001, 0.01), (0.1,), rewards)
        >>> result.best("final")
        (1, 0)
    """

    method: str
    step_sizes: tuple[float, ...]
    alphas: tuple[float, ...]
    rewards: Tensor

    def performance(self, measure: Measure) -> Tensor:
        """Performance of every setting on every bandit, ``[L, M, N]``.

        Arguments:
            measure: ``"final"`` or ``"area"``.

        Raises:
            ValueError: where the measure is unknown.
        """
        if measure not in ("final", "area"):
            raise ValueError(f"measure must be 'final' or 'area', got {measure!r}.")
        first = -_FINAL_BLOCKS if measure == "final" else 0
        return self.rewards[..., first:].mean(-1)

    def best(self, measure: Measure) -> tuple[int, int]:
        """The setting of the greatest mean over bandits: its step size and its temperature."""
        mean = self.performance(measure).mean(-1).nan_to_num(-torch.inf)  # of a run that diverged
        step_size, alpha = divmod(int(mean.argmax()), len(self.alphas))
        return step_size, alpha

    def curves(self, measure: Measure = "final") -> Tensor:
        """Learning curves of the best setting, ``[N, 100]``."""
        return self.rewards[self.best(measure)]

    def by_alpha(self, measure: Measure) -> tuple[Tensor, Tensor]:
        """The best step size for each temperature.

        Returns:
            its index ``[M]``, and its performance on every bandit ``[M, N]``.
        """
        performance = self.performance(measure)
        best = performance.mean(-1).nan_to_num(-torch.inf).argmax(0)
        return best, performance[best, torch.arange(len(self.alphas))]

    def summary(self) -> pd.DataFrame:
        """Best settings by both measures: of all, and for each temperature.

        The columns ``low`` and ``high`` are the 95 % bootstrap interval over the bandits.
        """
        rows = []
        measures: tuple[Measure, ...] = ("final", "area")
        for measure in measures:
            best, performance = self.by_alpha(measure)
            mean, (low, high) = performance.mean(-1), bootstrap_interval(performance)
            for m, alpha in enumerate(self.alphas):
                rows.append(
                    {
                        "method": self.method,
                        "measure": measure,
                        "alpha": alpha,
                        "step_size": self.step_sizes[int(best[m])],
                        "mean": float(mean[m]),
                        "low": float(low[m]),
                        "high": float(high[m]),
                        "best": m == self.best(measure)[1],
                    }
                )
        return pd.DataFrame(rows)

    def table(self) -> pd.DataFrame:
        """Performance of every setting on every bandit, a row each."""
        frame = self._index().to_frame(index=False)
        measures: tuple[Measure, ...] = ("final", "area")
        for measure in measures:
            frame[measure] = self.performance(measure).flatten().numpy()
        return frame

    def curve_table(self) -> pd.DataFrame:
        """Learning curves, a row each: after its setting and bandit the rewards 1 to 100."""
        blocks = [str(block + 1) for block in range(NUM_BLOCKS)]
        flat = self.rewards.flatten(0, 2).numpy()
        return pd.DataFrame(flat, self._index(), blocks).reset_index()

    def _index(self) -> pd.MultiIndex:
        bandits = range(self.rewards.shape[2])
        levels = [[self.method], self.step_sizes, self.alphas, bandits]
        return pd.MultiIndex.from_product(levels, names=_KEYS)


def gains(result: SweepResult, base: SweepResult, measure: Measure = "final") -> pd.DataFrame:
    r"""How much more one method earns than another on the same bandits.

    .. math::
        \frac1N \sum_{n=1}^N \left(x_n - y_n\right)

    Bandits differ more than methods do: the interval of the differences says more than those of
    the methods.

    Arguments:
        result: of the method with the performances :math:`x`.
        base: of the other, with :math:`y`; of the same bandits and temperatures.
        measure: by which settings are chosen and compared, ``"final"`` or ``"area"``.

    Returns:
        a row for each temperature, each method with its best step size, and one for the best of
        all settings of each (``alpha`` is NaN): mean difference and 95 % bootstrap interval.

    Raises:
        ValueError: if the temperatures differ.

    Example:
        >>> rewards = torch.rand(4, 4, 10, 100)
        >>> one = SweepResult("one", (0.1,) * 4, (0.1,) * 4, rewards)
        >>> other = SweepResult("other", (0.1,) * 4, (0.1,) * 4, rewards + 1)
        >>> gains(other, one)["mean"].round(3).tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    if result.alphas != base.alphas:
        raise ValueError(f"base must have the alphas {result.alphas}, got {base.alphas}.")
    by_alpha = result.by_alpha(measure)[1] - base.by_alpha(measure)[1]
    best = [each.performance(measure)[each.best(measure)] for each in (result, base)]
    difference = torch.cat((by_alpha, (best[0] - best[1]).unsqueeze(0)))
    low, high = bootstrap_interval(difference)
    columns = {"mean": difference.mean(-1), "low": low, "high": high}
    frame = pd.DataFrame({name: values.tolist() for name, values in columns.items()})
    frame.insert(0, "alpha", [*result.alphas, float("nan")])
    frame.insert(0, "method", result.method)
    frame.insert(1, "base", base.method)
    return frame


def save_results(results: Iterable[SweepResult], folder: str | Path) -> None:
    """Write ``results.csv``, ``curves.csv`` and ``summary.csv``.

    Arguments:
        results: of several methods.
        folder: is made if it is missing.
    """
    folder, results = Path(folder), list(results)
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "results": [result.table() for result in results],
        "curves": [result.curve_table() for result in results],
        "summary": [result.summary() for result in results],
    }
    for name, parts in tables.items():
        pd.concat(parts).to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")


def load_results(folder: str | Path) -> list[SweepResult]:
    """Read what :func:`save_results` wrote, to six digits.

    Arguments:
        folder: with ``curves.csv``.
    """
    table = pd.read_csv(Path(folder) / "curves.csv")
    results = []
    for method, rows in table.groupby("method", sort=False):
        step_sizes, alphas, bandits = (rows[key].unique() for key in _KEYS[1:])
        values = torch.tensor(rows.drop(columns=_KEYS).to_numpy(), dtype=torch.float32)
        shape = (len(step_sizes), len(alphas), len(bandits), NUM_BLOCKS)
        settings = (tuple(map(float, step_sizes)), tuple(map(float, alphas)))
        results.append(SweepResult(str(method), *settings, values.reshape(shape)))
    return results
