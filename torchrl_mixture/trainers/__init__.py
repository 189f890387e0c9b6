"""The training side that the recipes share: settings, hooks, stepper, records, checkpoints."""

from torchrl_mixture.trainers.checkpoints import (
    RunCheckpoints,
    check_tensors,
    newest_checkpoint,
)
from torchrl_mixture.trainers.component_hooks import ComponentUse, MeansRecord
from torchrl_mixture.trainers.config import load_config, setting
from torchrl_mixture.trainers.data_masks import DataMasks
from torchrl_mixture.trainers.environments import (
    dm_control_env,
    evaluation_task,
    make_env,
    paper_env,
)
from torchrl_mixture.trainers.environments_gymnasium import goal_env, gym_env
from torchrl_mixture.trainers.environments_normalization import (
    RunningNorm,
    normalize_like,
    normalize_observations,
)
from torchrl_mixture.trainers.evaluation import EpisodeEvaluator, Evaluation, play_episodes
from torchrl_mixture.trainers.hindsight import HindsightReplayBuffer, goal_reward
from torchrl_mixture.trainers.hooks import FiniteCheck, LinearSchedule, LogTrimmer, ProgressBar
from torchrl_mixture.trainers.latents import LatentEvaluator, LatentUse
from torchrl_mixture.trainers.prior_replay import PriorReplay
from torchrl_mixture.trainers.records import RunRecord
from torchrl_mixture.trainers.refusals import ConfigError, Refusal, RunError, one_line, refusals
from torchrl_mixture.trainers.replay import TRANSITION_KEYS, Replay, replay_buffer, transition_keys
from torchrl_mixture.trainers.runs import Run, open_run, train_run
from torchrl_mixture.trainers.settings import (
    CheckpointConfig,
    CollectorConfig,
    EnvConfig,
    EvaluationConfig,
    LoggerConfig,
    OffPolicyConfig,
    OptimConfig,
    ReplayBufferConfig,
    updates_per_batch,
    with_goals,
)
from torchrl_mixture.trainers.stepper import AdamStepper, parameter_groups
from torchrl_mixture.trainers.stepper_td3 import TD3Stepper
from torchrl_mixture.trainers.tasks import make_envs, make_test_env, policy_keys
from torchrl_mixture.trainers.training import off_policy_trainer

__all__ = [
    "TRANSITION_KEYS",
    "AdamStepper",
    "CheckpointConfig",
    "CollectorConfig",
    "ComponentUse",
    "ConfigError",
    "DataMasks",
    "EnvConfig",
    "EpisodeEvaluator",
    "Evaluation",
    "EvaluationConfig",
    "FiniteCheck",
    "HindsightReplayBuffer",
    "LatentEvaluator",
    "LatentUse",
    "LinearSchedule",
    "LogTrimmer",
    "LoggerConfig",
    "MeansRecord",
    "OffPolicyConfig",
    "OptimConfig",
    "PriorReplay",
    "ProgressBar",
    "Refusal",
    "Replay",
    "ReplayBufferConfig",
    "Run",
    "RunCheckpoints",
    "RunError",
    "RunRecord",
    "RunningNorm",
    "TD3Stepper",
    "check_tensors",
    "dm_control_env",
    "evaluation_task",
    "goal_env",
    "goal_reward",
    "gym_env",
    "load_config",
    "make_env",
    "make_envs",
    "make_test_env",
    "newest_checkpoint",
    "normalize_like",
    "normalize_observations",
    "off_policy_trainer",
    "one_line",
    "open_run",
    "paper_env",
    "parameter_groups",
    "play_episodes",
    "policy_keys",
    "refusals",
    "replay_buffer",
    "setting",
    "train_run",
    "transition_keys",
    "updates_per_batch",
    "with_goals",
]
