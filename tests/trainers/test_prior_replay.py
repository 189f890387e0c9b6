"""The newest transitions and their advantage, against the stream and the networks by hand."""

import copy

import pytest
import torch
from objectives.awmp_cases import make_prior
from objectives.awmp_loss_cases import make_loss, shift_targets
from objectives.sacm_cases import make_critics
from tensordict import TensorDict
from torch.testing import assert_close
from torchrl.checkpoint import Checkpoint
from torchrl.data import Composite, Unbounded
from torchrl.modules import MLP, ValueOperator
from trainers.streams import split

from torchrl_mixture.objectives import AWMPPriorLoss
from torchrl_mixture.trainers import PriorReplay

STEPS = 60
KEPT = {"observation", "action", "action_log_prob"}


def stream(steps=STEPS, copies=None, first=0):
    """Transitions ``[steps]`` or ``[copies, steps]``; the observation is (copy, step, noise)."""
    shape = (copies or 1, steps)
    time = torch.arange(first, first + steps).expand(shape).float()
    number = torch.arange(shape[0]).unsqueeze(-1).expand(shape).float()
    fields = {
        "observation": torch.stack([number, time, torch.randn(shape)], -1),
        "action": torch.rand(*shape, 2) * 2 - 1,
        "action_log_prob": torch.randn(shape),
        "component": torch.randint(3, shape),
        "next": {"observation": torch.randn(*shape, 3), "reward": torch.randn(*shape, 1)},
    }
    data = TensorDict(fields, shape)
    return data[0] if copies is None else data


def by_state(data):
    """The rest of each transition by its copy and step."""
    flat = data.reshape(-1)
    return {
        tuple(state[:2].int().tolist()): (state.tolist(), action.tolist(), density.item())
        for state, action, density in zip(
            flat["observation"], flat["action"], flat["action_log_prob"], strict=True
        )
    }


def filled(loss, data, lengths, size, batch_size=8):
    replay = PriorReplay(loss, size=size, batch_size=batch_size)
    for batch in split(data, lengths):
        before = batch.clone()
        assert replay.extend(batch) is batch
        assert (batch == before).all() and batch.keys() == before.keys()
    return replay


@pytest.mark.parametrize("size", [9, 20, 59, 60, 100])
@pytest.mark.parametrize("lengths", [[1], [7], [2, 9, 1]])
def test_the_newest_transitions_are_held(lengths, size):
    data = stream()
    replay = filled(make_loss(), data, lengths, size)
    held = by_state(replay.buffer[:])
    assert held == by_state(data[-size:]) and len(replay.buffer) == min(size, STEPS)
    assert set(replay.buffer[:].keys(True, True)) == KEPT


