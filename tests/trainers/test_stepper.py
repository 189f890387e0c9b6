"""The stepper against separate optimisers, and its state."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from torchrl.objectives import SoftUpdate

from torchrl_mixture.trainers import AdamStepper, gym_env, parameter_groups


@pytest.fixture
def env():
    return gym_env("Counting-v0")


def run(loss, stepper, minibatch, steps, seed=2):
    torch.manual_seed(seed)
    trainer = SimpleNamespace(compute_loss=loss)
    return [stepper.step(trainer, minibatch.clone()) for _ in range(steps)]


def assert_same_state(left, right):
    for key, value in left.state_dict().items():
        torch.testing.assert_close(value, right.state_dict()[key], rtol=1e-5, atol=1e-6, msg=key)


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


def test_outputs_are_detached_with_constant_keys(env, make_loss, minibatch):
    loss = make_loss(env)
    stepper = AdamStepper(loss, target_updater=SoftUpdate(loss, tau=0.1))
    first, second = run(loss, stepper, minibatch, steps=2)
    assert set(first.keys()) == set(second.keys()) >= {"loss_actor", "loss_qvalue", "alpha"}
    assert not any(value.requires_grad for value in second.values())
    assert all(parameter.grad is None for parameter in loss.parameters())


def test_compiled_equals_eager(env, make_loss, minibatch, monkeypatch):
    compile_for_real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda m: compile_for_real(m, backend="aot_eager"))
    losses = [make_loss(env) for _ in range(2)]
    for loss, compiled in zip(losses, (False, True), strict=True):
        updater = SoftUpdate(loss, tau=0.1)
        run(loss, AdamStepper(loss, target_updater=updater, compile=compiled), minibatch, 3)
    assert_same_state(*losses)


def test_state_round_trip(env, make_loss, minibatch):
    loss = make_loss(env)
    stepper = AdamStepper(loss, lr=1e-2, target_updater=SoftUpdate(loss, tau=0.1))
    run(loss, stepper, minibatch, steps=3)
    other = make_loss(env)
    other_stepper = AdamStepper(other, lr=1e-2, target_updater=SoftUpdate(other, tau=0.1))
    other.load_state_dict(loss.state_dict())
    other_stepper.load_state_dict(deepcopy(stepper.state_dict()))
    run(loss, stepper, minibatch, steps=1, seed=3)
    run(other, other_stepper, minibatch, steps=1, seed=3)
    assert_same_state(loss, other)


def test_groups_and_unknown_part(env, make_loss):
    loss = make_loss(env)
    assert set(parameter_groups(loss)) == {"actor", "qvalue", "alpha"}
    with pytest.raises(ValueError, match=r"\['critic'\].*\['actor', 'alpha', 'qvalue'\]"):
        AdamStepper(loss, lr={"critic": 1e-3})
