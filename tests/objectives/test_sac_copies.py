"""A copied or pickled loss computes with its own parameters."""

import copy
import pickle

import pytest
import torch


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))]
)
def test_copy_has_parameters_of_its_own(duplicate, make_loss, make_batch, seeded_outputs):
    loss, batch = make_loss(), make_batch()
    before = seeded_outputs(loss, batch)
    other = duplicate(loss)
    for key, value in seeded_outputs(other, batch).items():
        assert torch.equal(value, before[key])
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    changed = seeded_outputs(other, batch)
    assert not any(torch.equal(changed[key], before[key]) for key in ("loss_actor", "loss_qvalue"))
    for key, value in seeded_outputs(loss, batch).items():
        assert torch.equal(value, before[key])


@pytest.fixture
def seeded_outputs():
    def outputs(loss, batch):
        torch.manual_seed(1)
        return loss(batch.copy()).detach().to_dict()

    return outputs
