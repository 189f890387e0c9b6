"""What a finished run has to say."""

from __future__ import annotations

from pathlib import Path

from torchrl_mixture.analysis.components import plot_means
from torchrl_mixture.analysis.figures import plot_learning_curve
from torchrl_mixture.analysis.records import read_progress


def report_run(run_dir: str | Path) -> str:
    """Draw a run's figures and say in a sentence what was learned.

    Arguments:
        run_dir: a run's folder, with its ``progress.csv``, drawn in ``curve.png``, and perhaps
            ``means.npz``, drawn in ``means.png``.

    Returns:
        the sentence, the folder and the figures, a line each; where one cannot be drawn, because
        Matplotlib is missing or the disk is full, the last line says why.
    """
    try:
        columns = read_progress(run_dir)
    except OSError as error:
        return f"The run is in {run_dir}, without a record to report ({error.strerror})."
    returns = next(values for name, values in columns.items() if name.endswith("_mean"))
    sentence = f"In {columns['frames'][-1]:.0f} frames the mean return went from "
    sentence += f"{returns[0]:.4g} to {returns[-1]:.4g}"
    if len(returns) == 1:
        sentence = f"There is one evaluation so far, of mean return {returns[0]:.4g}"
    if "effective_components" in columns:  # losses of single-Gaussian policies have none
        sentence += f", with {columns['effective_components'][-1]:.1f} effective components"
    lines = [f"{sentence}.", f"The run is in {run_dir}"]
    try:
        lines.append(
            f"The curve is in {plot_learning_curve(run_dir, Path(run_dir) / 'curve.png')}"
        )
        if (Path(run_dir) / "means.npz").is_file():
            lines.append(f"The means are in {plot_means(run_dir, Path(run_dir) / 'means.png')}")
    except ModuleNotFoundError as error:
        lines.append(str(error))
    except OSError as error:
        lines.append(f"no figure: it could not be written ({error.strerror})")
    return "\n".join(lines)
