"""Auxiliary losses and other minibatches, against loops written by hand."""

from copy import deepcopy

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from torch import nn
from torchrl.objectives import LossModule, SoftUpdate
from trainers.stepping import assert_same_state, parameters, run

from torchrl_mixture.trainers import AdamStepper, gym_env


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
