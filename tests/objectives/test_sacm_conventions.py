"""What TorchRL asks of a loss: keys, dispatch, reductions, priorities, targets, state."""

import copy

import pytest
import torch
from objectives.sacm_cases import (
    DIAGNOSTICS,
    LOSSES,
    OUT_KEYS,
    K,
    action_spec,
    copy_state,
    keywords,
    make_actor,
    make_critics,
    make_loss,
    shift,
    unstack,
    with_masks,
)
from tensordict import NonTensorData
from torch.testing import assert_close
from torchrl.modules import ProbabilisticActor, ValueOperator
from torchrl.objectives import HardUpdate, SoftUpdate, ValueEstimators

SETTINGS = {
    "sacm": {},
    "s2acm": {"variant": "s2acm"},
    "mixture": {"actor_entropy": "mixture"},
    "masks": {"variant": "s2acm", "data_masks": True},
}
every_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)


def renamed_parts():
    source, box = make_actor(), action_spec()
    actor = ProbabilisticActor(
        source.module[0],
        in_keys=["logits", "loc", "scale"],
        out_keys=[("agent", "act")],
        spec=box,
        distribution_class=source.module[1].distribution_class,
        distribution_kwargs={"low": box.space.low, "high": box.space.high},
    )
    keys = {"in_keys": ["observation", ("agent", "act")], "out_keys": [("agent", "q")]}
    return actor, [ValueOperator(critic.module, **keys) for critic in make_critics()]


@every_setting
def test_renamed_keys(settings, make_batch, run):
    actor, critics = renamed_parts()
    plain, loss = make_loss(**settings), make_loss(actor=actor, critics=critics, **settings)
    copy_state(loss, plain)
    names = {
        "action": ("agent", "act"),
        "value": ("agent", "v"),
        "reward": ("agent", "gain"),
        "done": "over",
        "terminated": "dead",
        "state_action_value": ("agent", "q"),
        "priority": "error",
        "priority_weight": "importance",
        "component_mask": ("agent", "owner"),
    }
    loss.set_keys(**names)
    batch = with_masks(make_batch()).set("priority_weight", torch.rand(16))
    renamed = batch.copy()
    for old in ("done", "terminated"):
        renamed.rename_key_(("next", old), ("next", names[old]))
    renamed.rename_key_(("next", "reward"), ("next", "agent", "gain"))
    for old in ("action", "component_mask", "priority_weight"):
        renamed.rename_key_(old, names[old])
    expected, expected_gradients = run.step(plain, batch)
    output, gradients = run.step(loss, renamed)
    assert_close(dict(output), dict(expected))
    assert_close(gradients, expected_gradients)
    assert_close(renamed["error"], batch["td_error"])
    owned = settings.get("data_masks", False)
    assert (("agent", "owner") in loss.in_keys) is owned
    assert "component_mask" not in loss.in_keys


def test_default_keys():
    assert make_loss().tensor_keys.component_mask == "component_mask"
    assert make_loss().tensor_keys.priority == "td_error"


@pytest.mark.parametrize("data_masks", [False, True])
def test_in_and_out_keys(data_masks, make_batch):
    loss = make_loss(data_masks=data_masks)
    following = {("next", key) for key in ("observation", "reward", "done", "terminated")}
    expected = {"observation", "action", *following} | (
        {"component_mask"} if data_masks else set()
    )
    assert set(loss.in_keys) == expected and len(loss.in_keys) == len(expected)
    assert loss.out_keys == OUT_KEYS
    assert set(loss(with_masks(make_batch())).keys()) == set(OUT_KEYS)
    loss.set_keys(reward="gain")
    assert ("next", "gain") in loss.in_keys


@every_setting
def test_dispatch(settings, make_batch):
    loss, batch = make_loss(**settings), make_batch()
    if loss.data_masks:
        batch = with_masks(batch)
    torch.manual_seed(1)
    expected = loss(batch.copy())
    torch.manual_seed(1)
    values = loss(**keywords(batch))
    assert len(values) == len(OUT_KEYS)
    for name, value in zip(OUT_KEYS, values, strict=True):
        assert_close(value, expected[name])


