"""What is stored, against the raw stream; n-step transitions, against their definition."""

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torchrl.checkpoint import Checkpoint
from torchrl.data import Bounded
from torchrl.modules import MLP, ValueOperator
from trainers.streams import n_step, split, stream

from torchrl_mixture.modules import mixture_actor
from torchrl_mixture.objectives import MixtureSACLoss
from torchrl_mixture.trainers import TRANSITION_KEYS, Replay, replay_buffer

GAMMA = 0.9
STEPS = 60
SIGNALS = ("done", "terminated", "truncated")


def store(data, lengths, n_steps):
    replay = Replay(replay_buffer(1_000, batch_size=8), n_steps=n_steps, gamma=GAMMA)
    for batch in split(data, lengths):
        before = batch.clone()
        assert replay.extend(batch) is batch
        assert (batch == before).all()
    return replay


def sac(make_loss):
    class Env:
        observation_spec = {"observation": torch.zeros(2)}
        action_spec = Bounded(-1, 1, (1,))

    return make_loss(Env)


def mixture_sac(make_loss):
    net = MLP(2, 2 * 3, num_cells=[8])
    actor = mixture_actor(Bounded(-1, 1, (1,)), 2, net=nn.Sequential(net))
    critics = [
        ValueOperator(MLP(3, 1, num_cells=[8]), in_keys=["observation", "action"])
        for _ in range(2)
    ]
    loss = MixtureSACLoss(actor, critics, loss_function="l2")
    loss.make_value_estimator(gamma=GAMMA)
    return loss


@pytest.mark.parametrize("copies", [None, 1, 3])
@pytest.mark.parametrize("lengths", [[1], [7], [2, 9, 1]])
def test_everything_is_stored_as_it_was(copies, lengths):
    data = stream(STEPS, copies)
    stored = store(data, lengths, n_steps=1).buffer[:]
    assert set(stored.keys(True, True)) == set(TRANSITION_KEYS)
    for end in SIGNALS[1:]:  # the stream has them apart and together
        assert data["next", end].any() and not data["next", end].all()
    order = [row for batch in split(data, lengths) for row in batch.reshape(-1)]
    assert len(stored) == len(order) == STEPS * (copies or 1)
    assert (stored == torch.stack(order).select(*TRANSITION_KEYS)).all()


def test_only_the_given_keys_are_stored():
    replay = Replay(replay_buffer(10, batch_size=4), keys=["observation", ("next", "reward")])
    replay.extend(stream(5, None))
    assert set(replay.buffer[:].keys(True, True)) == {"observation", ("next", "reward")}


def test_minibatches_have_their_own_size():
    replay = store(stream(STEPS, 2), [5], n_steps=1)
    replay.buffer.empty()
    replay.extend(stream(3, None))
    assert replay.sample(TensorDict(batch_size=[99])).shape == (8,)


@pytest.mark.parametrize("copies", [None, 1, 2])
@pytest.mark.parametrize("lengths", [[1], [2], [3], [4, 1, 1, 6], [STEPS]])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_stored_transitions_are_the_n_step_ones(n, lengths, copies):
    data = stream(STEPS, copies)
    expected = n_step(data, n, GAMMA)
    stored = store(data, lengths, n).buffer[:]
    waiting = n if n > 1 else 0
    first = data[..., : STEPS - waiting]["observation"].reshape(-1, 2)
    names = [tuple(row) for row in stored["observation"].tolist()]
    assert sorted(names) == sorted(map(tuple, first.tolist()))
    for name, row in zip(names, stored, strict=True):
        raw = expected[name]
        assert row["action"].equal(raw["action"])
        assert row["next", "reward"].item() == pytest.approx(raw["reward"], rel=1e-5, abs=1e-6)
        assert row["next", "observation"].equal(raw["last"]["observation"])
        assert all(row["next", key].equal(raw["last"][key]) for key in SIGNALS)
        if n > 1:
            assert row["steps_to_next_obs"].item() == raw["steps"]


