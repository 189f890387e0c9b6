"""Reading run records, and drawing and describing what they say."""

from torchrl_mixture.analysis.figures import plot_learning_curve
from torchrl_mixture.analysis.records import read_progress
from torchrl_mixture.analysis.report import report_run

__all__ = ["plot_learning_curve", "read_progress", "report_run"]
