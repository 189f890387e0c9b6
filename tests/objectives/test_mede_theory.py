"""The theorems behind the loss: divergence by discriminability, decomposed soft values.

Everything is computed by integration or value iteration on problems that are small enough.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from objectives.mede_cases import with_latents
from scipy.special import softmax
from tensordict import TensorDict
from torchrl.data import Bounded, Composite, Unbounded

from torchrl_mixture.modules import LatentPolicy, latent_actor
from torchrl_mixture.trainers.latents import LatentUse

# Theorem 1.


def log_normal(x, loc, scale):
    return -(((x - loc) / scale) ** 2) / 2 - np.log(scale) - np.log(2 * np.pi) / 2


def expected_log_ratio(i, j, loc, scale, prior):
    """The integral of ``pi_i log p(z_i | a) / p(z_j | a)``, summed over a fine grid."""
    x = np.linspace(loc[i] - 12 * scale[i], loc[i] + 12 * scale[i], 4001)
    log_joint = np.log(prior) + log_normal(x[:, None], loc, scale)
    log_p = log_joint - np.logaddexp.reduce(log_joint, -1)[:, None]
    density = np.exp(log_normal(x, loc[i], scale[i]))
    return (x[1] - x[0]) * (density * (log_p[:, i] - log_p[:, j])).sum()


def by_discriminability(i, j, *parameters):
    return expected_log_ratio(i, j, *parameters) + expected_log_ratio(j, i, *parameters)


def gaussian_kl(i, j, loc, scale):
    ratio = scale[i] / scale[j]
    return ((loc[i] - loc[j]) / scale[j]) ** 2 / 2 + (ratio**2 - 1) / 2 - np.log(ratio)


@pytest.mark.parametrize("prior", [[0.5, 0.5], [0.2, 0.8], [0.999, 0.001], [0.2, 0.5, 0.3]])
def test_divergence_is_discriminability_whatever_the_prior(prior):
    generator, count = np.random.default_rng(0), len(prior)
    for _ in range(3):
        loc, scale = generator.normal(0, 1.5, count), generator.uniform(0.4, 1.5, count)
        exact = gaussian_kl(0, 1, loc, scale) + gaussian_kl(1, 0, loc, scale)
        measured = by_discriminability(0, 1, loc, scale, np.array(prior))
        assert measured == pytest.approx(exact, rel=1e-8)


def test_one_direction_alone_depends_on_the_prior():
    loc, scale = np.array([0.0, 1.0]), np.array([1.0, 0.7])
    exact = gaussian_kl(0, 1, loc, scale)
    for prior in ([0.5, 0.5], [0.2, 0.8]):
        offset = np.log(prior[0] / prior[1])
        measured = expected_log_ratio(0, 1, loc, scale, np.array(prior))
        assert measured == pytest.approx(exact + offset, rel=1e-8)


def test_the_reported_distance_is_that_divergence(float64):
    spec = Composite(observation=Unbounded((3,)))
    actor = latent_actor(Bounded(-2.0, 1.0, (1,)), 2, observation_spec=spec, num_cells=(8,))
    hook = LatentUse(LatentPolicy(actor, 2))
    states = TensorDict({"observation": 2 * torch.randn(4, 3)}, [4])
    stored = with_latents(TensorDict({"next": TensorDict({}, [6])}, [6]), 2)
    replay = SimpleNamespace(buffer=SimpleNamespace(storage=stored))
    hook.trainer = SimpleNamespace(_modules={"replay_buffer": replay})
    policies = [
        actor.get_dist(states.copy().set("latent", torch.eye(2)[z].expand(4, 2))) for z in range(2)
    ]
    loc, scale = (
        torch.cat([getattr(dist, name)[:, 0] for dist in policies], -1).detach().numpy()
        for name in ("loc", "scale")
    )
    expected = [
        by_discriminability(0, 1, *row, np.array([0.3, 0.7]))
        for row in zip(loc, scale, strict=True)
    ]
    measured = hook.diagnostics(states)
    assert float(measured["component_distance"]) == pytest.approx(np.mean(expected), rel=1e-8)
    shares = [float(measured[f"share_z{z}"]) for z in range(2)]
    assert shares == pytest.approx(stored["latent"].mean(0).tolist()) and sum(shares) == 1


def test_squashed_policies_are_as_far_apart(float64):
    """The same by integration over actions, with the actor's own densities."""
    spec = Composite(observation=Unbounded((3,)))
    box = Bounded(-2.0, 1.0, (1,))
    actor = latent_actor(box, 2, observation_spec=spec, num_cells=(8,))
    state = TensorDict({"observation": torch.randn(3)}, [])
    dists = [actor.get_dist(state.copy().set("latent", torch.eye(2)[z])) for z in range(2)]

    edges = torch.linspace(-2, 1, 20_001)
    action = ((edges[1:] + edges[:-1]) / 2).unsqueeze(-1)
    with torch.no_grad():
        first, second = (dist.log_prob(action) for dist in dists)
    integral = (3 / 20_000 * (first.exp() - second.exp()) * (first - second)).sum().item()
    mixture = LatentPolicy(actor, 2).marginal().get_dist(state)
    assert mixture.component_distance().item() == pytest.approx(integral, rel=1e-6)


# Theorem 2.

STATES, ACTIONS, Z, GAMMA = 4, 3, 3, 0.9


