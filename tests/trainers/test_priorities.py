"""Prioritised replay: refused without its extension, fed with errors, and its weights used."""

import importlib

import pytest
import torch
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

from torchrl_mixture.trainers import ConfigError, Replay, gym_env, replay_buffer


def extension_loads():
    try:
        importlib.import_module("torchrl._torchrl")
    except ImportError:
        return False
    return True


class Spy(TensorDictReplayBuffer):
    """Gives the weights 0, 1, 0, ... and keeps what it is told."""

    def __init__(self):
        super().__init__(storage=LazyTensorStorage(100), batch_size=8)
        self.told, self.drawn = [], []

    def sample(self, *args, **kwargs):
        drawn = super().sample(*args, **kwargs)
        drawn["priority_weight"] = torch.arange(8) % 2.0
        self.drawn.append(drawn.clone())
        return drawn

    def update_tensordict_priority(self, data):
        self.told.append(data.clone())


def critic_losses(trainer):
    """Keep the critics' loss of every update and, recomputed from it, of each transition."""
    loss, seen = trainer.loss_module, []
    compute = loss.forward

    def forward(tensordict):
        outputs = compute(tensordict)
        seen.append((tensordict["priority_weight"].clone(), tensordict["td_error"].clone()))
        return outputs

    loss.forward = forward
    return seen


def test_priorities_follow_each_update_and_weights_reach_the_loss(make_trainer):
    trainer, buffer = make_trainer(), Spy()
    Replay(buffer).register(trainer)
    seen = critic_losses(trainer)
    trainer.train()
    assert len(buffer.told) == len(buffer.drawn) == len(seen) == 22
    for told, drawn, (weight, error) in zip(buffer.told, buffer.drawn, seen, strict=True):
        assert told["index"].equal(drawn["index"])  # whose priority it is
        assert told["td_error"].equal(error) and told["td_error"].shape == (8,)
        assert weight.equal(torch.arange(8) % 2.0)
    assert len({tuple(told["td_error"].tolist()) for told in buffer.told}) > 1


def test_transitions_of_weight_zero_do_not_move_the_critics(make_loss, minibatch):
    gradients = []
    for broken in (False, True):
        loss, data = make_loss(gym_env("Counting-v0")), minibatch.clone()
        data["priority_weight"] = torch.arange(16) % 2.0
        if broken:
            data["next", "reward"][::2] += 100
        torch.manual_seed(0)
        loss(data)["loss_qvalue"].backward()
        gradients.append(
            torch.cat([p.grad.flatten() for p in loss.qvalue_network_params.values(True, True)])
        )
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 0


def test_uniform_buffers_get_no_priorities(make_trainer):
    trainer = make_trainer()
    Replay(replay_buffer(100, batch_size=8)).register(trainer)
    assert not trainer._post_optim_log_ops
    trainer.train()


@pytest.mark.skipif(extension_loads(), reason="TorchRL's extension loads here")
def test_prioritised_replay_is_refused_without_the_extension():
    with pytest.raises(ConfigError) as refused:
        replay_buffer(10, batch_size=2, priorities=(0.6, 0.4))
    line = "replay_buffer.prioritized=True: expected false, since TorchRL's extension does not "
    assert str(refused.value) == f"{line}load with torch {torch.__version__}."


@pytest.mark.skipif(not extension_loads(), reason="TorchRL's extension does not load here")
def test_transitions_with_large_errors_are_drawn_more_often(make_trainer):
    trainer = make_trainer()
    buffer = replay_buffer(100, batch_size=8, priorities=(1.0, 1.0))
    replay = Replay(buffer)
    replay.register(trainer)
    trainer.train()
    drawn = buffer.sample(42)
    drawn["td_error"] = torch.where(drawn["index"] == drawn["index"][0], 100.0, 1e-3)
    buffer.update_tensordict_priority(drawn)
    share = (buffer.sample(1_000)["index"] == drawn["index"][0]).float().mean()
    assert share > 0.5
    other = Replay(replay_buffer(100, batch_size=8, priorities=(1.0, 1.0)))
    other.load_state_dict(replay.state_dict())
    torch.manual_seed(4)
    expected = buffer.sample()
    torch.manual_seed(4)
    assert (other.buffer.sample()["observation"] == expected["observation"]).all()
