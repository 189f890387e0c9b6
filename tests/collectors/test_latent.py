"""The latent of an episode: its draw, its holding, in rollouts and collectors."""

import warnings
from functools import partial

import pytest
import torch
from rollout_cases import collect, staggered, steps_of
from scipy import stats
from tensordict.nn import TensorDictModule
from torchrl.collectors import Evaluator
from torchrl.data import LazyTensorStorage, OneHot, ReplayBuffer
from torchrl.envs import check_env_specs

from torchrl_mixture.collectors import LatentCollector, LatentPrimer
from torchrl_mixture.envs import MultiGoal
from torchrl_mixture.modules import mixture_actor

NUM_LATENTS = 4


class Echo(torch.nn.Module):
    """Acts with the number of the latent, scaled into the box."""

    def forward(self, latent):
        return (latent.argmax(-1, keepdim=True) / NUM_LATENTS).expand(*latent.shape[:-1], 2)


def echo():
    return TensorDictModule(Echo(), in_keys=["latent"], out_keys=["action"])


@pytest.fixture(autouse=True)
def future_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        yield


def check_latent(data):
    """One-hot, one draw an episode of each copy, the same under ``"next"``."""
    latent, steps = data["latent"], steps_of(data)
    assert latent.shape == (*data.shape, NUM_LATENTS)
    assert latent.dtype == torch.get_default_dtype()
    assert (latent.sum(-1) == 1).all() and ((latent == 0) | (latent == 1)).all()
    assert (data["next", "latent"] == latent).all()
    changed = (latent[..., 1:, :] != latent[..., :-1, :]).any(-1)
    reset = steps[..., 1:] == 0
    assert not (changed & ~reset).any()
    assert (changed & reset).any()
    return reset


def rollout(env, steps):
    env.set_seed(0)
    return env.rollout(steps, break_when_any_done=False)


@pytest.mark.parametrize("num_envs", [None, 1, 4])
def test_latent_is_kept_through_each_copys_episode(num_envs):
    data = rollout(staggered(num_envs).append_transform(LatentPrimer(NUM_LATENTS)), 100)
    reset = check_latent(data)
    if num_envs == 4:
        assert (reset.any(0) & ~reset.all(0)).any()  # copies are reset at different times


def test_latents_are_uniform_and_independent_of_the_last():
    data = rollout(staggered(32).append_transform(LatentPrimer(NUM_LATENTS)), 500)
    pairs = []
    for latent, step in zip(data["latent"].argmax(-1), steps_of(data), strict=True):
        drawn = latent[step == 0]
        pairs.append(drawn[:-1] * NUM_LATENTS + drawn[1:])
    counts = torch.cat(pairs).bincount(minlength=NUM_LATENTS**2)
    mean = counts.sum() / NUM_LATENTS**2
    assert mean > 100
    assert ((counts - mean) / mean.sqrt()).abs().max() < 4.5


def latents_at_starts(num_latents=NUM_LATENTS, copies=150):
    """Those of 2,000 episodes of the point that seeks a goal, its actions drawn at random."""
    torch.manual_seed(7)
    env = MultiGoal(batch_size=[copies])
    env.set_seed(7)
    collector = LatentCollector(
        env,
        TensorDictModule(lambda latent: 2 * torch.rand(copies, 2) - 1, ["latent"], ["action"]),
        num_latents,
        frames_per_batch=50 * copies,
        total_frames=450 * copies,
        init_random_frames=100 * copies,
    )
    data = collect(collector)
    number, done = data["latent"].argmax(-1), data["next", "done"].squeeze(-1)
    assert (data["next", "latent"] == data["latent"]).all()
    assert (number[:, 1:] == number[:, :-1])[~done[:, :-1]].all()
    first = torch.ones_like(done)
    first[:, 1:] = done[:, :-1]
    assert (first[:, 1:].any(0) & ~first[:, 1:].all(0)).any()  # at different times
    return number[first][:2000]


def frequencies(latents, num_latents=NUM_LATENTS):
    assert len(latents) == 2000
    return stats.chisquare(latents.bincount(minlength=num_latents).numpy())


@pytest.mark.parametrize("num_latents", [2, 4, 10])
def test_collected_latents_are_uniform_over_episodes(num_latents):
    assert frequencies(latents_at_starts(num_latents), num_latents).pvalue > 1e-4


