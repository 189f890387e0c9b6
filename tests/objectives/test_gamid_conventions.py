"""What TorchRL asks of a loss: keys, dispatch, reductions, priorities, estimators, refusals."""

import copy
import math

import pytest
import torch
from objectives.gamid_cases import (
    DIAGNOSTICS,
    OUT_KEYS,
    action_spec,
    make_critics,
    make_loss,
    make_means,
    stock_loss,
)
from tensordict.nn import TensorDictModule
from torch import nn
from torch.testing import assert_close
from torchrl.modules import MLP, ValueOperator
from torchrl.objectives import ValueEstimators

from torchrl_mixture.objectives import GamidLoss

LOSSES = ("loss_actor", "loss_qvalue")
STATE_KEYS = ("observation", "reward", "done", "terminated")
NAMES = {
    "action": ("agent", "act"),
    "reward": "gain",
    "done": "over",
    "terminated": "dead",
    "state_action_value": ("agent", "q"),
    "priority": "error",
}


def renamed_loss(names=NAMES):
    critics = make_critics(
        in_keys=["observation", names["action"]], out_keys=[names["state_action_value"]]
    )
    loss = make_loss(critics=critics)
    loss.set_keys(**names)
    return loss


def renamed_batch(batch, names=NAMES):
    batch = batch.copy()
    for old in ("reward", "done", "terminated"):
        batch.rename_key_(("next", old), ("next", names[old]))
    return batch.rename_key_("action", names["action"])


def keywords(batch):
    """Keyword arguments of a call; nested keys are joined."""
    leaves = batch.items(True, True)
    return {key if isinstance(key, str) else "_".join(key): value for key, value in leaves}


def test_renamed_keys(make_batch, run):
    plain, loss, batch = make_loss(), renamed_loss(), make_batch()
    plain.load_state_dict(
        {
            name: value
            for name, value in zip(plain.state_dict(), loss.state_dict().values(), strict=True)
        }
    )
    expected, expected_gradients = run.step(plain, batch)
    renamed = renamed_batch(batch.exclude("td_error"))
    output, gradients = run.step(loss, renamed)
    assert_close(dict(output), dict(expected))
    assert_close(gradients, expected_gradients)
    assert_close(renamed["error"], batch["td_error"])


def test_unknown_key():
    with pytest.raises(ValueError, match="no_such_key"):
        make_loss().set_keys(no_such_key="action")


def test_in_and_out_keys(make_batch):
    loss = make_loss()
    assert set(loss.in_keys) == {"observation", "action", *[("next", key) for key in STATE_KEYS]}
    assert set(loss.out_keys) == OUT_KEYS and len(loss.out_keys) == len(OUT_KEYS)
    assert set(loss(make_batch()).keys()) == OUT_KEYS
    assert (
        "divergence"
        not in stock_loss(make_means(1), make_critics(), action_spec=action_spec()).out_keys
    )
    names = ["observation", "gain", "over", "dead"]
    expected = {"observation", NAMES["action"], *[("next", name) for name in names]}
    assert set(renamed_loss().in_keys) == expected


@pytest.mark.parametrize("rename", [False, True])
def test_dispatch(rename, make_batch):
    # TD3Loss refuses an action and a value in one nested tensordict here, as this loss does.
    names = {**NAMES, "action": "act", "state_action_value": "q"}
    loss = renamed_loss(names) if rename else make_loss()
    batch = renamed_batch(make_batch(), names) if rename else make_batch()
    torch.manual_seed(1)
    expected = loss(batch.copy())
    torch.manual_seed(1)
    values = loss(**keywords(batch))
    assert len(values) == len(OUT_KEYS)
    for name, value in zip(loss.out_keys, values, strict=True):
        assert_close(value, expected[name])


def test_select_out_keys(make_batch):
    loss, batch = make_loss(), make_batch()
    loss.select_out_keys("loss_actor", "divergence")
    assert set(loss(batch).keys()) == {"loss_actor", "divergence"}
    loss_actor, divergence = loss(**keywords(make_batch()))
    loss_actor.backward()
    assert divergence > 0
    assert set(make_loss().out_keys) == OUT_KEYS  # others keep theirs


def test_batch_is_left_as_it_was(make_batch):
    batch = make_batch()
    before = batch.clone()
    make_loss()(batch)
    assert set(batch.keys(True, True)) == {*before.keys(True, True), "td_error"}
    assert (batch.exclude("td_error") == before).all()


def test_reductions(make_batch):
    loss, batch = make_loss(), make_batch(4, 5)
    outputs = {}
    for reduction in ("none", "mean", "sum"):
        loss.reduction = reduction
        torch.manual_seed(1)
        outputs[reduction] = loss(batch.copy())
    for name in LOSSES:
        assert outputs["none"][name].shape == (4, 5)
        assert_close(outputs["none"][name].mean(), outputs["mean"][name])
        assert_close(outputs["none"][name].sum(), outputs["sum"][name])
    for name in {*OUT_KEYS} - {*LOSSES}:
        assert_close(outputs["sum"][name], outputs["mean"][name])
        assert_close(outputs["none"][name], outputs["mean"][name])
    assert outputs["mean"]["state_action_value_actor"].shape == (4, 5, 3)
    assert all(outputs["none"][name].shape == () for name in DIAGNOSTICS)


def test_priority(make_batch):
    loss, batch = make_loss(num_qvalue_nets=3), make_batch(4, 5)
    torch.manual_seed(1)
    output = loss(batch)
    errors = (output["pred_value"] - output["target_value"]).square()
    assert batch["td_error"].shape == (4, 5) and not batch["td_error"].requires_grad
    assert errors.shape == (3, 4, 5)
    assert_close(batch["td_error"], errors.amax(0))


