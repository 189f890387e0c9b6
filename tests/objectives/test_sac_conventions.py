"""What TorchRL asks of a loss: keys, dispatch, reductions, priorities, targets, state."""

import copy
import math

import pytest
import torch
from tensordict import NonTensorData
from torch.testing import assert_close
from torchrl.data import Bounded
from torchrl.modules import ProbabilisticActor, ValueOperator
from torchrl.objectives import HardUpdate, SACLoss, SoftUpdate, ValueEstimators

from torchrl_mixture.objectives import GumbelSoftmax, HalfReparam, MixtureSACLoss

ESTIMATORS = ("half", "gumbel", "likelihood", "marginal", "implicit")
LOSSES = ("loss_actor", "loss_qvalue", "loss_alpha")
DIAGNOSTICS = ("weight_entropy", "effective_components", "component_information")
OUT_KEYS = [*LOSSES, "alpha", "entropy", *DIAGNOSTICS]


def renamed_parts(make_actor, make_critics):
    source = make_actor()
    actor = ProbabilisticActor(
        source.module[0],
        in_keys=["logits", "loc", "scale"],
        out_keys=[("agent", "act")],
        spec=Bounded(-1.5, 1.0, (2,)),
        distribution_class=source.module[1].distribution_class,
        distribution_kwargs={"low": -1.5, "high": 1.0},
    )
    keys = {"in_keys": ["observation", ("agent", "act")], "out_keys": [("agent", "q")]}
    return actor, [ValueOperator(critic.module, **keys) for critic in make_critics()]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_renamed_keys(estimator, make_loss, make_actor, make_critics, make_batch, run):
    actor, critics = renamed_parts(make_actor, make_critics)
    plain = make_loss(estimator, actor=make_actor(), critics=make_critics())
    loss = make_loss(estimator, actor=actor, critics=critics)
    names = {
        "action": ("agent", "act"),
        "reward": "gain",
        "done": "over",
        "terminated": "dead",
        "state_action_value": ("agent", "q"),
        "priority": "error",
    }
    loss.set_keys(**names)
    batch = make_batch()
    renamed = batch.copy()
    for old in ("reward", "done", "terminated"):
        renamed.rename_key_(("next", old), ("next", names[old]))
    renamed.rename_key_("action", ("agent", "act"))
    for parameter, source in zip(plain.parameters(), loss.parameters(), strict=True):
        parameter.data.copy_(source)
    for name, target in plain.named_buffers():
        target.data.copy_(dict(loss.named_buffers())[name])
    expected, expected_gradients = run.step(plain, batch)
    output, gradients = run.step(loss, renamed)
    assert_close(dict(output), dict(expected))
    assert_close(gradients, expected_gradients)
    assert_close(renamed["error"], batch["td_error"])


def test_unknown_key(make_loss):
    with pytest.raises(ValueError, match="no_such_key"):
        make_loss().set_keys(no_such_key="action")


def test_in_and_out_keys(make_loss, make_batch):
    loss = make_loss()
    following = {("next", key) for key in ("observation", "reward", "done", "terminated")}
    assert set(loss.in_keys) == {"observation", "action", *following}
    assert loss.out_keys == OUT_KEYS
    assert set(loss(make_batch()).keys()) == set(OUT_KEYS)
    loss.set_keys(reward="gain")
    assert ("next", "gain") in loss.in_keys


def keywords(batch):
    return {
        "observation": batch["observation"],
        "action": batch["action"],
        **{f"next_{key}": value for key, value in batch["next"].items()},
    }


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_dispatch(estimator, make_loss, make_batch):
    loss, batch = make_loss(estimator), make_batch()
    torch.manual_seed(1)
    expected = loss(batch)
    torch.manual_seed(1)
    values = loss(**keywords(batch))
    assert len(values) == len(OUT_KEYS)
    for name, value in zip(OUT_KEYS, values, strict=True):
        assert_close(value, expected[name])


