"""Returns of complete episodes, where they are known, and the rows of a run."""

import random

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torchrl.modules import ProbabilisticActor, TanhNormal

from torchrl_mixture.trainers import (
    EpisodeEvaluator,
    Evaluation,
    evaluation,
    gym_env,
    play_episodes,
)


def constant_policy(value):
    return TensorDictModule(
        lambda observation: torch.full_like(observation[..., :1], value),
        in_keys=["observation"],
        out_keys=["action"],
    )


def noisy_policy(value=0.5):
    """An actor whose deterministic action is the value everywhere."""
    parameters = TensorDictModule(
        lambda observation: (
            torch.full_like(observation[..., :1], value).atanh(),
            torch.full_like(observation[..., :1], 0.3),
        ),
        in_keys=["observation"],
        out_keys=["loc", "scale"],
    )
    return ProbabilisticActor(
        parameters,
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        distribution_kwargs={"tanh_loc": False},
    )


def evaluator(task="Counting-v0", copies=8, policies=None, seed=3):
    return EpisodeEvaluator(gym_env(task, copies), policies or {"mean": noisy_policy()}, seed)


def test_returns_of_time_limited_episodes():
    episodes = play_episodes(gym_env("Counting-v0", num_envs=3), constant_policy(0.5))
    assert set(episodes.keys()) == {"return", "length"}
    returns, lengths = episodes["return"], episodes["length"]
    assert returns.tolist() == [2.5, 2.5, 2.5] and lengths.tolist() == [5, 5, 5]
    assert returns.dtype == torch.float64


def test_each_copy_counts_its_first_episode_only():
    env = gym_env("CountingRandom-v0", num_envs=20)
    env.set_seed(0)
    episodes = play_episodes(env, constant_policy(1.0))
    returns, played = episodes["return"], episodes["length"]
    lengths = torch.tensor([1.0 * copy.unwrapped.length for copy in env._env.envs])
    first = torch.tensor([copy.unwrapped.episode for copy in env._env.envs]) == 0
    assert played.equal(returns)
    assert set(returns.tolist()) == {3.0, 4.0, 5.0, 6.0, 7.0}
    # the slowest copies are still in their first episode's length
    assert returns[first].tolist() == lengths[first].tolist()


def test_long_episodes_count_as_much_as_short_ones():
    """The first ten episodes to end are of 5 steps, but half of the copies need 100."""
    row = evaluator("Uneven-v0", 10, {"one": constant_policy(1.0)})(frames=0)
    assert row == {
        "episodes": 10,
        "return_one_mean": 52.5,
        "return_one_std": 47.5,
        "return_sampled_mean": 52.5,
        "return_sampled_std": 47.5,
    }


def test_columns_in_the_order_of_the_ways():
    policies = {"heaviest": noisy_policy(0.5), "densest": noisy_policy(-0.2)}
    evaluate = evaluator(policies=policies)
    names = ["heaviest", "densest", "sampled"]
    assert evaluate.columns == [f"return_{name}_mean" for name in names]
    row = evaluate(frames=0)
    spread = [f"return_{name}_{kind}" for name in names for kind in ("mean", "std")]
    assert list(row) == ["episodes", *spread]
    assert row["return_heaviest_mean"] == pytest.approx(2.5)
    assert row["return_densest_mean"] == pytest.approx(-1.0)


def test_statistics_and_reproducibility():
    evaluate = evaluator()
    row = evaluate(frames=100)
    assert row["episodes"] == 8
    assert row["return_mean_mean"] == pytest.approx(2.5)
    assert row["return_mean_std"] == pytest.approx(0.0, abs=1e-6)
    assert row["return_sampled_std"] > 0.1
    assert evaluate(frames=100) == row
    assert evaluate(frames=200)["return_sampled_mean"] != row["return_sampled_mean"]
    assert evaluator(seed=4)(frames=100) != row


def test_sampled_actions_are_those_of_the_first_policy():
    policies = {"first": noisy_policy(0.5), "second": noisy_policy(-0.9)}
    both = evaluator(policies=policies)(frames=5)
    alone = evaluator(policies={"first": noisy_policy(0.5)})(frames=5)
    assert both["return_sampled_mean"] == alone["return_sampled_mean"]


def initial_states(evaluate, frames):
    seen, env_reset = [], evaluate.env.reset

    def reset(*args, **kwargs):
        tensordict = env_reset(*args, **kwargs)
        if not args and not kwargs:  # not of the copies that have ended only
            seen.append(tensordict["observation"].clone())
        return tensordict

    evaluate.env.reset = reset
    evaluate(frames)
    evaluate.env.reset = env_reset
    return seen


