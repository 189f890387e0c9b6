"""The papers' tasks by name, with copies, and the larger ones through Gymnasium-Robotics."""

import numpy as np
import pytest
import torch
from torchrl.envs import check_env_specs

from torchrl_mixture.envs import GYMNASIUM_TASKS, SHIFTS, TENSOR_TASKS
from torchrl_mixture.trainers.environments import evaluation_task, make_env, paper_env
from torchrl_mixture.trainers.environments_gymnasium import goal_env, gym_env
from torchrl_mixture.trainers.refusals import ConfigError
from torchrl_mixture.trainers.settings import EnvConfig, OffPolicyConfig
from torchrl_mixture.trainers.tasks import make_envs

MANY = {f"RandomMultimodalBandit-{index}" for index in range(1, 100)}  # the first one stays


@pytest.mark.parametrize("num_envs", [None, 2])
@pytest.mark.parametrize("name", sorted({*TENSOR_TASKS, *GYMNASIUM_TASKS} - MANY))
def test_tasks_of_the_papers_by_name(name, num_envs):
    env = make_env("torchrl_mixture", name, num_envs)
    assert env.batch_size == torch.Size([] if num_envs is None else [num_envs])
    check_env_specs(env)
    seen = env.rollout(3)
    assert seen["observation"].dtype == seen["action"].dtype == torch.float32


FETCH = {f"Fetch{task}-v4": 25 for task in ("Push", "Slide", "PickAndPlace")}
FETCH["FetchReach-v4"] = 10


@pytest.mark.parametrize("num_envs", [None, 2])
@pytest.mark.parametrize(("name", "size"), FETCH.items())
def test_fetch_tasks_with_goals_apart_and_flattened(name, size, num_envs):
    apart, flat = goal_env(name, num_envs), gym_env(name, num_envs)
    steps = []
    for env in (apart, flat):
        env.set_seed(1)
        torch.manual_seed(1)
        steps.append(env.rollout(60, break_when_any_done=False))
        check_env_specs(env)
    apart, flat = steps
    assert apart["observation"].shape[-1] == size
    parts = [apart[key] for key in ("achieved_goal", "desired_goal", "observation")]
    assert torch.cat(parts, -1).equal(flat["observation"])
    assert flat["observation"].dtype == torch.float32
    following = apart["next"]
    distance = (following["achieved_goal"] - following["desired_goal"]).norm(dim=-1, keepdim=True)
    ahead = (distance - 0.05).abs() > 1e-6  # the environment decides in float64
    assert following["reward"][ahead].equal(-(distance > 0.05).float()[ahead])
    assert not following["terminated"].any()
    assert following["truncated"].reshape(-1, 60).nonzero()[:, 1].unique().tolist() == [49]


@pytest.mark.parametrize("name", ["AdroitHandPen-v1", "AdroitHandPenSparse-v1"])
def test_adroit_pen(name):
    env = gym_env(name, 2)
    check_env_specs(env)
    steps = env.rollout(200, break_when_any_done=False)
    assert steps["observation"].shape == (2, 200, 45) and steps["action"].shape == (2, 200, 24)
    if "Sparse" in name:
        assert set(steps["next", "reward"].unique().tolist()) <= {10.0, np.float32(-0.1)}


def test_goals_are_asked_of_tasks_that_have_them():
    line = (
        r"env.name=Pendulum-v1, with observations Box.*: expected achieved_goal and desired_goal"
    )
    with pytest.raises(ConfigError, match=line):
        goal_env("Pendulum-v1")


def test_a_shifted_task_is_tested_without_its_shift():
    for name in SHIFTS:
        assert evaluation_task("torchrl_mixture", f"Shifted{name}") == ("gymnasium", f"{name}-v5")
    for task in [("gymnasium", "Hopper-v5"), ("torchrl_mixture", "ShapedPendulum")]:
        assert evaluation_task(*task) == task


def test_training_has_the_shift_and_testing_has_not():
    settings = EnvConfig(library="torchrl_mixture", name="ShiftedHopper")
    env, test_env, _ = make_envs(OffPolicyConfig(env=settings))
    shifted, plain = (one.rollout(3)["next", "reward"] for one in (env, test_env))
    assert (shifted < -2).all() and (plain > -2).all()


@pytest.mark.parametrize("num_envs", [0, -1])
@pytest.mark.parametrize("name", ["Pendulum", "MultiDirectionAnt"])
def test_copies_must_be_one_or_more(name, num_envs):
    with pytest.raises(ConfigError, match=f"env.num_envs={num_envs}: expected an integer at le"):
        paper_env(name, num_envs)


@pytest.mark.parametrize("name", ["MultiGoal", "ShiftedHopper"])
def test_a_forgotten_library_is_named(name):
    line = f"env.name={name}: expected env.library=torchrl_mixture with this name."
    with pytest.raises(ConfigError, match=line):
        gym_env(name)
