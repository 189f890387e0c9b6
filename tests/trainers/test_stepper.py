"""The stepper against separate optimisers, and its state."""

from copy import deepcopy

import pytest
import torch
from torchrl.objectives import SoftUpdate
from trainers.stepping import assert_same_state, parameters, run

from torchrl_mixture.trainers import AdamStepper, gym_env, parameter_groups


@pytest.fixture
def env():
    return gym_env("Counting-v0")


def test_equals_three_adams_and_moves_targets_once_a_step(env, make_loss, minibatch):
    rates = {"actor": 1e-2, "qvalue": 2e-2, "alpha": 3e-2}
    loss = make_loss(env)
    stepper = AdamStepper(loss, lr=rates, target_updater=SoftUpdate(loss, tau=0.1))
    run(loss, stepper, minibatch, steps=4)

    expected = make_loss(env)
    targets = SoftUpdate(expected, tau=0.1)
    parts = [
        (expected.actor_network_params, "loss_actor", rates["actor"]),
        (expected.qvalue_network_params, "loss_qvalue", rates["qvalue"]),
    ]
    adams = [torch.optim.Adam(p.values(True, True), lr=lr) for p, _, lr in parts]
    adams.append(torch.optim.Adam([expected.log_alpha], lr=rates["alpha"]))
    torch.manual_seed(2)
    for _ in range(4):
        outputs = expected(minibatch.clone())
        for key in ("loss_actor", "loss_qvalue", "loss_alpha"):
            outputs[key].backward()
        for adam in adams:
            adam.step()
            adam.zero_grad()
        targets.step()
    assert_same_state(loss, expected)


@pytest.mark.parametrize("part", ["actor", "qvalue", "alpha"])
def test_each_part_has_its_own_step_size(env, make_loss, minibatch, part):
    loss = make_loss(env)
    before = deepcopy(parameter_groups(loss))
    rates = {name: 1e-2 if name == part else 0.0 for name in before}
    run(loss, AdamStepper(loss, lr=rates), minibatch, steps=1)
    for name, group in parameter_groups(loss).items():
        moved = [not new.equal(old) for new, old in zip(group, before[name], strict=True)]
        assert all(moved) if name == part else not any(moved)


def test_one_step_size_for_all(env, make_loss, minibatch):
    losses = [make_loss(env) for _ in range(2)]
    rates = 1e-2, {"actor": 1e-2, "qvalue": 1e-2, "alpha": 1e-2}
    for loss, lr in zip(losses, rates, strict=True):
        run(loss, AdamStepper(loss, lr=lr), minibatch, steps=2)
    assert all(a.equal(b) for a, b in zip(*map(parameters, losses), strict=True))


def test_outputs_are_detached_with_constant_keys(env, make_loss, minibatch):
    loss = make_loss(env)
    stepper = AdamStepper(loss, target_updater=SoftUpdate(loss, tau=0.1))
    first, second = run(loss, stepper, minibatch, steps=2)
    assert set(first.keys()) == set(second.keys()) >= {"loss_actor", "loss_qvalue", "alpha"}
    assert not any(value.requires_grad for value in second.values())
    assert all(parameter.grad is None for parameter in loss.parameters())


def check_compiled(env, make_loss, minibatch):
    losses = [make_loss(env) for _ in range(2)]
    for loss, compiled in zip(losses, (False, True), strict=True):
        updater = SoftUpdate(loss, tau=0.1)
        run(loss, AdamStepper(loss, target_updater=updater, compile=compiled), minibatch, 3)
    assert_same_state(*losses)


@pytest.mark.slow
def test_compiled_equals_eager(env, make_loss, minibatch, monkeypatch):
    compile_for_real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda m: compile_for_real(m, backend="aot_eager"))
    check_compiled(env, make_loss, minibatch)


@pytest.mark.slow
def test_compiled_with_code_generation_equals_eager(env, make_loss, minibatch):
    # the compiler draws other random numbers than the eager functions unless told not to
    with torch._inductor.config.patch(fallback_random=True):
        check_compiled(env, make_loss, minibatch)


def test_state_round_trip(env, make_loss, minibatch):
    loss = make_loss(env)
    stepper = AdamStepper(loss, lr=1e-2, target_updater=SoftUpdate(loss, tau=0.1))
    run(loss, stepper, minibatch, steps=3)
    other = make_loss(env)
    other_stepper = AdamStepper(other, lr=1e-2, target_updater=SoftUpdate(other, tau=0.1))
    other.load_state_dict(loss.state_dict())
    other_stepper.load_state_dict(deepcopy(stepper.state_dict()))
    assert other_stepper.updates == 3
    run(loss, stepper, minibatch, steps=1, seed=3)
    run(other, other_stepper, minibatch, steps=1, seed=3)
    assert all(a.equal(b) for a, b in zip(parameters(loss), parameters(other), strict=True))


def test_groups_and_unknown_parts(env, make_loss):
    loss = make_loss(env)
    groups = parameter_groups(loss)
    assert set(groups) == {"actor", "qvalue", "alpha"}
    assert sum(map(len, groups.values())) == len(list(loss.parameters()))
    for lr in ({"critic": 1e-3}, {"actor": 1e-3}, dict.fromkeys([*groups, "more"], 1e-3)):
        with pytest.raises(ValueError, match=r"^lr names .*\['actor', 'alpha', 'qvalue'\]\.$"):
            AdamStepper(loss, lr=lr)
