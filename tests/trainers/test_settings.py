"""Settings that must fit each other."""

import pytest

from torchrl_mixture.trainers import (
    ConfigError,
    OffPolicyConfig,
    load_config,
    updates_per_batch,
    with_goals,
)


def updates(**changes):
    arguments = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
    return updates_per_batch(load_config(OffPolicyConfig, arguments))


@pytest.mark.parametrize(
    ("batch", "ratio", "expected"),
    [(10, 1, 10), (10, 0.1, 1), (3, "0.3333333333333333", 1), (1, 20, 20), (8, 0.25, 2)],
)
def test_updates_are_frames_times_ratio(batch, ratio, expected):
    frames = {"collector__total_frames": batch * 100, "collector__init_random_frames": batch * 5}
    assert updates(collector__frames_per_batch=batch, optim__utd_ratio=ratio, **frames) == expected


def test_batches_of_copies():
    assert updates(collector__frames_per_batch=12, env__num_envs=4, collector__total_frames=1200,
                   collector__init_random_frames=0) == 12  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"env__num_envs": 3},
            "collector.frames_per_batch=10: expected a multiple of 3 (env.num_envs).",
        ),
        (
            {"env__num_envs": 20},
            "collector.frames_per_batch=10: expected a multiple of 20 (env.num_envs).",
        ),
        (
            {"collector__total_frames": 1005},
            "collector.total_frames=1005: expected a multiple of 10 (collector.frames_per_batch).",
        ),
        (
            {"collector__init_random_frames": 15},
            "collector.init_random_frames=15: expected a multiple of 10 "
            "(collector.frames_per_batch).",
        ),
        (
            {"collector__total_frames": 500},
            "collector.init_random_frames=500: expected less than 500 frames.",
        ),
        (
            {"collector__init_random_frames": 0, "replay_buffer__n_steps": 10},
            "collector.init_random_frames=0: expected more than 10 frames, "
            "which wait for n_steps.",
        ),
        (
            {"optim__utd_ratio": 0.33},
            "optim.utd_ratio=0.33: expected a multiple of 1/10 (frames_per_batch).",
        ),
        (
            {"optim__utd_ratio": 0.04},
            "optim.utd_ratio=0.04: expected a multiple of 1/10 (frames_per_batch).",
        ),
        (
            {"optim__utd_ratio": 1e-12},
            "optim.utd_ratio=1e-12: expected a multiple of 1/10 (frames_per_batch).",
        ),
    ],
)
def test_refusals(changes, line):
    with pytest.raises(ConfigError) as refused:
        updates(**changes)
    assert str(refused.value) == line


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("env.library=dm_control", "env.library=dm_control: expected gymnasium"),
        ("env.num_envs=2", "env.num_envs=2: expected 1"),
        ("replay_buffer.n_steps=3", "replay_buffer.n_steps=3: expected 1"),
        ("replay_buffer.prioritized=true", "replay_buffer.prioritized=True: expected false"),
    ],
)
def test_what_does_not_go_with_hindsight(change, line):
    assert not with_goals(load_config(OffPolicyConfig, [change]))
    with pytest.raises(ConfigError) as refused:
        with_goals(load_config(OffPolicyConfig, [change, "replay_buffer.her_ratio=0.5"]))
    assert str(refused.value) == f"{line} with replay_buffer.her_ratio=0.5."


@pytest.mark.parametrize("ratio", ["-0.1", "1.1"])
def test_the_share_of_goals_in_hindsight_is_a_share(ratio):
    line = f"replay_buffer.her_ratio={ratio}: expected a number at least 0 and at most 1"
    with pytest.raises(ConfigError, match=line):
        load_config(OffPolicyConfig, [f"replay_buffer.her_ratio={ratio}"])
