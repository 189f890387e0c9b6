"""The arithmetic of the loss with linear networks in NumPy, and batches to compare on."""

import numpy as np
import torch
from objectives.mede_cases import make_actor, make_critics, make_discriminator, with_latents
from scipy.special import log_softmax
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch.testing import assert_close
from torchrl.modules import MLP

from torchrl_mixture.objectives import MEDELoss

Z, A, OBSERVED, SIZE, GAMMA, ALPHA = 4, 2, 3, 12, 0.9, 0.3
LOW, HIGH = np.array([-1.5, -2.0]), np.array([1.0, 1.5])
CENTRE, HALF = (LOW + HIGH) / 2, (HIGH - LOW) / 2
TERMINATED = np.arange(SIZE) % 4 == 0


def linear(params):
    """The weight, input by output, and bias of the only layer; ensembles have an axis before."""
    leaves = {key[-1]: value.detach().numpy() for key, value in params.items(True, True)}
    return np.swapaxes(leaves["weight"], -1, -2), leaves["bias"]


class ByHand:
    """Linear networks in NumPy; nothing of the library."""

    def __init__(self, loss, coef=None):
        self.alpha = loss.log_alpha.exp().item()
        self.coef = self.alpha if coef is None else coef
        self.actor = linear(loss.actor_network_params)
        self.critics = linear(loss.qvalue_network_params)
        self.targets = linear(loss.target_qvalue_network_params)
        layer = loss.discriminator.module[-1]
        self.discriminator = layer.weight.detach().numpy().T, layer.bias.detach().numpy()

    @staticmethod
    def act(actor, state, latent, noise):
        """Squashed action and its log-density."""
        weight, bias = actor
        out = np.concatenate([state, latent], -1) @ weight + bias
        loc = out[:, 1 : 1 + A]  # the first is the logit of the only component
        # TorchRL's biased softplus: 1 at 0, and at least 0.01.
        scale = np.log1p(np.exp(out[:, 1 + A :] + np.log(np.expm1(0.99)))) + 0.01
        x = loc + scale * noise
        normal = -(noise**2) / 2 - np.log(scale) - np.log(2 * np.pi) / 2
        slope = np.log(HALF * (1 - np.tanh(x) ** 2))
        return CENTRE + HALF * np.tanh(x), (normal - slope).sum(-1)

    @staticmethod
    def values(critics, state, action, latent):
        weight, bias = critics
        inputs = np.concatenate([state, action, latent], -1)
        return np.einsum("eio,bi->eb", weight, inputs) + bias

    def log_q(self, inputs, latent):
        weight, bias = self.discriminator
        return (log_softmax(np.concatenate(inputs, -1) @ weight + bias, axis=-1) * latent).sum(-1)

    def cost(self, state, latent, noise, actor=None, paid=True):
        """The actor's loss for each state, and the log-density."""
        action, log_prob = self.act(self.actor if actor is None else actor, state, latent, noise)
        value = self.values(self.critics, state, action, latent).min(0)
        term = self.coef * self.log_q([state, action], latent) if paid else 0.0
        return self.alpha * log_prob - term - value, log_prob

    def target(self, batch, noise, reward, paid=True):
        state, latent = array(batch, "next", "observation"), array(batch, "next", "latent")
        action, log_prob = self.act(self.actor, state, latent, noise)
        value = self.values(self.targets, state, action, latent).min(0) - self.alpha * log_prob
        if paid:
            value = value + self.coef * self.log_q([state, action], latent)
        return reward + GAMMA * ~TERMINATED * value

    def errors(self, batch, target):
        predicted = self.values(
            self.critics, *(array(batch, key) for key in ("observation", "action", "latent"))
        )
        return predicted - target


def array(batch, *key):
    return batch[key].numpy()


def rewards(batch):
    return array(batch, "next", "reward")[:, 0]


def linear_parts(form):
    kwargs = {"num_cells": ()}
    discriminator = make_discriminator(Z, form, **kwargs)
    with torch.no_grad():
        discriminator.module[-1].weight.mul_(4)
    return make_actor(Z, **kwargs), make_critics(Z, **kwargs), discriminator


def build(diversity="mede", form=None, value=False, **kwargs):
    form = form or ("state_action" if diversity == "mede" else "state")
    actor, critics, discriminator = linear_parts(form)
    network = TensorDictModule(
        MLP(OBSERVED + Z, 1, num_cells=()), ["observation", "latent"], ["state_value"]
    )
    loss = MEDELoss(
        *(actor, critics, network if value else None),
        discriminator=discriminator,
        diversity=diversity,
        **{"alpha_init": ALPHA, "loss_function": "l2", **kwargs},
    )
    loss.make_value_estimator(gamma=GAMMA)
    for target in loss.target_qvalue_network_params.values(True, True):
        target.data.add_(0.5 * torch.randn_like(target))
    return loss


def make_batch():
    """Latents of state and next state differ, so that they cannot be mistaken for each other."""
    done = torch.tensor(TERMINATED).unsqueeze(-1)
    following = {
        "observation": torch.randn(SIZE, OBSERVED),
        "reward": torch.randn(SIZE, 1),
        "terminated": done,
        "done": done | (torch.arange(SIZE).unsqueeze(-1) == 1),
    }
    action = torch.tensor(LOW) + torch.tensor(HIGH - LOW) * torch.rand(SIZE, A)
    content = {"observation": torch.randn(SIZE, OBSERVED), "action": action, "next": following}
    batch = with_latents(TensorDict(content, [SIZE]), Z)
    assert (batch["latent"] != batch["next", "latent"]).any(-1).sum() > 3
    return batch


def draw():
    """The loss's two draws of noise: for the target, then for the actor."""
    torch.manual_seed(3)
    noise = [torch.randn(SIZE, A).numpy() for _ in range(2)]
    torch.manual_seed(3)
    return noise


def near(value, expected):
    assert_close(value, torch.tensor(expected))


def state_and_latent(batch):
    return array(batch, "observation"), array(batch, "latent")