def test_select_out_keys(make_batch):
    loss, batch = make_loss(), make_batch()
    loss.select_out_keys("loss_actor", "component_information", "alpha")
    assert set(loss(batch).keys()) == {"loss_actor", "component_information", "alpha"}


@every_setting
def test_the_callers_batch_is_left_clean(settings, make_batch):
    for call in ("forward", "actor_loss", "qvalue_v2_loss"):
        loss, batch = make_loss(**settings), with_masks(make_batch())
        before = batch.clone()
        getattr(loss, call)(batch)
        written = {"td_error"} if call == "forward" else set()
        assert set(batch.keys(True)) == set(before.keys(True)) | written
        for key in before.keys(True, True):
            assert batch[key].equal(before[key])


@every_setting
def test_reductions(settings, make_batch):
    loss, batch = make_loss(**settings), with_masks(make_batch(4, 5))
    outputs = {}
    for reduction in ("none", "mean", "sum"):
        loss.reduction, loss.scalar_output_mode = reduction, "exclude"
        torch.manual_seed(1)
        outputs[reduction] = loss(data := batch.copy())
        assert data["td_error"].shape == (4, 5)
    for name in LOSSES:
        assert outputs["none"][name].shape == (4, 5)
        assert_close(outputs["none"][name].mean(), outputs["mean"][name])
        assert_close(outputs["none"][name].sum(), outputs["sum"][name])
    assert set(outputs["none"].keys()) == set(LOSSES)
    for name in ("alpha", "entropy", *DIAGNOSTICS):
        assert_close(outputs["sum"][name], outputs["mean"][name])
        assert outputs["mean"][name].shape == () and not outputs["mean"][name].requires_grad


def test_scalars_of_no_reduction(make_batch):
    loss = make_loss(reduction="none", scalar_output_mode="non_tensor")
    output = loss(make_batch())
    assert output.batch_size == (16,) and set(output.keys()) == set(OUT_KEYS)
    for name in ("alpha", "entropy", *DIAGNOSTICS):
        assert isinstance(output.get(name), NonTensorData) and output[name].shape == ()
    with pytest.warns(UserWarning, match="reduction='none'"):
        assert make_loss(reduction="none").scalar_output_mode == "exclude"


@every_setting
def test_priority_weights(settings, make_batch):
    loss, batch = make_loss(scalar_output_mode="exclude", **settings), with_masks(make_batch())
    weights = torch.rand(16)

    def call(reduction, **keys):
        loss.reduction = reduction
        torch.manual_seed(1)
        return loss(batch.copy().update(keys))

    each, weighted = call("none"), call("mean", priority_weight=weights)
    for name in LOSSES:
        assert_close(weighted[name], (weights * each[name]).sum() / weights.sum())


VALUE_ESTIMATORS = [
    (ValueEstimators.TD0, {"gamma": 0.7}),
    (ValueEstimators.TD1, {"gamma": 0.7}),
    (ValueEstimators.TDLambda, {"gamma": 0.7, "lmbda": 0.4}),
]


def returns(reward, value, going, unfinished, gamma, lmbda):
    """Lambda-returns of one trajectory ``[T]`` from the end; where it is cut, the value."""
    result, following = torch.zeros_like(reward), value[-1]
    for t in reversed(range(len(reward))):
        mixed = (1 - lmbda) * value[t] + lmbda * following if unfinished[t] else value[t]
        result[t] = following = reward[t] + gamma * going[t] * mixed
    return result


@pytest.mark.parametrize(("value_type", "kwargs"), VALUE_ESTIMATORS)
@pytest.mark.parametrize("values", [1, K])
def test_value_estimators(values, value_type, kwargs, make_batch):
    """Every component has the return of its own values; the last dimension is time."""
    loss, batch = make_loss(critics=make_critics(values)), make_batch(4, 5)
    loss.make_value_estimator(value_type, **kwargs)
    lmbda = {"TD0": 0.0, "TD1": 1.0}.get(value_type.name, kwargs.get("lmbda"))
    torch.manual_seed(1)
    target = loss._compute_target_v2(batch)
    assert target.shape == (4, 5, values)
    reward, terminated, done = (
        batch["next", key].squeeze(-1) for key in ("reward", "terminated", "done")
    )
    value = next_values(loss, batch)
    for row in range(4):
        for i in range(values):
            expected = returns(
                reward[row], value[row, :, i], ~terminated[row], ~done[row], 0.7, lmbda
            )
            assert_close(target[row, :, i], expected)


