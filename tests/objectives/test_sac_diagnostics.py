"""What the loss says of the mixture, against brute force."""

import itertools
import math

import pytest
import torch
import torch.distributions as D
from tensordict import TensorDict
from torch.testing import assert_close
from torchrl.data import Bounded

from torchrl_mixture.modules import mixture_actor

DIAGNOSTICS = ("weight_entropy", "effective_components", "component_information")
pytestmark = pytest.mark.usefixtures("float64")


def mixture_loss(make_loss, make_critics, logits, loc, scale, estimator="half"):
    """A loss and a batch where the policy has these parameters: [B, K], [B, K, A], [B, K, A]."""
    batch_size, num_components, size = loc.shape
    actor = mixture_actor(
        Bounded(-torch.ones(size), torch.ones(size)),
        num_components,
        net=torch.nn.Identity(),
        scale_mapping="exp",
    )
    critics = make_critics(2, size + logits.shape[1] * (2 * size + 1) - 3)
    actor.module[0].module[0].register_parameter("unused", torch.nn.Parameter(torch.zeros(1)))
    loss = make_loss(estimator, actor=actor, critics=critics)
    flat = torch.cat([logits, loc.flatten(1), scale.log().flatten(1)], -1)
    zero = torch.zeros(batch_size, 1)
    content = {"observation": flat, "action": torch.zeros(batch_size, size)}
    done = zero.bool()
    following = {"observation": flat, "reward": zero, "done": done, "terminated": done}
    return loss, TensorDict({**content, "next": following}, [batch_size])


def test_have_no_gradient(make_loss, make_batch):
    output = make_loss()(make_batch())
    assert not any(output[name].requires_grad for name in (*DIAGNOSTICS, "alpha", "entropy"))
    assert all(output[name].shape == () for name in DIAGNOSTICS)


def test_against_brute_force(make_loss, make_critics):
    states, repeats, K = 3, 20000, 4
    logits, loc = torch.randn(states, K), torch.randn(states, K, 1)
    scale = torch.rand(states, K, 1) + 0.1
    parts = (value.repeat(repeats, *[1] * (value.ndim - 1)) for value in (logits, loc, scale))
    loss, batch = mixture_loss(make_loss, make_critics, *parts)
    with torch.no_grad():
        output = loss(batch)

    weights = logits.softmax(-1)
    assert_close(output["weight_entropy"], -(weights * weights.log()).sum(-1).mean())
    mean = weights.mean(0)
    assert_close(output["effective_components"], (-(mean * mean.log()).sum()).exp())

    x = torch.linspace(-12, 12, 20001).view(-1, 1, 1)
    density = D.Normal(loc[..., 0], scale[..., 0]).log_prob(x).exp()  # [points, states, K]
    mixture = (weights * density).sum(-1, keepdim=True)
    information = weights * density * (density.clamp_min(1e-300) / mixture).log()
    information = torch.trapezoid(information.sum(-1), x[:, :1, 0], dim=0).mean()
    assert_close(output["component_information"], information, rtol=0.02, atol=0)


def test_components_that_coincide(make_loss, make_critics):
    loc = torch.randn(50, 1, 2).expand(50, 4, 2)
    loss, batch = mixture_loss(
        make_loss, make_critics, torch.randn(50, 4), loc, torch.full_like(loc, 0.3)
    )
    output = loss(batch)
    assert_close(output["component_information"], torch.tensor(0.0))
    assert output["effective_components"] > 2  # by the weights alone nothing would be seen
    assert loss.mixture_diagnostics(batch)["component_distance"].abs() < 1e-12


def test_components_far_apart(make_loss, make_critics):
    loc = torch.linspace(-30, 30, 4).view(1, 4, 1).expand(50, 4, 1)
    loss, batch = mixture_loss(
        make_loss, make_critics, torch.zeros(50, 4), loc, torch.full_like(loc, 0.3)
    )
    output = loss(batch)
    for name in ("component_information", "weight_entropy"):
        assert_close(output[name], torch.tensor(math.log(4)))
    assert_close(output["effective_components"], torch.tensor(4.0))


def test_one_component(make_loss, make_batch):
    loss, batch = make_loss("half", 1), make_batch()
    output = loss(batch)
    assert [output[name].item() for name in DIAGNOSTICS] == [0.0, 1.0, 0.0]
    assert loss.mixture_diagnostics(batch)["component_distance"] == 0


def test_mixture_diagnostics(make_loss, make_critics):
    logits, loc, scale = torch.randn(7, 3), torch.randn(7, 3, 2), torch.rand(7, 3, 2) + 0.2
    loss, batch = mixture_loss(make_loss, make_critics, logits, loc, scale)
    state = torch.get_rng_state()
    found = loss.mixture_diagnostics(batch)
    assert torch.get_rng_state().equal(state)
    normal = D.Independent(D.Normal(loc, scale), 1)

    def component(k):
        return D.Independent(D.Normal(normal.mean[:, k], normal.stddev[:, k]), 1)

    pairs = itertools.permutations(range(3), 2)
    total = sum(D.kl_divergence(component(i), component(j)).mean() for i, j in pairs)
    expected = {
        "component_weight": logits.softmax(-1).mean(0),
        "component_loc": loc.mean(0),
        "component_scale": scale.mean(0),
        "component_distance": total / 3,
    }
    assert_close(found, expected)
    assert not any(value.requires_grad for value in found.values())


def test_under_a_time_dimension(make_loss, make_batch):
    loss = make_loss()
    found = loss.mixture_diagnostics(make_batch(4, 5))
    assert found["component_loc"].shape == (3, 2)
    assert found["component_distance"].shape == ()
