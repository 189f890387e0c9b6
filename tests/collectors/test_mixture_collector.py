"""The held component in TorchRL's collectors, its random warm-up, buffers and Evaluator."""

import math
import warnings
from functools import partial

import pytest
import torch
from rollout_cases import check_held, clock_actor, collect, constant_actor, staggered, steps_of
from torch import nn
from torchrl.collectors import Collector, Evaluator, MultiSyncCollector
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import InitTracker, StepCounter

from torchrl_mixture.collectors import ComponentSelector, MixtureCollector

HOLDS = ["step", "episode", 2, 4]
every_hold = pytest.mark.parametrize("hold", HOLDS)
UNIFORM = -math.log(2) - math.log(5)
LOG_PROBS = {"return_log_prob": True, "return_component_log_prob": True}


@pytest.fixture(autouse=True)
def future_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        yield


@every_hold
@pytest.mark.parametrize("num_envs", [None, 4])
@pytest.mark.parametrize("warm_up", [0, 16])
def test_component_is_held_across_batches(hold, num_envs, warm_up):
    collector = MixtureCollector(
        staggered(num_envs),
        clock_actor(),
        hold=hold,
        frames_per_batch=16,
        total_frames=320,
        init_random_frames=warm_up,
    )
    collector.set_seed(0)
    data = collect(collector)
    assert (data["component"] < 0).sum() == warm_up
    check_held(data, hold)


SLOW = pytest.mark.slow  # a worker process takes seconds to start


@pytest.mark.parametrize(
    ("hold", "workers", "sync"),
    [
        (2, 1, True),
        *(pytest.param(hold, 2, True, marks=SLOW) for hold in HOLDS),
        pytest.param("episode", 2, False, marks=SLOW),
    ],
)
def test_component_is_held_in_worker_processes(hold, workers, sync):
    collector = MixtureCollector(
        staggered,
        clock_actor(),
        hold=hold,
        num_collectors=workers,
        sync=sync,
        frames_per_batch=20 * workers,
        total_frames=80 * workers,
        init_random_frames=20 * workers * sync,
        **LOG_PROBS,
    )
    try:
        batches = [batch.clone() for batch in collector]
    finally:
        collector.shutdown()
    if sync:
        data = torch.cat(batches, -1)
        check_held(data, hold)
        assert (data["component"][:, :20] == -1).all() and (data["component"][:, 20:] >= 0).all()
        assert (data["action_log_prob"][:, :20] - UNIFORM).abs().max() < 1e-6
    else:  # batches of the two workers come in any order
        assert all((batch["component"] >= 0).all() for batch in batches)
        at_reset = torch.cat([batch[steps_of(batch) == 0] for batch in batches])
        assert (at_reset["component"] == 0).all() and len(at_reset) > 10


@SLOW
def test_transforms_are_registered_in_every_worker():
    selector = ComponentSelector(clock_actor(), 2)
    collector = MultiSyncCollector(
        [partial(staggered, 2)] * 2,
        selector,
        frames_per_batch=80,
        total_frames=160,
        auto_register_policy_transforms=True,
    )
    data = collect(collector)
    assert data.shape == (2, 2, 40)  # workers, copies, time
    check_held(data, 2)


@SLOW
def test_workers_act_with_the_updated_actor():
    actor = constant_actor([0.5, 0.5], [[-1.0, -1.0], [1.0, 1.0]])
    collector = MixtureCollector(
        staggered, actor, num_collectors=1, sync=True, frames_per_batch=50, total_frames=200
    )
    batches = []
    try:
        for batch in collector:
            batches.append(batch["component"].clone())
            linear = next(module for module in actor.modules() if isinstance(module, nn.Linear))
            with torch.no_grad():
                linear.bias[1] = -1000.0
            collector.update_policy_weights_()
    finally:
        collector.shutdown()
    assert len(batches[0].unique()) == 2
    assert (batches[-1] == 0).all()


