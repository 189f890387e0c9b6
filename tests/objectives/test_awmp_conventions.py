"""What TorchRL asks of a loss: keys, dispatch, reductions, priorities, targets, state."""

import copy

import pytest
import torch
from objectives.awmp_loss_cases import LOSSES, SCALARS, make_loss, make_value, shift_targets
from objectives.sacm_cases import K, action_spec, copy_state, keywords, make_actor, make_critics
from tensordict import NonTensorData
from tensordict.nn import TensorDictModule
from torch.testing import assert_close
from torchrl.modules import ProbabilisticActor, ValueOperator
from torchrl.objectives import SoftUpdate, ValueEstimators

OUT_KEYS = ["loss_actor", "loss_qvalue", "loss_alpha", "alpha", "entropy", "loss_value"]
OUT_KEYS += SCALARS[2:]
SETTINGS = {"replay": {}, "sampled": {"prior_action": "sampled"}}
every_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
ACTION, QVALUE = ("agent", "act"), ("agent", "q")


def renamed_parts():
    source, box = make_actor(learn_weights=False), action_spec()
    actor = ProbabilisticActor(
        source.module[0],
        in_keys=["logits", "loc", "scale"],
        out_keys=[ACTION],
        spec=box,
        distribution_class=source.module[1].distribution_class,
        distribution_kwargs={"low": box.space.low, "high": box.space.high},
    )
    keys = {"in_keys": ["observation", ACTION], "out_keys": [QVALUE]}
    critics = [ValueOperator(critic.module, **keys) for critic in make_critics(1)]
    value = ValueOperator(make_value().module, in_keys=["observation"], out_keys=[("agent", "v")])
    return {"actor": actor, "critics": critics, "value": value}


def renamed_prior(prior):
    other = TensorDictModule(prior.module, ["observation", ACTION], ["prior_logits"])
    other.num_components = K
    return other


@every_setting
def test_renamed_keys(settings, make_batch, run):
    plain = make_loss(**settings)
    names = {
        "action": ACTION,
        "value": ("agent", "v"),
        "reward": ("agent", "gain"),
        "done": "over",
        "terminated": "dead",
        "state_action_value": QVALUE,
        "priority": "error",
        "priority_weight": "importance",
    }
    prior = renamed_prior(plain.prior_network)
    loss = make_loss(**renamed_parts(), prior=prior, keys=names, **settings)
    copy_state(loss, plain)
    batch = make_batch().set("priority_weight", torch.rand(16))
    renamed = batch.copy()
    for old in ("done", "terminated"):
        renamed.rename_key_(("next", old), ("next", names[old]))
    renamed.rename_key_(("next", "reward"), ("next", "agent", "gain"))
    for old in ("action", "priority_weight"):
        renamed.rename_key_(old, names[old])
    expected, expected_gradients = run.step(plain, batch)
    output, gradients = run.step(loss, renamed)
    assert_close(dict(output), dict(expected))
    assert_close(gradients, expected_gradients)
    assert_close(renamed["error"], batch["td_error"])
    assert_close(loss.advantage(renamed), plain.advantage(batch))
    assert ACTION in loss.in_keys and "action" not in loss.in_keys


def test_in_and_out_keys(make_batch):
    loss = make_loss()
    following = {("next", key) for key in ("observation", "reward", "done", "terminated")}
    expected = {"observation", "action", *following}
    assert set(loss.in_keys) == expected and len(loss.in_keys) == len(expected)
    assert loss.out_keys == OUT_KEYS
    assert set(loss(make_batch()).keys()) == set(OUT_KEYS) == {*LOSSES, *SCALARS}
    loss.set_keys(reward="gain")
    assert ("next", "gain") in loss.in_keys


def test_what_the_other_networks_read_is_asked_for():
    value = ValueOperator(make_value().module, in_keys=["state"])
    plain = make_loss().prior_network
    prior = TensorDictModule(plain.module, ["context", "action"], ["prior_logits"])
    prior.num_components = K
    keys = make_loss(value=value, prior=prior).in_keys
    assert {"state", ("next", "state"), "context"} <= set(keys)


