"""TorchRL's conventions of the prior's loss: keys, reductions, masks, state, graphs, refusals."""

import copy

import pytest
import torch
from objectives.awmp_cases import OUT_KEYS, K, make_batch, make_loss, make_prior, step
from tensordict import TensorDict
from torch.testing import assert_close
from torchrl.data import Composite, Unbounded

from torchrl_mixture.modules import mixture_actor
from torchrl_mixture.objectives import AWMPPriorLoss

IN_KEYS = ["observation", "action", "advantage", "action_log_prob"]


def seeded(loss, *args, **kwargs):
    torch.manual_seed(7)
    return loss(*args, **kwargs)


def test_dispatch():
    loss, batch = make_loss(), make_batch()
    assert loss.in_keys == IN_KEYS
    expected = seeded(loss, batch)
    values = seeded(loss, **{key: batch[key] for key in loss.in_keys})
    assert len(values) == len(OUT_KEYS)
    for name, value in zip(OUT_KEYS, values, strict=True):
        assert_close(value, expected[name])


def test_keys_can_be_set():
    loss, batch = make_loss(), make_batch()
    batch["priority_weight"] = torch.rand(16)
    expected = seeded(loss, batch)
    names = {"advantage": ("of", "gain"), "sample_log_prob": "log_mu", "priority_weight": "w"}
    loss.set_keys(**names)
    assert loss.in_keys == ["observation", "action", ("of", "gain"), "log_mu"]
    batch.rename_key_("advantage", ("of", "gain"))
    batch.rename_key_("action_log_prob", "log_mu").rename_key_("priority_weight", "w")
    assert_close(dict(seeded(loss, batch)), dict(expected))
    with pytest.raises(ValueError, match="no_such_key"):
        loss.set_keys(no_such_key="advantage")
    with pytest.raises(KeyError, match="of"):
        loss(make_batch())
    loss.in_keys = [*IN_KEYS, "further"]
    assert loss.in_keys == [*IN_KEYS, "further"]


def test_select_out_keys():
    loss = make_loss()
    loss.select_out_keys("prior_information")
    assert set(loss(make_batch()).keys()) == {"prior_information"}


def test_several_inputs_are_all_perturbed(float64):
    spec = Composite(observation=Unbounded((3,)), task=Composite(goal=Unbounded((2,))))
    prior = make_prior(observation_spec=spec, in_keys=[("task", "goal"), "observation"])
    loss, batch = AWMPPriorLoss(prior, noise_std=0.3), make_batch()
    assert loss.in_keys == [("task", "goal"), *IN_KEYS]
    batch["task"] = {"goal": torch.randn(16, 2)}
    first = prior.module[0].weight
    for columns in (slice(0, 2), slice(2, 5), slice(5, 7)):
        kept = first.detach().clone()
        with torch.no_grad():
            first.zero_()[:, columns] = kept[:, columns]
        assert loss(batch)["prior_divergence"] > 1e-3
        with torch.no_grad():
            first.copy_(kept)


def test_the_advantage_may_have_the_shape_of_the_batch():
    loss, batch = make_loss(), make_batch(4, 5)
    expected = seeded(loss, batch)
    batch["advantage"] = batch["advantage"].squeeze(-1)
    batch["action_log_prob"] = batch["action_log_prob"].unsqueeze(-1)
    assert_close(dict(seeded(loss, batch)), dict(expected))


def test_the_callers_batch_is_left_as_it_was():
    loss, batch = make_loss(), make_batch()
    before = batch.clone()
    loss(batch)
    assert set(batch.keys(True)) == set(before.keys(True))
    assert (batch == before).all()


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_masked_transitions_do_not_count(shape):
    loss, batch = make_loss(noise_std=0.0), make_batch(*shape)
    mask = torch.tensor([True, True, False, True, False, True]).reshape(shape)
    expected = loss(batch[mask])
    batch[~mask] = torch.nan
    assert loss(batch)["loss_prior"].isnan()
    batch["collector"] = TensorDict({"mask": mask}, shape)
    assert_close(dict(loss(batch)), dict(expected))
    loss.loss_mask_key = "counts"
    batch = batch.exclude("collector").set("counts", mask.unsqueeze(-1))
    assert_close(dict(loss(batch)), dict(expected))


