"""What TorchRL asks of a loss: keys, dispatch, reductions, priorities, targets, state."""

import copy

import pytest
import torch
from objectives.mede_cases import (
    LOSSES,
    OUT_KEYS,
    action_spec,
    copy_state,
    expected_in_keys,
    keywords,
    make_actor,
    make_critics,
    make_discriminator,
    make_loss,
    shift,
    with_latents,
)
from tensordict import NonTensorData
from tensordict.nn import TensorDictModule
from torch.testing import assert_close
from torchrl.modules import ProbabilisticActor, ValueOperator
from torchrl.objectives import HardUpdate, SoftUpdate, ValueEstimators

every_diversity = pytest.mark.parametrize("diversity", ["mede", "diayn"])


def renamed_parts(diversity):
    source = make_actor()
    network = TensorDictModule(
        source.module[0].module, ["observation", "skill"], ["logits", "loc", "scale"]
    )
    box = action_spec()
    actor = ProbabilisticActor(
        network,
        in_keys=["logits", "loc", "scale"],
        out_keys=[("agent", "act")],
        spec=box,
        distribution_class=source.module[1].distribution_class,
        distribution_kwargs={"low": box.space.low, "high": box.space.high},
    )
    keys = {"in_keys": ["observation", ("agent", "act"), "skill"], "out_keys": [("agent", "q")]}
    critics = [ValueOperator(critic.module, **keys) for critic in make_critics()]
    discriminator = make_discriminator(form="state_action" if diversity == "mede" else "state")
    renamed = copy.deepcopy(discriminator)
    if diversity == "mede":
        renamed.in_keys = ["observation", ("agent", "act")]
    return actor, critics, renamed, discriminator


@every_diversity
def test_renamed_keys(diversity, make_batch, run):
    actor, critics, renamed_discriminator, discriminator = renamed_parts(diversity)
    plain = make_loss(diversity, discriminator=discriminator)
    loss = make_loss(diversity, actor=actor, critics=critics, discriminator=renamed_discriminator)
    names = {
        "action": ("agent", "act"),
        "reward": ("agent", "gain"),
        "done": "over",
        "terminated": "dead",
        "latent": "skill",
        "state_action_value": ("agent", "q"),
        "priority": "error",
    }
    loss.set_keys(**names)
    batch = with_latents(make_batch())
    renamed = batch.copy()
    for old in ("done", "terminated", "latent"):
        renamed.rename_key_(("next", old), ("next", names[old]))
    renamed.rename_key_(("next", "reward"), ("next", "agent", "gain"))
    renamed.rename_key_("latent", "skill")
    renamed.rename_key_("action", ("agent", "act"))
    copy_state(loss, plain)
    assert {"skill", ("next", "skill"), ("agent", "act")} <= set(loss.in_keys)
    assert "latent" not in loss.in_keys
    expected, expected_gradients = run.step(plain, batch)
    output, gradients = run.step(loss, renamed)
    assert_close(dict(output), dict(expected))
    assert_close(gradients, expected_gradients)
    assert_close(renamed["error"], batch["td_error"])


def test_default_key_of_the_latent():
    loss = make_loss()
    assert loss.tensor_keys.latent == "latent"
    loss.set_keys(latent="skill")
    assert loss.tensor_keys.latent == "skill"


@every_diversity
def test_in_and_out_keys(diversity, make_batch):
    loss = make_loss(diversity)
    assert set(loss.in_keys) == expected_in_keys()
    assert len(loss.in_keys) == len(expected_in_keys())
    assert loss.out_keys == OUT_KEYS
    assert set(loss(with_latents(make_batch())).keys()) == set(OUT_KEYS)
    loss.set_keys(reward="gain")
    assert ("next", "gain") in loss.in_keys


@every_diversity
def test_dispatch(diversity, make_batch):
    loss, batch = make_loss(diversity), with_latents(make_batch())
    torch.manual_seed(1)
    expected = loss(batch.copy())
    torch.manual_seed(1)
    values = loss(**keywords(batch))
    assert len(values) == len(OUT_KEYS)
    for name, value in zip(OUT_KEYS, values, strict=True):
        assert_close(value, expected[name])


