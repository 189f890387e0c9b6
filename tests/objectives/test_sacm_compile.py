"""The loss in one graph: what it returns compiled is what it returns eagerly."""

import pytest
import torch
from objectives.sacm_cases import make_critics, make_loss, with_masks
from torch.testing import assert_close

slow = pytest.mark.slow
CASES = [
    pytest.param({"variant": "s2acm", "actor_entropy": "mixture", "data_masks": True}, True),
    pytest.param({}, False, marks=slow),
    pytest.param({"actor_entropy": "mixture", "fixed_alpha": True}, True, marks=slow),
    pytest.param({"values": 1, "target_entropy": [-1.0, -2.0, -3.0]}, False, marks=slow),
    pytest.param({"num_components": 1, "variant": "s2acm"}, False, marks=slow),
]


@pytest.mark.parametrize(("settings", "used"), CASES)
def test_compiled_equals_eager(settings, used, make_batch, run):
    torch.compiler.reset()
    values, size = settings.get("values"), settings.get("num_components", 3)
    settings = {name: value for name, value in settings.items() if name != "values"}
    loss = make_loss(critics=make_critics(values) if values else None, **settings)
    batch = with_masks(make_batch(), size)
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
