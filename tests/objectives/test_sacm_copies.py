"""A copied or pickled loss computes with its own parameters."""

import copy
import pickle

import pytest
import torch
from objectives.sacm_cases import LOSSES, make_loss
from torch.testing import assert_close


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))]
)
@pytest.mark.parametrize("used", [False, True])
def test_copy_has_parameters_of_its_own(used, duplicate, make_batch, run):
    loss, batch = make_loss(variant="s2acm"), make_batch()
    if used:
        run.step(loss, batch.copy())
    other = duplicate(loss)
    expected, gradients = run.step(loss, batch.copy())
    output, other_gradients = run.step(other, batch.copy())
    assert_close(dict(output), dict(expected))
    assert_close(other_gradients, gradients)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    changed = run.step(other, batch.copy())[0]
    assert not any(changed[name].equal(expected[name]) for name in LOSSES)
    again = run.step(loss, batch.copy())[0]
    assert_close(dict(again), dict(expected))
