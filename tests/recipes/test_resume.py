"""A run that was stopped and continued, bit for bit."""

import pytest
import torch
from recipes.running import (
    HINDSIGHT,
    SHORT,
    build,
    check_resumed,
    frames_of,
    rows,
    stop_at,
    train,
    updated,
)
from torchrl.checkpoint import Checkpoint, GlobalRNGState

from torchrl_mixture.trainers import Refusal, newest_checkpoint, train_run

VARIANTS = {
    "one copy": [],
    "two copies, three steps": ["env.num_envs=2", "replay_buffer.n_steps=3"],
    "wrapped buffer": ["replay_buffer.size=150"],
    "hindsight": [*HINDSIGHT, "replay_buffer.size=150"],
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS)
def stopped(recipe, request):
    """A run that was asked to stop at frame 230, between two evaluations."""
    trainer, run = build(recipe, *SHORT, *request.param)
    stop_at(trainer, 230)
    assert not train_run(trainer, run)
    return trainer, run


def test_continued_run_is_bitwise_the_stopped_one(recipe, stopped, tmp_path):
    trainer, run = stopped
    start, frames = newest_checkpoint(run.record.checkpoints)
    assert frames == trainer.collected_frames == 230
    Checkpoint(rng=GlobalRNGState()).load(start)
    expected, generator = updated(trainer), torch.get_rng_state()
    torch.manual_seed(123)
    (run.record.checkpoints / ".checkpoint-000000000240.stage-1").mkdir()
    resumed = check_resumed(recipe, run.record.path, tmp_path / "copy")
    found = updated(resumed)
    assert expected.keys() == found.keys() and len(found) > 30
    assert [key for key in found if not found[key].equal(expected[key])] == []
    assert torch.get_rng_state().equal(generator)


def test_continued_run_records_each_row_once_and_says_so(recipe, stopped):
    _, run = stopped
    folder, before = run.record.path, rows(run.record.path)
    trainer, again = build(recipe, f"resume={folder}")
    assert train_run(trainer, again)
    assert frames_of(folder) == [0, 130, 260]
    for old, new in zip(before, rows(folder), strict=False):
        assert {key: new[key] for key in old} == old
    last = rows(folder)[-1]
    assert last["updates"] == "70" and float(last["wall_seconds"]) > 0
    lines = [line[20:] for line in (folder / "log.txt").read_text().splitlines()]
    assert lines == [
        f"Stopped at frame 230 of 260; resume={folder} goes on from frame 230.",
        f"Continuing {folder} from checkpoint-000000000230, frame 230; "
        "the environment begins a new episode.",
    ]
    assert newest_checkpoint(run.record.checkpoints)[1] == 260


def spy_on_collection(trainer):
    """Keep the batches, and the frame counts at which actions were random."""
    batches, random = [], []
    env, rand_action = trainer.collector.env, trainer.collector.env.rand_action

    def draw(*args, **kwargs):
        random.append(trainer.collected_frames)
        return rand_action(*args, **kwargs)

    env.rand_action = draw
    trainer.register_op("batch_process", lambda batch: batches.append(batch.clone()) or batch)
    return batches, random


def test_collection_goes_on_with_the_policy_in_a_new_episode(recipe, stopped):
    trainer, run = build(recipe, f"resume={stopped[1].record.path}")
    batches, random = spy_on_collection(trainer)
    replay = trainer._modules["replay_buffer"]
    stored = replay.buffer.write_count
    assert train_run(trainer, run)
    assert [batch.numel() for batch in batches] == [10, 10, 10] and random == []
    waiting = 0 if replay.multi_step is None else 3 * run.config.env.num_envs
    assert replay.buffer.write_count == stored + 30 - waiting
    last = stopped[0]._modules["replay_buffer"].buffer[:]["next", "observation"]
    assert not (last == batches[0]["observation"].reshape(-1, 3)[0]).all(-1).any()