def next_values(loss, batch):
    """What stands for the value of the next state: the target of no reward and no end."""
    other = make_loss(critics=[*unstack(loss)], actor=copy.deepcopy(loss.actor_network), gamma=1.0)
    batch = batch.clone()
    for key in ("reward", "terminated", "done"):
        batch["next", key] = torch.zeros_like(batch["next", key])
    torch.manual_seed(1)
    return other._compute_target_v2(batch)


def test_unsupported_value_estimators():
    with pytest.raises(NotImplementedError):
        make_loss().make_value_estimator(ValueEstimators.GAE)


def test_soft_and_hard_updates():
    loss = make_loss()
    updater = SoftUpdate(loss, tau=0.25)
    before = loss.target_qvalue_network_params.clone()
    shift(loss.qvalue_network_params)
    updater.step()
    assert_close(loss.target_qvalue_network_params.to_dict(), (before + 0.25).to_dict())
    hard = HardUpdate(loss, value_network_update_interval=1)  # every second step
    shift(loss.qvalue_network_params)
    hard.step()
    hard.step()
    source = loss.qvalue_network_params.data
    assert_close(loss.target_qvalue_network_params.to_dict(), source.to_dict())


@every_setting
@pytest.mark.parametrize("fixed_alpha", [False, True])
def test_state_dict(fixed_alpha, settings, make_batch, run):
    settings = {**settings, "fixed_alpha": fixed_alpha, "target_entropy": [-1.0, -2.0, -3.0]}
    loss, batch = make_loss(**settings), with_masks(make_batch())
    SoftUpdate(loss, tau=0.3).step()
    run.step(loss, batch.copy())
    with torch.no_grad():
        loss.log_alpha.copy_(torch.tensor([0.1, -0.2, 0.3]))
    state = loss.state_dict()
    assert state["log_alpha"].shape == (K,)
    other = make_loss(**settings)
    other.load_state_dict(copy.deepcopy(state))
    assert_close(dict(other.state_dict()), dict(state))
    expected, gradients = run.step(loss, batch.copy())
    output, other_gradients = run.step(other, batch.copy())
    assert_close(dict(output), dict(expected))
    assert_close(other_gradients, gradients)


@every_setting
def test_deactivate_vmap(settings, make_batch, run):
    loss, batch = make_loss(**settings), with_masks(make_batch())
    other = make_loss(deactivate_vmap=True, **settings)
    copy_state(loss, other)
    expected, gradients = run.step(loss, batch.copy())
    output, other_gradients = run.step(other, batch.copy())
    assert_close(dict(output), dict(expected))
    assert_close(other_gradients, gradients)


@pytest.mark.parametrize("values", [1, K])
def test_list_of_critics_keeps_their_weights(values, make_batch, run):
    critics = make_critics(values, number=3)
    loss = make_loss(critics=copy.deepcopy(critics), num_qvalue_nets=3)
    for given, kept in zip(critics, unstack(loss), strict=True):
        assert_close(dict(kept.named_parameters()), dict(given.named_parameters()))
    single = make_loss(critics=make_critics(values, number=1)[0], num_qvalue_nets=3)
    assert single.qvalue_network_params.batch_size == (3,)
    assert run.step(single, make_batch())[0]["loss_qvalue"] > 0


def test_casting(make_batch, run):
    loss = make_loss(critics=make_critics(number=1)[0])
    run.step(loss, make_batch())
    loss.to(torch.double)
    batch = make_batch().apply(lambda part: part.double() if part.is_floating_point() else part)
    output, gradients = run.step(loss, batch)
    assert all(output[key].dtype == torch.double for key in OUT_KEYS)
    assert all(gradient.dtype == torch.double for gradient in gradients.values())