def test_all_ways_start_from_the_same_states():
    policies = {"first": noisy_policy(0.5), "second": noisy_policy(-0.9)}
    evaluate = evaluator("Drift-v0", 6, policies)
    states = initial_states(evaluate, frames=10)
    assert len(states) == 3
    assert states[0].equal(states[1]) and states[0].equal(states[2])
    assert len(states[0][:, 0].unique()) == 6  # the copies differ
    assert not initial_states(evaluate, frames=20)[0].equal(states[0])
    assert initial_states(evaluate, frames=10)[0].equal(states[0])


def test_global_random_states_are_left_alone():
    evaluate = evaluator()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    evaluate(frames=0)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.get_rng_state().equal(states[2])
    assert torch.is_grad_enabled()


def trained(make_trainer, evaluate):
    trainer, seen = make_trainer(), []
    Evaluation(evaluate, lambda row: None, interval=6).register(trainer)
    trainer.register_op("batch_process", lambda batch: seen.append(batch.clone()) or batch)
    trainer.register_op("process_optim_batch", lambda batch: batch.reshape(-1))
    trainer.train()
    return torch.cat(seen), trainer.loss_module.state_dict()


def test_training_is_the_same_with_and_without_evaluations(make_trainer):
    with_it = trained(make_trainer, evaluator())
    without = trained(make_trainer, lambda frames: {"nothing": 0.0})
    assert (with_it[0] == without[0]).all()
    assert all(
        value.equal(without[1][key]) for key, value in with_it[1].items() if torch.is_tensor(value)
    )


def hook(trainer, rows, interval=10):
    rower = Evaluation(lambda frames: {"seen": frames}, rows.append, interval)
    rower.register(trainer)
    trainer.register_op("process_optim_batch", lambda batch: batch.reshape(-1))
    return rower


def test_sums_go_on_after_a_resume(make_trainer):
    rows = []
    first = hook(trainer := make_trainer(), rows)
    trainer.register_op("post_steps", lambda: trainer.collected_frames == 18 and stop(trainer))
    trainer.train()
    assert [row["frames"] for row in rows] == [0, 12]
    state = first.state_dict()
    assert not state["metrics"] == {}  # the updates of the batches up to 15 and 18
    sums = {key: value.item() for key, value in state["metrics"].items()}

    later, kept = [], []
    second = hook(other := make_trainer(total=24), later)
    second.load_state_dict(state)
    other.collected_frames, other._optim_count = 18, trainer._optim_count
    other.register_op("post_optim_complete_log", lambda n, metrics: kept.append(metrics.clone()))
    other.train()
    # it neither evaluates again at its start nor forgets what came before it
    assert [row["frames"] for row in later] == [21, 24]
    by_hand = (sums["loss_qvalue"] + 2 * kept[0]["loss_qvalue"].item()) / 6
    assert later[0]["loss_qvalue"] == pytest.approx(by_hand, rel=1e-5)
    assert later[0]["wall_seconds"] > state["seconds"]
    assert later[1]["updates"] == 10


def stop(trainer):
    trainer.request_stop("test")


def test_state_round_trip(make_trainer):
    rower = hook(trainer := make_trainer(), [])
    trainer.train()
    other = Evaluation(dict, list, interval=10)
    other.load_state_dict(rower.state_dict())
    one, two = (each.state_dict() for each in (rower, other))
    assert two.pop("seconds") >= one.pop("seconds") > 0
    assert one == two


def test_time_of_evaluations_does_not_count(make_trainer, monkeypatch):
    clock = [0.0]

    def tick():
        clock[0] += 1e-6
        return clock[0]

    monkeypatch.setattr(evaluation, "perf_counter", tick)

    def evaluate(frames):
        clock[0] += 1000.0
        return {}

    rows, trainer = [], make_trainer()
    Evaluation(evaluate, rows.append, interval=21).register(trainer)

    def second(batch):
        clock[0] += 1.0
        return batch

    trainer.register_op("batch_process", second)
    trainer.register_op("process_optim_batch", lambda batch: batch.reshape(-1))
    clock[0] += 50.0  # between building and training
    trainer.train()
    assert [row["wall_seconds"] for row in rows] == pytest.approx([0.0, 7.0, 14.0], abs=1e-3)
    assert [row["steps_per_second"] for row in rows[1:]] == pytest.approx([3.0, 3.0], rel=1e-4)


def test_observations_are_float32():
    for num_envs in (None, 2):
        env = gym_env("Counting-v0", num_envs=num_envs)
        assert env.reset()["observation"].dtype == torch.float32
        assert env.rollout(7).get(("next", "observation")).dtype == torch.float32
    assert isinstance(env.reset(), TensorDict)
