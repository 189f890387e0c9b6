"""A task of one state, whose objective can be integrated and whose solution is known."""

import math

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torch.distributions import Normal
from torch.testing import assert_close
from torchrl.data import Bounded, Unbounded
from torchrl.modules import ValueOperator

from torchrl_mixture.modules import mixture_actor
from torchrl_mixture.objectives import SACMLoss

pytestmark = pytest.mark.usefixtures("float64")

K = 2


def one_state(size):
    return TensorDict({"observation": torch.ones(size, 1)}, [size])


def make_actor(outputs, learn_weights=True, **kwargs):
    """A policy whose parameters are the bias of its only layer."""
    net = nn.Linear(1, len(outputs))
    with torch.no_grad():
        net.weight.zero_()
        net.bias.copy_(outputs)
    kwargs = {"base": "normal", "scale_mapping": "exp", **kwargs}
    action = Unbounded((1,)) if kwargs["base"] == "normal" else Bounded(-2.0, 3.0, (1,))
    return net.bias, mixture_actor(action, K, net=net, learn_weights=learn_weights, **kwargs)


class Known(nn.Module):
    """A critic that is a given function of the action and of places, one for each component."""

    def __init__(self, function, places):
        super().__init__()
        self.function, self.places = function, nn.Parameter(torch.tensor(places))

    def forward(self, observation, action):
        return self.function(action, self.places)


def make_loss(actor, function, places, log_alpha, **kwargs):
    keys = ["observation", "action"]
    critics = [ValueOperator(Known(function, each), in_keys=keys) for each in places]
    loss = SACMLoss(actor, critics, fixed_alpha=True, **kwargs)
    loss.log_alpha.copy_(torch.tensor(log_alpha))
    return loss


# The actor's gradient against the integral's.

OUTPUTS = (0.3, -0.4, -0.8, 0.5, -0.6, -0.3)  # logits, locations, log-scales
LOG_ALPHA = (-0.2, -1.2)
PLACES = ((0.7, -0.9), (-0.3, 1.4))  # of each critic, by component


def quadratic(action, places):
    return -((action - places) ** 2) / 2


def integrated(parameters, box, actor_entropy, others=True):
    """The actor's loss by the trapezoidal rule, before squashing."""
    logits, loc, scale = parameters[:K], parameters[K : 2 * K], parameters[2 * K :].exp()
    weights = logits.softmax(-1)
    x = torch.linspace(-12, 12, 20_001).unsqueeze(-1)
    low, high = box or (-math.inf, math.inf)
    action = x if box is None else low + (high - low) * (x.tanh() + 1) / 2
    log_slope = 0.0 if box is None else math.log((high - low) / 2) + log_sech2(x)
    log_normal = Normal(loc, scale).log_prob(x)
    value = quadratic(action, torch.tensor(PLACES).unsqueeze(1)).amin(0)
    loss = 0.0
    for i in range(K):
        itself = torch.arange(K) == i
        known = log_normal if others else torch.where(itself, log_normal, log_normal.detach())
        regularizer = log_normal[:, i]
        if actor_entropy == "mixture":
            regularizer = torch.logsumexp(weights.log() + known, -1)
        regularizer = regularizer - (log_slope[:, 0] if box else 0.0)
        cost = math.exp(LOG_ALPHA[i]) * regularizer - value[:, i]
        loss = loss + weights[i] * torch.trapezoid(log_normal[:, i].exp() * cost, x[:, 0])
    return loss


def log_sech2(x):
    return 2 * (math.log(2) - x - nn.functional.softplus(-2 * x))


def exact_gradient(*args, **kwargs):
    parameters = torch.tensor(OUTPUTS, requires_grad=True)
    return torch.autograd.grad(integrated(parameters, *args, **kwargs), parameters)[0]


