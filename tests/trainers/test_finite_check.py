"""Data and losses that are not finite stop the run before they are stored or saved."""

import pytest
import torch
from torchrl.checkpoint import Checkpoint

from torchrl_mixture.trainers import FiniteCheck, Replay, RunCheckpoints, RunError, replay_buffer

KEYS = ("observation", "action", ("next", "observation"), ("next", "reward"))
BAD = [float("nan"), float("inf"), float("-inf")]


@pytest.fixture
def checked(make_trainer, tmp_path):
    """A trainer with the check, a buffer, and a checkpoint after every batch."""

    def build(warm_up=12, poison=None, checkpoint=True):
        trainer = make_trainer(warm_up=warm_up)
        if poison is not None:
            trainer.register_op("batch_process", lambda batch: poison(trainer, batch))
        checkpoints = RunCheckpoints(tmp_path / "checkpoints", print)
        if checkpoint:
            trainer.checkpoint, trainer.checkpoint_rotation = Checkpoint(), checkpoints
            trainer.save_trainer_interval = 2
        FiniteCheck(KEYS, checkpoints.latest).register(trainer)
        replay = Replay(replay_buffer(100, batch_size=8))
        replay.register(trainer)
        return trainer, replay.buffer

    return build


def spoil(key, value, frames):
    def poison(trainer, batch):
        if trainer.collected_frames == frames:
            batch[key][1] = value
        return batch

    return poison


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("frames", [6, 21], ids=["warm-up", "updates"])
def test_bad_data_stop_the_run_unstored(checked, key, value, frames, tmp_path):
    trainer, buffer = checked(poison=spoil(key, value, frames))
    with pytest.raises(RunError) as stopped:
        trainer.train()
    name = key if isinstance(key, str) else ".".join(key)
    saved = tmp_path / "checkpoints" / f"checkpoint-{frames:012d}"
    assert str(stopped.value) == (
        f"{name} is {value} at frame {frames + 3}; the last good checkpoint is {saved}."
    )
    assert len(buffer) == frames
    assert all(buffer[:][key].isfinite().all() for key in KEYS)
    assert Checkpoint.is_checkpoint(saved) and trainer.collected_frames == frames


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("name", ["loss_actor", "loss_qvalue", "alpha"])
def test_bad_losses_stop_the_run_unsaved(checked, name, value, tmp_path):
    trainer, _ = checked()
    take_step = trainer.optimization_stepper.step

    def step(trainer, sub_batch):
        outputs = take_step(trainer, sub_batch)
        return outputs.set(name, torch.tensor(value)) if trainer._optim_count == 5 else outputs

    trainer.optimization_stepper.step = step
    with pytest.raises(RunError) as stopped:
        trainer.train()
    saved = tmp_path / "checkpoints" / "checkpoint-000000000015"
    line = str(stopped.value)
    assert line.startswith(f"{name} is ")
    assert line.endswith(f" at update 6; the last good checkpoint is {saved}.")
    assert RunCheckpoints(tmp_path / "checkpoints", print).latest() == saved


def test_without_a_checkpoint_the_line_says_none(checked):
    trainer, _ = checked(poison=spoil("observation", float("nan"), 6), checkpoint=False)
    with pytest.raises(RunError, match="the last good checkpoint is none.$"):
        trainer.train()


def test_finite_runs_are_left_alone(checked):
    trainer, buffer = checked()
    trainer.train()
    assert len(buffer) == 42


def test_bad_parameters_stop_the_run_unsaved(checked, tmp_path):
    """The last update of a batch may spoil a network whose losses were finite."""
    trainer, _ = checked()

    def spoil_actor():
        if trainer._optim_count == 8:  # the last of the batch that ends at frame 21
            next(trainer.loss_module.actor_network_params.values(True, True)).data[0] = BAD[0]

    trainer.register_op("post_optim", spoil_actor)
    with pytest.raises(RunError, match=r"^actor_network_params.* is nan at update ") as stopped:
        trainer.train()
    saved = tmp_path / "checkpoints" / "checkpoint-000000000018"
    assert str(stopped.value).endswith(f"; the last good checkpoint is {saved}.")