def test_a_biased_draw_would_be_seen(monkeypatch):
    """A tenth of the draws is replaced by the first value."""
    rand = OneHot.rand

    def biased(self, *args, **kwargs):
        drawn = rand(self, *args, **kwargs)
        drawn[torch.rand(drawn.shape[:-1]) < 0.1] = torch.eye(NUM_LATENTS)[0]
        return drawn

    monkeypatch.setattr(OneHot, "rand", biased)
    assert frequencies(latents_at_starts()).pvalue < 1e-4


@pytest.mark.parametrize("latent", range(NUM_LATENTS))
@pytest.mark.parametrize("num_envs", [None, 1, 3])
def test_chosen_latent_is_always_the_same(latent, num_envs):
    env = staggered(num_envs).append_transform(LatentPrimer(NUM_LATENTS, latent=latent))
    data = rollout(env, 30)
    assert (data["latent"].argmax(-1) == latent).all()
    assert (data["latent"].sum(-1) == 1).all()
    assert (data["next", "latent"] == data["latent"]).all()


@pytest.mark.parametrize("latent", [None, 2])
def test_environment_keeps_its_specs(latent):
    check_env_specs(staggered(2).append_transform(LatentPrimer(NUM_LATENTS, latent=latent)))


def test_dtype_is_the_default(float64):
    env = staggered().append_transform(LatentPrimer(NUM_LATENTS))
    assert env.reset()["latent"].dtype == torch.float64


@pytest.mark.parametrize("num_envs", [None, 4])
@pytest.mark.parametrize("warm_up", [0, 80])
def test_collector_keeps_latents_across_batches(num_envs, warm_up):
    buffer = ReplayBuffer(storage=LazyTensorStorage(1000))
    collector = LatentCollector(
        staggered(num_envs),
        echo(),
        NUM_LATENTS,
        frames_per_batch=40,
        total_frames=400,
        init_random_frames=warm_up,
        postproc=lambda batch: buffer.extend(batch.reshape(-1)) is None or batch,
    )
    data = collect(collector)
    check_latent(data)
    assert len(buffer) == 400
    acted = data[..., data.shape[-1] * warm_up // 400 :]
    expected = acted["latent"].argmax(-1, keepdim=True) / NUM_LATENTS
    assert (acted["action"] == expected).all()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_worker_processes_draw_latents_of_their_own(workers):
    collector = LatentCollector(
        partial(staggered, 2),
        echo(),
        NUM_LATENTS,
        num_collectors=workers,
        sync=True,
        frames_per_batch=100 * workers,
        total_frames=200 * workers,
    )
    collector.set_seed(0)
    data = collect(collector)
    assert data.shape == (workers, 2, 100)  # workers, copies, time
    check_latent(data)
    assert (
        len({tuple(row.tolist()) for row in data["latent"].argmax(-1).flatten(0, 1)})
        == workers * 2
    )


def test_mixture_actor_reads_the_latent():
    env = staggered(2)
    keys = ["observation", "latent"]
    actor = mixture_actor(env.action_spec_unbatched, 1, in_keys=keys, num_cells=(8,))
    collector = LatentCollector(env, actor, NUM_LATENTS, frames_per_batch=40, total_frames=40)
    check_latent(collect(collector))


def test_evaluator_evaluates_the_chosen_latent():
    seen = []
    evaluator = Evaluator(
        staggered(2).append_transform(LatentPrimer(NUM_LATENTS, latent=3)),
        echo(),
        num_trajectories=4,
        frames_per_batch=50,
        metrics_fn=lambda batch: seen.append(batch["action"].clone()) or {},
        collector_kwargs={"traj_format": "cat", "auto_register_policy_transforms": False},
    )
    try:
        evaluator.evaluate()
    finally:
        evaluator.shutdown()
    assert (seen[0] == 3 / NUM_LATENTS).all()


@pytest.mark.parametrize("count", [0, -1])
def test_no_latents_are_refused(count):
    message = f"^num_latents must be at least 1, got {count}"
    with pytest.raises(ValueError, match=message):
        LatentPrimer(count)
    with pytest.raises(ValueError, match=message):
        LatentCollector(staggered(), echo(), count, frames_per_batch=10)


@pytest.mark.parametrize("latent", [-1, 4])
def test_latent_out_of_range_is_refused(latent):
    with pytest.raises(
        ValueError, match=f"^latent must be None or .* below num_latents = 4, got {latent}"
    ):
        LatentPrimer(NUM_LATENTS, latent=latent)