def test_select_out_keys(make_loss, make_batch):
    loss, batch = make_loss(), make_batch()
    loss.select_out_keys("loss_actor", "component_information")
    assert set(loss(batch).keys()) == {"loss_actor", "component_information"}
    loss_actor, information = loss(**keywords(batch))
    loss_actor.backward()
    assert information >= 0


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_reductions(estimator, make_loss, make_batch):
    loss, batch = make_loss(estimator), make_batch(4, 5)
    outputs = {}
    for reduction in ("none", "mean", "sum"):
        loss.reduction, loss.scalar_output_mode = reduction, "exclude"
        torch.manual_seed(1)
        outputs[reduction] = loss(batch.copy())
    for name in LOSSES:
        assert outputs["none"][name].shape == (4, 5)
        assert_close(outputs["none"][name].mean(), outputs["mean"][name])
        assert_close(outputs["none"][name].sum(), outputs["sum"][name])
    assert set(outputs["none"].keys()) == set(LOSSES)
    for name in DIAGNOSTICS:
        assert_close(outputs["sum"][name], outputs["mean"][name])


def test_scalars_of_no_reduction(make_loss, make_batch):
    loss = make_loss(reduction="none", scalar_output_mode="non_tensor")
    output = loss(make_batch())
    assert output.batch_size == (16,)
    assert set(output.keys()) == set(OUT_KEYS)
    for name in ("alpha", "entropy", *DIAGNOSTICS):
        assert isinstance(output.get(name), NonTensorData)
        assert output[name].shape == ()
    with pytest.warns(UserWarning, match="reduction='none'"):
        assert make_loss(reduction="none").scalar_output_mode == "exclude"


@pytest.mark.parametrize("shape", [(16,), (4, 5)])
def test_priority(shape, make_loss, make_batch):
    loss = make_loss(num_qvalue_nets=3, reduction="none", scalar_output_mode="exclude")
    batch = make_batch(*shape)
    loss(batch)
    assert batch["td_error"].shape == shape
    assert not batch["td_error"].requires_grad
    with torch.no_grad():
        torch.manual_seed(1)
        target = loss._compute_target_v2(batch)
        values = [critic(batch.copy())["state_action_value"] for critic in unstack(loss)]
        errors = (torch.stack(values).squeeze(-1) - target).abs()
        torch.manual_seed(1)
        loss(batch)
    assert_close(batch["td_error"], errors.amax(0))


def unstack(loss):
    for params in loss.qvalue_network_params.unbind(0):
        critic = copy.deepcopy(loss.qvalue_network)
        params.data.to_module(critic)
        yield critic


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_priority_weight(estimator, make_loss, make_batch):
    loss, batch = make_loss(estimator, scalar_output_mode="exclude"), make_batch()
    weights = torch.rand(16)

    def call(reduction, **keys):
        loss.reduction = reduction
        torch.manual_seed(1)
        return loss(batch.copy().update(keys))

    each = call("none")
    weighted = call("mean", priority_weight=weights)
    for name in LOSSES:
        assert_close(weighted[name], (weights * each[name]).sum() / weights.sum())
    loss.use_prioritized_weights = False
    ignored = call("mean", priority_weight=weights)
    assert_close(ignored["loss_actor"], each["loss_actor"].mean())


@pytest.mark.parametrize(
    ("value_type", "kwargs"),
    [
        (ValueEstimators.TD0, {"gamma": 0.7}),
        (ValueEstimators.TD1, {"gamma": 0.7}),
        (ValueEstimators.TDLambda, {"gamma": 0.7, "lmbda": 0.4}),
    ],
)
def test_value_estimators(value_type, kwargs, make_actor, make_critics, make_batch, run):
    actor, critics = make_actor(1), make_critics()
    ours = MixtureSACLoss(actor, critics)
    stock = SACLoss(actor, copy.deepcopy(critics))
    batch = make_batch(4, 5)  # the last dimension is time
    for loss in (ours, stock):
        loss.make_value_estimator(value_type, **kwargs)
    expected = run.step(stock, batch.copy())[0]["loss_qvalue"]
    assert_close(run.step(ours, batch.copy())[0]["loss_qvalue"], expected)
    ours.make_value_estimator(value_type, gamma=0.1)
    assert not run.step(ours, batch.copy())[0]["loss_qvalue"].isclose(expected)
    with pytest.raises(NotImplementedError):
        ours.make_value_estimator(ValueEstimators.GAE)


