"""Delayed parts, auxiliary losses and other minibatches, against loops written by hand."""

from copy import deepcopy

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from torch import nn
from torchrl.modules import MLP, Actor, ValueOperator
from torchrl.objectives import LossModule, SoftUpdate, TD3Loss
from trainers.stepping import assert_same_state, parameters, run

from torchrl_mixture.trainers import AdamStepper, gym_env, parameter_groups


def td3():
    torch.manual_seed(0)
    env = gym_env("Counting-v0")
    net = nn.Sequential(MLP(2, 1, num_cells=[8]), nn.Tanh())
    critic = ValueOperator(MLP(3, 1, num_cells=[8]), in_keys=["observation", "action"])
    loss = TD3Loss(
        Actor(net), critic, action_spec=env.action_spec, delay_actor=True, delay_qvalue=True
    )
    loss.make_value_estimator(gamma=0.9)
    return loss


def td3_by_hand(minibatch, steps, delay, rates):
    loss = td3()
    targets = SoftUpdate(loss, tau=0.1)
    actor = torch.optim.Adam(parameter_groups(loss)["actor"], lr=rates["actor"])
    critic = torch.optim.Adam(parameter_groups(loss)["qvalue"], lr=rates["qvalue"])
    torch.manual_seed(2)
    for update in range(1, steps + 1):
        outputs = loss(minibatch.clone())
        critic.zero_grad()
        outputs["loss_qvalue"].backward()
        if update % delay == 0:
            actor.zero_grad()
            outputs["loss_actor"].backward()
            actor.step()
        critic.step()
        if update % delay == 0:
            targets.step()
    return loss


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_delayed_actor_is_that_of_td3(minibatch, delay):
    loss, rates = td3(), {"actor": 1e-2, "qvalue": 2e-2}
    stepper = AdamStepper(
        loss,
        lr=rates,
        target_updater=SoftUpdate(loss, tau=0.1),
        delayed=["actor"],
        delay=delay,
    )
    run(loss, stepper, minibatch, steps=7)
    assert_same_state(loss, td3_by_hand(minibatch, 7, delay, rates))


def test_what_moves_at_each_update(minibatch):
    loss = td3()
    updater = SoftUpdate(loss, tau=0.1)
    stepper = AdamStepper(loss, lr=1e-2, target_updater=updater, delayed=["actor"], delay=3)
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


def test_delay_goes_on_where_it_was(minibatch):
    losses = [td3(), td3()]
    steppers = [
        AdamStepper(
            loss, target_updater=SoftUpdate(loss, tau=0.1), delayed=["actor"], delay=3, lr=1e-2
        )
        for loss in losses
    ]
    run(losses[0], steppers[0], minibatch, steps=2)
    losses[1].load_state_dict(losses[0].state_dict())
    steppers[1].load_state_dict(deepcopy(steppers[0].state_dict()))
    for loss, stepper in zip(losses, steppers, strict=True):
        run(loss, stepper, minibatch, steps=2, seed=3)
    assert all(a.equal(b) for a, b in zip(*map(parameters, losses), strict=True))


class RewardLoss(LossModule):
    """Predict the reward from the observation."""

    out_keys = ["loss_model", "seen"]

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.model = nn.Linear(2, 1)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        error = self.model(tensordict["observation"]) - tensordict["next", "reward"]
        return TensorDict({"loss_model": error.square().mean(), "seen": error.numel()})


def with_auxiliary(make_loss, **options):
    loss, model = make_loss(gym_env("Counting-v0")), RewardLoss()
    auxiliary = {"reward": AdamStepper(model, lr=1e-2, **options)}
    stepper = AdamStepper(
        loss, target_updater=SoftUpdate(loss, tau=0.1), lr=1e-2, auxiliary=auxiliary
    )
    return loss, model, stepper


def test_auxiliary_loss_takes_its_own_steps(make_loss, minibatch):
    loss, model, stepper = with_auxiliary(make_loss)
    outputs = run(loss, stepper, minibatch, steps=3)
    alone = make_loss(gym_env("Counting-v0"))
    updater = SoftUpdate(alone, tau=0.1)
    expected = run(alone, AdamStepper(alone, target_updater=updater, lr=1e-2), minibatch, steps=3)
    assert all(a.equal(b) for a, b in zip(parameters(loss), parameters(alone), strict=True))
    by_hand = RewardLoss()
    adam = torch.optim.Adam(by_hand.parameters(), lr=1e-2)
    for output, main in zip(outputs, expected, strict=True):
        adam.zero_grad()
        error = by_hand(minibatch)["loss_model"]
        error.backward()
        adam.step()
        assert output["loss_model"].item() == pytest.approx(error.item(), rel=1e-5)
        assert set(output.keys()) == {*main.keys(), "loss_model", "seen"}
        assert all(output[key].equal(main[key]) for key in main.keys())
        assert not output["loss_model"].requires_grad
    assert_same_state(model, by_hand)


def test_auxiliary_step_alone_leaves_the_main_loss(make_loss, minibatch):
    loss, model, stepper = with_auxiliary(make_loss)
    before, model_before = parameters(loss), parameters(model)
    stepper.auxiliary["reward"].update(minibatch.clone())
    assert all(a.equal(b) for a, b in zip(parameters(loss), before, strict=True))
    assert not any(a.equal(b) for a, b in zip(parameters(model), model_before, strict=True))


def test_state_round_trip_with_an_auxiliary_loss(make_loss, minibatch):
    loss, model, stepper = with_auxiliary(make_loss)
    run(loss, stepper, minibatch, steps=3)
    other, other_model, other_stepper = with_auxiliary(make_loss)
    other.load_state_dict(loss.state_dict())
    other_stepper.load_state_dict(deepcopy(stepper.state_dict()))
    assert other_stepper.auxiliary["reward"].updates == 3
    for each in ((loss, stepper), (other, other_stepper)):
        run(*each, minibatch, steps=2, seed=5)
    for pair in ((loss, other), (model, other_model)):
        assert all(a.equal(b) for a, b in zip(*map(parameters, pair), strict=True))


def test_sample_maps_the_minibatch_of_its_stepper_only(make_loss, minibatch):
    loss, model, stepper = with_auxiliary(make_loss, sample=lambda batch: batch[:3])
    outputs = run(loss, stepper, minibatch, steps=1)
    assert outputs[0]["seen"] == 3
    assert outputs[0]["loss_model"] == RewardLoss()(minibatch[:3])["loss_model"]
    plain = make_loss(gym_env("Counting-v0"))
    main = AdamStepper(plain, lr=1e-2, sample=lambda batch: batch[:3])
    run(plain, main, minibatch, steps=1)
    by_hand = make_loss(gym_env("Counting-v0"))
    run(by_hand, AdamStepper(by_hand, lr=1e-2), minibatch[:3], steps=1)
    assert all(a.equal(b) for a, b in zip(parameters(plain), parameters(by_hand), strict=True))


def test_auxiliary_losses_need_names_of_their_own(make_loss):
    loss, other = (make_loss(gym_env("Counting-v0")) for _ in range(2))
    with pytest.raises(ValueError, match=r"^auxiliary\['b'\] must have outputs of other names"):
        AdamStepper(loss, auxiliary={"b": AdamStepper(other)})
    nested = AdamStepper(RewardLoss(), auxiliary={"a": AdamStepper(other)})
    with pytest.raises(ValueError, match=r"^auxiliary\['b'\] must have no auxiliary steppers"):
        AdamStepper(loss, auxiliary={"b": nested})
