"""TD3's delay against loops written by hand, its outputs, its state, and more than one mean."""

import inspect
from copy import deepcopy

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torch.testing import assert_close
from torchrl.modules import MLP, Actor, ValueOperator
from torchrl.objectives import SoftUpdate, TD3Loss
from trainers.stepping import assert_same_state, parameters, run

from torchrl_mixture.modules import MeanActors
from torchrl_mixture.objectives import GamidLoss
from torchrl_mixture.trainers import AdamStepper, TD3Stepper, gym_env, parameter_groups

RATES = {"actor": 1e-2, "qvalue": 2e-2}
ACTOR_KEYS = {"loss_actor", "state_action_value_actor"}
CRITIC_KEYS = {"loss_qvalue", "next_state_value", "pred_value", "target_value"}
DIAGNOSTICS = {"divergence", "component_distance", "effective_components"}


def critics():
    return [
        ValueOperator(MLP(3, 1, num_cells=[8]), in_keys=["observation", "action"])
        for _ in range(2)
    ]


def td3(**kwargs):
    torch.manual_seed(0)
    net = nn.Sequential(MLP(2, 1, num_cells=[8]), nn.Tanh())
    spec = gym_env("Counting-v0").action_spec
    loss = TD3Loss(Actor(net), critics(), action_spec=spec, **kwargs)
    loss.make_value_estimator(gamma=0.9)
    return loss


def gamid(**kwargs):
    torch.manual_seed(0)
    env = gym_env("Counting-v0")
    actor = MeanActors(env.action_spec, 3, observation_spec=env.observation_spec, num_cells=(8,))
    loss = GamidLoss(actor, critics(), action_spec=env.action_spec, **kwargs)
    loss.make_value_estimator(gamma=0.9)
    return loss


def make_stepper(loss, **kwargs):
    kwargs = {"lr": RATES, "target_updater": SoftUpdate(loss, tau=0.1), **kwargs}
    return TD3Stepper(loss, **kwargs)


def by_hand(build, minibatch, steps, delay):
    """The loss after some updates, and what each update's critics and each actor's step gave."""
    loss = build()
    targets = SoftUpdate(loss, tau=0.1)
    adams = {
        part: torch.optim.Adam(parameter_groups(loss)[part], lr=rate)
        for part, rate in RATES.items()
    }
    of_critics, of_actor = [], {}
    torch.manual_seed(2)
    for update in range(1, steps + 1):
        batch = minibatch.clone()
        value, metadata = loss.value_loss(batch)
        value.backward()
        adams["qvalue"].step()
        loss.zero_grad()
        of_critics.append({"loss_qvalue": value.detach(), **metadata})
        if update % delay == 0:
            value, metadata = loss.actor_loss(batch)
            value.backward()
            adams["actor"].step()
            loss.zero_grad()
            targets.step()
            of_actor[update] = {"loss_actor": value.detach(), **metadata}
    return loss, of_critics, of_actor


