"""Soft actor-critic with a mixture policy, on any task with bounded actions.

python recipes/sac_mixture.py
python recipes/sac_mixture.py preset=halfcheetah loss.gradient_estimator=marginal
python recipes/sac_mixture.py resume=runs/sac_mixture/FOLDER collector.total_frames=20000
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import nn
from torchrl import torchrl_logger
from torchrl.envs import EnvBase
from torchrl.modules import MLP, ProbabilisticActor, ValueOperator
from torchrl.objectives import LossModule, SoftUpdate
from torchrl.trainers import Trainer

from torchrl_mixture import objectives
from torchrl_mixture.analysis import report_run
from torchrl_mixture.distributions import DeterministicRule
from torchrl_mixture.modules import input_size, mixture_actor, with_rule
from torchrl_mixture.trainers import (
    AdamStepper,
    EpisodeEvaluator,
    OffPolicyConfig,
    Run,
    load_config,
    make_envs,
    off_policy_trainer,
    open_run,
    policy_keys,
    refusals,
    setting,
    train_run,
)


@dataclass
class NetworkConfig:
    hidden_sizes: list[int] = setting([64, 64], above=0)  # of the actor and of each critic


@dataclass
class PolicyConfig:
    num_components: int = setting(5, above=0)
    learn_weights: bool = True  # false: all components stay equally likely
    loc_spread: float = setting(0.0, at_least=0)  # how far apart the components' means begin
    deterministic: DeterministicRule = "heaviest"  # the deterministic action, of the best policy


@dataclass
class LossConfig:
    gradient_estimator: objectives.EstimatorName = "half"  # of the actor's loss
    num_baseline_samples: int = setting(1, at_least=0)  # of half and likelihood
    temperature: float = setting(1.0, above=0)  # of gumbel: low is less biased, more variable
    loss_function: Literal["l2", "smooth_l1"] = "l2"  # of the critics
    alpha_init: float = setting(1.0, above=0)  # entropy temperature at the start
    fixed_alpha: bool = False  # false: adapt it until the entropy is minus the action size


@dataclass
class Config(OffPolicyConfig):
    network: NetworkConfig = field(default_factory=NetworkConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    loss: LossConfig = field(default_factory=LossConfig)


def make_actor(config: Config, env: EnvBase) -> ProbabilisticActor:
    """Build the mixture policy."""
    return mixture_actor(
        env.action_spec,
        config.policy.num_components,
        observation_spec=env.observation_spec,
        in_keys=policy_keys(config),
        num_cells=config.network.hidden_sizes,
        activation_class=nn.ReLU,
        learn_weights=config.policy.learn_weights,
        loc_spread=config.policy.loc_spread,
        deterministic=config.policy.deterministic,
    )


def make_policies(config: Config, actor: ProbabilisticActor) -> dict[str, ProbabilisticActor]:
    """Give the policies that are tested, by the rule of their deterministic action."""
    own = config.policy.deterministic
    rules = [own, *(rule for rule in get_args(DeterministicRule) if rule != own)]
    return {rule: with_rule(actor, rule) for rule in rules}


def make_critic(config: Config, env: EnvBase) -> ValueOperator:
    """Build one critic of observation and action."""
    keys = policy_keys(config)
    inputs = input_size(env.observation_spec, keys) + env.action_spec.shape[-1]
    net = MLP(inputs, 1, num_cells=config.network.hidden_sizes, activation_class=nn.ReLU)
    return ValueOperator(net, in_keys=[*keys, "action"])


def make_loss(config: Config, actor: ProbabilisticActor, critics: list[nn.Module]) -> LossModule:
    """Build the loss; `train` takes another function of this form to compare other losses."""
    loss = config.loss
    estimators = {
        "half": lambda: objectives.HalfReparam(loss.num_baseline_samples),
        "gumbel": lambda: objectives.GumbelSoftmax(loss.temperature),
        "likelihood": lambda: objectives.Likelihood(loss.num_baseline_samples),
        "marginal": objectives.Marginal,
        "implicit": objectives.Implicit,
    }
    return objectives.MixtureSACLoss(
        actor,
        critics,
        gradient_estimator=estimators[loss.gradient_estimator](),
        loss_function=loss.loss_function,
        alpha_init=loss.alpha_init,
        fixed_alpha=loss.fixed_alpha,
    )


MakeLoss = Callable[[Config, ProbabilisticActor, list[nn.Module]], LossModule]


def make_trainer(config: Config, make_loss: MakeLoss = make_loss) -> tuple[Trainer, Run]:
    """Put the parts together, at the state where the run begins or is continued."""
    env, test_env, saved = make_envs(config)
    torch.manual_seed(config.seed)
    actor = make_actor(config, env)
    loss = make_loss(config, actor, [make_critic(config, env) for _ in range(2)])
    loss.make_value_estimator(gamma=config.optim.gamma)
    targets = SoftUpdate(loss, tau=config.optim.tau)
    stepper = AdamStepper(
        loss, lr=config.optim.lr, target_updater=targets, compile=config.optim.compile
    )
    run = open_run("sac_mixture", config)
    trainer = off_policy_trainer(
        run,
        env=env,
        policy=actor,
        loss=loss,
        stepper=stepper,
        evaluator=EpisodeEvaluator(test_env, make_policies(config, actor), config.seed),
        saved=saved,
        diagnostics=getattr(loss, "mixture_diagnostics", None),
    )
    return trainer, run


def main() -> None:
    """Read the settings, train, and say what was learned."""
    torchrl_logger.setLevel("WARNING")
    torch.set_num_threads(1)  # networks this small are slower on several threads
    with refusals(debug="debug=true" in map(str.lower, sys.argv)):
        trainer, run = make_trainer(load_config(Config, sys.argv[1:]))
        finished = train_run(trainer, run)
        print(report_run(run.record.path))
        if not finished:
            raise SystemExit(130)


if __name__ == "__main__":
    main()
