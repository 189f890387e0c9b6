"""Where estimators must not break, what they refuse, and how one of your own is brought."""

import math

import pytest
import torch
from torch import nn

from torchrl_mixture.distributions import NormalMixture, TanhNormalMixture
from torchrl_mixture.objectives import (
    GradientEstimator,
    GumbelSoftmax,
    HalfReparam,
    Implicit,
    Likelihood,
    Marginal,
)
from torchrl_mixture.objectives.estimators import make_gradient_estimator

NAMES = {
    "half": HalfReparam,
    "gumbel": GumbelSoftmax,
    "likelihood": Likelihood,
    "marginal": Marginal,
    "implicit": Implicit,
}
BATCH, COMPONENTS, SIZE = 256, 3, 2
ALPHA = torch.tensor(0.2)


def q_function(action):
    return torch.sin(2 * action).sum(-1) - (action**2).sum(-1)


def parameters(logits=(0.0, 0.5, -0.5), loc=(-0.5, 0.1, 0.6), scale=(0.3, 0.4, 0.5)):
    """Leaves in float32, the same in both dimensions."""
    rows = [torch.tensor(logits), *(torch.tensor(row)[:, None] for row in (loc, scale))]
    shapes = [(BATCH, COMPONENTS), *[(BATCH, COMPONENTS, SIZE)] * 2]
    return [
        row.float().expand(shape).clone().requires_grad_()
        for row, shape in zip(rows, shapes, strict=True)
    ]


@pytest.mark.parametrize("family", [NormalMixture, TanhNormalMixture])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "extreme",
    [
        {"loc": (-20.0, 0.0, 20.0)},
        {"loc": (20.0, 20.0, 20.0)},
        {"scale": (1e-6, 1e-6, 1e-6)},
        {"scale": (1e-6, 1.0, 1e-6)},
        {"loc": (-20.0, 20.0, 20.0), "scale": (1e-6, 1e-6, 5.0)},
        {"logits": (0.0, -200.0, -200.0)},
        {"logits": (-200.0, 0.0, -1e4), "loc": (-20.0, 0.3, 20.0)},
        {"loc": (0.2, 0.2, 0.2), "scale": (0.3, 0.3, 0.3)},
        {"loc": (0.2, 0.2, 0.2), "scale": (1e-6, 1e-6, 1e-6)},
        {"loc": (-1e3, 0.0, 1e3), "scale": (1e-6, 10.0, 100.0)},
    ],
    ids=str,
)
def test_cost_and_gradient_are_finite(extreme, name, family):
    leaves = parameters(**extreme)
    cost, log_prob = NAMES[name]()(family(*leaves), q_function, ALPHA)
    assert cost.isfinite().all() and log_prob.isfinite().all()
    for leaf, grad in zip(("logits", "loc", "scale"), _gradients(cost, leaves), strict=True):
        assert grad.isfinite().all(), leaf


def _gradients(cost, leaves):
    return torch.autograd.grad(cost.sum(), leaves)


@pytest.mark.parametrize("name", NAMES)
def test_float32_agrees_with_float64_from_the_same_noise(name, monkeypatch):
    def in_float64(draw):
        return lambda shape, dtype, device: draw(shape, dtype=torch.float64).to(dtype)

    for draw in ("rand", "randn"):
        monkeypatch.setattr(torch, draw, in_float64(getattr(torch, draw)))
    results = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(1)
        leaves = [leaf.detach().to(dtype).requires_grad_() for leaf in parameters()]
        cost, _ = NAMES[name]()(TanhNormalMixture(*leaves), q_function, ALPHA)
        assert cost.dtype == dtype
        results.append((cost, *_gradients(cost, leaves)))
    for single, double in zip(*results, strict=True):
        # A draw within rounding of a switch between components would be another draw.
        torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [(), (5,), (2, 3)], ids=str)
@pytest.mark.parametrize("num_components", [1, 3])
def test_cost_has_the_batch_shape(name, batch, num_components):
    shape = (*batch, num_components, SIZE)
    policy = TanhNormalMixture(torch.zeros(shape[:-1]), torch.zeros(shape), torch.ones(shape))
    cost, log_prob = NAMES[name]()(policy, q_function, ALPHA)
    assert cost.shape == log_prob.shape == batch


@pytest.mark.parametrize("kind", [HalfReparam, Likelihood])
def test_baseline_reduces_the_variance_of_a_shifted_cost(kind):
    def shifted(action):
        return q_function(action) + 100.0

    variance = []
    for num_baseline_samples in (0, 1, 30):
        leaves = parameters()
        cost, _ = kind(num_baseline_samples)(NormalMixture(*leaves), shifted, ALPHA)
        variance.append(_gradients(cost, leaves)[0].var(0).sum())
    assert variance[1] < 0.01 * variance[0]
    assert variance[2] < 0.8 * variance[1]