def test_select_out_keys(make_batch):
    loss, batch = make_loss(), with_latents(make_batch())
    loss.select_out_keys("loss_actor", "entropy")
    assert set(loss(batch).keys()) == {"loss_actor", "entropy"}


@every_diversity
def test_the_callers_batch_is_left_clean(diversity, make_batch):
    for call in ("forward", "actor_loss", "qvalue_v2_loss"):
        loss, batch = make_loss(diversity), with_latents(make_batch())
        before = batch.clone()
        getattr(loss, call)(batch)
        written = {"td_error"} if call == "forward" else set()
        assert set(batch.keys(True)) == set(before.keys(True)) | written
        for key in before.keys(True, True):
            assert batch[key].equal(before[key])


@every_diversity
def test_reductions(diversity, make_batch):
    loss, batch = make_loss(diversity), with_latents(make_batch(4, 5))
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


def test_scalars_of_no_reduction(make_batch):
    loss = make_loss(reduction="none", scalar_output_mode="non_tensor")
    output = loss(with_latents(make_batch()))
    assert output.batch_size == (16,) and set(output.keys()) == set(OUT_KEYS)
    for name in ("alpha", "entropy"):
        assert isinstance(output.get(name), NonTensorData)
    with pytest.warns(UserWarning, match="reduction='none'"):
        assert make_loss(reduction="none").scalar_output_mode == "exclude"


@every_diversity
def test_priority_weights(diversity, make_batch):
    loss, batch = make_loss(diversity, scalar_output_mode="exclude"), with_latents(make_batch())
    weights = torch.rand(16)

    def call(reduction, **keys):
        loss.reduction = reduction
        torch.manual_seed(1)
        return loss(batch.copy().update(keys))

    each, weighted = call("none"), call("mean", priority_weight=weights)
    for name in LOSSES:
        assert_close(weighted[name], (weights * each[name]).sum() / weights.sum())


@pytest.mark.parametrize("skip", [False, True])
def test_next_states_of_finished_episodes_do_not_count(skip, make_batch):
    loss, batch = make_loss(skip_done_states=skip), with_latents(make_batch())
    batch["next", "done"] = batch["next", "terminated"].clone()
    finished = batch["next", "terminated"].squeeze(-1)
    assert finished.any() and not finished.all()
    torch.manual_seed(1)
    before = loss.qvalue_v2_loss(batch.copy())[0]
    batch["next", "observation"] = torch.where(
        finished.unsqueeze(-1),
        torch.full_like(batch["observation"], 1e3),
        batch["next", "observation"],
    )
    torch.manual_seed(1)
    assert_close(loss.qvalue_v2_loss(batch.copy())[0], before)


@pytest.mark.parametrize(
    ("value_type", "kwargs"),
    [
        (None, {"gamma": 0.7}),
        (ValueEstimators.TD0, {"gamma": 0.7}),
        (ValueEstimators.TD1, {"gamma": 0.7}),
        (ValueEstimators.TDLambda, {"gamma": 0.7, "lmbda": 0.4}),
    ],
)
def test_value_estimators(value_type, kwargs, make_batch):
    """DIAYN is SAC with another reward, whatever estimates the value."""
    batch = with_latents(make_batch(4, 5))  # the last dimension is time
    loss = make_loss("diayn", diversity_coef=0.6)
    other = make_loss("diayn", diversity_coef=0.0)
    logits = loss.discriminator(batch.copy())["latent_logits"]
    paid = batch.copy()
    log_q = (logits.log_softmax(-1) * batch["latent"]).sum(-1, keepdim=True)
    paid["next"] = batch["next"].copy().set("reward", batch["next", "reward"] + 0.6 * log_q)
    for each in (loss, other):
        each.make_value_estimator(value_type, **kwargs)
    coef = loss.diversity_coef.clone()
    copy_state(loss, other)
    other.diversity_coef = 0.0
    torch.manual_seed(1)
    expected = other(paid.detach())["loss_qvalue"]
    torch.manual_seed(1)
    assert_close(loss(batch.copy())["loss_qvalue"], expected)
    assert_close(coef, torch.tensor(0.6))
    with pytest.raises(NotImplementedError):
        loss.make_value_estimator(ValueEstimators.GAE)


