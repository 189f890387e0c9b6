"""Policies of a latent variable that can be told apart (MEDE and DIAYN), on any task with
bounded actions.

python recipes/mede.py
python recipes/mede.py preset=hopper loss.diversity=diayn
python recipes/mede.py resume=runs/mede/FOLDER collector.total_frames=20000
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from tensordict.nn import TensorDictModuleBase
from torchrl import torchrl_logger
from torchrl.envs import EnvBase
from torchrl.modules import ProbabilisticActor
from torchrl.objectives import SoftUpdate
from torchrl.trainers import Trainer

from torchrl_mixture.analysis import report_run
from torchrl_mixture.collectors import LatentCollector
from torchrl_mixture.modules import Discriminator, LatentPolicy, latent_actor, latent_critic
from torchrl_mixture.objectives import DiscriminatorLoss, Diversity, MEDELoss
from torchrl_mixture.trainers import (
    AdamStepper,
    ConfigError,
    LatentEvaluator,
    LatentUse,
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

Form = Literal["state_action", "state"]


@dataclass
class NetworkConfig:
    hidden_sizes: list[int] = setting([64, 64], above=0)  # of the actor and of each critic
    separate: bool = False  # networks of its own for each latent


@dataclass
class DiscriminatorConfig:
    hidden_sizes: list[int] = setting([64, 64], above=0)
    lr: float = setting(1e-3, above=0)  # Adam's step size; optim.lr is that of the rest


@dataclass
class PolicyConfig:
    num_latents: int = setting(4, above=0)  # policies; with one the algorithm is SAC


@dataclass
class LossConfig:
    diversity: Diversity = "mede"
    diversity_coef: float | None = setting(None, at_least=0)  # null: alpha; with diayn 1
    task_reward: bool = True  # false, with diayn: the discriminator's reward alone
    loss_function: Literal["l2", "smooth_l1"] = "l2"  # of the critics
    alpha_init: float = setting(0.3, above=0)  # entropy temperature at the start
    fixed_alpha: bool = True  # false: adapt it until the entropy is minus the action size


@dataclass
class Config(OffPolicyConfig):
    network: NetworkConfig = field(default_factory=NetworkConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    loss: LossConfig = field(default_factory=LossConfig)


def check(config: Config) -> None:
    """Refuse settings that do not go together."""
    loss, n_steps = config.loss, config.replay_buffer.n_steps
    if loss.diversity == "diayn" and n_steps > 1:
        allowed = "1 with loss.diversity=diayn, whose reward is of one state"
        raise ConfigError("replay_buffer.n_steps", n_steps, allowed)
    if loss.diversity == "mede" and not loss.task_reward:
        raise ConfigError("loss.task_reward", False, "true with loss.diversity=mede")


def spaces(config: Config, env: EnvBase) -> dict[str, Any]:
    """Give what all networks know of the task."""
    return {
        "num_latents": config.policy.num_latents,
        "action_spec": env.action_spec,
        "observation_spec": env.observation_spec,
        "in_keys": policy_keys(config),
    }


def make_discriminator(config: Config, env: EnvBase, form: Form) -> Discriminator:
    """Build a discriminator of states, or of states and actions."""
    known = spaces(config, env)
    if form == "state":
        known["action_spec"] = None
    return Discriminator(**known, num_cells=config.discriminator.hidden_sizes)


def make_actor(config: Config, env: EnvBase) -> LatentPolicy:
    """Build the policies, with the discriminator of states that weighs their marginal."""
    network = config.network
    actor = latent_actor(
        **spaces(config, env), num_cells=network.hidden_sizes, separate=network.separate
    )
    discriminator = make_discriminator(config, env, "state")
    return LatentPolicy(actor, config.policy.num_latents, discriminator)


def make_policies(config: Config, policy: LatentPolicy) -> dict[str, TensorDictModuleBase]:
    """Give the policies that are tested: the marginal, and one for each latent."""
    return policy.policies()


def make_loss(
    config: Config, env: EnvBase, actor: ProbabilisticActor, discriminator: Discriminator
) -> MEDELoss:
    """Build the loss with its two critics."""
    network, settings = config.network, config.loss
    critics = [
        latent_critic(
            **spaces(config, env), num_cells=network.hidden_sizes, separate=network.separate
        )
        for _ in range(2)
    ]
    loss = MEDELoss(
        actor,
        critics,
        discriminator=discriminator,
        diversity=settings.diversity,
        diversity_coef=settings.diversity_coef,
        task_reward=settings.task_reward,
        loss_function=settings.loss_function,
        alpha_init=settings.alpha_init,
        fixed_alpha=settings.fixed_alpha,
    )
    loss.make_value_estimator(gamma=config.optim.gamma)
    return loss


def make_stepper(
    config: Config, loss: MEDELoss, discriminators: dict[Form, Discriminator]
) -> AdamStepper:
    """Build the update: of both discriminators, then of the policies and critics."""
    auxiliary = {
        f"discriminator_{form}": AdamStepper(
            DiscriminatorLoss(discriminator),
            lr=config.discriminator.lr,
            compile=config.optim.compile,
        )
        for form, discriminator in discriminators.items()
    }
    return AdamStepper(
        loss,
        lr=config.optim.lr,
        target_updater=SoftUpdate(loss, tau=config.optim.tau),
        compile=config.optim.compile,
        auxiliary=auxiliary,
    )


def make_trainer(config: Config) -> tuple[Trainer, Run]:
    """Put the parts together, at the state where the run begins or is continued."""
    check(config)
    env, test_env, saved = make_envs(config)
    torch.manual_seed(config.seed)
    policy = make_actor(config, env)
    discriminators: dict[Form, Discriminator] = {
        "state_action": make_discriminator(config, env, "state_action"),
        "state": policy.discriminator,
    }
    rewarded = discriminators["state_action" if config.loss.diversity == "mede" else "state"]
    loss = make_loss(config, env, policy.actor, rewarded)
    run = open_run("mede", config)
    use = LatentUse(policy)
    trainer = off_policy_trainer(
        run,
        env=env,
        policy=policy,
        loss=loss,
        stepper=make_stepper(config, loss, discriminators),
        evaluator=LatentEvaluator(test_env, policy, config.seed),
        collector=partial(LatentCollector, num_latents=config.policy.num_latents),
        diagnostics=use.diagnostics,
        saved=saved,
        keys=[*transition_keys(config), "latent", ("next", "latent")],
        hooks=[use],
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
