"""The loss in one graph: what it returns compiled is what it returns eagerly."""

import pytest
import torch
from objectives.awmp_loss_cases import make_loss
from torch.testing import assert_close

CASES = [
    pytest.param({"prior_action": "sampled"}, True),
    pytest.param({}, True, marks=pytest.mark.slow),
    pytest.param({"fixed_alpha": True}, False, marks=pytest.mark.slow),
    pytest.param({"num_components": 1}, True, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("settings", "used"), CASES)
def test_compiled_equals_eager(settings, used, make_batch, run):
    torch.compiler.reset()
    loss, batch = make_loss(**settings), make_batch()
    if used:
        run.step(loss, batch.copy())  # lazy state is made before the compiler looks
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    for seed in range(2):
        data, plain = batch.copy(), batch.copy()
        loss.zero_grad()
        torch.manual_seed(seed)
        output = compiled(data)
        run.total(output).backward()
        gradients = {name: p.grad for name, p in loss.named_parameters() if p.grad is not None}
        loss.zero_grad()
        expected, expected_gradients = run.step(loss, plain, seed)
        assert_close(dict(output), dict(expected), rtol=1e-5, atol=1e-6)
        assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-6)
        assert_close(data["td_error"], plain["td_error"], rtol=1e-5, atol=1e-6)