@every_setting
def test_dispatch(settings, make_batch):
    loss, batch = make_loss(**settings), make_batch()
    torch.manual_seed(1)
    expected = loss(batch.copy())
    torch.manual_seed(1)
    values = loss(**keywords(batch))
    assert len(values) == len(OUT_KEYS)
    for name, value in zip(OUT_KEYS, values, strict=True):
        assert_close(value, expected[name])


def test_select_out_keys(make_batch):
    loss = make_loss()
    loss.select_out_keys("loss_value", "weight_entropy", "alpha")
    assert set(loss(make_batch()).keys()) == {"loss_value", "weight_entropy", "alpha"}


@every_setting
@pytest.mark.parametrize(
    "call", ["forward", "actor_loss", "qvalue_v1_loss", "value_loss", "mixture_diagnostics"]
)
def test_the_callers_batch_is_left_clean(call, settings, make_batch):
    loss, batch = make_loss(**settings), make_batch()
    before = batch.clone()
    getattr(loss, call)(batch)
    written = {"td_error"} if call == "forward" else set()
    assert set(batch.keys(True)) == set(before.keys(True)) | written
    for key in before.keys(True, True):
        assert batch[key].equal(before[key])


@every_setting
def test_reductions(settings, make_batch):
    loss, batch = make_loss(**settings), make_batch(4, 5)
    outputs = {}
    for reduction in ("none", "mean", "sum"):
        loss.reduction, loss.scalar_output_mode = reduction, "exclude"
        torch.manual_seed(1)
        outputs[reduction] = loss(data := batch.copy())
        assert data["td_error"].shape == (4, 5) and not data["td_error"].requires_grad
    for name in LOSSES:
        assert outputs["none"][name].shape == (4, 5)
        assert_close(outputs["none"][name].mean(), outputs["mean"][name])
        assert_close(outputs["none"][name].sum(), outputs["sum"][name])
    assert set(outputs["none"].keys()) == set(LOSSES)
    for name in SCALARS:
        assert_close(outputs["sum"][name], outputs["mean"][name])
        assert outputs["mean"][name].shape == () and not outputs["mean"][name].requires_grad
    assert loss.advantage(batch).shape == (4, 5, 1)


def test_scalars_of_no_reduction(make_batch):
    loss = make_loss(reduction="none", scalar_output_mode="non_tensor")
    output = loss(make_batch())
    assert output.batch_size == (16,) and set(output.keys()) == set(OUT_KEYS)
    for name in SCALARS:
        assert isinstance(output.get(name), NonTensorData) and output[name].shape == ()
    with pytest.warns(UserWarning, match="reduction='none'"):
        assert make_loss(reduction="none").scalar_output_mode == "exclude"


def test_priority_weights(make_batch):
    loss, batch = make_loss(scalar_output_mode="exclude"), make_batch()
    weights = torch.rand(16)

    def call(reduction, **keys):
        loss.reduction = reduction
        torch.manual_seed(1)
        return loss(batch.copy().update(keys))

    each, weighted = call("none"), call("mean", priority_weight=weights)
    for name in LOSSES:
        assert_close(weighted[name], (weights * each[name]).sum() / weights.sum())