def shift(params):
    for parameter in params.values(True, True):
        parameter.data.add_(1)


def test_soft_update(make_loss):
    loss = make_loss()
    updater = SoftUpdate(loss, tau=0.25)
    target = loss.target_qvalue_network_params
    before = target.clone()
    shift(loss.qvalue_network_params)
    updater.step()
    assert_close(target.to_dict(), (before + 0.25).to_dict())


def test_hard_update(make_loss):
    loss = make_loss(delay_actor=True)
    updater = HardUpdate(loss, value_network_update_interval=1)  # every second step
    source, target = loss.actor_network_params, loss.target_actor_network_params
    before = target.clone()
    shift(source)
    updater.step()
    assert_close(target.to_dict(), before.to_dict())
    updater.step()
    assert_close(target.to_dict(), source.data.to_dict())


@pytest.mark.parametrize("used", [False, True])
def test_state_dict(used, make_loss, make_batch, run):
    loss = make_loss(GumbelSoftmax(temperature=0.5))
    if used:
        SoftUpdate(loss, tau=0.3).step()
        run.step(loss, make_batch())
    loss.gradient_estimator.temperature.fill_(0.25)
    state = loss.state_dict()
    assert state["gradient_estimator.temperature"] == 0.25
    other = make_loss("gumbel")
    other.load_state_dict(copy.deepcopy(state))
    assert other.gradient_estimator.temperature == 0.25
    assert_close(dict(other.state_dict()), dict(state))
    batch = make_batch()
    expected, gradients = run.step(loss, batch.copy())
    output, other_gradients = run.step(other, batch.copy())
    assert_close(dict(output), dict(expected))
    assert_close(other_gradients, gradients)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_deactivate_vmap(estimator, make_loss, make_batch, run):
    loss, batch = make_loss(estimator), make_batch()
    critics = [copy.deepcopy(critic) for critic in unstack(loss)]
    actor = copy.deepcopy(loss.actor_network)
    other = make_loss(estimator, actor=actor, critics=critics, deactivate_vmap=True)
    expected, gradients = run.step(loss, batch.copy())
    output, other_gradients = run.step(other, batch.copy())
    assert_close(dict(output), dict(expected))
    assert_close(other_gradients, gradients)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_casting(estimator, make_loss, make_critics, make_batch, run):
    # After use TorchRL keeps the old type of a list of critics, here and in its own losses.
    loss = make_loss(estimator, critics=make_critics(1)[0])
    updater = SoftUpdate(loss, tau=0.1)
    run.step(loss, make_batch())
    loss.to(torch.double)
    batch = make_batch().apply(
        lambda value: value.double() if value.is_floating_point() else value
    )
    output, gradients = run.step(loss, batch)
    assert all(output[key].dtype == torch.double for key in OUT_KEYS)
    assert all(gradient.dtype == torch.double for gradient in gradients.values())
    updater.step()


def test_deepcopy_is_independent(make_loss, make_batch, run):
    loss, batch = make_loss(), make_batch()
    run.step(loss, batch)
    twin = copy.deepcopy(loss)
    expected = run.step(loss, batch.copy())[0]
    shift(twin.qvalue_network_params)
    assert_close(dict(run.step(loss, batch.copy())[0]), dict(expected))
    assert not run.step(twin, batch.copy())[0]["loss_qvalue"].isclose(expected["loss_qvalue"])


def test_estimator_argument(make_loss):
    estimator = HalfReparam(num_baseline_samples=7)
    assert make_loss(estimator).gradient_estimator is estimator
    with pytest.raises(ValueError, match=r"one of \['gumbel', 'half'.*got 'reinforce'"):
        make_loss("reinforce")
    assert math.isclose(make_loss("gumbel").gradient_estimator.temperature, 1.0)
