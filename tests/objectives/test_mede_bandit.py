"""A task of one state, whose objective can be integrated and whose solution is known."""

import math

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.modules import ValueOperator

from torchrl_mixture.modules import Discriminator, latent_actor
from torchrl_mixture.objectives import DiscriminatorLoss, MEDELoss

SPEC = Composite(observation=Unbounded((1,)))
BOX = Bounded(-2.0, 2.0, (1,))
ALPHA, WIDTH = 0.3, 0.3


class Peaks(nn.Module):
    """A reward with two equal peaks, as a critic."""

    def __init__(self):
        super().__init__()
        self.places = nn.Parameter(torch.tensor([-1.0, 1.0]))

    def forward(self, action):
        return (-((action - self.places) ** 2) / WIDTH).logsumexp(-1, keepdim=True)


class Posterior(nn.Module):
    """Bayes' posterior of Gaussian policies that are all equally likely."""

    def __init__(self, loc, scale):
        super().__init__()
        self.loc, self.scale = loc, scale

    def forward(self, observation, action):
        return torch.distributions.Normal(self.loc, self.scale).log_prob(action)


def make_loss(discriminator, base="tanh_normal", **kwargs):
    actor = latent_actor(BOX, 2, observation_spec=SPEC, num_cells=(), base=base)
    critics = [ValueOperator(Peaks(), in_keys=["action"]) for _ in range(2)]
    for critic in critics:
        critic.in_keys = ["action", "observation", "latent"]
        critic.module = Ignoring(critic.module)
    kwargs = {"alpha_init": ALPHA, "fixed_alpha": True, **kwargs}
    return MEDELoss(actor, critics, discriminator=discriminator, **kwargs)


class Ignoring(nn.Module):
    """Of a critic's inputs the action alone."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, action, *others):
        return self.net(action)


def batch_of(count):
    latent = torch.eye(2).repeat(count // 2, 1)
    return TensorDict({"observation": torch.zeros(count, 1), "latent": latent}, [count])


def mixture_objective(loc, scale):
    """``alpha E log pi_mix + alpha log Z - E r`` of the equal mixture, summed over a grid."""
    x = torch.linspace(-9, 9, 6001).unsqueeze(-1)
    log_mix = torch.distributions.Normal(loc, scale).log_prob(x).logsumexp(-1) - math.log(2)
    cost = ALPHA * (log_mix + math.log(2)) - Peaks()(x).squeeze(-1)
    return (18 / 6000 * log_mix.exp() * cost).sum()


def test_with_bayes_posterior_it_is_the_mixtures_entropy_objective(float64):
    """In value, and in gradient though the posterior is held: its own score vanishes."""
    discriminator = Discriminator(2, BOX, observation_spec=SPEC)
    loss = make_loss(discriminator, base="normal", reduction="mean")
    network = loss.actor_network.module[0]
    parameters = list(network.parameters())

    def places():
        output = network(batch_of(2))
        return output["loc"].flatten(), output["scale"].flatten()

    with torch.no_grad():
        parameters[0].normal_()
        discriminator.module = Posterior(*(value.clone() for value in places()))
    exact = mixture_objective(*places())
    # The state is zero, so that its weights have no gradient; nor has the only logit.
    gradients = torch.autograd.grad(exact, parameters)
    batch, values, drawn = batch_of(4000), [], []
    for _ in range(60):
        value = loss.actor_loss(batch)[0]
        values.append(value.detach())
        drawn.append(torch.autograd.grad(value, parameters))
    values = torch.stack(values)
    z = (values.mean() - exact) / (values.std() / len(values) ** 0.5)
    assert abs(z) < 4.5
    for expected, estimates in zip(gradients, zip(*drawn, strict=True), strict=True):
        estimates = torch.stack(estimates)
        error = estimates.std(0) / len(values) ** 0.5
        assert ((estimates.mean(0) - expected).abs() <= 4.5 * error + 1e-12).all()
        assert (expected.abs() > 10 * error).any()


def learn(seed, coef, updates=800):
    """The two policies' means after some updates, from starts on the same side of the middle."""
    torch.manual_seed(seed)
    discriminator = Discriminator(
        2, BOX, observation_spec=SPEC, num_cells=(32,), activation_class=nn.Tanh
    )
    loss, guess = make_loss(discriminator, diversity_coef=coef), DiscriminatorLoss(discriminator)
    weight, bias = loss.actor_network.parameters()  # outputs: weight, location, scale
    with torch.no_grad():
        weight.zero_()
        weight[1, 1:] = torch.tensor([-0.05, 0.05])  # of the latents
        bias[1] = 0.1
    actor = torch.optim.Adam(loss.actor_network.parameters(), 0.02)
    of_guess = torch.optim.Adam(guess.parameters(), 0.02)
    for _ in range(updates):
        batch = batch_of(64)
        with torch.no_grad():
            batch["action"] = loss.actor_network.get_dist(batch.copy()).sample()
        of_guess.zero_grad()
        guess(batch)["loss_discriminator_state_action"].backward()
        of_guess.step()
        actor.zero_grad()
        loss.actor_loss(batch)[0].backward()
        actor.step()
    return loss.actor_network.get_dist(batch_of(2)).mode.flatten().tolist()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_two_policies_take_a_peak_each(seed):
    assert sorted(learn(seed, None)) == pytest.approx([-1, 1], abs=0.15)
    low, high = sorted(learn(seed, 0.0))
    assert low > -0.5 or high < 0.5
