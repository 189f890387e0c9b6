"""One batch worked out in NumPy: the discriminator's term in each loss, and the gradients."""

import numpy as np
import pytest
import torch
from objectives.mede_by_hand import (
    ALPHA,
    GAMMA,
    SIZE,
    TERMINATED,
    A,
    ByHand,
    Z,
    array,
    build,
    draw,
    linear,
    make_batch,
    near,
    rewards,
    state_and_latent,
)

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("fixed_alpha", [False, True])
@pytest.mark.parametrize("coef", [None, 0.7, 0.0])
def test_mede(coef, fixed_alpha):
    kwargs = {"diversity_coef": coef, "fixed_alpha": fixed_alpha, "reduction": "none"}
    loss, batch = build(scalar_output_mode="exclude", **kwargs), make_batch()
    hand = ByHand(loss, coef)
    for_target, for_actor = draw()
    output = loss(batch)
    cost, log_prob = hand.cost(*state_and_latent(batch), for_actor)
    near(output["loss_actor"], cost)
    # The temperature follows the entropy alone.
    near(output["loss_alpha"], -np.log(ALPHA) * (log_prob - A))
    error = hand.errors(batch, hand.target(batch, for_target, rewards(batch)))
    near(output["loss_qvalue"], (error**2).sum(0))
    near(batch["td_error"], np.abs(error).max(0))


def test_the_default_coefficient_follows_a_learned_temperature():
    loss, batch = build(reduction="none", scalar_output_mode="exclude"), make_batch()
    with torch.no_grad():
        loss.log_alpha.fill_(np.log(1.7))
    hand = ByHand(loss)
    assert hand.coef == pytest.approx(1.7)
    for_target, for_actor = draw()
    output = loss(batch)
    near(output["loss_actor"], hand.cost(*state_and_latent(batch), for_actor)[0])
    error = hand.errors(batch, hand.target(batch, for_target, rewards(batch)))
    near(output["loss_qvalue"], (error**2).sum(0))


def test_default_coefficients():
    assert build().diversity_coef is None
    assert build("diayn").diversity_coef == 1.0


@pytest.mark.parametrize("coef", [None, 0.7])
def test_gradient_of_the_temperature_is_that_of_the_entropy_alone(coef):
    loss, batch = build(diversity_coef=coef), make_batch()
    _, for_actor = draw()
    output = loss(batch)
    sum(output[key] for key in ("loss_actor", "loss_qvalue", "loss_alpha")).backward()
    _, log_prob = ByHand(loss).cost(*state_and_latent(batch), for_actor)
    near(loss.log_alpha.grad, -(log_prob - A).mean())


@pytest.mark.parametrize("form", ["state", "state_action"])
@pytest.mark.parametrize("coef", [None, 0.7])
@pytest.mark.parametrize("task_reward", [True, False])
def test_diayn(task_reward, coef, form):
    kwargs = {"task_reward": task_reward, "diversity_coef": coef, "reduction": "none"}
    loss, batch = build("diayn", form, scalar_output_mode="exclude", **kwargs), make_batch()
    coef = 1.0 if coef is None else coef
    hand = ByHand(loss)
    for_target, for_actor = draw()
    given = rewards(batch).copy()
    output = loss(batch)
    state, latent = state_and_latent(batch)
    inputs = [state] if form == "state" else [state, array(batch, "action")]
    log_q = hand.log_q(inputs, latent)
    reward = given + coef * log_q if task_reward else coef * (log_q + np.log(Z))
    error = hand.errors(batch, hand.target(batch, for_target, reward, paid=False))
    near(output["loss_qvalue"], (error**2).sum(0))
    near(batch["td_error"], np.abs(error).max(0))
    near(output["loss_actor"], hand.cost(state, latent, for_actor, paid=False)[0])
    assert (rewards(batch) == given).all()


@pytest.mark.parametrize("coef", [None, 0.7])
def test_mede_with_a_value_network(coef):
    loss = build(value=True, diversity_coef=coef, reduction="none", scalar_output_mode="exclude")
    batch, hand = make_batch(), ByHand(loss, coef)
    state, latent = state_and_latent(batch)
    noise, _ = draw()
    action, log_prob = hand.act(hand.actor, state, latent, noise)
    target = hand.values(hand.targets, state, action, latent).min(0) - hand.alpha * log_prob
    target += hand.coef * hand.log_q([state, action], latent)
    weight, bias = linear(loss.value_network_params)
    predicted = (np.concatenate([state, latent], -1) @ weight + bias)[:, 0]
    near(loss.value_loss(batch)[0], (predicted - target) ** 2)


