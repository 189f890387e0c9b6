"""The hooks inside TorchRL's trainer, on a task of five steps an episode."""

import pytest
import torch

from torchrl_mixture.trainers import (
    TRANSITION_KEYS,
    Evaluation,
    LinearSchedule,
    LogTrimmer,
    ProgressBar,
    Replay,
    hooks,
    replay_buffer,
)

TOTAL = 42


@pytest.fixture(params=[None, 3], ids=["one environment", "three environments"])
def run(request, make_trainer):
    """Train with all the hooks; return them by name, with the trainer."""
    trainer = make_trainer(TOTAL, copies=request.param)
    outputs, take_step = [], trainer.optimization_stepper.step

    def step(trainer, sub_batch):
        outputs.append(take_step(trainer, sub_batch))
        return outputs[-1].clone()

    trainer.optimization_stepper.step = step
    rows = []
    hooks = {
        "replay": Replay(replay_buffer(100, batch_size=8)),
        "trimmer": LogTrimmer(),
        "progress": ProgressBar(TOTAL),
        "evaluation": Evaluation(lambda frames: {"seen": frames}, rows.append, interval=10),
    }
    for hook in hooks.values():
        hook.register(trainer)
    trainer.train()
    return {
        **hooks,
        "trainer": trainer,
        "rows": rows,
        "outputs": outputs,
        "num_envs": request.param,
    }


def test_replay_keeps_every_transition_as_it_was(run):
    data = run["replay"].buffer[:]
    assert len(data) == TOTAL  # those of the warm-up too
    assert set(data.keys(True, True)) == set(TRANSITION_KEYS)
    assert data["observation"].dtype == torch.float32
    step, next_step = data["observation"][:, 1], data["next", "observation"][:, 1]
    torch.testing.assert_close(next_step, step + 1)
    truncated = (next_step == 5).unsqueeze(-1)
    assert truncated.any()
    assert data["next", "truncated"].equal(truncated)
    assert data["next", "done"].equal(truncated)
    assert not data["next", "terminated"].any()
    torch.testing.assert_close(data["next", "reward"], data["action"])


def test_log_does_not_grow(run):
    log = run["trainer"]._log_dict
    assert {"loss_actor", "optim_steps"} <= set(log)
    # the last evaluation is logged after the last trim
    assert max(len(values) for values in log.values()) <= 2


def test_log_keeps_the_last_values(run):
    log = run["trainer"]._log_dict
    assert log["loss_qvalue"][-1] == run["rows"][-1]["loss_qvalue"]
    assert log["frames"][-1] == TOTAL


def test_rows_at_thresholds_with_the_interval_means(run):
    rows, outputs = run["rows"], run["outputs"]
    assert [row["frames"] for row in rows] == [0, 12, 21, 30, 42]
    assert [row["seen"] for row in rows] == [row["frames"] for row in rows]
    assert [row["updates"] for row in rows] == [0, 2, 8, 14, 22]
    assert "loss_qvalue" not in rows[0]
    for before, row in zip(rows, rows[1:], strict=False):
        own = torch.stack([o["loss_qvalue"] for o in outputs[before["updates"] : row["updates"]]])
        assert row["loss_qvalue"] == pytest.approx(own.mean().item(), rel=1e-5)
        assert row["wall_seconds"] > before["wall_seconds"]
        speed = (row["frames"] - before["frames"]) / (row["wall_seconds"] - before["wall_seconds"])
        assert row["steps_per_second"] == pytest.approx(speed)


def test_progress_shows_the_last_episodes_return(run):
    reward = run["replay"].buffer[:]["next", "reward"].flatten()
    if run["num_envs"] is None:  # 8 episodes of 5 steps, and 2 steps
        last_episode = reward[35:40].sum()
    else:  # one step of three environments a batch: 2 episodes of 5 steps, and 4 steps
        last_episode = reward.reshape(-1, 3)[5:10].sum(0).mean()
    assert run["progress"].episode_return == pytest.approx(last_episode.item(), rel=1e-5)


def test_progress_counts_frames_and_is_silent_off_a_terminal(run, capsys):
    assert run["progress"]._bar.disable
    assert capsys.readouterr().err == ""


def test_progress_bar_goes_from_the_frames_done_to_the_end(make_trainer, monkeypatch):
    trainer, told = make_trainer(TOTAL), []

    class Bar:
        def __init__(self, total, initial, unit, disable):
            told.append((total, initial))

        def update(self, frames):
            told.append(frames)

        def set_postfix(self, values, refresh):
            told.append(values)

        def close(self):
            told.append("closed")

    monkeypatch.setattr(hooks, "tqdm", Bar)
    Replay(replay_buffer(100, batch_size=8)).register(trainer)
    bar = ProgressBar(60)
    bar.register(trainer)
    trainer.collected_frames = 18
    trainer.train()
    assert told[0] == (60, 18) and told[-1] == "closed"
    assert [item for item in told if item == 3] == [3] * 8
    shown = [item for item in told if isinstance(item, dict)]
    assert len(shown) == 4 and shown[-1] == {"return": f"{bar.episode_return:.4g}"}


def schedule(calls, **changes):
    settings = {"values": (1.0, 0.2), "frames": (10, 30), **changes}
    return LinearSchedule(calls.append, **settings)


def test_schedule_holds_before_and_after():
    at = schedule([]).at
    values = [at(frame) for frame in (0, 10, 15, 20, 30, 10**9)]
    assert values == pytest.approx([1.0, 1.0, 0.8, 0.6, 0.2, 0.2])
    rising = schedule([], values=(-1.0, 3.0), frames=(0, 4)).at
    assert [rising(frame) for frame in (0, 1, 4)] == pytest.approx([-1.0, 0.0, 3.0])


@pytest.mark.parametrize("frames", [(10, 10), (30, 10)])
def test_schedule_refuses_frames_that_do_not_increase(frames):
    with pytest.raises(ValueError, match="frames must increase, got"):
        schedule([], frames=frames)


def scheduled(trainer, done=0):
    calls = []
    Replay(replay_buffer(100, batch_size=8)).register(trainer)
    schedule(calls).register(trainer)
    trainer.collected_frames = done
    trainer.train()
    return calls


def test_schedule_in_a_trainer_and_in_a_continued_one(make_trainer):
    calls = scheduled(make_trainer(TOTAL))
    frames = range(0, TOTAL + 1, 3)  # at the start, and after each batch
    expected = [1.0 - 0.8 * min(1, max(0, (frame - 10) / 20)) for frame in frames]
    assert calls == pytest.approx(expected)
    assert scheduled(make_trainer(TOTAL), done=18) == calls[6:]