@pytest.mark.parametrize("base", ["normal", "tanh_normal"])
@pytest.mark.parametrize("actor_entropy", ["component", "mixture"])
def test_gradient_of_the_actor_matches_integration(actor_entropy, base):
    expected = exact_gradient(None if base == "normal" else (-2.0, 3.0), actor_entropy)
    bias, actor = make_actor(torch.tensor(OUTPUTS), base=base)
    loss = make_loss(actor, quadratic, PLACES, LOG_ALPHA, actor_entropy=actor_entropy)
    batch = one_state(20_000)
    gradients = torch.stack(
        [torch.autograd.grad(loss.actor_loss(batch)[0], bias)[0] for _ in range(50)]
    )
    standard_error = gradients.std(0) / math.sqrt(len(gradients))
    assert ((gradients.mean(0) - expected).abs() < 4.5 * standard_error).all()
    # A gradient that is wrong by a hundredth would show.
    assert (0.01 * expected.abs() / standard_error).max() > 9


def test_other_components_count_in_the_mixtures_entropy():
    """What would be missing if they were held is not small, so that the test above sees it."""
    whole = exact_gradient(None, "mixture")
    held = exact_gradient(None, "mixture", others=False)
    assert ((whole - held)[K:].abs() > 0.02 * whole[K:].abs()).all()


# Known solutions.

ALPHA = 0.5


def train(function, places, actor_entropy, outputs, steps=300):
    bias, actor = make_actor(torch.tensor(outputs), learn_weights=False)
    loss = make_loss(
        actor, function, [places] * 2, [math.log(ALPHA)] * K, actor_entropy=actor_entropy
    )
    batch, optimizer = one_state(128), torch.optim.Adam([bias], 3e-2)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-2 * (1 - step / steps)
        optimizer.zero_grad()
        loss.actor_loss(batch)[0].backward()
        optimizer.step()
    return bias.detach()[:K], bias.detach()[K:].exp()


def entropy(loc, scale):
    """Of the mixture of equal weights, integrated."""
    x = torch.linspace(-8, 8, 20_001)
    log_prob = Normal(loc, scale).log_prob(x.unsqueeze(-1)).logsumexp(-1) - math.log(K)
    return -torch.trapezoid(log_prob.exp() * log_prob, x).item()


@pytest.mark.parametrize("places", [(0.5, 0.5), (-1.0, 2.0)])
def test_components_alone_find_the_best_normal_policy_of_their_own_critic(places):
    """Its mean is where the value is highest, its variance the temperature."""
    loc, scale = train(quadratic, places, "component", [-0.5, 1.5, 0.0, -1.0])
    assert_close(loc, torch.tensor(places), atol=0.02, rtol=0)
    assert_close(scale, torch.full((K,), math.sqrt(ALPHA)), atol=0.02, rtol=0)


WIDTH = 0.5


def two_peaks(action, places):
    """alpha times the log-density of two equal peaks, hence of the best policy."""
    value = ALPHA * Normal(places, WIDTH).log_prob(action).logsumexp(-1, keepdim=True)
    return value.expand(*action.shape[:-1], K)


def test_components_alone_collapse_where_the_mixtures_entropy_keeps_both_peaks():
    places, start = (-1.5, 1.5), [0.5, 0.9, -0.7, -0.7]
    loc, scale = train(two_peaks, places, "component", start)
    assert_close(loc, torch.full((K,), 1.5), atol=0.03, rtol=0)
    assert_close(scale, torch.full((K,), WIDTH), atol=0.03, rtol=0)
    alone = entropy(loc, scale)
    loc, scale = train(two_peaks, places, "mixture", start)
    assert loc[0] < -0.5 and loc[1] > 1.2
    assert entropy(loc, scale) > alone + 0.5


def test_the_mixtures_entropy_finds_the_best_policy():
    """Two peaks so near that a component alone covers both."""
    places, start = (-1.2, 1.2), [0.3, 0.5, -0.5, -0.5]
    loc, scale = train(two_peaks, places, "component", start)
    assert (loc.abs() < 0.1).all() and (scale > 1).all()
    loc, scale = train(two_peaks, places, "mixture", start)
    assert_close(loc, torch.tensor(places), atol=0.05, rtol=0)
    assert_close(scale, torch.full((K,), WIDTH), atol=0.05, rtol=0)
    best = entropy(torch.tensor(places), torch.full((K,), WIDTH))
    assert entropy(loc, scale) == pytest.approx(best, abs=0.02)