@pytest.mark.parametrize("diversity", ["mede", "diayn"])
def test_critics_beside_a_value_network(diversity):
    """Each critic learns from a part of the batch; DIAYN's reward is that of the state."""
    loss = build(diversity, value=True, reduction="none", scalar_output_mode="exclude")
    batch, hand = make_batch(), ByHand(loss)
    weight, bias = linear(loss.target_value_network_params)
    following = np.concatenate(
        [array(batch, "next", key) for key in ("observation", "latent")], -1
    )
    reward = rewards(batch)
    if diversity == "diayn":
        state, latent = state_and_latent(batch)
        reward = reward + hand.log_q([state], latent)
    target = reward + GAMMA * ~TERMINATED * (following @ weight + bias)[:, 0]
    error = hand.errors(batch, target)
    half = np.arange(SIZE) < SIZE // 2
    near(loss.qvalue_v1_loss(batch)[0], np.where(half, error[0], error[1]) ** 2)


def shifted(part, index, step):
    moved = part.copy()
    moved[index] += step
    return moved


@pytest.mark.parametrize("diversity", ["mede", "diayn"])
@pytest.mark.parametrize("coef", [None, 2.0])
def test_gradient_of_the_actor_by_differences(diversity, coef):
    """Through the discriminator to the action, with the noise held."""
    loss, batch = build(diversity, diversity_coef=coef), make_batch()
    hand = ByHand(loss, coef)
    state, latent = state_and_latent(batch)
    noise, _ = draw()
    loss.actor_loss(batch)[0].backward()
    gradients = linear_gradients(loss.actor_network_params)
    for number, gradient in enumerate(gradients):
        assert np.abs(gradient).max() > 0.01
        for index in np.ndindex(gradient.shape):
            sides = []
            for step in (1e-5, -1e-5):
                moved = list(hand.actor)
                moved[number] = shifted(moved[number], index, step)
                cost = hand.cost(state, latent, noise, moved, paid=diversity == "mede")[0]
                sides.append(cost.mean())
            difference = (sides[0] - sides[1]) / 2e-5
            assert gradient[index] == pytest.approx(difference, abs=1e-8, rel=1e-6)


def linear_gradients(params):
    leaves = {key[-1]: value.grad.numpy() for key, value in params.items(True, True)}
    return [leaves["weight"].T, leaves["bias"]]


@pytest.mark.parametrize("diversity", ["mede", "diayn"])
@pytest.mark.parametrize("value", [False, True])
def test_who_gets_a_gradient_from_which_loss(diversity, value):
    loss, batch = build(diversity, value=value), make_batch()
    parts = {
        "loss_actor": loss.actor_network_params,
        "loss_qvalue": loss.qvalue_network_params,
    }
    if value:
        parts["loss_value"] = loss.value_network_params
    for name in parts:
        loss.zero_grad()
        loss(batch.copy())[name].backward()
        for other, params in parts.items():
            gradients = [p.grad for p in params.parameters()]
            if other == name:
                assert all(gradient is not None for gradient in gradients)
                assert any(gradient.any() for gradient in gradients)
            else:
                assert all(gradient is None for gradient in gradients)
        assert loss.log_alpha.grad is None
        assert all(p.grad is None for p in loss.discriminator.parameters())
        assert all(p.requires_grad for p in loss.discriminator.parameters())


@pytest.mark.parametrize("diversity", ["mede", "diayn"])
def test_terminal_states_do_not_bootstrap(diversity):
    loss, batch = build(diversity, reduction="none", scalar_output_mode="exclude"), make_batch()
    terminated = torch.tensor(TERMINATED)
    draw()
    before = loss.qvalue_v2_loss(batch)[0]
    batch["next", "observation"] += 5
    draw()
    after = loss.qvalue_v2_loss(batch)[0]
    assert after[terminated].equal(before[terminated])
    assert not after[~terminated].isclose(before[~terminated]).any()
