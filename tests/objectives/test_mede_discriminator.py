"""The discriminator beside the loss: what it reads, who owns it, and who sees its updates."""

import copy
import pickle

import pytest
import torch
from objectives.mede_cases import (
    OUT_KEYS,
    Z,
    action_spec,
    copy_state,
    expected_in_keys,
    keywords,
    make_critics,
    make_loss,
    shift,
    with_latents,
)
from torch.testing import assert_close
from torchrl.data import Composite, Unbounded

from torchrl_mixture.modules import Discriminator, latent_actor, latent_critic
from torchrl_mixture.objectives import DiscriminatorLoss

every_diversity = pytest.mark.parametrize("diversity", ["mede", "diayn"])


def test_diayn_may_read_what_the_critics_do_not(make_batch):
    """A part of the state that the reward is about; dispatch then asks for it."""
    spec = Composite(position=Unbounded((2,)))
    loss = make_loss(
        "diayn", discriminator=Discriminator(Z, observation_spec=spec, in_keys=["position"])
    )
    assert set(loss.in_keys) == expected_in_keys() | {"position"}
    batch = with_latents(make_batch()).set("position", torch.randn(16, 2))
    torch.manual_seed(1)
    expected = loss(batch.copy())["loss_qvalue"]
    torch.manual_seed(1)
    assert_close(loss(**keywords(batch))[1], expected)
    torch.manual_seed(1)
    assert not loss(batch.set("position", torch.randn(16, 2)))["loss_qvalue"].isclose(expected)


def test_several_inputs(make_batch, run):
    spec = Composite(observation=Unbounded((3,)), goal=Unbounded((2,)))
    keys = {"observation_spec": spec, "in_keys": ["observation", "goal"], "num_cells": (8,)}
    loss = make_loss(
        actor=latent_actor(action_spec(), Z, **keys),
        critics=[latent_critic(action_spec(), Z, separate=True, **keys) for _ in range(2)],
        discriminator=Discriminator(Z, action_spec(), **keys),
    )
    assert set(loss.in_keys) == expected_in_keys() | {"goal", ("next", "goal")}
    batch = with_latents(make_batch())
    batch["goal"], batch["next", "goal"] = torch.randn(16, 2), torch.randn(16, 2)
    before, gradients = run.step(loss, batch.copy())
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    batch["next", "goal"] = torch.randn(16, 2)
    after = run.step(loss, batch.copy())[0]
    assert not after["loss_qvalue"].isclose(before["loss_qvalue"])
    assert after["loss_actor"].equal(before["loss_actor"])


@every_diversity
def test_the_discriminator_is_no_part_of_the_loss(diversity):
    loss = make_loss(diversity)
    own = {id(parameter) for parameter in loss.parameters()}
    assert len(own) == 4 + 4 + 1  # actor, stacked critics, temperature
    assert not own & {id(parameter) for parameter in loss.discriminator.parameters()}
    assert not any("discriminator" in name for name in loss.state_dict())
    assert loss.discriminator not in list(loss.modules())


@every_diversity
def test_deepcopy_is_independent(diversity, make_batch, run):
    loss, batch = make_loss(diversity), with_latents(make_batch())
    run.step(loss, batch.copy())
    twins = [copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))]
    expected = run.step(loss, batch.copy())[0]
    for twin in twins:
        assert_close(dict(run.step(twin, batch.copy())[0]), dict(expected))
        shift(twin.qvalue_network_params)
        with torch.no_grad():
            for parameter in twin.discriminator.parameters():
                parameter.add_(torch.randn_like(parameter))
        assert not run.step(twin, batch.copy())[0]["loss_qvalue"].isclose(expected["loss_qvalue"])
        assert_close(dict(run.step(loss, batch.copy())[0]), dict(expected))


def test_a_copy_is_paid_by_its_own_discriminator(make_batch, run):
    loss, batch = make_loss(), with_latents(make_batch())
    twin = copy.deepcopy(loss)
    before = run.step(twin, batch.copy())[0]
    with torch.no_grad():
        for parameter in twin.discriminator.parameters():
            parameter.add_(torch.randn_like(parameter))
    after = run.step(twin, batch.copy())[0]
    assert not after["loss_actor"].isclose(before["loss_actor"])
    assert not after["loss_qvalue"].isclose(before["loss_qvalue"])


@every_diversity
@pytest.mark.parametrize("loaded", [False, True])
def test_updates_of_the_discriminator_are_seen_at_once(diversity, loaded, make_batch, run):
    loss, batch = make_loss(diversity), with_latents(make_batch())
    learner = DiscriminatorLoss(loss.discriminator)
    if loaded:
        learner.load_state_dict(copy.deepcopy(learner.state_dict()))
    optimizer = torch.optim.Adam(learner.parameters(), 0.1)
    previous, before = None, run.step(loss, batch.copy())[0]
    for _ in range(3):
        optimizer.zero_grad()
        value = learner(batch.copy())[learner.out_keys[0]]
        value.backward()
        optimizer.step()
        after = run.step(loss, batch.copy())[0]
        assert not after["loss_qvalue"].isclose(before["loss_qvalue"])
        changed = not after["loss_actor"].isclose(before["loss_actor"])
        assert changed is (diversity == "mede")
        assert previous is None or value < previous
        previous, before = value, after
    fresh = make_loss(diversity, discriminator=copy.deepcopy(loss.discriminator))
    copy_state(loss, fresh)
    assert_close(dict(run.step(fresh, batch.copy())[0]), dict(after))


@pytest.mark.parametrize("logit", [1e4, -1e4])
def test_a_discriminator_that_is_certain(logit, make_batch, run):
    """Of the right latent or of a wrong one: everything is finite."""
    loss, batch = make_loss(), with_latents(make_batch())
    with torch.no_grad():
        loss.discriminator.module[-1].bias[0] = logit
    output, gradients = run.step(loss, batch)
    assert all(output[key].isfinite() for key in OUT_KEYS)
    assert all(gradient.isfinite().all() for gradient in gradients.values())


def test_an_error_within_leaves_the_loss_as_it_was(make_batch, run):
    loss, batch = make_loss(), with_latents(make_batch())
    expected = run.step(loss, batch.copy())[0]
    broken = batch.copy().exclude("latent")
    with pytest.raises(KeyError):
        loss.actor_loss(broken)
    assert_close(dict(run.step(loss, batch.copy())[0]), dict(expected))


@every_diversity
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_types(diversity, dtype, make_batch, run):
    loss = make_loss(diversity, critics=make_critics(number=1)[0], diversity_coef=0.5)
    run.step(loss, with_latents(make_batch()))
    loss.to(dtype)
    loss.discriminator.to(dtype)  # no part of the loss
    batch = with_latents(make_batch()).apply(
        lambda value: value.to(dtype) if value.is_floating_point() else value
    )
    output, gradients = run.step(loss, batch)
    assert all(output[key].dtype == dtype for key in OUT_KEYS)
    assert all(gradient.dtype == dtype for gradient in gradients.values())
    assert batch["td_error"].dtype == dtype


def test_a_failed_call_leaves_the_critics_as_they_were(make_batch):
    """The discriminator's term is in their values only while drawn actions are judged."""
    loss, batch = make_loss(), with_latents(make_batch())
    torch.manual_seed(0)
    expected = loss(batch.copy())["loss_qvalue"]
    with pytest.raises(KeyError, match="latent"):
        loss.actor_loss(batch.exclude("latent"))
    torch.manual_seed(0)
    assert_close(loss(batch.copy())["loss_qvalue"], expected)
