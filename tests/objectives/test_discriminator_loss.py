"""Cross-entropy of the discriminator: PyTorch's own, its outputs, and Bayes' posterior."""

import copy
import math

import pytest
import torch
from objectives.mede_cases import Z, action_spec, make_discriminator, with_latents
from tensordict import TensorDict
from torch.nn import functional
from torch.testing import assert_close
from torchrl.data import Composite, Unbounded

from torchrl_mixture.modules import Discriminator
from torchrl_mixture.objectives import DiscriminatorLoss

FORMS = ["state", "state_action"]
both_forms = pytest.mark.parametrize("form", FORMS)


def make(form, **kwargs):
    discriminator = make_discriminator(form=form)
    return DiscriminatorLoss(discriminator, **kwargs), discriminator


def logits_of(discriminator, form, batch):
    keys = ["observation"] if form == "state" else ["observation", "action"]
    return discriminator.module(*(batch[key] for key in keys))


@both_forms
@pytest.mark.parametrize("shape", [(16,), (4, 5)])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_cross_entropy(form, shape, reduction, make_batch, float64):
    loss, discriminator = make(form, reduction=reduction)
    batch = with_latents(make_batch(*shape))
    twin = copy.deepcopy(discriminator)
    output = loss(batch)
    value = output[f"loss_discriminator_{form}"]
    logits = logits_of(twin, form, batch).reshape(-1, Z)
    indices = batch["latent"].argmax(-1).reshape(-1)
    expected = functional.cross_entropy(logits, indices, reduction=reduction)
    assert_close(value, expected.reshape(shape) if reduction == "none" else expected)
    value.sum().backward()
    expected.sum().backward()
    assert len(list(twin.parameters())) == 4
    for ours, theirs in zip(discriminator.parameters(), twin.parameters(), strict=True):
        assert_close(ours.grad, theirs.grad)
    assert output.batch_size == (shape if reduction == "none" else ())


@both_forms
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_what_it_is_judged_by(form, reduction, make_batch, float64):
    loss, discriminator = make(form, reduction=reduction)
    batch = with_latents(make_batch(4, 5))
    output = loss(batch)
    assert set(output.keys()) == {
        f"loss_discriminator_{form}",
        f"accuracy_{form}",
        f"log_q_{form}",
    }
    assert list(output.keys()) == loss.out_keys
    logits, indices = logits_of(discriminator, form, batch), batch["latent"].argmax(-1)
    accuracy = (logits.argmax(-1) == indices).double().mean()
    assert 0 < accuracy < 1
    assert_close(output[f"accuracy_{form}"], accuracy)
    entropy = functional.cross_entropy(logits.reshape(-1, Z), indices.reshape(-1))
    assert_close(output[f"log_q_{form}"], -entropy.detach())
    assert not any(output[key].requires_grad for key in loss.out_keys[1:])


@both_forms
def test_without_reduction_the_loss_alone(form, make_batch):
    loss, _ = make(form, reduction="none")
    output = loss(with_latents(make_batch()))
    assert list(output.keys()) == loss.out_keys == [f"loss_discriminator_{form}"]


@both_forms
def test_guessing(form, make_batch, float64):
    loss, discriminator = make(form)
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.zero_()
    output = loss(with_latents(make_batch()))
    assert_close(output[f"log_q_{form}"], torch.tensor(-math.log(Z)))
    assert_close(output[f"loss_discriminator_{form}"], torch.tensor(math.log(Z)))


@both_forms
def test_keys_and_dispatch(form, make_batch):
    loss, _ = make(form)
    read = ["observation"] if form == "state" else ["observation", "action"]
    assert loss.in_keys == [*read, "latent"]
    batch = with_latents(make_batch())
    expected = loss(batch)
    values = loss(**{key: batch[key] for key in loss.in_keys})
    assert len(values) == 3
    for name, value in zip(loss.out_keys, values, strict=True):
        assert_close(value, expected[name])
    loss.set_keys(latent=("agent", "skill"))
    assert loss.in_keys == [*read, ("agent", "skill")]
    renamed = batch.copy()
    renamed.rename_key_("latent", ("agent", "skill"))
    assert_close(dict(loss(renamed)), dict(expected))
    with pytest.raises(ValueError, match="no_such_key"):
        loss.set_keys(no_such_key="latent")


def test_select_out_keys(make_batch):
    loss, _ = make("state")
    loss.select_out_keys("accuracy_state")
    assert set(loss(with_latents(make_batch())).keys()) == {"accuracy_state"}


def test_several_inputs(make_batch):
    spec = Composite(observation=Unbounded((3,)), goal=Unbounded((2,)))
    keys = {"observation_spec": spec, "in_keys": ["goal", "observation"]}
    discriminator = Discriminator(Z, action_spec(), **keys)
    loss = DiscriminatorLoss(discriminator)
    assert loss.in_keys == ["goal", "observation", "action", "latent"]
    batch = with_latents(make_batch()).set("goal", torch.randn(16, 2))
    inputs = [batch[key] for key in loss.in_keys[:-1]]
    expected = functional.cross_entropy(discriminator.module(*inputs), batch["latent"].argmax(-1))
    assert_close(loss(batch)["loss_discriminator_state_action"], expected)


