"""One batch worked out in NumPy: targets, masks, temperatures, the actor's loss and gradient."""

import itertools

import numpy as np
import pytest
import torch
from objectives.sacm_by_hand import (
    DONE,
    GAMMA,
    LOG_ALPHA,
    SIZE,
    TERMINATED,
    ByHand,
    Draws,
    array,
    build,
    make_batch,
)
from torch.testing import assert_close

pytestmark = pytest.mark.usefixtures("float64")

VARIANTS, ENTROPIES = ("sacm", "s2acm"), ("component", "mixture")
every_entropy = pytest.mark.parametrize("actor_entropy", ENTROPIES)
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def near(value, expected):
    assert_close(value, torch.tensor(expected))


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("learn_weights", [False, True])
@pytest.mark.parametrize(
    ("variant", "actor_entropy"), list(itertools.product(VARIANTS, ENTROPIES))
)
def test_losses(variant, actor_entropy, learn_weights, size):
    loss = build(size, variant=variant, actor_entropy=actor_entropy, learn_weights=learn_weights)
    batch, hand, draws = make_batch(size), ByHand(loss, size, learn_weights), Draws(size)
    output = loss(batch)
    error = hand.errors(batch, hand.target(batch, draws, variant))
    assert error.shape == (2, SIZE, size)
    near(output["loss_qvalue"], (error**2).sum((0, -1)))
    near(batch["td_error"], np.abs(error).max((0, -1)))
    cost, log_prob = hand.actor_loss(array(batch, "observation"), draws.noise, actor_entropy)
    near(output["loss_actor"], cost)
    # Minus the size of the action is what each entropy is adapted to.
    near(output["loss_alpha"], -(LOG_ALPHA[:size] * (log_prob - 2)).sum(-1))


@every_entropy
def test_a_shared_critic(actor_entropy):
    loss = build(values=1, actor_entropy=actor_entropy)
    batch, hand, draws = make_batch(), ByHand(loss), Draws()
    output = loss(batch)
    error = hand.errors(batch, hand.target(batch, draws, "sacm"))
    assert error.shape == (2, SIZE, 1)
    near(output["loss_qvalue"], (error**2).sum((0, -1)))
    near(batch["td_error"], np.abs(error).max((0, -1)))
    cost, _ = hand.actor_loss(array(batch, "observation"), draws.noise, actor_entropy)
    near(output["loss_actor"], cost)


@every_variant
def test_masks(variant):
    loss, batch = build(variant=variant, data_masks=True), make_batch()
    hand, draws = ByHand(loss), Draws()
    output = loss(batch)
    error = hand.errors(batch, hand.target(batch, draws, variant))
    mask = array(batch, "component_mask")
    assert {0, 1, 3} <= set(mask.sum(-1))
    near(output["loss_qvalue"], (error**2 * mask).sum((0, -1)))
    near(batch["td_error"], (np.abs(error) * mask).max((0, -1)))
    cost, _ = hand.actor_loss(array(batch, "observation"), draws.noise, "component")
    near(output["loss_actor"], cost)  # all states are the actor's


@every_variant
@pytest.mark.parametrize("values", [1, 3])
@pytest.mark.parametrize("shape", [(SIZE,), (SIZE, 1)])
def test_transitions_of_several_steps(shape, values, variant):
    variant = "sacm" if values == 1 else variant
    loss, batch = build(variant=variant, values=values), make_batch()
    steps = 1 + np.arange(SIZE) % 5
    batch["steps_to_next_obs"] = torch.tensor(steps).reshape(shape)
    hand, draws = ByHand(loss), Draws()
    output = loss(batch)
    error = hand.errors(batch, hand.target(batch, draws, variant, GAMMA**steps))
    near(output["loss_qvalue"], (error**2).sum((0, -1)))


def test_critics_outside_the_mask_get_no_gradient():
    loss, batch = build(data_masks=True, reduction="mean"), make_batch()
    batch["component_mask"] = torch.tensor([True, False, True]).expand(SIZE, 3)
    loss.qvalue_v2_loss(batch)[0].backward()
    for parameter in loss.qvalue_network_params.values(True, True):
        rows = parameter.grad.abs().reshape(2, 3, -1).amax(-1)
        assert (rows[:, [0, 2]] > 0).all() and not rows[:, 1].any()


@every_variant
def test_a_huber_loss(variant):
    loss, batch = build(variant=variant, loss_function="smooth_l1"), make_batch()
    hand, draws = ByHand(loss), Draws()
    output = loss(batch)
    error = np.abs(hand.errors(batch, hand.target(batch, draws, variant)))
    huber = np.where(error < 1, error**2 / 2, error - 0.5)
    near(output["loss_qvalue"], huber.sum((0, -1)))


@every_variant
def test_finished_states_that_are_skipped(variant):
    """The draws are those of the others; where an episode was cut off there is no bonus either."""
    loss, batch = build(variant=variant, skip_done_states=True), make_batch()
    hand, draws = ByHand(loss), Draws(going=int((~DONE).sum()))
    for name in ("following", "choice"):
        drawn = getattr(draws, name)
        setattr(draws, name, np.zeros((SIZE, *drawn.shape[1:])))
        getattr(draws, name)[~DONE] = drawn
    target = hand.target(batch, draws, variant)
    error = hand.errors(batch, target)
    output = loss(batch)
    near(output["loss_qvalue"][~DONE | TERMINATED], (error**2).sum((0, -1))[~DONE | TERMINATED])
    state = array(batch, "next", "observation")
    value = hand.values(hand.targets, state, np.zeros((SIZE, 2))).min(0)
    reward = array(batch, "next", "reward")
    error = hand.errors(batch, reward + 0.9 * value)[:, DONE & ~TERMINATED]
    assert error.shape == (2, 1, 3)
    near(output["loss_qvalue"][DONE & ~TERMINATED], (error**2).sum((0, -1)))


