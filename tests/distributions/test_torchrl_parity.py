"""With one component the squashed normal mixture is TorchRL's ``TanhNormal``."""

import pytest
import torch
from oracles import gradients
from torchrl.modules.distributions import TanhNormal
from torchrl.modules.distributions.utils import sample_and_log_prob

from torchrl_mixture.distributions import TanhNormalMixture

BOXES = {
    "standard": {},
    "numbers": {"low": -2.0, "high": 3.0},
    "tensors": {"low": torch.tensor([-2.0, 0.5]), "high": torch.tensor([3.0, 0.75])},
}
boxes = pytest.mark.parametrize("box", BOXES.values(), ids=BOXES.keys())
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def pair(box, dtype, shift=0.0):
    """A mixture of one, TorchRL's distribution, and the leaves of each."""
    loc = torch.randn(7, 2, dtype=dtype) + shift
    scale = 0.2 + torch.rand(7, 2, dtype=dtype)
    box = {name: e.to(dtype) if isinstance(e, torch.Tensor) else e for name, e in box.items()}
    leaves = [[t.clone().requires_grad_() for t in (loc, scale)] for _ in range(2)]
    (ours_loc, ours_scale), theirs = leaves
    mixture = TanhNormalMixture(
        torch.zeros(7, 1, dtype=dtype), ours_loc.unsqueeze(-2), ours_scale.unsqueeze(-2), **box
    )
    return mixture, TanhNormal(*theirs, **box), *leaves


def seeded(function, *args):
    torch.manual_seed(11)
    return function(*args)


@dtypes
@boxes
@pytest.mark.parametrize("shape", [(), (5,), (3, 2)])
def test_same_seed_draws_the_same_bits(box, dtype, shape):
    ours, theirs, *_ = pair(box, dtype)
    shape = torch.Size(shape)
    for method in ("sample", "rsample"):
        one, other = (seeded(getattr(d, method), shape) for d in (ours, theirs))
        assert torch.equal(one, other)
    for method in ("rsample_and_log_prob", "sample_and_log_prob"):
        one, other = (seeded(getattr(d, method), shape) for d in (ours, theirs))
        assert torch.equal(one[0], other[0])
        torch.testing.assert_close(one[1], other[1])


def test_same_draws_in_a_box_whose_edges_are_rounded():
    numbers = {"low": -0.7, "high": 1.6}
    tensors = {name: torch.tensor([edge] * 2) for name, edge in numbers.items()}
    ours, theirs, *_ = pair(tensors, torch.float32)
    assert torch.equal(seeded(ours.sample, (50,)), seeded(theirs.sample, (50,)))
    # TorchRL rounds edges given as numbers to float32 before it computes their middle.
    ours, theirs, *_ = pair(numbers, torch.float32)
    one, other = (seeded(d.sample, (50,)) for d in (ours, theirs))
    torch.testing.assert_close(one, other, rtol=0, atol=5e-7)


@dtypes
@boxes
def test_log_prob_and_its_gradients_are_equal_inside_the_box(box, dtype):
    ours, theirs, our_leaves, their_leaves = pair(box, dtype)
    u = torch.cat([torch.linspace(-0.99, 0.99, 9), torch.tensor([-1 + 1e-4, 1 - 1e-4])]).to(dtype)
    low, high = (
        torch.as_tensor(box.get(name, edge), dtype=dtype)
        for name, edge in (("low", -1.0), ("high", 1.0))
    )
    value = ((low + high) / 2 + (high - low) / 2 * u[:, None, None]).expand(-1, 7, 2).clone()
    results = []
    for distribution, leaves in ((ours, our_leaves), (theirs, their_leaves)):
        at = value.clone().requires_grad_()
        log_prob = distribution.log_prob(at)
        results.append((log_prob, *gradients(log_prob, [at, *leaves])))
    # 1e-4 inside the edge is rounded to 1e-3 of itself in float32. TorchRL keeps edges given as
    # numbers in float32.
    exact = dtype is torch.float64 and not isinstance(box.get("low"), float)
    tolerance = 1e-9 if exact else 1e-6 if dtype is torch.float64 else 1e-4
    close = {"rtol": tolerance, "atol": tolerance}
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, **close)


@dtypes
@boxes
def test_gradients_of_a_draw_are_equal(box, dtype):
    ours, theirs, our_leaves, their_leaves = pair(box, dtype)
    results = []
    for distribution, leaves in ((ours, our_leaves), (theirs, their_leaves)):
        value, log_prob = seeded(distribution.rsample_and_log_prob, (5,))
        results.append(gradients(value.square().sum() + log_prob.sum(), leaves))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_deterministic_sample_is_that_of_torchrl():
    ours, theirs, *_ = pair(BOXES["numbers"], torch.float32)
    assert torch.equal(ours.deterministic_sample, theirs.deterministic_sample)


@dtypes
def test_saturated_scores_are_equal_and_draws_within_torchrls_margin(dtype):
    ours, theirs, *_ = pair({}, dtype, shift=20.0)
    one, other = (seeded(d.rsample_and_log_prob, (5,)) for d in (ours, theirs))
    torch.testing.assert_close(one[1], other[1])
    # TorchRL keeps the tanh 1e-6 (1e-15) inside the edge.
    assert ((one[0] - other[0]).abs() <= 1.1 * torch.finfo(dtype).resolution).all()


@pytest.mark.parametrize("reparameterize", [False, True])
def test_torchrl_scores_a_mixture_where_it_was_drawn(reparameterize):
    loc = torch.tensor([[20.0], [20.5]], requires_grad=True)
    mixture = TanhNormalMixture(torch.zeros(2), loc, 0.1 * torch.ones(2, 1))
    value, log_prob = sample_and_log_prob(mixture, (50,), reparameterize=reparameterize)
    assert (value == 1).all()
    # -log p is the entropy before squashing plus 2 log 2 - 2 x, and far from what the edge gives.
    assert (log_prob > 30).all() and (mixture.log_prob(value) < 0).all()
    assert value.requires_grad is reparameterize
