"""Soft actor-critic for a mixture whose weights follow the advantage (SAC-AWMP), on any task with
bounded actions.

python recipes/awmp.py
python recipes/awmp.py preset=hopper policy.num_components=1
python recipes/awmp.py resume=runs/awmp/FOLDER collector.total_frames=20000
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torchrl import torchrl_logger
from torchrl.envs import EnvBase
from torchrl.modules import MLP, ValueOperator
from torchrl.trainers import Trainer

from torchrl_mixture.analysis import report_run
from torchrl_mixture.collectors import GatedCollector
from torchrl_mixture.modules import (
    Acting,
    ComponentCritic,
    GatedPolicy,
    PriorNetwork,
    input_size,
    mixture_actor,
)
from torchrl_mixture.objectives import (
    AWMPLoss,
    AWMPPriorLoss,
    PartwiseSoftUpdate,
    Perturbation,
    PriorAction,
)
from torchrl_mixture.trainers import (
    AdamStepper,
    ConfigError,
    EpisodeEvaluator,
    OffPolicyConfig,
    OptimConfig,
    PriorReplay,
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
class RatesConfig(OptimConfig):
    tau: float = setting(0.005, above=0, at_most=1)  # share that the value's target takes on
    tau_qvalue: float = setting(0.001, above=0, at_most=1)  # that of the gate's critics


@dataclass
class NetworkConfig:
    hidden_sizes: list[int] = setting([64, 64], above=0)  # of actor, critics and value network


@dataclass
class PriorConfig:
    hidden_sizes: list[int] = setting([64, 64], above=0)
    lr: float = setting(1e-3, above=0)  # Adam's step size; optim.lr is that of the rest
    newest: int = setting(5_000, above=0, at_most=10**9)  # transitions that it is trained on
    batch_size: int = setting(50, above=0, at_most=10**6)  # of these in an update
    information_coef: float = setting(0.1, at_least=0)  # of the information in its loss
    noise_std: float = setting(0.04, at_least=0)  # against which it is made smooth
    noise: Perturbation = "additive"  # or multiplicative


@dataclass
class PolicyConfig:
    num_components: int = setting(4, above=0)  # with one the algorithm is SAC
    loc_spread: float = setting(0.0, at_least=0)  # how far apart the components' means begin
    acting: Acting = "mixture"  # a component acts; or convex, each of them a share


@dataclass
class LossConfig:
    prior_action: PriorAction = "replay"  # whose action the prior judges; or sampled
    gate_temperature: float = setting(1.0, above=0)  # in units of the value
    gate_entropy_coef: float = setting(0.001, at_least=0)  # in the target of the value network
    loss_function: Literal["l2", "smooth_l1"] = "l2"  # of critics and value network
    alpha: float = setting(0.2, above=0)  # entropy temperature


@dataclass
class Config(OffPolicyConfig):
    optim: RatesConfig = field(default_factory=RatesConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    loss: LossConfig = field(default_factory=LossConfig)


def check(config: Config) -> None:
    """Refuse settings that do not go together."""
    newest, batch = config.prior.newest, config.collector.frames_per_batch
    if newest < batch:
        raise ConfigError("prior.newest", newest, f"at least {batch} (collector.frames_per_batch)")


def known_spaces(config: Config, env: EnvBase) -> dict[str, Any]:
    """Give what the networks know of the task."""
    return {"observation_spec": env.observation_spec, "in_keys": policy_keys(config)}


def make_prior(config: Config, env: EnvBase) -> PriorNetwork:
    """Build the prior of components."""
    return PriorNetwork(
        config.policy.num_components,
        env.action_spec,
        num_cells=config.prior.hidden_sizes,
        **known_spaces(config, env),
    )


def make_loss(
    config: Config, env: EnvBase, prior: PriorNetwork
) -> tuple[AWMPLoss, PartwiseSoftUpdate]:
    """Build the loss with its actor, two critics and the value network, and its targets' rates."""
    known, widths = known_spaces(config, env), config.network.hidden_sizes
    settings = config.loss
    actor = mixture_actor(
        env.action_spec,
        config.policy.num_components,
        num_cells=widths,
        learn_weights=False,
        loc_spread=config.policy.loc_spread,
        **known,
    )
    critics = [ComponentCritic(env.action_spec, 1, num_cells=widths, **known) for _ in range(2)]
    size = input_size(**known)
    net = MLP(size, 1, num_cells=widths, activation_class=nn.ReLU)
    loss = AWMPLoss(
        actor,
        critics,
        ValueOperator(net, in_keys=known["in_keys"]),
        prior_network=prior,
        prior_action=settings.prior_action,
        gate_temperature=settings.gate_temperature,
        gate_entropy_coef=settings.gate_entropy_coef,
        loss_function=settings.loss_function,
        alpha_init=settings.alpha,
        fixed_alpha=True,
    )
    loss.make_value_estimator(gamma=config.optim.gamma)
    taus = {"value": config.optim.tau, "qvalue": config.optim.tau_qvalue}
    return loss, PartwiseSoftUpdate(loss, taus)


def make_policy(config: Config, loss: AWMPLoss) -> GatedPolicy:
    """Build the policy on the loss's actor and target critics."""
    return GatedPolicy(
        loss.actor_network,
        loss.qvalue_network,
        loss.target_qvalue_network_params,
        acting=config.policy.acting,
        gate_temperature=config.loss.gate_temperature,
        alpha=config.loss.alpha,
    )


def make_actor(config: Config, env: EnvBase) -> GatedPolicy:
    """Build the policy alone, with critics of its own."""
    loss, _ = make_loss(config, env, make_prior(config, env))
    return make_policy(config, loss)


def make_policies(config: Config, actor: GatedPolicy) -> dict[str, GatedPolicy]:
    """Give the policies that are tested, by their way of acting, first that of the settings."""
    other: Acting = "convex" if config.policy.acting == "mixture" else "mixture"
    return {actor.acting: actor, other: actor.acting_as(other)}


def make_stepper(
    config: Config, loss: AWMPLoss, targets: PartwiseSoftUpdate, newest: PriorReplay
) -> AdamStepper:
    """Build the update: of the prior on the newest data, then of all the rest."""
    settings, optim = config.prior, config.optim
    prior_loss = AWMPPriorLoss(
        loss.prior_network,
        information_coef=settings.information_coef,
        noise_std=settings.noise_std,
        noise=settings.noise,
    )
    prior = AdamStepper(prior_loss, lr=settings.lr, compile=optim.compile, sample=newest.sample)
    return AdamStepper(
        loss,
        lr=optim.lr,
        target_updater=targets,
        compile=optim.compile,
        auxiliary={"prior": prior},
    )


def make_trainer(config: Config) -> tuple[Trainer, Run]:
    """Put the parts together, at the state where the run begins or is continued."""
    check(config)
    env, test_env, saved = make_envs(config)
    torch.manual_seed(config.seed)
    prior = make_prior(config, env)
    loss, targets = make_loss(config, env, prior)
    policy = make_policy(config, loss)
    newest = PriorReplay(loss, size=config.prior.newest, batch_size=config.prior.batch_size)
    run = open_run("awmp", config)
    trainer = off_policy_trainer(
        run,
        env=env,
        policy=policy,
        loss=loss,
        stepper=make_stepper(config, loss, targets, newest),
        evaluator=EpisodeEvaluator(test_env, make_policies(config, policy), config.seed),
        collector=GatedCollector,
        diagnostics=loss.mixture_diagnostics,
        saved={"prior": prior, **saved},
        hooks=[newest],
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