@pytest.mark.parametrize("kind", [HalfReparam, Likelihood])
def test_baseline_takes_no_gradient(kind):
    calls = []

    def recording(action):
        calls.append(action)
        return q_function(action)

    kind(4)(NormalMixture(*parameters()), recording, ALPHA)
    drawn, baseline = calls
    assert drawn.shape == (BATCH, SIZE) and baseline.shape == (4, BATCH, SIZE)
    assert not baseline.requires_grad
    assert drawn.requires_grad is (kind is HalfReparam)


def test_critic_is_asked_once_by_marginal_for_all_components():
    calls = []

    def recording(action):
        calls.append(action.shape)
        return q_function(action)

    Marginal()(NormalMixture(*parameters()), recording, ALPHA)
    assert calls == [(COMPONENTS, BATCH, SIZE)]


@pytest.mark.parametrize("name", NAMES)
def test_alpha_and_critic_get_the_gradients_of_the_cost(name):
    alpha = torch.tensor(0.2, requires_grad=True)
    bias = torch.tensor(0.0, requires_grad=True)
    arguments = (NormalMixture(*parameters()), lambda action: q_function(action) + bias, alpha)
    cost, log_prob = NAMES[name]()(*arguments)
    if name == "likelihood":  # what it multiplies the score with is a number
        assert torch.autograd.grad(cost.sum(), (alpha, bias), allow_unused=True) == (None, None)
        return
    to_alpha, to_bias = torch.autograd.grad(cost.sum(), (alpha, bias))
    torch.testing.assert_close(to_alpha, log_prob.sum().detach())
    torch.testing.assert_close(to_bias, torch.tensor(-float(BATCH)))


@pytest.mark.parametrize("given", [-1, 1.5, math.nan])
@pytest.mark.parametrize("kind", [HalfReparam, Likelihood])
def test_impossible_number_of_baseline_samples_is_refused(kind, given):
    with pytest.raises(ValueError, match=rf"num_baseline_samples must be .* got {given}\."):
        kind(num_baseline_samples=given)
    assert kind(num_baseline_samples=0).num_baseline_samples == 0


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(
        ValueError, match=rf"temperature must be positive and finite, got {temperature}"
    ):
        GumbelSoftmax(temperature)


@pytest.mark.parametrize("name", ["halff", "", "Half", None])
def test_unknown_name_is_refused(name):
    with pytest.raises(ValueError, match=r"\['gumbel', 'half', 'implicit', .* or a Grad"):
        make_gradient_estimator(name)


def test_names_make_estimators_with_default_settings():
    for name, kind in NAMES.items():
        assert type(make_gradient_estimator(name)) is kind
    assert make_gradient_estimator("half").num_baseline_samples == 1
    assert make_gradient_estimator("likelihood").num_baseline_samples == 1
    assert make_gradient_estimator("gumbel").temperature.item() == 1.0


def test_temperature_is_a_buffer_that_can_be_scheduled():
    estimator = GumbelSoftmax(temperature=2.0)
    assert estimator.state_dict()["temperature"].item() == 2.0
    assert not list(estimator.parameters())

    def weight_gradient():
        torch.manual_seed(3)
        leaves = parameters()
        cost, _ = estimator(NormalMixture(*leaves), q_function, ALPHA)
        return _gradients(cost, leaves)[0]

    warm = weight_gradient()
    estimator.temperature.fill_(0.5)
    cool = weight_gradient()
    assert not torch.allclose(warm, cool)
    estimator.load_state_dict({"temperature": torch.tensor(2.0)})
    torch.testing.assert_close(weight_gradient(), warm)


def test_estimator_of_ones_own_is_taken_as_it_is():
    class Scaled(GradientEstimator):
        def __init__(self, factor):
            super().__init__()
            self.inner = Implicit()
            self.register_buffer("factor", torch.tensor(factor))

        def forward(self, policy, q_function, alpha):
            cost, log_prob = self.inner(policy, q_function, alpha)
            return self.factor * cost, log_prob

    estimator = make_gradient_estimator(Scaled(2.0))
    assert isinstance(estimator, nn.Module) and "factor" in estimator.state_dict()
    leaves = parameters()
    policy = NormalMixture(*leaves)
    results = []
    for each in (Implicit(), estimator):
        torch.manual_seed(2)
        results.append(_gradients(each(policy, q_function, ALPHA)[0], leaves[1:]))
    for plain, scaled in zip(*results, strict=True):
        torch.testing.assert_close(scaled, 2 * plain)


def test_estimator_without_forward_cannot_be_made():
    class Empty(GradientEstimator):
        pass

    with pytest.raises(TypeError, match="forward"):
        Empty()
