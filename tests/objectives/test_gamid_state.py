"""Parameters and targets: where they are, how they move, are saved, copied and cast."""

import copy

import pytest
import torch
from objectives.gamid_cases import OUT_KEYS, make_critics, make_loss, member, perturb
from torch.testing import assert_close
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.objectives import SoftUpdate

from torchrl_mixture.modules import MeanActors


def test_soft_update():
    loss = make_loss()
    updater = SoftUpdate(loss, tau=0.25)
    pairs = [
        (loss.qvalue_network_params, loss.target_qvalue_network_params),
        (loss.actor_network_params, loss.target_actor_network_params),
    ]
    before = [target.clone() for _, target in pairs]
    for source, _ in pairs:
        for parameter in source.parameters():
            parameter.data.add_(1)
    updater.step()
    for (_, target), old in zip(pairs, before, strict=True):
        for name, value in old.items(True, True):
            moved = 0.25 if name[-1] not in ("centre", "half_width") else 0.0
            assert_close(target[name], value + moved)


def test_state_dict(make_batch, run):
    loss, batch = make_loss(), make_batch()
    run.step(loss, batch.copy())
    for params in (loss.target_actor_network_params, loss.target_qvalue_network_params):
        perturb(params)
    loss.temperature, loss.variance = 0.7, 0.3
    state = copy.deepcopy(loss.state_dict())
    assert_close(state["temperature"], torch.tensor(0.7))
    other = make_loss()
    other.load_state_dict(state)
    assert_close(dict(other.state_dict()), dict(state))
    expected, gradients = run.step(loss, batch.copy())
    output, other_gradients = run.step(other, batch.copy())
    assert_close(dict(output), dict(expected))
    assert_close(other_gradients, gradients)


@pytest.mark.parametrize("used", [False, True])
def test_a_copy_computes_with_what_it_holds(used, make_batch, run):
    loss, batch = make_loss(policy_noise=0.0), make_batch()
    if used:
        run.step(loss, batch.copy())
    other = copy.deepcopy(loss)
    expected, gradients = run.step(loss, batch.copy())
    output, other_gradients = run.step(other, batch.copy())
    assert_close(dict(output), dict(expected))
    assert_close(other_gradients, gradients)

    with torch.no_grad():
        for value in other.target_qvalue_network_params.values(True, True):
            value.neg_()
        for value in other.actor_network_params.parameters():
            value.add_(0.1)
    assert_close(dict(run.step(loss, batch.copy())[0]), dict(expected))
    changed = run.step(other, batch.copy())[0]
    # The copy's target critics choose: the worst of the original, but for the twins' minimum.
    means = target_means(loss, batch["next"])
    state = batch["next"].select("observation").unsqueeze(-1).expand(16, 3)
    values = torch.stack(
        [
            member(other.target_qvalue_network_params, other.qvalue_network, e)(
                state.copy().set("action", means)
            )["state_action_value"].squeeze(-1)
            for e in range(2)
        ]
    )
    assert_close(changed["next_state_value"], values.amin(0).amax(-1))
    assert not changed["loss_actor"].isclose(expected["loss_actor"])


def target_means(loss, data):
    """The target's means; without an update the target's weights are the actor's own."""
    actor = loss.actor_network[0]
    assert_close(
        loss.target_actor_network_params.to_dict(), loss.actor_network_params.data.to_dict()
    )
    return actor(data.select("observation"))["means"].detach()


def test_list_of_critics_keeps_its_initialisation():
    critics = make_critics(2)
    expected = [copy.deepcopy(critic) for critic in critics]
    loss = make_loss(critics=critics)
    for e, critic in enumerate(expected):
        for name, value in critic.named_parameters():
            key = tuple(name.split("."))
            assert loss.qvalue_network_params[key][e].equal(value)
            assert loss.target_qvalue_network_params[key][e].equal(value)


def test_casting(make_batch, run):
    # After use TorchRL keeps the old type of a list of critics, here and in its own losses.
    loss = make_loss(critics=make_critics(1)[0])
    updater = SoftUpdate(loss, tau=0.1)
    run.step(loss, make_batch())
    loss.to(torch.float64)
    batch = make_batch().apply(
        lambda value: value.double() if value.is_floating_point() else value
    )
    output, gradients = run.step(loss, batch)
    assert all(output[key].dtype == torch.float64 for key in OUT_KEYS)
    assert gradients and all(value.dtype == torch.float64 for value in gradients.values())
    updater.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_types(dtype, make_batch, run):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        output, gradients = run.step(make_loss(), make_batch())
    finally:
        torch.set_default_dtype(before)
    assert all(output[key].dtype == dtype for key in OUT_KEYS)
    assert all(value.dtype == dtype for value in gradients.values())


@pytest.mark.parametrize("delay_actor", [False, True])
@pytest.mark.parametrize("delay_qvalue", [False, True])
def test_targets_without_delay_are_what_is_learned(delay_actor, delay_qvalue, make_batch, run):
    loss = make_loss(delay_actor=delay_actor, delay_qvalue=delay_qvalue, policy_noise=0.0)
    batch = make_batch()
    before = run.step(loss, batch.copy())[0]["target_value"]
    for params, delay in (
        (loss.actor_network_params, delay_actor),
        (loss.qvalue_network_params, delay_qvalue),
    ):
        saved = params.data.clone()
        perturb(params, 1.0)
        changed = run.step(loss, batch.copy())[0]["target_value"]
        assert changed.equal(before) is delay
        params.data.copy_(saved)


def test_user_keeps_the_actor(make_batch):
    """The actor given to the loss acts with what the loss learns, and writes means alone."""
    spec = Bounded(-1.0, 1.0, (2,))
    observed = Composite(observation=Unbounded((3,)))
    actor = MeanActors(spec, 2, observation_spec=observed, num_cells=(4,))
    batch = make_batch()
    before = actor(batch.select("observation"))["means"]
    loss = make_loss(actor=actor)
    for parameter in loss.actor_network_params.parameters():
        parameter.data.add_(0.1)
    data = actor(batch.select("observation"))
    assert set(data.keys()) == {"observation", "means"}
    assert not data["means"].isclose(before).any()