@pytest.mark.parametrize(("length", "size"), [(5, 15), (5, 30), (4, 24), (6, 36)])
def test_the_newest_transitions_of_all_copies_are_held(length, size):
    """Three copies, and a size that is a number of whole batches."""
    data = stream(copies=3)
    replay = filled(make_loss(), data, [length], size)
    assert by_state(replay.buffer[:]) == by_state(data[:, -size // 3 :])


def test_all_that_is_held_is_drawn_and_nothing_else():
    data, loss = stream(), make_loss()
    replay = filled(loss, data, [7], 20)
    drawn = [replay.sample(None) for _ in range(60)]
    assert {batch.shape for batch in drawn} == {(8,)}
    assert by_state(torch.cat(drawn)) == by_state(data[-20:])
    assert any(not one["observation"].equal(drawn[0]["observation"]) for one in drawn[1:])


def test_a_minibatch_is_of_the_newest_whatever_is_given():
    replay = filled(make_loss(), stream(), [7], 20)
    given = stream(5, first=1_000)
    before = given.clone()
    torch.manual_seed(3)
    found = replay.sample(given)
    torch.manual_seed(3)
    assert (found == replay.sample(None)).all() and (given == before).all()
    assert found["observation"][:, 1].max() < STEPS


def test_only_what_is_read_is_kept_and_the_advantage_is_not():
    replay = filled(make_loss(), stream(), [7], 20)
    assert set(replay.sample(None).keys(True, True)) == {*KEPT, "advantage"}
    assert set(replay.buffer[:].keys(True, True)) == KEPT


def advantage(loss, batch):
    """Smallest target critic less target value, one network at a time."""
    inputs, values = [batch[key] for key in loss.qvalue_network.in_keys], []
    for params in loss.target_qvalue_network_params.unbind(0):
        critic = copy.deepcopy(loss.qvalue_network)
        params.data.to_module(critic)
        values.append(critic(*inputs))
    smallest = torch.minimum(*values)
    network = copy.deepcopy(loss.value_network)
    loss.target_value_network_params.data.to_module(network)
    return (smallest - network(*[batch[key] for key in loss.value_network.in_keys])).detach()


def test_the_advantage_is_that_of_the_targets(float64):
    loss = make_loss()
    shift_targets(loss)
    replay = filled(loss, stream(), [7], 40)

    def draw():
        torch.manual_seed(1)
        return replay.sample(None)

    found = draw()
    assert found["advantage"].shape == (8, 1) and not found["advantage"].requires_grad
    assert_close(found["advantage"], advantage(loss, found))
    assert_close(found["advantage"], loss.advantage(found))
    for params in (loss.qvalue_network_params, loss.value_network_params):
        for parameter in params.values(True, True):
            parameter.data.mul_(-2)
    assert draw()["advantage"].equal(found["advantage"])
    for params in (loss.target_qvalue_network_params, loss.target_value_network_params):
        before = draw()
        for parameter in params.values(True, True):
            parameter.data.mul_(1.5)
        after = draw()
        assert after["observation"].equal(before["observation"])
        assert (after["advantage"] - before["advantage"]).abs().min() > 1e-6
        assert_close(after["advantage"], advantage(loss, after))


def test_the_recorded_density_reaches_the_prior():
    """The weights are those of the density as it was stored."""
    loss = make_loss()
    data = stream()
    replay = filled(loss, data, [7], 20, batch_size=20)
    batch = replay.sample(None)
    for state, density in zip(batch["observation"], batch["action_log_prob"], strict=True):
        assert density == data["action_log_prob"][int(state[1])]
    log_weights = batch["advantage"].squeeze(-1) - batch["action_log_prob"]
    share = log_weights.softmax(0)
    expected = (-share * share.log()).sum().exp()
    found = AWMPPriorLoss(loss.prior_network)(batch)["prior_effective_sample_size"]
    assert_close(found, expected)


@pytest.mark.parametrize("frames", [0, 6, 15, 24], ids=["empty", "part", "full", "wrapped"])
@pytest.mark.parametrize("way", ["in memory", "checkpoint"])
def test_state_round_trip(frames, way, tmp_path):
    loss = make_loss()
    replay = filled(loss, stream(frames, 2), [3], 30)
    other = PriorReplay(loss, size=30, batch_size=8)
    if way == "in memory":
        other.load_state_dict(replay.state_dict())
    else:
        Checkpoint(replay=replay).save(tmp_path / "c")
        Checkpoint(replay=other).load(tmp_path / "c")
    assert len(other.buffer) == min(2 * frames, 30)
    for batch in split(stream(45, 2, first=100), [3]):
        if len(replay.buffer):
            assert (replay.buffer[:] == other.buffer[:]).all()
            samples = [(torch.manual_seed(3), each.sample(None))[1] for each in (replay, other)]
            assert (samples[0] == samples[1]).all() and "advantage" in samples[0].keys()
        replay.extend(batch), other.extend(batch)
    assert min(by_state(other.buffer[:]))[1] == 130  # the last 15 steps of both


def goals_loss():
    """Critics of state and goal, a value of state and place, a prior of hint and action."""
    spec = Composite({key: Unbounded((3,)) for key in ("observation", "goal", "place", "hint")})
    known = {"observation_spec": spec, "in_keys": ["observation", "goal"]}
    net = MLP(6, 1, num_cells=[8])
    return make_loss(
        critics=make_critics(1, **known),
        value=ValueOperator(net, in_keys=["observation", "place"]),
        prior=make_prior(observation_spec=spec, in_keys=["hint"]),
    )


def test_what_each_network_reads_is_kept():
    loss, data = goals_loss(), stream()
    shift_targets(loss)
    data["goal"], data["place"], data["hint"], data["unread"] = torch.randn(4, STEPS, 3)
    replay = filled(loss, data, [7], 20)
    assert len(replay.keys) == len(set(replay.keys)) == 6
    assert set(replay.buffer[:].keys()) == {*KEPT, "goal", "place", "hint"}
    batch = replay.sample(None)
    rows = batch["observation"][:, 1].long()
    assert all(batch[key].equal(data[key][rows]) for key in ("goal", "place", "hint"))
    assert_close(batch["advantage"], advantage(loss, batch))
    assert AWMPPriorLoss(loss.prior_network)(batch)["loss_prior"].isfinite()
