"""Targets that follow with a rate for each part, against Polyak's formula and TorchRL."""

import re

import numpy as np
import pytest
import torch
from objectives.awmp_loss_cases import make_loss, shift_targets
from torchrl.objectives import SoftUpdate

from torchrl_mixture.objectives import PartwiseSoftUpdate

TAUS = {"value": 0.3, "qvalue": 0.01}


def arrays(params):
    return {key: value.detach().numpy().copy() for key, value in params.items(True, True)}


def sources(loss):
    return {"value": loss.value_network_params, "qvalue": loss.qvalue_network_params}


def targets(loss):
    return {"value": loss.target_value_network_params, "qvalue": loss.target_qvalue_network_params}


def move(loss):
    """What training does to the networks between two updates of the targets."""
    for params in sources(loss).values():
        for parameter in params.values(True, True):
            parameter.data.add_(torch.randn_like(parameter))


def check_steps(loss, updater, taus, count, tolerance=1e-14):
    """Steps by the formula, while the networks move."""
    expected = {part: arrays(params) for part, params in targets(loss).items()}
    for _ in range(count):
        move(loss)
        updater.step()
        for part, tau in taus.items():
            source, found = arrays(sources(loss)[part]), arrays(targets(loss)[part])
            assert source.keys() == found.keys() and len(found) >= 4
            for key, old in expected[part].items():
                expected[part][key] = (1 - tau) * old + tau * source[key]
                np.testing.assert_allclose(
                    found[key], expected[part][key], rtol=tolerance, atol=tolerance
                )


@pytest.mark.parametrize("taus", [TAUS, {"qvalue": 0.6, "value": 1}, {"qvalue": 0, "value": 0.5}])
def test_each_part_follows_at_its_rate(float64, taus):
    loss = make_loss()
    updater = PartwiseSoftUpdate(loss, taus)
    shift_targets(loss)
    check_steps(loss, updater, taus, 5)


def test_steps_of_single_precision_stay_so():
    loss = make_loss()
    updater = PartwiseSoftUpdate(loss, TAUS)
    shift_targets(loss)
    check_steps(loss, updater, TAUS, 3, tolerance=1e-5)
    kinds = {part.dtype for params in targets(loss).values() for part in params.values(True, True)}
    assert kinds == {torch.float32}


def test_networks_that_rest_are_approached_geometrically(float64):
    loss = make_loss()
    updater = PartwiseSoftUpdate(loss, TAUS)
    move(loss)
    before = {part: arrays(params) for part, params in targets(loss).items()}
    for _ in range(20):
        updater.step()
    for part, tau in TAUS.items():
        left, source = (1 - tau) ** 20, arrays(sources(loss)[part])
        for key, found in arrays(targets(loss)[part]).items():
            np.testing.assert_allclose(found, left * before[part][key] + (1 - left) * source[key])


def test_equal_rates_are_those_of_torchrl(float64):
    losses = [make_loss() for _ in range(2)]
    losses[1].load_state_dict(losses[0].state_dict())
    own = PartwiseSoftUpdate(losses[0], {"value": 0.2, "qvalue": 0.2})
    other = SoftUpdate(losses[1], tau=0.2)
    for step in range(4):
        for loss, updater in zip(losses, (own, other), strict=True):
            torch.manual_seed(step)
            move(loss)
            updater.step()
    for key, value in losses[0].state_dict().items():
        torch.testing.assert_close(value, losses[1].state_dict()[key], rtol=0, atol=1e-14)


def test_it_begins_at_the_networks():
    """As TorchRL's updaters do."""
    loss = make_loss()
    shift_targets(loss)
    PartwiseSoftUpdate(loss, TAUS)
    for part, params in targets(loss).items():
        found, expected = arrays(params), arrays(sources(loss)[part])
        assert all((found[key] == expected[key]).all() for key in expected)


def test_the_rest_of_the_loss_is_left_alone():
    """Networks do not move, nor do targets that are the networks, such as the actor's."""
    loss = make_loss()
    updater = PartwiseSoftUpdate(loss, TAUS)
    shift_targets(loss)
    shared = dict(loss.target_actor_network_params.items(True, True))
    storage = {key: value.data_ptr() for key, value in shared.items()}
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    updater.step()
    actor = loss.actor_network_params
    assert storage == {key: actor.get(key).data_ptr() for key in storage} and len(storage) == 4
    changed = {key for key, value in loss.state_dict().items() if not value.equal(before[key])}
    assert {key.split(".")[0] for key in changed} == {
        "target_value_network_params",
        "target_qvalue_network_params",
    }


def test_loaded_targets_are_moved(float64):
    """A loss that is restored after the updater was made goes on from what was restored."""
    loss, saved = make_loss(), make_loss()
    updater = PartwiseSoftUpdate(loss, TAUS)
    PartwiseSoftUpdate(saved, TAUS)
    shift_targets(saved)
    loss.load_state_dict(saved.state_dict())
    restored, expected = (
        {part: arrays(params) for part, params in targets(each).items()} for each in (loss, saved)
    )
    for part, found in restored.items():
        assert all((value == expected[part][key]).all() for key, value in found.items())
    check_steps(loss, updater, TAUS, 3)


ALL = {"actor": 0.1, **TAUS}
PARTS = "taus must have the parts ['qvalue', 'value'] that have targets, got "
REFUSED = [
    ({"value": 0.1}, PARTS + "['value']."),
    ({}, PARTS + "[]."),
    (ALL, PARTS + "['actor', 'qvalue', 'value']."),
    ({"value": 0.1, "critic": 0.1}, PARTS + "['critic', 'value']."),
    ({**TAUS, "qvalue": 1.5}, "taus['qvalue'] must be from 0 to 1, got 1.5."),
    ({**TAUS, "value": -0.1}, "taus['value'] must be from 0 to 1, got -0.1."),
    ({**TAUS, "value": float("nan")}, "taus['value'] must be from 0 to 1, got nan."),
]


@pytest.mark.parametrize(("taus", "message"), REFUSED)
def test_refused_rates(taus, message):
    loss = make_loss()
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        PartwiseSoftUpdate(loss, taus)


def test_parts_are_those_of_the_loss(float64):
    """The actor of other losses has a target too."""
    loss = make_loss(delay_actor=True)
    taus = {**TAUS, "actor": 0.4}
    updater = PartwiseSoftUpdate(loss, taus)
    shift_targets(loss)
    before = arrays(loss.target_actor_network_params)
    for parameter in loss.actor_network_params.values(True, True):
        parameter.data.add_(1.0)
    check_steps(loss, updater, TAUS, 1)
    for key, found in arrays(loss.target_actor_network_params).items():
        np.testing.assert_allclose(found, before[key] + 0.4)
