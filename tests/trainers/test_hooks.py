"""The hooks inside TorchRL's trainer, on a task of five steps an episode."""

import pytest
import torch
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.objectives import SoftUpdate
from torchrl.trainers import Trainer

from torchrl_mixture.trainers import (
    TRANSITION_KEYS,
    AdamStepper,
    Evaluation,
    LogTrimmer,
    ProgressBar,
    Replay,
    gym_env,
)

TOTAL, WARM_UP, BATCH = 42, 12, 3


@pytest.fixture(params=[None, 3], ids=["one environment", "three environments"])
def run(request, make_loss):
    """Train with all the hooks; return them by name, with the trainer."""
    env = gym_env("Counting-v0", num_envs=request.param)
    loss = make_loss(gym_env("Counting-v0"))
    collector = Collector(
        env,
        loss.actor_network,
        frames_per_batch=BATCH,
        total_frames=TOTAL,
        init_random_frames=WARM_UP,
        track_traj_ids=False,
        auto_register_policy_transforms=False,
    )
    stepper = AdamStepper(loss, target_updater=SoftUpdate(loss, tau=0.1))
    outputs, take_step = [], stepper.step

    def step(trainer, sub_batch):
        outputs.append(take_step(trainer, sub_batch))
        return outputs[-1].clone()

    stepper.step = step
    trainer = Trainer(
        collector=collector,
        total_frames=TOTAL,
        frame_skip=1,
        optim_steps_per_batch=2,
        loss_module=loss,
        optimization_stepper=stepper,
        progress_bar=False,
    )
    rows = []
    hooks = {
        "replay": Replay(ReplayBuffer(storage=LazyTensorStorage(100), batch_size=8)),
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
    assert len(data) == TOTAL
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


def test_progress_shows_the_last_episodes_return(run):
    reward = run["replay"].buffer[:]["next", "reward"].flatten()
    if run["num_envs"] is None:  # 8 episodes of 5 steps, and 2 steps
        last_episode = reward[35:40].sum()
    else:  # one step of three environments a batch: 2 episodes of 5 steps, and 4 steps
        last_episode = reward.reshape(-1, 3)[5:10].sum(0).mean()
    assert run["progress"].episode_return == pytest.approx(last_episode.item(), rel=1e-5)


def test_evaluation_state_round_trip(run):
    other = Evaluation(dict, list, interval=10)
    other.load_state_dict(run["evaluation"].state_dict())
    assert other.state_dict() == run["evaluation"].state_dict()
