"""With one component the loss is TorchRL's SACLoss with a value network."""

import copy

import pytest
import torch
from objectives.awmp_cases import make_prior
from objectives.awmp_loss_cases import ALPHA, make_value
from objectives.sacm_cases import GAMMA, make_actor, make_critics
from torch.testing import assert_close
from torchrl.objectives import SACLoss

from torchrl_mixture.objectives import AWMPLoss

pytestmark = pytest.mark.usefixtures("float64")


def make_pair(number=1, prior_action="replay", **kwargs):
    """TorchRL's has the online critics in the value's target, as ours has."""
    actor, critics, value = make_actor(1), make_critics(1, number), make_value()
    kwargs = {"loss_function": "l2", "num_qvalue_nets": number, "alpha_init": ALPHA, **kwargs}
    stock = SACLoss(*copy.deepcopy([actor, critics, value]), delay_qvalue=False, **kwargs)
    own = {"prior_network": make_prior(1), "prior_action": prior_action}
    ours = AWMPLoss(actor, critics, value, **own, **kwargs)
    for loss in (stock, ours):
        loss.make_value_estimator(gamma=GAMMA)
        for parameter in loss.target_value_network_params.values(True, True):
            parameter.data.add_(0.5)
        if loss.delay_actor:
            for parameter in loss.target_actor_network_params.values(True, True):
                parameter.data.add_(0.1)
    for parameter in ours.target_qvalue_network_params.values(True, True):
        parameter.data.add_(1.0)  # counts in the gate alone
    return stock, ours


def check_equal(pair, batch, run, seed=1):
    stock, ours = pair
    expected, expected_gradients = run.step(stock, expected_batch := batch.copy(), seed)
    output, gradients = run.step(ours, batch := batch.copy(), seed)
    assert len(expected.keys()) >= 4
    for key in expected.keys():
        assert_close(output[key], expected[key])
    assert_close(batch["td_error"], expected_batch["td_error"].detach())
    assert gradients.keys() == expected_gradients.keys()
    assert_close(gradients, expected_gradients)


SETTINGS = {
    "default": {},
    "sampled": {"prior_action": "sampled", "loss_function": "smooth_l1"},
    "fixed alpha": {"fixed_alpha": True, "reduction": "sum"},
    "learned alpha": {"target_entropy": -1.5, "min_alpha": 0.35, "delay_actor": True},
    "none": {"reduction": "none", "scalar_output_mode": "exclude", "delay_value": False},
    "separate": {"separate_losses": True, "deactivate_vmap": True},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_one_component_and_one_critic(name, make_batch, run):
    check_equal(make_pair(**SETTINGS[name]), make_batch(), run)


def test_in_batches_with_time_and_weights(make_batch, run):
    batch = make_batch(4, 5)
    check_equal(make_pair(), batch, run)
    check_equal(make_pair(), batch.set("priority_weight", torch.rand(4, 5)), run)


@pytest.mark.parametrize("number", [2, 3])
def test_several_critics(number, make_batch, run):
    """TorchRL's critic e has copy e of the batch, and a loss that is the mean over the copies."""
    stock, ours = make_pair(number)
    batch = make_batch()
    expected, expected_gradients = run.step(stock, torch.cat([batch] * number))
    output, gradients = run.step(ours, batch)
    assert_close(output["loss_qvalue"], number * expected["loss_qvalue"])
    for name in gradients:
        if name.startswith("qvalue"):
            assert_close(gradients[name], number * expected_gradients[name])
    for name in ("actor", "value", "alpha"):
        seeded = []
        for loss in (stock, ours):
            torch.manual_seed(2)
            if name == "alpha":
                log_prob = loss.actor_loss(batch)[1]["log_prob"]
                seeded.append(loss.alpha_loss(log_prob).mean())
            else:
                seeded.append(getattr(loss, f"{name}_loss")(batch)[0])
        assert_close(*seeded)
        parameters = ours.actor_network_params if name == "actor" else ours.value_network_params
        if name != "alpha":
            theirs = getattr(stock, f"{name}_network_params")
            found = torch.autograd.grad(seeded[1], [*parameters.values(True, True)])
            known = torch.autograd.grad(seeded[0], [*theirs.values(True, True)])
            assert_close(found, known)


def test_equal_after_some_updates(make_batch, run):
    pair = make_pair()
    optimizers = [torch.optim.Adam(loss.parameters(), 1e-2) for loss in pair]
    for seed in range(5):
        batch = make_batch()
        for loss, optimizer in zip(pair, optimizers, strict=True):
            run.step(loss, batch.copy(), seed)
            optimizer.step()
    stock, ours = (dict(loss.named_parameters()) for loss in pair)
    assert_close(ours, stock)