@pytest.mark.parametrize(
    ("value_type", "lmbda"),
    [(ValueEstimators.TD0, 0.0), (ValueEstimators.TD1, 1.0), (ValueEstimators.TDLambda, 0.4)],
)
def test_value_estimators(value_type, lmbda, make_batch):
    """Lambda-returns from the end of a trajectory; where it is cut, the value."""
    loss, batch = make_loss(), make_batch(4, 5)
    shift_targets(loss)
    kwargs = {"lmbda": lmbda} if value_type is ValueEstimators.TDLambda else {}
    loss.make_value_estimator(value_type, gamma=0.7, **kwargs)
    following = batch["next"].select("observation")
    with loss.target_value_network_params.to_module(loss.value_network):
        value = loss.value_network(following)["state_value"].squeeze(-1)
    reward, terminated, done = (
        batch["next", key].squeeze(-1) for key in ("reward", "terminated", "done")
    )
    expected, after = torch.zeros(4, 5), value[:, -1]
    for t in reversed(range(5)):
        mixed = torch.where(done[:, t], value[:, t], (1 - lmbda) * value[:, t] + lmbda * after)
        expected[:, t] = after = reward[:, t] + 0.7 * ~terminated[:, t] * mixed
    assert_close(loss._critic_target(batch), expected.detach())


def test_unsupported_value_estimators():
    with pytest.raises(NotImplementedError):
        make_loss().make_value_estimator(ValueEstimators.GAE)


def test_soft_updates():
    loss = make_loss()
    updater = SoftUpdate(loss, tau=0.25)
    for name in ("qvalue", "value"):
        target = getattr(loss, f"target_{name}_network_params")
        before = target.clone()
        for parameter in getattr(loss, f"{name}_network_params").values(True, True):
            parameter.data.add_(1)
        updater.step()
        assert_close(target.to_dict(), (before + 0.25).to_dict())


def test_state_dict(make_batch, run):
    loss, batch = make_loss(), make_batch()
    SoftUpdate(loss, tau=0.3).step()
    shift_targets(loss)
    run.step(loss, batch.copy())
    loss.gate_temperature, loss.gate_entropy_coef = 0.5, 0.25
    state = copy.deepcopy(loss.state_dict())
    assert state["gate_temperature"] == 0.5 and state["gate_entropy_coef"] == 0.25
    other = make_loss(prior=loss.prior_network)
    other.load_state_dict(state)
    expected, gradients = run.step(loss, batch.copy())
    output, other_gradients = run.step(other, batch.copy())
    assert_close(dict(output), dict(expected))
    assert_close(other_gradients, gradients)


def test_coefficients_can_be_scheduled(make_batch, run):
    loss, batch = make_loss(), make_batch()
    shift_targets(loss)
    before = run.step(loss, batch.copy())[0]
    buffers = loss.gate_temperature, loss.gate_entropy_coef
    loss.gate_temperature = 1e4
    output = run.step(loss, batch.copy())[0]
    assert output["effective_components"].item() == pytest.approx(K, rel=1e-3)
    assert output["loss_value"] != before["loss_value"]
    loss.gate_entropy_coef = 2.0
    assert run.step(loss, batch.copy())[0]["loss_value"] != output["loss_value"]
    assert buffers[0] is loss.gate_temperature and buffers[1] is loss.gate_entropy_coef


def test_deactivate_vmap(make_batch, run):
    loss, batch = make_loss(), make_batch()
    other = make_loss(deactivate_vmap=True, prior=loss.prior_network)
    copy_state(loss, other)
    expected, gradients = run.step(loss, batch.copy())
    output, other_gradients = run.step(other, batch.copy())
    assert_close(dict(output), dict(expected))
    assert_close(other_gradients, gradients)


def test_casting(make_batch, run):
    loss = make_loss(critics=make_critics(1, number=1)[0])
    run.step(loss, make_batch())
    loss.to(torch.double)
    loss.prior_network.to(torch.double)
    batch = make_batch().apply(lambda part: part.double() if part.is_floating_point() else part)
    output, gradients = run.step(loss, batch)
    assert all(output[key].dtype == torch.double for key in OUT_KEYS)
    assert all(gradient.dtype == torch.double for gradient in gradients.values())


def test_a_batch_of_odd_size_trains_every_critic(make_batch, run):
    """TorchRL's version would refuse it, for its critics share the batch out."""
    loss = make_loss()
    _, gradients = run.step(loss, make_batch(7))
    for name, gradient in gradients.items():
        if name.startswith("qvalue"):
            assert gradient.reshape(2, -1).any(-1).all()