@pytest.mark.parametrize("num_envs", [None, 4])
def test_warm_up_has_no_component_and_a_uniform_density(num_envs):
    actor = clock_actor(scale=0.3)
    collector = MixtureCollector(
        staggered(num_envs),
        actor,
        hold="episode",
        frames_per_batch=80,
        total_frames=240,
        init_random_frames=160,
        **LOG_PROBS,
    )
    data = collect(collector)
    warm = data["component"] == -1
    assert (
        warm.sum() == 160 and warm.reshape(-1, data.shape[-1])[:, : data.shape[-1] * 2 // 3].all()
    )
    for key in ("action_log_prob", "component_log_prob"):
        assert (data[key][warm] - UNIFORM).abs().max() < 1e-6
    data = data[~warm]
    mixture = actor.get_dist(data.select("observation"))
    torch.testing.assert_close(data["action_log_prob"], mixture.log_prob(data["action"]))
    own = mixture.component(data["component"]).log_prob(data["action"])
    torch.testing.assert_close(data["component_log_prob"], own)


def test_warm_up_that_ends_within_an_episode_is_followed_by_a_choice():
    collector = MixtureCollector(
        staggered(4),
        clock_actor(),
        hold="episode",
        frames_per_batch=8,
        total_frames=80,
        init_random_frames=8,
    )
    data = collect(collector)
    assert (steps_of(data)[:, 2] == 2).all()  # an episode has at least three steps
    assert (data["component"][:, :3] == torch.tensor([-1, -1, 2])).all()
    check_held(data, "episode")


@pytest.mark.parametrize("written_by", ["user", "collector"])
def test_one_buffer_takes_warm_up_and_policy(written_by):
    buffer = ReplayBuffer(storage=LazyTensorStorage(500), batch_size=100)
    collector = MixtureCollector(
        staggered(),
        clock_actor(),
        hold=2,
        frames_per_batch=20,
        total_frames=200,
        init_random_frames=100,
        replay_buffer=buffer if written_by == "collector" else None,
        **LOG_PROBS,
    )
    keys = set()
    for batch in collector:
        if written_by == "user":
            keys.add(frozenset(map(str, batch.keys(True, True))))
            buffer.extend(batch)
    collector.shutdown()
    assert len(keys) == (written_by == "user")
    stored = buffer[:]
    assert (stored["component"] == -1).sum() == 100
    assert set(stored["component"].unique().tolist()) == {-1, 0, 1, 2}
    assert ((stored["action_log_prob"] - UNIFORM).abs() < 1e-6).sum() == 100


@every_hold
def test_component_is_held_in_an_evaluation(hold):
    selector = ComponentSelector(clock_actor(), hold)
    seen = []
    evaluator = Evaluator(
        staggered(2).append_transform(selector.make_tensordict_primer()),
        selector,
        num_trajectories=6,
        frames_per_batch=50,
        metrics_fn=lambda batch: seen.append(batch.clone()) or {},
        collector_kwargs={"traj_format": "cat", "auto_register_policy_transforms": True},
    )
    try:
        assert evaluator.evaluate()["eval/num_episodes"] == 6
        evaluator.evaluate()
    finally:
        evaluator.shutdown()
    assert len(seen) == 2
    for batch in seen:
        assert (steps_of(batch) == 0).sum() == 6
        check_held(batch, hold)


def test_environment_may_have_a_tracker_and_other_transforms():
    env = staggered(2).append_transform(InitTracker()).append_transform(StepCounter())
    for hold in (2, "episode"):  # the second collector appends to the same environment
        collector = MixtureCollector(
            env, clock_actor(), hold=hold, frames_per_batch=80, total_frames=80
        )
        batch = next(iter(collector)).clone()
        check_held(batch, hold)


def test_environments_and_makers_come_one_by_one_or_as_a_list():
    for env in (staggered(2), partial(staggered, 2), [staggered(2)], [partial(staggered, 2)]):
        collector = MixtureCollector(
            env, clock_actor(), hold=2, frames_per_batch=40, total_frames=40
        )
        assert isinstance(collector, Collector)
        check_held(collect(collector), 2)
    collector = MixtureCollector(
        staggered,
        clock_actor(),
        frames_per_batch=40,
        total_frames=40,
        create_env_kwargs={"num_envs": 2},
    )
    assert collect(collector).shape == (2, 20)


@SLOW
@every_hold
def test_compiled_policy_holds(hold):
    collector = MixtureCollector(
        staggered(4),
        clock_actor(),
        hold=hold,
        frames_per_batch=40,
        total_frames=120,
        init_random_frames=40,
        compile_policy=True,
        **LOG_PROBS,
    )
    check_held(collect(collector), hold)


@pytest.mark.parametrize("hold", [0, "epoch"])
def test_bad_hold_is_refused(hold):
    with pytest.raises(ValueError, match=f"^hold must be .* got {hold!r}"):
        MixtureCollector(staggered(), clock_actor(), hold=hold, frames_per_batch=10)