def test_priority_weights(make_batch):
    loss, batch, weights = make_loss(), make_batch(), torch.rand(16)

    def call(reduction, **keys):
        loss.reduction = reduction
        torch.manual_seed(1)
        return loss(batch.copy().update(keys))

    each, weighted = call("none"), call("mean", priority_weight=weights)
    for name in LOSSES:
        assert_close(weighted[name], (weights * each[name]).sum() / weights.sum())
    loss.use_prioritized_weights = False
    assert_close(call("mean", priority_weight=weights)["loss_actor"], each["loss_actor"].mean())


@pytest.mark.parametrize(
    ("value_type", "kwargs"),
    [
        (None, {"gamma": 0.7}),
        (ValueEstimators.TD0, {"gamma": 0.7}),
        (ValueEstimators.TD1, {"gamma": 0.7}),
        (ValueEstimators.TDLambda, {"gamma": 0.7, "lmbda": 0.4}),
    ],
)
def test_value_estimators(value_type, kwargs, make_batch, run):
    actor, critics, batch = make_means(1), make_critics(), make_batch(4, 5)
    stock = stock_loss(actor, critics, action_spec=action_spec(), loss_function="l2")
    ours = make_loss(actor=actor, critics=critics)
    for loss in (stock, ours):
        loss.make_value_estimator(value_type, **kwargs)
    expected = run.step(stock, batch.copy())[0]["loss_qvalue"]
    assert_close(run.step(ours, batch.copy())[0]["loss_qvalue"], expected)
    ours.make_value_estimator(value_type, gamma=0.1)
    assert not run.step(ours, batch.copy())[0]["loss_qvalue"].isclose(expected)
    with pytest.raises(NotImplementedError):
        ours.make_value_estimator(ValueEstimators.GAE)


def test_deactivate_vmap(make_batch, run):
    actor, critics, batch = make_means(), make_critics(), make_batch()
    losses = [
        make_loss(actor=copy.deepcopy(actor), critics=copy.deepcopy(critics), deactivate_vmap=off)
        for off in (False, True)
    ]
    (expected, gradients), (output, other) = (run.step(loss, batch.copy()) for loss in losses)
    assert_close(dict(output), dict(expected))
    assert_close(other, gradients)


def test_critics_that_read_what_the_actor_does_not(make_batch, run):
    """The choice reads all of the critics' keys in the next state."""
    critics = [
        ValueOperator(MLP(9, 1, num_cells=[8]), in_keys=["observation", "goal", "action"])
        for _ in range(2)
    ]
    loss = make_loss(critics=critics, policy_noise=0.0)
    assert {"goal", ("next", "goal")} <= set(loss.in_keys)
    batch = make_batch()
    batch["goal"], batch["next", "goal"] = torch.randn(16, 4), torch.randn(16, 4)
    before = run.step(loss, batch.copy())[0]
    batch["next", "goal"] = torch.randn(16, 4)
    after = run.step(loss, batch.copy())[0]
    assert not before["next_state_value"].isclose(after["next_state_value"]).any()
    assert after["loss_actor"].equal(before["loss_actor"])


def test_diagnostics_at_their_extremes(make_batch):
    loss, batch = make_loss(), make_batch()
    with torch.no_grad():
        for parameter in loss.actor_network_params.parameters():
            parameter.copy_(parameter[:1].expand_as(parameter))  # all means coincide
    output = loss(batch)
    assert_close(output["divergence"], torch.tensor(0.0), atol=1e-6, rtol=0)
    assert_close(output["component_distance"], torch.tensor(0.0), atol=1e-6, rtol=0)
    output["loss_actor"].backward()
    gradients = [parameter.grad for parameter in loss.actor_network_params.parameters()]
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_actor_without_means_is_refused():
    actor = TensorDictModule(nn.Linear(3, 2), ["observation"], ["action"])
    message = r"^actor_network must write 'means', as MeanActors does, it writes \['action'\]\.$"
    with pytest.raises(ValueError, match=message):
        GamidLoss(actor, make_critics(), action_spec=action_spec())


@pytest.mark.parametrize("variance", [0.0, -1.0, math.nan])
def test_variance_must_be_positive(variance):
    with pytest.raises(ValueError, match=f"^variance must be above 0, got {variance}\\.$"):
        make_loss(variance=variance)


@pytest.mark.parametrize("temperature", [-0.1, math.nan])
def test_temperature_must_not_be_negative(temperature):
    message = f"^temperature must be at least 0, got {temperature}\\.$"
    with pytest.raises(ValueError, match=message):
        make_loss(temperature=temperature)


def test_the_box_is_required_as_by_the_parent():
    with pytest.raises(ValueError, match="One of 'bounds' and 'action_spec' must be provided"):
        GamidLoss(make_means(), make_critics())


def test_default_numbers():
    loss = GamidLoss(make_means(), make_critics(), action_spec=action_spec())
    assert_close(loss.temperature, torch.tensor(0.1))
    assert_close(loss.variance, torch.tensor(1.0))


@pytest.mark.parametrize(("num_components", "expected"), [(1, 4), (3, 6)])
def test_calls_of_a_critic_in_an_update(num_components, expected, make_batch):
    """Of two critics each is called for the prediction, the target and, of several, the choice."""
    loss, calls = make_loss(num_components), []
    loss.qvalue_network.module.register_forward_hook(lambda *_: calls.append(1))
    loss.value_loss(make_batch())
    assert len(calls) == expected
