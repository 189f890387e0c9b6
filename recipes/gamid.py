"""Deterministic policy gradients for several means (Gamid), on any task with bounded actions.

python recipes/gamid.py
python recipes/gamid.py preset=halfcheetah policy.num_components=3
python recipes/gamid.py resume=runs/gamid/FOLDER collector.total_frames=20000
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from tensordict.nn import TensorDictSequential
from torch import Tensor, nn
from torchrl import torchrl_logger
from torchrl.envs import EnvBase
from torchrl.modules import MLP, AdditiveGaussianModule, ValueOperator
from torchrl.objectives import SoftUpdate
from torchrl.trainers import Trainer

from torchrl_mixture.analysis import report_run
from torchrl_mixture.modules import GreedyComponent, MeanActors, input_size
from torchrl_mixture.objectives import GamidLoss
from torchrl_mixture.trainers import (
    ComponentUse,
    EpisodeEvaluator,
    LinearSchedule,
    MeansRecord,
    OffPolicyConfig,
    Run,
    TD3Stepper,
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
    hidden_sizes: list[int] = setting([64, 64], above=0)  # of each mean and of each critic


@dataclass
class PolicyConfig:
    num_components: int = setting(5, above=0)  # means; with one the algorithm is TD3
    epsilon_initial: float = setting(0.1, at_least=0, at_most=1)  # probability of any component
    epsilon_final: float = setting(0.1, at_least=0, at_most=1)
    epsilon_fraction: float = setting(1.0, above=0, at_most=1)  # of the run, until it is final
    noise_std: float = setting(0.1, at_least=0)  # of the action, in half-widths of its box


@dataclass
class LossConfig:
    temperature_initial: float = setting(0.1, at_least=0)  # weight of the divergence
    temperature_final: float = setting(0.1, at_least=0)
    temperature_fraction: float = setting(1.0, above=0, at_most=1)  # of the run, until it is final
    variance: float = setting(1.0, above=0)  # of the components, in squared half-widths
    loss_function: Literal["l2", "smooth_l1"] = "l2"  # of the critics
    policy_noise: float = setting(0.2, at_least=0)  # of the target's action, in half-widths
    noise_clip: float = setting(0.5, at_least=0)  # the most of it, in half-widths
    delay: int = setting(2, above=0)  # updates of the critics for one of means and targets


@dataclass
class Config(OffPolicyConfig):
    network: NetworkConfig = field(default_factory=NetworkConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    loss: LossConfig = field(default_factory=LossConfig)


def half_width(env: EnvBase) -> Tensor:
    space = env.action_spec_unbatched.space
    return (space.high - space.low) / 2


def make_means(config: Config, env: EnvBase) -> MeanActors:
    """Build the means."""
    return MeanActors(
        env.action_spec,
        config.policy.num_components,
        observation_spec=env.observation_spec,
        in_keys=policy_keys(config),
        num_cells=config.network.hidden_sizes,
        activation_class=nn.ReLU,
    )


def make_critic(config: Config, env: EnvBase) -> ValueOperator:
    """Build one critic of observation and action."""
    keys = policy_keys(config)
    inputs = input_size(env.observation_spec, keys) + env.action_spec.shape[-1]
    net = MLP(inputs, 1, num_cells=config.network.hidden_sizes, activation_class=nn.ReLU)
    return ValueOperator(net, in_keys=[*keys, "action"])


def make_loss(config: Config, env: EnvBase, means: MeanActors) -> GamidLoss:
    """Build the loss with its two critics."""
    settings = config.loss
    loss = GamidLoss(
        means,
        [make_critic(config, env) for _ in range(2)],
        temperature=settings.temperature_initial,
        variance=settings.variance,
        action_spec=env.action_spec_unbatched,
        policy_noise=settings.policy_noise * half_width(env),
        noise_clip=settings.noise_clip * half_width(env),
        loss_function=settings.loss_function,
    )
    loss.make_value_estimator(gamma=config.optim.gamma)
    return loss


def make_policy(
    config: Config, env: EnvBase, means: MeanActors, loss: GamidLoss
) -> TensorDictSequential:
    """Build the policy on the loss's critics: the choice of a component, then the noise."""
    greedy = GreedyComponent(
        means,
        loss.qvalue_network,
        loss.qvalue_network_params,
        epsilon=config.policy.epsilon_initial,
    )
    noise = AdditiveGaussianModule(
        env.action_spec_unbatched,
        sigma_init=1.0,
        sigma_end=1.0,
        std=(config.policy.noise_std * half_width(env)).tolist(),
    )
    return TensorDictSequential(greedy, noise)


def make_actor(config: Config, env: EnvBase) -> TensorDictSequential:
    """Build the policy alone, with critics of its own."""
    means = make_means(config, env)
    return make_policy(config, env, means, make_loss(config, env, means))


def make_policies(config: Config, actor: TensorDictSequential) -> dict[str, TensorDictSequential]:
    """Give the policies that are tested, by the rule of their deterministic action."""
    return {"greedy": actor}


def make_schedules(config: Config, loss: GamidLoss, greedy: GreedyComponent) -> list:
    """Move temperature and epsilon with the frames of the run."""

    def schedule(set_value: Callable[[float], Any], section: Any, name: str) -> LinearSchedule:
        initial, final, fraction = (
            getattr(section, f"{name}_{part}") for part in ("initial", "final", "fraction")
        )
        end = max(1, round(fraction * config.collector.total_frames))
        return LinearSchedule(set_value, values=(initial, final), frames=(0, end))

    return [
        schedule(loss.temperature.fill_, config.loss, "temperature"),
        schedule(greedy.epsilon.fill_, config.policy, "epsilon"),
    ]


def make_trainer(config: Config) -> tuple[Trainer, Run]:
    """Put the parts together, at the state where the run begins or is continued."""
    env, test_env, saved = make_envs(config)
    torch.manual_seed(config.seed)
    means = make_means(config, env)
    loss = make_loss(config, env, means)
    policy = make_policy(config, env, means, loss)
    stepper = TD3Stepper(
        loss,
        delay=config.loss.delay,
        lr=config.optim.lr,
        target_updater=SoftUpdate(loss, tau=config.optim.tau),
        compile=config.optim.compile,
    )
    run = open_run("gamid", config)
    use = ComponentUse(policy[0])
    trainer = off_policy_trainer(
        run,
        env=env,
        policy=policy,
        loss=loss,
        stepper=stepper,
        evaluator=EpisodeEvaluator(test_env, make_policies(config, policy), config.seed),
        diagnostics=use.diagnostics,
        saved=saved,
        hooks=[*make_schedules(config, loss, policy[0]), use, MeansRecord(means, run.record)],
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
