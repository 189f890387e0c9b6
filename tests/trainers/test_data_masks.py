"""The owners of transitions: drawn with equal chances, stored, read back."""

import pytest
import torch
from scipy import stats
from tensordict import TensorDict
from torchrl.checkpoint import Checkpoint, GlobalRNGState
from torchrl.objectives import SoftUpdate

from torchrl_mixture.trainers import (
    AdamStepper,
    DataMasks,
    EpisodeEvaluator,
    OffPolicyConfig,
    load_config,
    make_envs,
    newest_checkpoint,
    off_policy_trainer,
    open_run,
    train_run,
    transition_keys,
)

SETTINGS = [
    "env.name=Counting-v0",
    "collector.total_frames=60",
    "collector.init_random_frames=20",
    "evaluation.interval=60",
    "evaluation.episodes=2",
    "optim.batch_size=4",
]
K = 3


@pytest.fixture
def build(make_loss, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def build_trainer(*arguments):
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
            keys=[*transition_keys(config), "component_mask"],
            hooks=[DataMasks(K)],
        )
        return trainer, run

    return build_trainer


def test_no_component():
    with pytest.raises(ValueError, match=r"^num_components must be at least 1, got 0\.$"):
        DataMasks(0)


@pytest.mark.parametrize("shape", [(), (7,), (2, 5)])
@pytest.mark.parametrize("count", [1, 4])
def test_one_owner_each(count, shape):
    batch = TensorDict({"observation": torch.zeros(*shape, 2)}, shape)
    found = DataMasks(count)(batch)
    assert found is batch and batch["component_mask"].dtype == torch.bool
    assert batch["component_mask"].shape == (*shape, count)
    assert (batch["component_mask"].sum(-1) == 1).all()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_owners_are_equally_likely_and_independent(count):
    mask = DataMasks(count)(TensorDict(batch_size=[10_000, 2]))["component_mask"]
    owner = mask.int().argmax(-1)
    assert stats.chisquare(mask.sum((0, 1)).numpy()).pvalue > 1e-4
    pairs = (owner[:, 0] * count + owner[:, 1]).bincount(minlength=count**2)
    assert stats.chisquare(pairs.numpy()).pvalue > 1e-4
    assert not DataMasks(count)(TensorDict(batch_size=[10_000, 2]))["component_mask"].equal(mask)


@pytest.mark.parametrize(
    "arguments", [[], ["env.num_envs=2"], ["replay_buffer.n_steps=3"]], ids=["1", "2", "n"]
)
def test_the_owner_is_stored_with_the_transition(build, arguments):
    trainer, run = build(*SETTINGS, *arguments)
    collected = []
    trainer.register_op(
        "batch_process",
        lambda batch: collected.append(batch.select("observation", "component_mask")) or batch,
    )
    assert train_run(trainer, run)
    stored = trainer._modules["replay_buffer"].buffer[:]
    assert stored["component_mask"].shape == (len(stored), K) and len(stored) > 50
    owners = {}  # by the observation, which has the episode and the step
    for batch in collected:
        flat = batch.reshape(-1)
        for state, mask in zip(flat["observation"], flat["component_mask"], strict=True):
            owners.setdefault(tuple(state.tolist()), []).append(mask.tolist())
    for state, mask in zip(stored["observation"], stored["component_mask"], strict=True):
        assert mask.tolist() in owners[tuple(state.tolist())]
    if not arguments:
        assert all(len(masks) == 1 for masks in owners.values())
    minibatch = trainer._modules["replay_buffer"].sample(None)
    assert minibatch["component_mask"].shape == (4, K)


def test_a_continued_run_draws_the_same(build):
    trainer, run = build(*SETTINGS)
    trainer.register_op(
        "post_steps",
        lambda: trainer.request_stop("test") if trainer.collected_frames >= 40 else None,
    )
    assert not train_run(trainer, run)
    start, _ = newest_checkpoint(run.record.checkpoints)
    Checkpoint(rng=GlobalRNGState()).load(start)
    expected = DataMasks(K)(TensorDict(batch_size=[50]))["component_mask"]
    stored = trainer._modules["replay_buffer"].buffer[:]["component_mask"]
    torch.manual_seed(123)
    resumed, _ = build(f"resume={run.record.path}")
    again = resumed._modules["replay_buffer"].buffer[:]["component_mask"]
    assert again.equal(stored) and len(again) == 40
    drawn = resumed._modules["data_masks"](TensorDict(batch_size=[50]))["component_mask"]
    assert drawn.equal(expected)
