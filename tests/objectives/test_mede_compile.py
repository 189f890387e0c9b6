"""The losses in one graph: what they return compiled is what they return eagerly."""

import pytest
import torch
from objectives.mede_cases import make_actor, make_discriminator, make_loss, with_latents
from torch.testing import assert_close

from torchrl_mixture.objectives import DiscriminatorLoss

slow = pytest.mark.slow


def check(loss, batch, run, *seeds):
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    for seed in seeds:
        plain, data = batch.copy(), batch.copy()
        loss.zero_grad()
        torch.manual_seed(seed)
        output = compiled(data)
        run.total(output).backward()
        gradients = {name: p.grad for name, p in loss.named_parameters() if p.grad is not None}
        loss.zero_grad()
        expected, expected_gradients = run.step(loss, plain, seed)
        assert_close(dict(output), dict(expected), rtol=1e-5, atol=1e-6)
        assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-6)
        if "td_error" in plain.keys():
            assert_close(data["td_error"], plain["td_error"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("diversity", "kwargs", "used"),
    [
        ("mede", {}, True),
        pytest.param("mede", {}, False, marks=slow),
        pytest.param("mede", {"diversity_coef": 0.5, "fixed_alpha": True}, True, marks=slow),
        pytest.param("diayn", {}, True, marks=slow),
        pytest.param("diayn", {"task_reward": False}, False, marks=slow),
    ],
)
def test_compiled_equals_eager(diversity, kwargs, used, make_batch, run):
    torch.compiler.reset()
    loss, batch = make_loss(diversity, **kwargs), with_latents(make_batch())
    if used:
        run.step(loss, batch.copy())  # lazy state is made before the compiler looks
    check(loss, batch, run, 1, 2)
    with torch.no_grad():
        for parameter in loss.discriminator.parameters():
            parameter.add_(torch.randn_like(parameter))
    check(loss, batch, run, 3)  # the graph reads the discriminator as it is
    if loss.diversity_coef is not None:
        loss.diversity_coef = 0.2
        check(loss, batch, run, 4)


@slow
def test_separate_networks_compiled(make_batch, run):
    torch.compiler.reset()
    loss = make_loss(actor=make_actor(separate=True))
    check(loss, with_latents(make_batch()), run, 1, 2)


@slow
@pytest.mark.parametrize("form", ["state", "state_action"])
def test_discriminator_loss_compiled(form, make_batch, run):
    torch.compiler.reset()
    loss = DiscriminatorLoss(make_discriminator(form=form))
    check(loss, with_latents(make_batch()), run, 1, 2)
