"""What the policies of a latent variable earn, store and differ by, where it is known."""

import csv
import math
import random
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recipes.running import LATENT, RECIPES, build
from tensordict import TensorDict
from torch import nn
from torchrl.data import Bounded, Composite, Unbounded

from torchrl_mixture.modules import Discriminator, LatentPolicy, latent_actor
from torchrl_mixture.trainers import (
    LatentEvaluator,
    LatentUse,
    Replay,
    gym_env,
    replay_buffer,
    train_run,
)

ACTIONS = [0.5, -0.2, 0.1]


def policy_at(actions, scales=None, discriminator=None):
    """Policies of one latent each, whose deterministic actions are these in every state."""
    num_latents, size = len(actions), 1
    spec = Composite(observation=Unbounded((2,)))
    actor = latent_actor(
        Bounded(-1.0, 1.0, (size,)), num_latents, observation_spec=spec, num_cells=()
    )
    (linear,) = (module for module in actor.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.zero_()
        # Its inputs are the observation and the latent; its outputs weight, location, scale.
        linear.weight[1, 2:] = torch.tensor(actions).atanh()
        if scales is not None:
            linear.weight[2, 2:] = torch.tensor(scales)
    return LatentPolicy(actor, num_latents, discriminator)


def constant_discriminator(weights):
    spec = Composite(observation=Unbounded((2,)))
    discriminator = Discriminator(len(weights), observation_spec=spec, num_cells=())
    (linear,) = (module for module in discriminator.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.copy_(torch.tensor(weights).log())
    return discriminator


def evaluator(task="Counting-v0", copies=6, policy=None, seed=3):
    return LatentEvaluator(gym_env(task, copies), policy or policy_at(ACTIONS), seed)


def test_returns_of_each_latent_of_all_and_of_the_best():
    """An episode is of 5 steps in every second copy and of 100 in the others."""
    row = evaluator("Uneven-v0", 10)(frames=0)
    assert row["episodes"] == 10
    for latent, action in enumerate(ACTIONS):
        assert row[f"return_z{latent}_mean"] == pytest.approx(52.5 * action, rel=1e-5)
        assert row[f"return_z{latent}_std"] == pytest.approx(47.5 * abs(action), rel=1e-5)
    assert row["return_latents_mean"] == pytest.approx(52.5 * np.mean(ACTIONS), rel=1e-5)
    assert row["return_latents_std"] == pytest.approx(52.5 * np.std(ACTIONS), rel=1e-5)
    assert row["return_best_latent_mean"] == pytest.approx(26.25, rel=1e-5)
    assert row["return_best_latent_std"] == pytest.approx(23.75, rel=1e-5)


@pytest.mark.parametrize(("actions", "best"), [([-0.7, -0.3], 1), ([0.1, -0.3, 0.6, 0.2], 2)])
def test_best_latent_is_that_of_the_greatest_mean(actions, best):
    row = evaluator("Uneven-v0", 4, policy_at(actions))(frames=0)
    for kind in ("mean", "std"):
        assert row[f"return_best_latent_{kind}"] == row[f"return_z{best}_{kind}"]


@pytest.mark.parametrize("heaviest", range(3))
def test_marginal_acts_with_the_latent_that_the_discriminator_prefers(heaviest):
    weights = [0.6 if latent == heaviest else 0.2 for latent in range(3)]
    policy = policy_at(ACTIONS, [-6.0] * 3, constant_discriminator(weights))
    row = evaluator(copies=200, policy=policy)(frames=0)
    assert row["return_marginal_mean"] == pytest.approx(5 * ACTIONS[heaviest], rel=1e-4)
    # Sampled, a latent is drawn at every step: 5 draws an episode.
    mean = sum(weight * action for weight, action in zip(weights, ACTIONS, strict=True))
    square = sum(weight * action**2 for weight, action in zip(weights, ACTIONS, strict=True))
    error = math.sqrt(5 * (square - mean**2) / 200)
    assert abs(row["return_sampled_mean"] - 5 * mean) < 4.5 * error < 0.6
    # All of them together are not weighed.
    assert row["return_latents_mean"] == pytest.approx(5 * np.mean(ACTIONS), rel=1e-4)


def test_one_latent_is_its_own_mean_and_best():
    row = evaluator("Uneven-v0", 4, policy_at([0.3]))(frames=0)
    assert row["return_latents_std"] == 0
    for name in ("latents", "best_latent", "marginal"):
        assert row[f"return_{name}_mean"] == row["return_z0_mean"] == pytest.approx(15.75)
    assert row["return_best_latent_std"] == row["return_z0_std"]


def test_columns_in_their_order():
    evaluate = evaluator()
    names = ["latents", "best_latent", "marginal", "z0", "z1", "z2", "sampled"]
    assert evaluate.columns == [f"return_{name}_mean" for name in names]
    spread = [f"return_{name}_{kind}" for name in names for kind in ("mean", "std")]
    assert list(evaluate(frames=0)) == ["episodes", *spread]


def test_all_latents_play_the_same_episodes():
    evaluate = evaluator("Drift-v0")
    seen, env_reset = [], evaluate.env.reset

    def reset(*args, **kwargs):
        tensordict = env_reset(*args, **kwargs)
        if not args and not kwargs:  # not of the copies that have ended only
            seen.append(tensordict["observation"].clone())
        return tensordict

    evaluate.env.reset = reset
    evaluate(frames=10)
    assert len(seen) == 5 and len(seen[0][:, 0].unique()) == 6
    assert all(states.equal(seen[0]) for states in seen)
    evaluate(frames=20)
    assert not seen[5].equal(seen[0])


def test_training_is_not_disturbed():
    policy = policy_at(ACTIONS)
    evaluate, parts = evaluator(policy=policy), policy.state_dict()
    before = {key: value.clone() for key, value in parts.items()}
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    row = evaluate(frames=7)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.get_rng_state().equal(states[2])
    assert torch.is_grad_enabled() and policy.training
    assert all(value.equal(before[key]) for key, value in policy.state_dict().items())
    torch.rand(3)
    assert evaluate(frames=7) == row


def use_of(policy, latents, size=100, **keys):
    """A hook whose trainer holds transitions of these latents."""
    use, replay = LatentUse(policy), Replay(replay_buffer(size, batch_size=4), ["latent"])
    stored = TensorDict({"latent": torch.eye(policy.num_latents)[latents]}, [len(latents)])
    replay.extend(stored)
    use.register(SimpleNamespace(_modules={"replay_buffer": replay}))
    return use


def test_shares_are_those_of_all_that_is_stored():
    states = TensorDict({"observation": torch.randn(5, 2)}, [5])
    found = use_of(policy_at(ACTIONS), [0, 2, 2, 0, 2, 2, 2, 0]).diagnostics(states)
    shares = {key: value.item() for key, value in found.items() if key.startswith("share")}
    assert shares == {"share_z0": 0.375, "share_z1": 0.0, "share_z2": 0.625}
    assert all(value.ndim == 0 for value in found.values())
    # Of a buffer that is full, what is left.
    found = use_of(policy_at(ACTIONS), [0, 0, 0, 0, 1, 1, 2, 1], size=4).diagnostics(states)
    assert [found[f"share_z{latent}"].item() for latent in range(3)] == [0.0, 0.75, 0.25]


def test_component_distance_is_the_closed_form_of_gaussians():
    raw = [-2.0, 0.3, 1.0]
    policy = policy_at(ACTIONS, raw)
    states = TensorDict({"observation": torch.randn(50, 2)}, [50])
    scales = []
    for latent in range(3):
        with torch.no_grad():
            acted = policy.actor.get_dist(
                states.copy().set("latent", torch.eye(3)[latent].expand(50, 3))
            )
        assert acted.loc.unique().numel() == 1
        assert acted.loc[0].item() == pytest.approx(math.atanh(ACTIONS[latent]), rel=1e-5)
        scales.append(acted.scale[0].item())
    assert len(set(scales)) == 3
    pairs = []
    for i, j in combinations(range(3), 2):
        gap = math.atanh(ACTIONS[i]) - math.atanh(ACTIONS[j])
        one, two = scales[i] ** 2, scales[j] ** 2
        pairs.append((one / two + two / one) / 2 - 1 + gap**2 * (1 / one + 1 / two) / 2)
    found = use_of(policy, [0, 1]).diagnostics(states)["component_distance"]
    assert found.item() == pytest.approx(sum(pairs) / 3, rel=1e-5)


def test_distance_does_not_depend_on_the_discriminator():
    states = TensorDict({"observation": torch.randn(5, 2)}, [5])
    plain, weighed = (
        use_of(policy_at(ACTIONS, discriminator=discriminator), [0]).diagnostics(states)
        for discriminator in (None, constant_discriminator([0.98, 0.01, 0.01]))
    )
    assert plain["component_distance"] == weighed["component_distance"] > 0


def test_one_latent_has_no_distance():
    states = TensorDict({"observation": torch.randn(5, 2)}, [5])
    found = use_of(policy_at([0.3]), [0, 0]).diagnostics(states)
    assert (found["share_z0"], found["component_distance"]) == (1.0, 0.0)


@pytest.fixture
def trained(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.chdir(tmp_path)
    import mede

    trainer, run = build(mede, *LATENT)
    assert train_run(trainer, run)
    return trainer, run.record.path


def test_last_row_is_of_the_trainers_own_buffer_and_policies(trained):
    trainer, folder = trained
    with open(folder / "progress.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    stored = trainer._modules["replay_buffer"].buffer[:]
    counts = stored["latent"].argmax(-1).bincount(minlength=3)
    assert counts.sum() == 260 and (counts > 0).all()
    for latent in range(3):
        assert float(last[f"share_z{latent}"]) == pytest.approx(counts[latent].item() / 260)
    policy, dists = trainer.collector.policy, []
    spread = torch.linspace(0, 259, 1000, dtype=torch.float64).long()
    states = stored[spread].select("observation")
    for latent in range(3):
        one_hot = torch.eye(3)[latent].expand(1000, 3)
        with torch.no_grad():
            dist = policy.actor.get_dist(states.copy().set("latent", one_hot))
        dists.append(torch.distributions.Normal(dist.loc.squeeze(-2), dist.scale.squeeze(-2)))
    kl = torch.distributions.kl_divergence
    pairs = [(kl(a, b) + kl(b, a)).mean().item() for a, b in combinations(dists, 2)]
    assert float(last["component_distance"]) == pytest.approx(sum(pairs) / 3, rel=1e-4)