def log_sum(values):
    return np.logaddexp.reduce(values, -1)


class Task:
    """A small Markov decision process, and soft value iteration on it with temperature 1."""

    def __init__(self, seed):
        self.generator = np.random.default_rng(seed)
        self.transition = self.probabilities(STATES, ACTIONS, STATES)
        self.reward = 2 * self.generator.standard_normal((STATES, ACTIONS))

    def probabilities(self, *shape):
        return softmax(2 * self.generator.standard_normal(shape), -1)

    def ahead(self, value):
        """The discounted expectation in the next state, ``[..., S]`` to ``[..., S, A]``."""
        return GAMMA * np.einsum("sat,...t->...sa", self.transition, value)

    def soft_values(self):
        return fixed_point(lambda q: self.reward + self.ahead(log_sum(q)))

    def backup(self, q, log_p):
        return self.reward + self.ahead(log_sum(q + log_p))

    def policies(self, log_p):
        """Values, state values and policies where ``p(z | s, a)`` is given, ``[Z, S, A]``."""
        q = fixed_point(lambda q: self.backup(q, log_p))
        value = log_sum(q + log_p)
        return q, value, np.exp(q - value[..., None] + log_p)

    def printed_correction(self, policies, prior):
        """Equation 9, with the prior ``p(z | s)``, ``[Z, S]``."""
        mixture = np.einsum("zs,zsa->sa", prior, policies)

        def backup(s):
            return self.ahead(np.log((mixture * np.exp(s)).sum(-1)) - np.log(prior))

        return fixed_point(backup)

    def consistent(self, log_p, prior, coef=1.0, iterations=500):
        """Iterate Bayes' posterior of the policies that are optimal for it."""
        q = fixed_point(lambda q: self.backup(q, coef * log_p))
        for _ in range(iterations):
            q = self.backup(q, coef * log_p)
            log_joint = q - log_sum(q + coef * log_p)[..., None] + coef * log_p
            log_joint += np.log(prior)[..., None]
            log_p = log_joint - np.logaddexp.reduce(log_joint, 0)
        return log_p


def fixed_point(backup, iterations=400):
    value = 0.0 * backup(np.zeros((STATES, ACTIONS)))
    for _ in range(iterations):
        value = backup(value)
    return value


def random_task(seed):
    task = Task(seed)
    return task, np.log(np.moveaxis(task.probabilities(STATES, ACTIONS, Z), -1, 0))


@pytest.mark.parametrize("seed", range(3))
def test_soft_values_are_a_policys_and_a_correction(seed):
    """Theorem 2 for any given ``p(z | s, a)``, with the expectation over the policy itself."""
    task, log_p = random_task(seed)
    q, value, policies = task.policies(log_p)
    assert policies.sum(-1) == pytest.approx(1)
    # Equation 6 in its two forms.
    expected = (policies * (q - np.log(policies) + log_p)).sum(-1)
    assert value == pytest.approx(expected, abs=1e-12)

    def backup(s):
        return task.ahead(np.log((policies * np.exp(s - log_p)).sum(-1)))

    correction = fixed_point(backup)
    assert q + correction == pytest.approx(np.tile(task.soft_values(), (Z, 1, 1)), abs=1e-8)


def printed_error(task, log_p, prior):
    q, _, policies = task.policies(log_p)
    return np.abs(q + task.printed_correction(policies, prior) - task.soft_values())


@pytest.mark.parametrize("seed", range(3))
def test_the_printed_form_does_not_hold_for_any_discriminator(seed):
    """It replaces the policy by the mixture, which is Bayes' theorem for the posterior alone."""
    task, log_p = random_task(seed)
    assert printed_error(task, log_p, np.full((Z, STATES), 1 / Z)).max() > 1


@pytest.mark.parametrize("prior", [[1 / 3, 1 / 3, 1 / 3], [0.4, 0.35, 0.25]])
@pytest.mark.parametrize("seed", range(3))
def test_the_printed_form_holds_for_the_posterior_and_one_prior_in_all_states(seed, prior):
    """And there the mixture is the maximum-entropy policy."""
    task, log_p = random_task(seed)
    prior = np.repeat(np.array(prior)[:, None], STATES, 1)
    log_p = task.consistent(log_p, prior)
    assert np.exp(log_p).min() > 0
    assert printed_error(task, log_p, prior).max() < 1e-8
    _, _, policies = task.policies(log_p)
    mixture = np.einsum("zs,zsa->sa", prior, policies)
    assert mixture == pytest.approx(softmax(task.soft_values(), -1), abs=1e-8)
    assert np.abs(policies[0] - policies[1]).max() > 0.1  # of policies that differ


@pytest.mark.parametrize(("coef", "differ"), [(0.5, False), (2.0, True)])
def test_another_coefficient_does_not_take_the_policy_apart(coef, differ):
    """Smaller, all policies are the maximum-entropy policy; larger, they do not add up to it."""
    task, log_p = random_task(0)
    prior = np.full((Z, STATES), 1 / Z)
    log_p = task.consistent(log_p, prior, coef, iterations=300)
    _, _, policies = task.policies(coef * log_p)
    assert bool(np.abs(policies[0] - policies[1]).max() > 0.1) is differ
    off = np.abs(policies.mean(0) - softmax(task.soft_values(), -1)).max()
    assert (off > 0.05) if differ else (off < 1e-8)
