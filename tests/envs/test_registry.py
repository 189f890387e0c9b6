"""What the names of the papers' tasks stand for."""

import pytest
import torch

from torchrl_mixture import envs
from torchrl_mixture.envs import GYMNASIUM_TASKS, TENSOR_TASKS

TASKS = {
    "BimodalBandit": (envs.BimodalBandit, {}),
    "ContinuousBandit": (envs.ContinuousBandit, {}),
    "MultiGoal": (envs.MultiGoal, {"coefficients": (1.0, 0.1, 1.0)}),
    "MultiGoal-two": (envs.MultiGoal, {"coefficients": (1.0, 0.1, 1.0)}),
    "MultiGoal-constructor": (envs.MultiGoal, {"coefficients": (30.0, 1.0, 10.0)}),
    "MazeGrid": (envs.MazeGrid, {"goal_cell": None, "fourier": False}),
    "MazeGrid-goal": (envs.MazeGrid, {"goal_cell": (4, 4), "fourier": False}),
    "Pendulum": (envs.Pendulum, {"shaped": False}),
    "ShapedPendulum": (envs.Pendulum, {"shaped": True}),
    "AnglePendulum": (envs.AnglePendulum, {}),
    "Acrobot": (envs.Acrobot, {"shaped": False}),
    "ShapedAcrobot": (envs.Acrobot, {"shaped": True}),
    "MountainCar": (envs.MountainCar, {"shaped": False, "dynamics": (0.0015, 0.45)}),
    "ShapedMountainCar": (envs.MountainCar, {"shaped": True, "dynamics": (0.0015, 0.45)}),
}


@pytest.mark.parametrize("name", TASKS)
def test_task(name):
    env = TENSOR_TASKS[name](batch_size=[2])
    kind, attributes = TASKS[name]
    assert type(env) is kind and env.batch_size == (2,)
    assert {key: getattr(env, key) for key in attributes} == attributes
    if kind is envs.MultiGoal:
        assert len(env.goals) == (2 if name == "MultiGoal-two" else 4)


def test_random_bandits_are_numbered():
    names = {f"RandomMultimodalBandit-{index}" for index in range(100)}
    assert set(TENSOR_TASKS) == names | set(TASKS)
    family = envs.RandomRewards.draw(100, seed=0)
    for index in (0, 7, 99):
        env = TENSOR_TASKS[f"RandomMultimodalBandit-{index}"](batch_size=[3])
        tensordict = env.step(env.rand_action(env.reset()))
        expected = family(tensordict["action"].expand(3, 100))[:, [index]]
        torch.testing.assert_close(tensordict["next", "reward"], expected)


def test_gymnasium_tasks():
    names = {f"Shifted{name}" for name in ("Hopper", "Walker2d", "HalfCheetah", "Ant", "Swimmer")}
    assert set(GYMNASIUM_TASKS) == names | {"MultiDirectionAnt"}
    for name in names:
        env = GYMNASIUM_TASKS[name](render_mode=None)
        assert env.spec.id == f"{name.removeprefix('Shifted')}-v5" and env.absorbing == "padding"
    assert isinstance(GYMNASIUM_TASKS["MultiDirectionAnt"](), envs.MultiDirectionAnt)