def test_it_reads_what_a_mixture_policy_records():
    spec = Composite(observation=Unbounded((3,)))
    prior = make_prior()
    actor = mixture_actor(Unbounded((2,)), K, observation_spec=spec, base="normal")
    batch = actor(make_batch().select("observation", "advantage"))
    batch["action_log_prob"] = actor.get_dist(batch).log_prob(batch["action"]).detach()
    assert batch["action_log_prob"].shape == (16,)
    assert AWMPPriorLoss(prior)(batch)["prior_effective_sample_size"] > 1


def test_parameters_are_those_of_the_prior():
    prior = make_prior()
    loss = AWMPPriorLoss(prior)
    assert {id(p) for p in loss.parameters()} == {id(p) for p in prior.parameters()}
    assert len(loss.state_dict()) == 4 + 2  # no targets; the two coefficients


def test_state_dict():
    loss, batch = make_loss(), make_batch()
    loss.information_coef, loss.noise_std = 0.4, 0.2
    other = make_loss()
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    assert_close(other.information_coef, torch.tensor(0.4))
    assert_close(other.noise_std, torch.tensor(0.2))
    for twin in (other, copy.deepcopy(loss)):
        output, gradients = step(twin, batch)
        expected, expected_gradients = step(loss, batch)
        assert_close(dict(output), dict(expected))
        assert_close(gradients, expected_gradients)


@pytest.mark.parametrize("name", ["information_coef", "noise_std"])
@pytest.mark.parametrize("first", [1, 0.5])
def test_coefficients_are_scheduled_by_assignment(first, name):
    prior, batch = make_prior(), make_batch()
    loss = AWMPPriorLoss(prior, **{name: first})
    buffer, before = getattr(loss, name), seeded(loss, batch)["loss_prior"]
    setattr(loss, name, 0.7)
    assert getattr(loss, name) is buffer and buffer.is_floating_point()
    after = seeded(loss, batch)["loss_prior"]
    assert_close(after, seeded(AWMPPriorLoss(prior, **{name: 0.7}), batch)["loss_prior"])
    assert not after.isclose(before)


def test_defaults_are_the_papers():
    loss = AWMPPriorLoss(make_prior())
    assert_close(loss.information_coef, torch.tensor(0.1))
    assert_close(loss.noise_std, torch.tensor(0.04))
    assert loss.noise == "additive" and loss.reduction == "mean"


def test_float64():
    loss, batch = make_loss().double(), make_batch().double()
    output, gradients = step(loss, batch)
    assert all(output[key].dtype == torch.float64 for key in OUT_KEYS)
    assert all(gradient.dtype == torch.float64 for gradient in gradients.values())


@pytest.mark.parametrize(
    "noise", ["additive", pytest.param("multiplicative", marks=pytest.mark.slow)]
)
def test_compiled_equals_eager(noise):
    torch.compiler.reset()
    loss, batch = make_loss(noise=noise), make_batch()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    for seed in (1, 2):
        expected, expected_gradients = step(loss, batch, seed)
        loss.zero_grad()
        torch.manual_seed(seed)
        output = compiled(batch.copy())
        output["loss_prior"].backward()
        gradients = {name: value.grad for name, value in loss.named_parameters()}
        assert_close(dict(output), dict(expected), rtol=1e-5, atol=1e-6)
        assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-6)
        loss.information_coef = 0.6


def test_vmap_over_batches(float64):
    loss, batch = make_loss(noise_std=0.0), make_batch(3, 8)
    one = torch.vmap(lambda data: loss(data)["loss_prior"], randomness="different")(batch)
    expected = torch.stack([loss(data)["loss_prior"] for data in batch])
    assert_close(one, expected)


REFUSED = {
    "information_coef": (-0.1, r"^information_coef must be at least 0, got -0\.1\.$"),
    "noise_std": (float("nan"), r"^noise_std must be at least 0, got nan\.$"),
    "noise": ("uniform", r"^noise must be one of \('additive', 'multiplicative'\), got 'uniform'"),
    "reduction": ("none", r"^reduction must be one of \('mean', 'sum'\), got 'none'\.$"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_refuses(name):
    value, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        AWMPPriorLoss(make_prior(), **{name: value})
