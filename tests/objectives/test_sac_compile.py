"""The whole loss in one graph: what it returns compiled is what it returns eagerly."""

import pytest
import torch
from torch.testing import assert_close

SLOW = [
    pytest.param(name, marks=pytest.mark.slow) for name in ("gumbel", "likelihood", "marginal")
]


@pytest.mark.parametrize("estimator", ["half", "implicit", *SLOW])
def test_compiled_equals_eager(estimator, make_loss, make_batch, run):
    torch.compiler.reset()
    loss, batch = make_loss(estimator), make_batch()
    run.step(loss, batch.copy())  # lazy state is made before the compiler looks
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    for seed in range(2):
        expected, expected_gradients = run.step(loss, batch.copy(), seed)
        loss.zero_grad()
        torch.manual_seed(seed)
        output = compiled(batch.copy())
        run.total(output).backward()
        assert_close(dict(output), dict(expected), rtol=1e-5, atol=1e-6)
        gradients = {name: p.grad for name, p in loss.named_parameters() if p.grad is not None}
        assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("num_components", [1, 3])
def test_compiled_without_use_before(num_components, make_loss, make_batch):
    torch.compiler.reset()
    loss, batch = make_loss("half", num_components), make_batch()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.manual_seed(0)
    output = compiled(batch.copy())
    torch.manual_seed(0)
    assert_close(dict(output), dict(loss(batch.copy())), rtol=1e-5, atol=1e-6)