def test_stopped_in_the_warm_up(recipe, tmp_path):
    trainer, run = build(recipe, *SHORT)
    stop_at(trainer, 100)
    assert not train_run(trainer, run)
    check_resumed(recipe, run.record.path, tmp_path / "copy")
    trainer, run = build(recipe, f"resume={run.record.path}")
    batches, random = spy_on_collection(trainer)
    updates = []
    trainer.register_op("pre_optim_steps", lambda: updates.append(trainer.collected_frames))
    assert train_run(trainer, run)
    assert len(batches) == 16 and sorted(set(random)) == list(range(100, 200, 10))
    assert updates == [200, 210, 220, 230, 240, 250, 260]
    assert rows(run.record.path)[-1]["updates"] == "70"


def test_moments_of_observations_go_on(recipe):
    trainer, run = build(recipe, *SHORT, "env.normalize_observations=true")
    stop_at(trainer, 230)
    assert not train_run(trainer, run)
    before = trainer.checkpoint.components["observation_norm"].state_dict()
    trainer, run = build(recipe, f"resume={run.record.path}")
    after = trainer.checkpoint.components["observation_norm"].state_dict()
    assert after["moments.count"] == before["moments.count"] + 1  # a new episode has begun
    step = (after["moments.mean"] - before["moments.mean"]).abs()
    assert 0 < step.max() < 0.1
    assert train_run(trainer, run)


def test_stopped_and_continued_several_times(recipe):
    trainer, run = build(recipe, *SHORT)
    for frames in (50, 210, 250):
        stop_at(trainer, frames)
        assert not train_run(trainer, run)
        trainer, run = build(recipe, f"resume={run.record.path}")
        assert trainer.collected_frames == frames
    assert train_run(trainer, run)
    assert frames_of(run.record.path) == [0, 130, 260]
    assert rows(run.record.path)[-1]["updates"] == "70"


def test_finished_run_goes_on_to_a_higher_total(recipe):
    folder = train(recipe)
    trainer, run = build(recipe, f"resume={folder}", "collector.total_frames=400")
    assert train_run(trainer, run)
    assert run.record.path == folder
    assert frames_of(folder) == [0, 130, 260, 390, 400]
    _, run = build(recipe, f"resume={folder}", "collector.total_frames=500")
    assert run.config.collector.total_frames == 500 and run.config.network.hidden_sizes == [8]


def test_same_seed_gives_the_same_table(recipe):
    tables = [rows(train(recipe, f"seed={seed}")) for seed in (1, 1, 2)]
    for table in tables:
        for row in table:
            del row["wall_seconds"], row["steps_per_second"]
    assert tables[0] == tables[1]
    assert tables[0] != tables[2]


def test_a_refused_resume_changes_nothing(recipe):
    folder = train(recipe)
    other = folder.parents[1] / "other" / folder.name
    other.parent.mkdir()
    folder.rename(other)
    with pytest.raises(Refusal, match=r"^resume=.*: expected the folder of a run of sac_mixture"):
        build(recipe, f"resume={other}", "collector.total_frames=400")
    other.rename(folder)
    files = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    start, _ = newest_checkpoint(folder / "checkpoints")
    damaged = next(start.glob("components/*loss*/state/*.memmap"))
    damaged.write_bytes(b"")
    with pytest.raises(Refusal, match="it is damaged"):
        build(recipe, f"resume={folder}", "collector.total_frames=400")
    assert damaged.read_bytes() == b""
    damaged.write_bytes(files[damaged])
    assert files == {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_in_use_is_refused(recipe):
    folder = train(recipe)
    trainer, run = build(recipe, f"resume={folder}", "collector.total_frames=400")
    other, again = build(recipe, f"resume={folder}", "collector.total_frames=400")
    with run.going_on(), pytest.raises(Refusal, match="another process is training there"):
        train_run(other, again)
    assert train_run(trainer, run)