@pytest.mark.parametrize("build", [td3, gamid])
@pytest.mark.parametrize("delay", [1, 2, 3])
def test_equals_a_loop_by_hand(build, delay, minibatch):
    loss = build()
    outputs = run(loss, make_stepper(loss, delay=delay), minibatch, steps=7)
    expected, of_critics, of_actor = by_hand(build, minibatch, 7, delay)
    assert_same_state(loss, expected)
    for update, (output, of_critic) in enumerate(zip(outputs, of_critics, strict=True), 1):
        assert set(output.keys()) == set(outputs[0].keys())
        assert all(value.shape == () and not value.requires_grad for value in output.values())
        for key in CRITIC_KEYS:
            assert_close(output[key], of_critic[key].mean(), rtol=1e-5, atol=1e-6)
        last = update - update % delay
        if last:
            for key, value in of_actor[last].items():
                assert_close(output[key], value.mean(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("build", "further"), [(td3, set()), (gamid, DIAGNOSTICS)])
def test_outputs(build, further, minibatch):
    loss = build()
    first, second, third = run(loss, make_stepper(loss), minibatch, steps=3)
    for output in (first, second, third):
        assert set(output.keys()) == ACTOR_KEYS | CRITIC_KEYS | further
        assert output.batch_size == ()
    for key in ACTOR_KEYS | further:
        assert third[key].equal(second[key])
    assert not third["loss_actor"].equal(first["loss_actor"])
    assert not third["loss_qvalue"].equal(second["loss_qvalue"])
    assert all(parameter.grad is None for parameter in loss.parameters())


def test_actor_outputs_before_its_first_step(minibatch):
    """They are those of the actor's loss, of which no step is taken."""
    loss = td3()
    (output,) = run(loss, make_stepper(loss, delay=3), minibatch, steps=1)
    value, metadata = loss.actor_loss(minibatch.clone())  # with the critics after their step
    assert_close(output["loss_actor"], value.detach())
    assert_close(output["state_action_value_actor"], metadata["state_action_value_actor"].mean())


def test_the_actor_sees_the_critics_after_their_step(minibatch):
    """One forward pass for both parts gives another actor."""
    loss, together = td3(), td3()
    run(loss, make_stepper(loss, delay=1), minibatch, steps=1)
    run(together, AdamStepper(together, lr=RATES), minibatch, steps=1)
    pairs = [parameter_groups(each) for each in (loss, together)]
    for one, other in zip(pairs[0]["qvalue"], pairs[1]["qvalue"], strict=True):
        assert_close(one, other)
    before = parameter_groups(td3())["actor"]
    after = [torch.cat([p.flatten() for p in pair["actor"]]) for pair in pairs]
    start = torch.cat([p.flatten() for p in before])
    assert not (after[0] - start).allclose(after[1] - start)


def test_what_moves_at_each_update(minibatch):
    loss = td3()
    stepper = make_stepper(loss, lr=1e-2, delay=3)
    moved = {"actor_network_params": [], "qvalue_network_params": []}
    moved |= {f"target_{name}": [] for name in moved}
    for _ in range(6):
        before = deepcopy(loss.state_dict())
        run(loss, stepper, minibatch, steps=1)
        for name, updates in moved.items():
            keys = [
                key for key, value in before.items() if key.startswith(name) and value.ndim > 0
            ]
            changes = {not loss.state_dict()[key].equal(before[key]) for key in keys}
            updates.append(changes == {True})
    each, third = [True] * 6, [False, False, True] * 2
    assert moved["qvalue_network_params"] == each
    assert moved["actor_network_params"] == third
    assert moved["target_actor_network_params"] == third
    assert moved["target_qvalue_network_params"] == third


@pytest.mark.parametrize("saved_after", [1, 2, 4])
def test_goes_on_where_it_was(saved_after, minibatch):
    losses = [gamid(), gamid()]
    steppers = [make_stepper(loss, delay=3) for loss in losses]
    run(losses[0], steppers[0], minibatch, steps=saved_after)
    losses[1].load_state_dict(losses[0].state_dict())
    steppers[1].load_state_dict(deepcopy(steppers[0].state_dict()))
    assert steppers[1].updates == saved_after
    outputs = [
        run(loss, stepper, minibatch, steps=3, seed=3)
        for loss, stepper in zip(losses, steppers, strict=True)
    ]
    for one, other in zip(*outputs, strict=True):
        assert set(one.keys()) == set(other.keys())
        assert all(one[key].equal(other[key]) for key in one.keys())
    assert all(a.equal(b) for a, b in zip(*map(parameters, losses), strict=True))


def test_state_is_a_snapshot(minibatch):
    """What was returned does not change with later updates."""
    loss = gamid()
    stepper = make_stepper(loss, delay=1)
    run(loss, stepper, minibatch, steps=1)
    state = stepper.state_dict()
    saved = {key: value.clone() for key, value in state["actor_outputs"].items()}
    assert set(saved) == ACTOR_KEYS | DIAGNOSTICS
    run(loss, stepper, minibatch, steps=1)
    assert all(value.equal(saved[key]) for key, value in state["actor_outputs"].items())


def test_a_stepper_that_took_no_step_can_be_restored(minibatch):
    loss, other = td3(), td3()
    stepper, second = make_stepper(loss), make_stepper(other)
    second.load_state_dict(stepper.state_dict())
    outputs = [run(*pair, minibatch, 1)[0] for pair in ((loss, stepper), (other, second))]
    assert all(outputs[0][key].equal(outputs[1][key]) for key in outputs[0].keys())


@pytest.mark.parametrize("key", [None, "error"])
@pytest.mark.parametrize("build", [td3, gamid])
def test_priority(build, key, minibatch):
    loss, expected = build(), build()
    if key is not None:
        loss.set_keys(priority=key)
    batch = minibatch.clone()
    torch.manual_seed(2)
    make_stepper(loss).update(batch)
    stock = minibatch.clone()
    torch.manual_seed(2)
    expected(stock)  # the first update's critics are those of the first forward pass
    assert_close(batch[key or "td_error"], stock["td_error"])
    assert batch[key or "td_error"].shape == (16,)


def test_priority_weights(minibatch):
    """Both losses are weighted, as they are in one forward pass."""
    minibatch["priority_weight"] = torch.rand(16)
    loss, expected = td3(), td3()
    (output,) = run(loss, make_stepper(loss, delay=1), minibatch, steps=1)
    torch.manual_seed(2)
    weighted = expected(minibatch.clone())
    assert_close(output["loss_qvalue"], weighted["loss_qvalue"].detach())
    actor_value = by_hand(td3, minibatch, 1, 1)[2][1]["loss_actor"]
    assert_close(output["loss_actor"], actor_value)
    unweighted = by_hand(td3, minibatch.exclude("priority_weight"), 1, 1)[2][1]["loss_actor"]
    assert not actor_value.isclose(unweighted)


def test_without_an_updater_targets_stay(minibatch):
    loss = td3()
    before = [p.clone() for p in loss.target_qvalue_network_params.values(True, True)]
    run(loss, TD3Stepper(loss, lr=RATES), minibatch, steps=4)
    after = loss.target_qvalue_network_params.values(True, True)
    assert all(a.equal(b) for a, b in zip(before, after, strict=True))


def test_defaults(minibatch):
    loss = td3()
    stepper = TD3Stepper(loss)
    assert stepper.delay == 2
    rates = {group["name"]: group["lr"] for group in stepper.optimizer.param_groups}
    assert rates == {"actor": 1e-3, "qvalue": 1e-3}
    documented = inspect.signature(TD3Stepper).parameters
    assert set(documented) == {"loss_module", "delay", "lr", "target_updater", "compile"}


def test_as_an_auxiliary_stepper(make_loss, minibatch):
    main = make_loss(gym_env("Counting-v0"))
    with pytest.raises(ValueError, match="must have outputs of other names"):
        AdamStepper(main, auxiliary={"td3": make_stepper(td3())})


@pytest.mark.slow
@pytest.mark.parametrize("build", [td3, gamid])
def test_compiled_equals_eager(build, minibatch, monkeypatch):
    torch.compiler.reset()
    compile_for_real = torch.compile
    compiled_names = []

    def compile_in_eager_mode(function):
        compiled_names.append(function.__name__)
        return compile_for_real(function, backend="aot_eager")

    monkeypatch.setattr(torch, "compile", compile_in_eager_mode)
    losses, outputs = [build(policy_noise=0.0) for _ in range(2)], []
    for loss, compiled in zip(losses, (False, True), strict=True):
        stepper = make_stepper(loss, compile=compiled, delay=2)
        outputs.append(run(loss, stepper, minibatch, 4))
    assert len(compiled_names) == 2
    assert_same_state(*losses)
    for one, other in zip(*outputs, strict=True):
        assert_close(dict(one), dict(other), rtol=1e-4, atol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match=r"^delay must be at least 1, got 0\.$"):
        TD3Stepper(td3(), delay=0)
    for lr in ({"actor": 1e-3}, {"actor": 1e-3, "critic": 1e-3}):
        with pytest.raises(ValueError, match=r"^lr names .*\['actor', 'qvalue'\]\.$"):
            TD3Stepper(td3(), lr=lr)


def test_minibatch_is_left_as_it_was_but_for_the_priority(minibatch):
    batch = minibatch.clone()
    make_stepper(gamid()).update(batch)
    assert set(batch.keys()) == {*minibatch.keys(), "td_error"}
    assert isinstance(batch, TensorDict)
    assert (batch.exclude("td_error") == minibatch).all()