@both_forms
def test_the_callers_batch_is_left_clean(form, make_batch):
    loss, _ = make(form)
    batch = with_latents(make_batch())
    before = set(batch.keys(True))
    loss(batch)
    assert set(batch.keys(True)) == before


def test_parameters_are_those_of_the_discriminator(make_batch):
    loss, discriminator = make("state")
    own = {id(parameter) for parameter in discriminator.parameters()}
    assert {id(parameter) for parameter in loss.parameters()} == own
    assert len(loss.state_dict()) == 4  # no targets
    other, _ = make("state")
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    batch = with_latents(make_batch())
    assert_close(dict(other(batch)), dict(loss(batch)))
    assert_close(dict(copy.deepcopy(loss)(batch)), dict(loss(batch)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_types_and_extremes(dtype, make_batch, run):
    loss, discriminator = make("state_action")
    loss.to(dtype)
    batch = with_latents(make_batch()).apply(
        lambda value: value.to(dtype) if value.is_floating_point() else value
    )
    with torch.no_grad():
        discriminator.module[-1].bias[0] = 1e4
    output, gradients = run.step(loss, batch)
    assert all(output[key].dtype == dtype and output[key].isfinite() for key in loss.out_keys)
    assert all(g.dtype == dtype and g.isfinite().all() for g in gradients.values())
    wrong = (batch["latent"][:, 0] == 0).to(dtype).mean()
    assert_close(output["loss_discriminator_state_action"] / 1e4, wrong, rtol=1e-3, atol=0)


def test_unknown_reduction():
    message = r"^reduction must be one of \['mean', 'sum', 'none'\], got 'median'\.$"
    with pytest.raises(ValueError, match=message):
        make("state", reduction="median")


@both_forms
def test_training_converges_to_the_posterior(form):
    """Two Gaussians of one width: the posterior's log-odds are linear, and known."""
    loc, count = torch.tensor([-1.0, 1.5]), 20_000
    indices = torch.arange(count) % 2
    sample = (loc[indices] + torch.randn(count)).unsqueeze(-1)
    content = {"latent": torch.eye(2)[indices], "observation": torch.zeros(count, 1)}
    content |= {"action" if form == "state_action" else "observation": sample}
    spec = Composite(observation=Unbounded((1,)))
    discriminator = Discriminator(
        2,
        Unbounded((1,)) if form == "state_action" else None,
        observation_spec=spec,
        num_cells=(16,),
        activation_class=torch.nn.Tanh,
    )
    loss = DiscriminatorLoss(discriminator)
    optimizer = torch.optim.Adam(loss.parameters(), 0.02)
    batch = TensorDict(content, [count])
    for _ in range(300):
        optimizer.zero_grad()
        output = loss(batch)
        output[loss.out_keys[0]].backward()
        optimizer.step()
    points = torch.linspace(-3, 3.5, 27).unsqueeze(-1)
    content = {"observation": torch.zeros(27, 1)}
    content |= {"action" if form == "state_action" else "observation": points}
    learned = discriminator(TensorDict(content, [27]))["latent_logits"].softmax(-1)
    densities = torch.distributions.Normal(loc, 1.0).log_prob(points).exp()
    exact = densities / densities.sum(-1, keepdim=True)
    # A logistic fit to so many draws has a standard error below 0.01 everywhere.
    assert_close(learned, exact, atol=0.03, rtol=0)
    # No discriminator tells more than the posterior does, but for the noise of the draws.
    posterior = torch.distributions.Normal(loc, 1.0).log_prob(sample).log_softmax(-1)
    best = (posterior * batch["latent"]).sum(-1)
    z = (output[loss.out_keys[2]] - best.mean()) / (best.std() / count**0.5)
    assert abs(z) < 4.5


def test_priority_weights_weigh_the_loss(make_batch, float64):
    loss, discriminator = make("state")
    batch = with_latents(make_batch(6))
    weight = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0, 1.5])
    logits = logits_of(discriminator, "state", batch)
    each = functional.cross_entropy(logits, batch["latent"].argmax(-1), reduction="none")
    output = loss(batch.set("priority_weight", weight))
    assert_close(output["loss_discriminator_state"], (weight * each).sum() / weight.sum())
    assert_close(output["log_q_state"], -each.mean())  # what is logged is of the minibatch


def test_in_keys_can_be_set():
    loss, _ = make("state")
    loss.in_keys = ["observation", "latent", "further"]
    assert loss.in_keys == ["observation", "latent", "further"]


def test_a_latent_that_is_missing_is_named(make_batch):
    loss, _ = make("state")
    with pytest.raises(KeyError, match="latent"):
        loss(make_batch(4))
