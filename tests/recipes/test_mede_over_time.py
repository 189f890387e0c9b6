"""The recipe of latent policies over a run: what it stores, and how it goes on."""

import pytest
import torch
from recipes.running import (
    HINDSIGHT,
    LATENT,
    build,
    check_resumed,
    frames_of,
    rows,
    stop_at,
)
from scipy import stats
from torchrl.checkpoint import Checkpoint, GlobalRNGState

from torchrl_mixture.trainers import newest_checkpoint, train_run

VARIANTS = {
    "one copy": [],
    "two copies, three steps": ["env.num_envs=2", "replay_buffer.n_steps=3"],
    "diayn, separate networks": [
        "loss.diversity=diayn",
        "loss.task_reward=false",
        "network.separate=true",
        "replay_buffer.size=150",
    ],
    "hindsight": [*HINDSIGHT, "replay_buffer.size=150"],
}
SMALL_GOALS = [
    *LATENT,
    "env.library=torchrl_mixture",
    "env.name=MultiGoal",
    "policy.num_latents=4",
    "optim.utd_ratio=0.01",
    "evaluation.interval=1000000",
    "evaluation.episodes=1",
]


@pytest.fixture
def recipe(mede_recipe):
    return mede_recipe


def stepped(trainer, steps=20):
    """Take whole updates from the buffer: the state of all losses and of all of Adam's."""
    replay, stepper = trainer._modules["replay_buffer"], trainer.optimization_stepper
    outputs = [stepper.step(trainer, replay.sample(None)) for _ in range(steps)]
    found = {f"output.{key}": value for key, value in outputs[-1].items()}
    for name, each in {"": stepper, **stepper.auxiliary}.items():
        for key, value in each.loss_module.state_dict().items():
            if torch.is_tensor(value):
                found[f"{name}.{key}"] = value
        for index, state in each.optimizer.state_dict()["state"].items():
            found |= {f"{name}.adam.{index}.{key}": value for key, value in state.items()}
    return found


@pytest.mark.parametrize("arguments", VARIANTS.values(), ids=VARIANTS)
def test_continued_run_is_bitwise_the_stopped_one(recipe, tmp_path, arguments):
    trainer, run = build(recipe, *LATENT, *arguments)
    stop_at(trainer, 230)
    assert not train_run(trainer, run)
    start, frames = newest_checkpoint(run.record.checkpoints)
    assert frames == 230
    Checkpoint(rng=GlobalRNGState()).load(start)
    expected, generator = stepped(trainer), torch.get_rng_state()
    torch.manual_seed(123)
    resumed = check_resumed(recipe, run.record.path, tmp_path / "copy")
    found = stepped(resumed)
    assert expected.keys() == found.keys() and len(found) > 60
    assert any(key.startswith("discriminator_state.adam") for key in found)
    assert [key for key in found if not found[key].equal(expected[key])] == []
    assert torch.get_rng_state().equal(generator)
    one, two = (each.collector.policy.state_dict() for each in (trainer, resumed))
    assert one.keys() == two.keys() and all(one[key].equal(two[key]) for key in one)
    stored = [t._modules["replay_buffer"].buffer[:] for t in (trainer, resumed)]
    for key in ("latent", ("next", "latent"), "observation", "action"):
        assert stored[0][key].equal(stored[1][key])
    # The discriminator that is trained is still the one that pays.
    paying = resumed.loss_module.discriminator
    learning = resumed.optimization_stepper.auxiliary[f"discriminator_{paying.form}"]
    pointers = {part.data_ptr() for part in learning.loss_module.parameters()}
    assert pointers == {part.data_ptr() for part in paying.parameters()}


def test_continued_run_records_each_row_once(recipe):
    trainer, run = build(recipe, *LATENT)
    for frames in (50, 230):
        stop_at(trainer, frames)
        assert not train_run(trainer, run)
        before = rows(run.record.path)
        trainer, run = build(recipe, f"resume={run.record.path}")
    collected = []
    trainer.register_op("batch_process", lambda batch: collected.append(batch.clone()) or batch)
    assert train_run(trainer, run)
    assert frames_of(run.record.path) == [0, 130, 260]
    for old, new in zip(before, rows(run.record.path), strict=False):
        assert {key: new[key] for key in old} == old
    last = rows(run.record.path)[-1]
    assert last["updates"] == "70" and float(last["accuracy_state"]) > 0
    buffer = trainer._modules["replay_buffer"].buffer[:]
    check_episodes(torch.cat(collected, -1).unsqueeze(0), 3)
    shares = [float(last[f"share_z{latent}"]) for latent in range(3)]
    assert shares == pytest.approx(buffer["latent"].mean(0).tolist())


@pytest.mark.slow
def test_same_seed_gives_the_same_table(recipe):
    tables = []
    for seed in (1, 1, 2):
        trainer, run = build(recipe, *LATENT, f"seed={seed}")
        assert train_run(trainer, run)
        tables.append(rows(run.record.path))
        for row in tables[-1]:
            del row["wall_seconds"], row["steps_per_second"]
    assert tables[0] == tables[1] != tables[2]


