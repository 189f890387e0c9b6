"""With one component the loss is TorchRL's SACLoss: values, gradients and priorities."""

import copy
import itertools

import pytest
import torch
from objectives.sacm_cases import ALPHA, GAMMA, make_actor, make_critics, with_masks
from torch.testing import assert_close
from torchrl.objectives import SACLoss

from torchrl_mixture.objectives import SACMLoss

pytestmark = pytest.mark.usefixtures("float64")

CHOICES = list(itertools.product(["sacm", "s2acm"], ["component", "mixture"]))
every_choice = pytest.mark.parametrize(("variant", "actor_entropy"), CHOICES)


def make_pair(variant="sacm", actor_entropy="component", *, number=2, gamma=GAMMA, **kwargs):
    actor, critics = make_actor(1), make_critics(1, number)
    own = {name: kwargs.pop(name) for name in ("data_masks",) if name in kwargs}
    kwargs = {"loss_function": "l2", "num_qvalue_nets": number, "alpha_init": ALPHA, **kwargs}
    stock = SACLoss(*copy.deepcopy([actor, critics]), **kwargs)
    ours = SACMLoss(actor, critics, variant=variant, actor_entropy=actor_entropy, **own, **kwargs)
    for loss in (stock, ours):
        loss.make_value_estimator(gamma=gamma)
    return stock, ours


def check_equal(pair, batch, run, seed=1):
    stock, ours = pair
    expected, expected_gradients = run.step(stock, expected_batch := batch.copy(), seed)
    output, gradients = run.step(ours, batch := batch.copy(), seed)
    assert len(expected.keys()) >= 3
    for key in expected.keys():
        assert_close(output[key], expected[key])
    assert_close(batch["td_error"], expected_batch["td_error"])
    assert gradients.keys() == expected_gradients.keys()
    assert all(gradient.any() for gradient in gradients.values())
    for name, gradient in gradients.items():
        expected = expected_gradients[name]
        # A temperature for each component is a vector.
        assert gradient.shape == ((1,) if name == "log_alpha" else expected.shape)
        assert_close(gradient.reshape(expected.shape), expected)


SETTINGS = {
    "default": {},
    "fixed alpha": {"fixed_alpha": True, "loss_function": "smooth_l1"},
    "learned alpha": {"target_entropy": -1.5, "min_alpha": 0.35},
    "sum": {"reduction": "sum", "skip_done_states": True, "delay_actor": True},
    "none": {"reduction": "none", "scalar_output_mode": "exclude", "delay_qvalue": False},
    "separate": {"separate_losses": True, "deactivate_vmap": True, "max_alpha": 0.25},
}


@every_choice
@pytest.mark.parametrize("name", SETTINGS)
def test_one_component(variant, actor_entropy, name, make_batch, run):
    check_equal(make_pair(variant, actor_entropy, **SETTINGS[name]), make_batch(), run)


@every_choice
def test_one_component_in_batches_with_time(variant, actor_entropy, make_batch, run):
    check_equal(make_pair(variant, actor_entropy, number=3), make_batch(4, 5), run)


@every_choice
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_one_component_with_priority_weights(variant, actor_entropy, reduction, make_batch, run):
    batch = make_batch().set("priority_weight", torch.rand(16))
    pair = make_pair(variant, actor_entropy, reduction=reduction)
    check_equal(pair, batch, run)
    weighted = run.step(pair[1], batch.copy())[0]["loss_actor"]
    plain = run.step(pair[1], batch.exclude("priority_weight"))[0]["loss_actor"]
    assert not weighted.isclose(plain)


@every_choice
def test_one_component_with_transitions_of_several_steps(variant, actor_entropy, make_batch, run):
    pair = make_pair(variant, actor_entropy)
    batch = make_batch()
    single = run.step(pair[1], batch.copy())[0]["loss_qvalue"]
    batch["steps_to_next_obs"] = torch.randint(1, 6, (16, 1))
    check_equal(pair, batch, run)
    assert not run.step(pair[1], batch.copy())[0]["loss_qvalue"].isclose(single)


@pytest.mark.parametrize("skip_done_states", [False, True])
@pytest.mark.parametrize("done", [False, True])
def test_one_component_where_all_or_none_are_done(done, skip_done_states, make_batch, run):
    batch = make_batch()
    for key in ("done", "terminated"):
        batch["next", key] = torch.full((16, 1), done)
    stock, ours = make_pair(skip_done_states=skip_done_states)
    check_equal((stock, ours), batch, run)


def test_one_component_owns_every_transition(make_batch, run):
    batch = with_masks(make_batch(), 1)
    batch["component_mask"] = torch.ones_like(batch["component_mask"])
    check_equal(make_pair(data_masks=True), batch, run)


@every_choice
def test_equal_after_some_updates(variant, actor_entropy, make_batch, run):
    pair = make_pair(variant, actor_entropy)
    optimizers = [torch.optim.Adam(loss.parameters(), 1e-2) for loss in pair]
    for seed in range(5):
        batch = make_batch()
        for loss, optimizer in zip(pair, optimizers, strict=True):
            run.step(loss, batch.copy(), seed)
            optimizer.step()
    stock, ours = (dict(loss.named_parameters()) for loss in pair)
    assert stock.keys() == ours.keys()
    for name, parameter in stock.items():
        assert_close(ours[name].reshape(parameter.shape), parameter)