def test_the_stream_has_every_case_at_the_edges_of_batches():
    data = stream(STEPS, 2)["next"]
    signals = torch.cat([data[key] for key in SIGNALS], -1)
    for lengths in ([3], [4, 1, 1, 6]):
        batches = split(TensorDict({"signals": signals}, [2, STEPS]), lengths)
        last = [batch["signals"][:, -1] for batch in batches]
        inside = [batch["signals"][:, :-1].flatten(0, 1) for batch in batches]
        for ends in (last, inside):
            kinds = {tuple(row) for row in torch.cat(ends).tolist()}
            assert {(True, True, False), (True, False, True), (False,) * 3} <= kinds


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("build", [sac, mixture_sac])
def test_critic_target_is_the_n_step_one(build, n, make_loss):
    data = stream(STEPS, 2)
    raw = n_step(data, n, GAMMA)
    minibatch = store(data, [4, 1, 1, 6], n).buffer[:]
    loss = build(make_loss)
    seen = {}
    estimate = loss.value_estimator.value_estimate

    def spy(tensordict, **kwargs):
        target = estimate(tensordict, **kwargs)
        seen.update(value=tensordict["next", "state_value"].flatten(), target=target.flatten())
        return target

    loss.value_estimator.value_estimate = spy
    loss(minibatch)
    kinds = set()
    for name, value, target in zip(
        minibatch["observation"].tolist(), seen["value"], seen["target"], strict=True
    ):
        one = raw[tuple(name)]
        ended = one["last"]["terminated"].item()
        by_hand = one["reward"] + GAMMA ** one["steps"] * value.item() * (not ended)
        assert target.item() == pytest.approx(by_hand, rel=1e-4, abs=1e-5)
        kinds.add((one["steps"], ended))
    assert kinds == {(steps, ended) for steps in range(1, n + 1) for ended in (True, False)}


def fill(size, frames):
    replay = Replay(replay_buffer(size, batch_size=6))
    for batch in split(stream(frames, 2), [3]):
        replay.extend(batch)
    return replay


@pytest.mark.parametrize("frames", [0, 6, 15, 24], ids=["empty", "part", "full", "wrapped"])
@pytest.mark.parametrize("way", ["in memory", "checkpoint"])
def test_state_round_trip(frames, way, tmp_path):
    replay, other = fill(30, frames), Replay(replay_buffer(30, batch_size=6))
    if way == "in memory":
        other.load_state_dict(replay.state_dict())
    else:
        Checkpoint(replay=replay).save(tmp_path / "c")
        Checkpoint(replay=other).load(tmp_path / "c")
    for batch in [None, *split(stream(9, 2, seed=9), [3])]:
        if batch is not None:
            replay.extend(batch), other.extend(batch)
        assert len(replay.buffer) == len(other.buffer)
        assert replay.buffer.writer._cursor == other.buffer.writer._cursor
        assert replay.buffer.write_count == other.buffer.write_count
        if len(replay.buffer):
            assert (replay.buffer[:] == other.buffer[:]).all()
            samples = [(torch.manual_seed(3), each.sample(None))[1] for each in (replay, other)]
            assert (samples[0] == samples[1]).all()


def test_continued_episodes_are_not_joined():
    replay = Replay(replay_buffer(100, batch_size=4), n_steps=3, gamma=GAMMA)
    replay.extend(stream(10, 2))
    other = Replay(replay_buffer(100, batch_size=4), n_steps=3, gamma=GAMMA)
    other.load_state_dict(replay.state_dict())
    following = stream(8, 2, seed=5)
    other.extend(following)
    assert len(other.buffer) == 2 * (10 - 3 + 8 - 3)
    expected = n_step(following, 3, GAMMA)
    for row in other.buffer[14:]:
        raw = expected[tuple(row["observation"].tolist())]
        assert row["next", "reward"].item() == pytest.approx(raw["reward"], rel=1e-5, abs=1e-6)
