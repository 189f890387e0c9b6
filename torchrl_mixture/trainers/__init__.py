"""The training side that the recipes share: stepper, hooks, settings, evaluation, records."""

from torchrl_mixture.trainers.config import ConfigError, load_config, refusals, setting
from torchrl_mixture.trainers.environments import gym_env
from torchrl_mixture.trainers.evaluation import Evaluator, episode_returns
from torchrl_mixture.trainers.hooks import (
    TRANSITION_KEYS,
    Evaluation,
    LogTrimmer,
    ProgressBar,
    Replay,
)
from torchrl_mixture.trainers.records import RunRecord
from torchrl_mixture.trainers.stepper import AdamStepper, parameter_groups

__all__ = [
    "TRANSITION_KEYS",
    "AdamStepper",
    "ConfigError",
    "Evaluation",
    "Evaluator",
    "LogTrimmer",
    "ProgressBar",
    "Replay",
    "RunRecord",
    "episode_returns",
    "gym_env",
    "load_config",
    "parameter_groups",
    "refusals",
    "setting",
]