@pytest.mark.parametrize("skip_done_states", [False, True])
@every_variant
def test_terminal_states_do_not_bootstrap(variant, skip_done_states):
    loss = build(variant=variant, skip_done_states=skip_done_states)
    batch = make_batch()
    batch["next", "done"] = batch["next", "terminated"].clone()
    batch = batch.reshape(4, 3)
    terminated = torch.tensor(TERMINATED).reshape(4, 3)
    Draws()
    before = loss.qvalue_v2_loss(batch)[0]
    batch["next", "observation"] += 5
    Draws()
    after = loss.qvalue_v2_loss(batch)[0]
    assert after[terminated].equal(before[terminated])
    assert not after[~terminated].isclose(before[~terminated]).any()
    assert_close(after[terminated], by_reward_alone(loss, batch)[terminated])


def by_reward_alone(loss, batch):
    error = ByHand(loss).errors(batch.reshape(-1), batch["next", "reward"].reshape(-1, 1).numpy())
    return torch.tensor((error**2).sum((0, -1)).reshape(4, 3))


@every_entropy
def test_scalars(actor_entropy):
    loss, batch = build(actor_entropy=actor_entropy, reduction="mean"), make_batch()
    hand, draws = ByHand(loss), Draws()
    output = loss(batch)
    weights, _, mixture, _ = hand.draw(array(batch, "observation"), draws.noise)
    near(output["entropy"], -(weights * mixture).sum(-1).mean())
    near(output["alpha"], (weights @ hand.alpha).mean())
    near(output["weight_entropy"], -(weights * np.log(weights)).sum(-1).mean())
    mean = weights.mean(0)
    near(output["effective_components"], np.exp(-(mean * np.log(mean)).sum()))


@every_entropy
@pytest.mark.parametrize("target", [[-1.0, -2.5, 0.5], -1.5, 2])
def test_gradients_of_the_temperatures(target, actor_entropy):
    """Each is adapted to its own entropy; the other losses do not move it."""
    loss, batch = (
        build(actor_entropy=actor_entropy, target_entropy=target, reduction="mean"),
        make_batch(),
    )
    hand, draws = ByHand(loss), Draws()
    output = loss(batch)
    sum(output[key] for key in ("loss_actor", "loss_qvalue", "loss_alpha")).backward()
    _, log_prob = hand.actor_loss(array(batch, "observation"), draws.noise, actor_entropy)
    near(loss.log_alpha.grad, -(log_prob + np.array(target)).mean(0))


def test_fixed_temperatures_have_a_loss_without_gradient():
    loss, batch = build(fixed_alpha=True), make_batch()
    hand, draws = ByHand(loss), Draws()
    output = loss(batch)
    _, log_prob = hand.actor_loss(array(batch, "observation"), draws.noise, "component")
    near(output["loss_alpha"], -(LOG_ALPHA * (log_prob - 2)).sum(-1))
    assert not output["loss_alpha"].requires_grad
    assert "log_alpha" in dict(loss.named_buffers()) and loss.log_alpha.shape == (3,)


@every_entropy
@pytest.mark.parametrize("values", [1, 3])
@pytest.mark.parametrize("learn_weights", [False, True])
def test_gradient_of_the_actor_by_differences(learn_weights, values, actor_entropy):
    """Of what is written above, with the noise held."""
    kwargs = {"actor_entropy": actor_entropy, "learn_weights": learn_weights, "values": values}
    loss, batch = build(reduction="mean", **kwargs), make_batch()
    hand = ByHand(loss, learn_weights=learn_weights)
    torch.manual_seed(5)
    noise = torch.randn(SIZE, 3, 2).numpy()
    torch.manual_seed(5)
    loss.actor_loss(batch)[0].backward()
    leaves = {key[-1]: part.grad for key, part in loss.actor_network_params.items(True, True)}
    for number, gradient in enumerate((leaves["weight"].numpy().T, leaves["bias"].numpy())):
        assert np.abs(gradient).max() > 0.01
        for index in np.ndindex(gradient.shape):
            sides = []
            for step in (1e-5, -1e-5):
                moved = [hand.actor[0].copy(), hand.actor[1].copy(), hand.actor[2]]
                moved[number][index] += step
                cost, _ = hand.actor_loss(array(batch, "observation"), noise, actor_entropy, moved)
                sides.append(cost.mean())
            difference = (sides[0] - sides[1]) / 2e-5
            assert gradient[index] == pytest.approx(difference, abs=1e-8, rel=1e-6)


@every_variant
def test_who_gets_a_gradient_from_which_loss(variant):
    loss, batch = build(variant=variant, reduction="mean"), make_batch()
    parts = {
        "loss_actor": list(loss.actor_network_params.parameters()),
        "loss_qvalue": list(loss.qvalue_network_params.parameters()),
        "loss_alpha": [loss.log_alpha],
    }
    for name in parts:
        loss.zero_grad()
        loss(batch.copy())[name].backward()
        for other, parameters in parts.items():
            gradients = [parameter.grad for parameter in parameters]
            if other == name:
                assert all(gradient.any() for gradient in gradients)
            else:
                assert all(gradient is None for gradient in gradients)