def collected_by(recipe, *arguments):
    """Train; the batches along time ``[copies, T]``, and what the buffer holds."""
    trainer, run = build(recipe, *SMALL_GOALS, *arguments)
    batches = []
    trainer.register_op("batch_process", lambda batch: batches.append(batch.clone()) or batch)
    assert train_run(trainer, run)
    data = torch.cat(batches, -1)
    data = data.unsqueeze(0) if data.ndim == 1 else data
    return data, trainer._modules["replay_buffer"].buffer[:], rows(run.record.path)[-1]


def check_episodes(data, num_latents):
    """One latent an episode, by the signals of its end; give the latents, an entry an episode.

    Episodes are counted by ``("next", "done")``, which does not know of latents.
    """
    latent, done = data["latent"], data["next", "done"].squeeze(-1)
    assert latent.shape == (*data.shape, num_latents)
    assert (latent.sum(-1) == 1).all() and (latent.amax(-1) == 1).all()
    assert data["next", "latent"].equal(latent)
    number = latent.argmax(-1)
    goes_on = ~done[:, :-1]
    assert (number[:, 1:] == number[:, :-1])[goes_on].all()
    first = torch.ones_like(done)
    first[:, 1:] = done[:, :-1]
    return number, first


def p_value(drawn, count):
    """That of the chi-square test of equal frequencies."""
    return stats.chisquare(drawn.bincount(minlength=count).numpy()).pvalue


@pytest.mark.parametrize("copies", [1, 3])
def test_every_episode_has_one_latent(recipe, copies):
    frames, batch = 700 * copies, 100 * copies
    arguments = [f"collector.total_frames={frames}", f"collector.frames_per_batch={batch}"]
    arguments += [f"env.num_envs={copies}", f"collector.init_random_frames={4 * batch}"]
    data, stored, last = collected_by(recipe, *arguments)
    assert data.shape == (copies, 700)
    number, first = check_episodes(data, 4)
    warm_up = slice(0, 400)
    assert (number[:, warm_up].unique() == torch.arange(4)).all()  # of random actions too
    starts = first[:, 1:].any(0)
    if copies > 1:
        assert (starts & ~first[:, 1:].all(0)).any()  # copies are reset at different times
    assert first[:, 1:].sum() > 10
    assert (number.diff(dim=-1) != 0)[first[:, 1:]].any()
    # What is stored is what was collected, and the shares are its counts.
    assert len(stored) == frames and stored["next", "latent"].equal(stored["latent"])
    counts = stored["latent"].argmax(-1).bincount(minlength=4)
    assert counts.equal(number.flatten().bincount(minlength=4))
    for latent in range(4):
        assert float(last[f"share_z{latent}"]) == pytest.approx(counts[latent].item() / frames)


def test_stored_steps_of_several_rewards_have_one_latent(recipe):
    arguments = ["env.num_envs=5", "replay_buffer.n_steps=4", "collector.total_frames=1000"]
    arguments += ["collector.frames_per_batch=100"]
    data, stored, _ = collected_by(recipe, *arguments)
    _, first = check_episodes(data, 4)
    assert first[:, 1:].sum() > 5
    assert stored["next", "latent"].equal(stored["latent"])
    assert (stored["steps_to_next_obs"].unique() == torch.arange(1, 5)).all()


def test_shares_are_those_of_a_buffer_that_is_full(recipe):
    arguments = ["replay_buffer.size=300", "collector.total_frames=700"]
    arguments += ["collector.frames_per_batch=100"]
    data, stored, last = collected_by(recipe, *arguments)
    number, _ = check_episodes(data, 4)
    counts = number[0, -300:].bincount(minlength=4)
    assert stored["latent"].sum(0).tolist() == counts.tolist()
    for latent in range(4):
        assert float(last[f"share_z{latent}"]) == pytest.approx(counts[latent].item() / 300)


SHORT_EPISODES = ["env.library=gymnasium", "env.name=PointGoal-v0"]
SHORT_EPISODES += ["env.num_envs=10", "collector.frames_per_batch=1000"]
SHORT_EPISODES += ["collector.total_frames=20000", "collector.init_random_frames=19000"]
SHORT_EPISODES += ["optim.utd_ratio=0.001", "policy.num_latents=4"]


def test_latents_of_two_thousand_episodes_are_uniform(recipe):
    """Each of its episodes has ten steps."""
    data, _, _ = collected_by(recipe, *SHORT_EPISODES)
    number, first = check_episodes(data, 4)
    latents = number[first]
    assert len(latents) == 2000
    assert p_value(latents, 4) > 1e-4
    pairs = number[first].reshape(10, 200)
    pairs = (pairs[:, :-1] * 4 + pairs[:, 1:]).flatten()
    assert p_value(pairs, 16) > 1e-4  # nor does the last latent tell the next


def test_a_latent_that_is_drawn_within_an_episode_would_be_seen(recipe):
    data, _, _ = collected_by(
        recipe, "collector.total_frames=300", "collector.frames_per_batch=100"
    )
    check_episodes(data, 4)
    latent = data["latent"].clone()
    place = int((~data["next", "done"][0, :-1, 0]).nonzero()[100]) + 1
    latent[0, place:] = latent[0, place:].roll(1, -1)
    data["latent"], data["next", "latent"] = latent, latent
    with pytest.raises(AssertionError):
        check_episodes(data, 4)