def test_soft_and_hard_updates():
    loss = make_loss()
    updater = SoftUpdate(loss, tau=0.25)
    before = loss.target_qvalue_network_params.clone()
    shift(loss.qvalue_network_params)
    updater.step()
    assert_close(loss.target_qvalue_network_params.to_dict(), (before + 0.25).to_dict())
    hard = HardUpdate(loss, value_network_update_interval=1)
    shift(loss.qvalue_network_params)
    hard.step()
    hard.step()
    source = loss.qvalue_network_params.data
    assert_close(loss.target_qvalue_network_params.to_dict(), source.to_dict())


@pytest.mark.parametrize("diversity_coef", [None, 0.4])
def test_state_dict(diversity_coef, make_batch, run):
    loss, batch = make_loss(diversity_coef=diversity_coef), with_latents(make_batch())
    SoftUpdate(loss, tau=0.3).step()
    run.step(loss, batch.copy())
    if diversity_coef:
        loss.diversity_coef = 0.8
    state = loss.state_dict()
    assert ("diversity_coef" in state) is (diversity_coef is not None)
    other = make_loss(diversity_coef=diversity_coef, discriminator=loss.discriminator)
    other.load_state_dict(copy.deepcopy(state))
    expected, gradients = run.step(loss, batch.copy())
    output, other_gradients = run.step(other, batch.copy())
    assert_close(dict(output), dict(expected))
    assert_close(other_gradients, gradients)


@pytest.mark.parametrize("value", [0.0, 0.5, 3])
@pytest.mark.parametrize("first", [1, 1.0])
@every_diversity
def test_the_coefficient_is_scheduled_by_assignment(diversity, first, value, make_batch, run):
    loss, batch = make_loss(diversity, diversity_coef=first), with_latents(make_batch())
    buffer = loss.diversity_coef
    before = run.step(loss, batch.copy())[0]
    loss.diversity_coef = value
    assert loss.diversity_coef is buffer and buffer == value
    other = make_loss(diversity, discriminator=loss.discriminator, diversity_coef=float(value))
    copy_state(loss, other)
    after = run.step(loss, batch.copy())[0]
    assert_close(dict(after), dict(run.step(other, batch.copy())[0]))
    assert not after["loss_qvalue"].isclose(before["loss_qvalue"])


def unstack(loss):
    for params in loss.qvalue_network_params.unbind(0):
        critic = copy.deepcopy(loss.qvalue_network)
        params.data.to_module(critic)
        yield critic


@every_diversity
def test_list_of_critics_keeps_their_weights(diversity, make_batch, run):
    critics, actor = make_critics(number=3), make_actor()
    loss = make_loss(diversity, actor=actor, critics=copy.deepcopy(critics), num_qvalue_nets=3)
    for given, kept in zip(critics, unstack(loss), strict=True):
        assert_close(dict(kept.named_parameters()), dict(given.named_parameters()))
    single = make_loss(diversity, critics=make_critics(number=1)[0], num_qvalue_nets=3)
    assert single.qvalue_network_params.batch_size == (3,)
    assert run.step(single, with_latents(make_batch()))[0]["loss_qvalue"] > 0


@every_diversity
def test_deactivate_vmap(diversity, make_batch, run):
    loss, batch = make_loss(diversity), with_latents(make_batch())
    other = make_loss(diversity, discriminator=loss.discriminator, deactivate_vmap=True)
    copy_state(loss, other)
    expected, gradients = run.step(loss, batch.copy())
    output, other_gradients = run.step(other, batch.copy())
    assert_close(dict(output), dict(expected))
    assert_close(other_gradients, gradients)
