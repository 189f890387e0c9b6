"""The builder that recipes share, around a stock loss."""

import pytest
import torch
from torchrl.collectors import Collector
from torchrl.objectives import SoftUpdate
from torchrl.trainers import TrainerHookBase

from torchrl_mixture.trainers import (
    AdamStepper,
    EpisodeEvaluator,
    LinearSchedule,
    OffPolicyConfig,
    load_config,
    make_envs,
    off_policy_trainer,
    open_run,
    train_run,
)

SETTINGS = [
    "env.name=Counting-v0",
    "collector.total_frames=40",
    "collector.init_random_frames=20",
    "evaluation.interval=20",
    "evaluation.episodes=2",
    "optim.batch_size=4",
]


class Batches(TrainerHookBase):
    """Count the batches."""

    def __init__(self):
        self.seen = 0

    def count(self, batch):
        self.seen += 1
        return batch

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state_dict):
        self.seen = state_dict["seen"]

    def register(self, trainer, name="batches"):
        trainer.register_op("batch_process", self.count)
        trainer.register_module(name, self)


@pytest.fixture
def build(make_loss, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def build_trainer(*arguments, **options):
        config = load_config(OffPolicyConfig, arguments)
        env, test_env, saved = make_envs(config)
        torch.manual_seed(config.seed)
        loss = make_loss(env)
        run = open_run("test", config)
        trainer = off_policy_trainer(
            run,
            env=env,
            policy=loss.actor_network,
            loss=loss,
            stepper=AdamStepper(loss, target_updater=SoftUpdate(loss, tau=0.1)),
            evaluator=EpisodeEvaluator(test_env, {"mean": loss.actor_network}, config.seed),
            saved=saved,
            **options,
        )
        return trainer, run

    return build_trainer


def test_further_hooks_go_on_with_the_run(build):
    values, counter = [], Batches()
    schedule = LinearSchedule(values.append, values=(1.0, 0.0), frames=(0, 80))
    trainer, run = build(*SETTINGS, hooks=[schedule, counter])
    assert train_run(trainer, run)
    assert counter.seen == 4 and values == pytest.approx([1, 0.875, 0.75, 0.625, 0.5])

    values.clear()
    counter = Batches()
    arguments = [f"resume={run.record.path}", "collector.total_frames=60"]
    trainer, run = build(*arguments, hooks=[schedule, counter])
    assert counter.seen == 4
    assert train_run(trainer, run)
    assert counter.seen == 6 and values == pytest.approx([0.5, 0.375, 0.25])


def test_the_collector_is_made_by_the_given_function(build):
    made = []

    def collector(env, policy, **options):
        made.append(Collector(env, policy, **options))
        return made[-1]

    trainer, run = build(*SETTINGS, collector=collector)
    assert trainer.collector is made[0]
    assert train_run(trainer, run)
