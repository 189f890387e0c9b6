"""What the loss returns compiled is what it returns eagerly."""

import pytest
import torch
from objectives.gamid_cases import make_loss
from torch.testing import assert_close

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("used", [True, False])
def test_compiled_equals_eager(used, make_batch, run):
    torch.compiler.reset()
    loss, batch = make_loss(policy_noise=0.0), make_batch()
    if used:
        run.step(loss, batch.copy())
        loss.zero_grad()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    for temperature in (0.1, 0.5):
        loss.temperature = temperature
        data, plain = batch.copy(), batch.copy()
        output = compiled(data)
        run.total(output).backward()
        gradients = {name: parameter.grad for name, parameter in loss.named_parameters()}
        loss.zero_grad()
        expected, expected_gradients = run.step(loss, plain)
        assert_close(dict(output), dict(expected), rtol=1e-5, atol=1e-6)
        assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-6)
        assert_close(data["td_error"], plain["td_error"])
        loss.zero_grad()
