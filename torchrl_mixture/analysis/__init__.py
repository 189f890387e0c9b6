"""Reading run records, and drawing and describing what they say."""

from torchrl_mixture.analysis.components import plot_means, principal_components
from torchrl_mixture.analysis.figures import (
    plot_discriminability,
    plot_learning_curve,
    plot_metric,
)
from torchrl_mixture.analysis.records import read_progress
from torchrl_mixture.analysis.report import report_run
from torchrl_mixture.analysis.statistics import bootstrap_interval, wilson_interval
from torchrl_mixture.analysis.video import check_video_path, write_video

__all__ = [
    "bootstrap_interval",
    "check_video_path",
    "plot_discriminability",
    "plot_learning_curve",
    "plot_means",
    "plot_metric",
    "principal_components",
    "read_progress",
    "report_run",
    "wilson_interval",
    "write_video",
]
