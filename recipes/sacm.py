"""Soft actor-critic for a mixture with critics and temperatures of its components (SACM, S2ACM),
on any task with bounded actions.

python recipes/sacm.py
python recipes/sacm.py preset=hopper loss.variant=sacm
python recipes/sacm.py resume=runs/sacm/FOLDER collector.total_frames=20000
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

import torch
from torch import nn
from torchrl import torchrl_logger
from torchrl.envs import EnvBase
from torchrl.modules import ProbabilisticActor
from torchrl.objectives import SoftUpdate
from torchrl.trainers import Trainer

from torchrl_mixture.analysis import report_run
from torchrl_mixture.collectors import MixtureCollector
from torchrl_mixture.distributions import DeterministicRule
from torchrl_mixture.modules import ComponentCritic, mixture_actor, with_rule
from torchrl_mixture.objectives import ActorEntropy, SACMLoss, Variant
from torchrl_mixture.trainers import (
    AdamStepper,
    ConfigError,
    DataMasks,
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
    transition_keys,
)


@dataclass
class NetworkConfig:
    hidden_sizes: list[int] = setting([64, 64], above=0)  # of the actor and of each critic
    shared_critic: bool = False  # true: one value for all components


@dataclass
class PolicyConfig:
    num_components: int = setting(3, above=0)
    learn_weights: bool = False  # false: all components stay equally likely
    loc_spread: float = setting(0.0, at_least=0)  # how far apart the components' means begin
    hold: Literal["step", "episode"] = "step"  # how long a component acts while collecting
    deterministic: DeterministicRule = "densest"  # the deterministic action, of the best policy


@dataclass
class LossConfig:
    variant: Variant = "sacm"  # entropies in the critics' targets: all, or s2acm's partial sums
    actor_entropy: ActorEntropy = "component"  # in the actor's loss
    data_masks: bool = False  # true: each transition trains the critics of one component
    loss_function: Literal["l2", "smooth_l1"] = "l2"  # of the critics
    alpha_init: float = setting(1.0, above=0)  # entropy temperatures at the start
    fixed_alpha: bool = False  # false: adapt each until its entropy is minus the action size


@dataclass
class Config(OffPolicyConfig):
    network: NetworkConfig = field(default_factory=NetworkConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    loss: LossConfig = field(default_factory=LossConfig)


def check(config: Config) -> None:
    """Refuse settings that do not go together."""
    if not config.network.shared_critic:
        return
    if config.loss.variant == "s2acm":
        raise ConfigError("loss.variant", "s2acm", "sacm with network.shared_critic=true")
    if config.loss.data_masks:
        raise ConfigError("loss.data_masks", True, "false with network.shared_critic=true")


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


def make_critic(config: Config, env: EnvBase) -> ComponentCritic:
    """Build one critic with a value for each component."""
    return ComponentCritic(
        env.action_spec,
        1 if config.network.shared_critic else config.policy.num_components,
        observation_spec=env.observation_spec,
        in_keys=policy_keys(config),
        num_cells=config.network.hidden_sizes,
    )


def make_loss(config: Config, actor: ProbabilisticActor, critics: list[nn.Module]) -> SACMLoss:
    """Build the loss."""
    settings = config.loss
    loss = SACMLoss(
        actor,
        critics,
        variant=settings.variant,
        actor_entropy=settings.actor_entropy,
        data_masks=settings.data_masks,
        loss_function=settings.loss_function,
        alpha_init=settings.alpha_init,
        fixed_alpha=settings.fixed_alpha,
    )
    loss.make_value_estimator(gamma=config.optim.gamma)
    return loss


def make_trainer(config: Config) -> tuple[Trainer, Run]:
    """Put the parts together, at the state where the run begins or is continued."""
    check(config)
    env, test_env, saved = make_envs(config)
    torch.manual_seed(config.seed)
    actor = make_actor(config, env)
    loss = make_loss(config, actor, [make_critic(config, env) for _ in range(2)])
    masks, keys = [], [*transition_keys(config)]
    if config.loss.data_masks:
        masks, keys = [DataMasks(config.policy.num_components)], [*keys, "component_mask"]
    run = open_run("sacm", config)
    trainer = off_policy_trainer(
        run,
        env=env,
        policy=actor,
        loss=loss,
        stepper=AdamStepper(
            loss,
            lr=config.optim.lr,
            target_updater=SoftUpdate(loss, tau=config.optim.tau),
            compile=config.optim.compile,
        ),
        evaluator=EpisodeEvaluator(test_env, make_policies(config, actor), config.seed),
        saved=saved,
        collector=partial(MixtureCollector, hold=config.policy.hold),
        diagnostics=loss.mixture_diagnostics,
        keys=keys,
        hooks=masks,
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
