"""The arithmetic of the loss with linear networks in NumPy, and batches to compare on."""

from __future__ import annotations

import numpy as np
import torch
from objectives.sacm_cases import GAMMA, HIGH, LOW, make_actor, make_critics, make_loss, perturb
from tensordict import TensorDict

from torchrl_mixture.objectives import SACMLoss

A, OBSERVED, SIZE = 2, 3, 12
LOG_ALPHA = np.array([-1.0, -0.5, 0.2])
LOWEST, HIGHEST = np.array(LOW), np.array(HIGH)
CENTRE, HALF = (LOWEST + HIGHEST) / 2, (HIGHEST - LOWEST) / 2
TERMINATED = np.arange(SIZE) % 4 == 0
DONE = TERMINATED | (np.arange(SIZE) == 1)


def build(size=3, *, learn_weights=True, values=None, **kwargs) -> SACMLoss:
    """A loss of linear networks, with other target networks and other temperatures."""
    actor = make_actor(size, num_cells=(), learn_weights=learn_weights, loc_spread=0.7)
    critics = make_critics(values or size, num_cells=())
    kwargs = {"reduction": "none", "scalar_output_mode": "exclude", **kwargs}
    loss = make_loss(actor=actor, critics=critics, **kwargs)
    perturb(loss.target_qvalue_network_params)
    with torch.no_grad():
        loss.log_alpha.copy_(torch.tensor(LOG_ALPHA[:size]))
    return loss


def make_batch(size=3) -> TensorDict:
    following = {
        "observation": torch.randn(SIZE, OBSERVED),
        "reward": torch.randn(SIZE, 1),
        "terminated": torch.tensor(TERMINATED).unsqueeze(-1),
        "done": torch.tensor(DONE).unsqueeze(-1),
    }
    content = {
        "observation": torch.randn(SIZE, OBSERVED),
        "action": torch.tensor(LOWEST + 2 * HALF * np.random.rand(SIZE, A)),
        "component_mask": torch.rand(SIZE, size) < 0.5,
        "next": following,
    }
    return TensorDict(content, [SIZE])


class Draws:
    """The loss's draws: each component's noise and the choice for the target, then the noise."""

    def __init__(self, size=3, going=SIZE):
        torch.manual_seed(3)
        self.following = torch.randn(going, size, A).numpy()
        self.choice = torch.rand(going).numpy() if size > 1 else None
        self.noise = torch.randn(SIZE, size, A).numpy()
        torch.manual_seed(3)


def linear(params):
    """The weight, input by output, and bias of the only layer; ensembles have an axis before."""
    leaves = {key[-1]: value.detach().numpy() for key, value in params.items(True, True)}
    return np.swapaxes(leaves["weight"], -1, -2), leaves["bias"], leaves.get("loc_offset")


def array(batch, *key):
    return batch[key].numpy()


class ByHand:
    """Linear networks in NumPy; nothing of the library."""

    def __init__(self, loss, size=3, learn_weights=True):
        self.size, self.learn_weights = size, learn_weights
        self.alpha = np.exp(LOG_ALPHA[:size])
        self.actor = linear(loss.actor_network_params)
        self.critics = linear(loss.qvalue_network_params)[:2]
        self.targets = linear(loss.target_qvalue_network_params)[:2]

    def policy(self, state, actor=None):
        """Weights ``[B, K]``, locations and scales ``[B, K, A]``."""
        weight, bias, offset = self.actor if actor is None else actor
        out = state @ weight + bias
        logits = np.zeros((len(state), self.size))
        if self.learn_weights:
            logits, out = out[:, : self.size], out[:, self.size :]
        weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        loc, raw = (part.reshape(-1, self.size, A) for part in np.split(out, 2, -1))
        # TorchRL's biased softplus: 1 at 0, and at least 0.01.
        scale = np.log1p(np.exp(raw + np.log(np.expm1(0.99)))) + 0.01
        return weights, loc + (0 if offset is None else offset), scale

    @staticmethod
    def log_density(x, loc, scale):
        """Of one component at a value before squashing, after squashing."""
        normal = -(((x - loc) / scale) ** 2) / 2 - np.log(scale) - np.log(2 * np.pi) / 2
        return (normal - np.log(HALF * (1 - np.tanh(x) ** 2))).sum(-1)

    def draw(self, state, noise, actor=None):
        """Weights, actions ``[B, K, A]``, the mixture's and their own log-densities ``[B, K]``."""
        weights, loc, scale = self.policy(state, actor)
        x = loc + scale * noise
        mixture, own = np.empty(weights.shape), np.empty(weights.shape)
        for i in range(self.size):
            terms = [self.log_density(x[:, i], loc[:, j], scale[:, j]) for j in range(self.size)]
            density = sum(weights[:, j] * np.exp(terms[j]) for j in range(self.size))
            mixture[:, i], own[:, i] = np.log(density), terms[i]
        return weights, CENTRE + HALF * np.tanh(x), mixture, own

    @staticmethod
    def values(critics, state, action):
        """``[E, B, K]``, or ``[E, B, 1]`` of shared critics."""
        inputs = np.concatenate([state, action], -1)
        return np.stack([inputs @ weight + bias for weight, bias in zip(*critics, strict=True)])

    def choose(self, weights, choice):
        """The component that a uniform number falls on, from the last to the first."""
        if choice is None:
            return np.zeros(len(weights), dtype=int)
        edges = np.cumsum(weights, -1)
        return np.array(
            [np.searchsorted(row, 1 - u) for row, u in zip(edges, choice, strict=True)]
        )

    def target(self, batch, draws, variant, gamma=GAMMA):
        """The targets, ``[B, K]``, one component after the other."""
        state, reward = array(batch, "next", "observation"), array(batch, "next", "reward")[:, 0]
        weights, actions, mixture, _ = self.draw(state, draws.following)
        chosen = self.choose(weights, draws.choice)
        action = actions[np.arange(SIZE), chosen]
        values = self.values(self.targets, state, action).min(0)
        values = np.broadcast_to(values, (SIZE, values.shape[-1]))
        targets = []
        for i in range(values.shape[-1]):
            counted = range(self.size) if variant == "sacm" else range(i + 1)
            bonus = sum(weights[:, j] * -mixture[:, j] for j in counted)
            alpha = weights @ self.alpha
            targets.append(reward + gamma * ~TERMINATED * (values[:, i] + alpha * bonus))
        return np.stack(targets, -1)

    def errors(self, batch, target):
        """``[E, B, K]``."""
        return (
            self.values(self.critics, array(batch, "observation"), array(batch, "action")) - target
        )

    def actor_loss(self, state, noise, entropy, actor=None):
        """The actor's loss of each state, and the log-densities that it has."""
        weights, actions, mixture, own = self.draw(state, noise, actor)
        regularizer = mixture if entropy == "mixture" else own
        loss = np.zeros(len(state))
        for i in range(self.size):
            values = self.values(self.critics, state, actions[:, i]).min(0)
            value = values[:, min(i, values.shape[-1] - 1)]
            loss += weights[:, i] * (self.alpha[i] * regularizer[:, i] - value)
        return loss, regularizer
