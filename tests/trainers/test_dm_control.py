"""Tasks of the DeepMind Control Suite against the suite itself."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torchrl.collectors import Collector
from torchrl.envs import check_env_specs
from torchrl.modules import MLP, ValueOperator
from torchrl.objectives import SACLoss

from torchrl_mixture.modules import mixture_actor
from torchrl_mixture.trainers.environments import dm_control_env, make_env
from torchrl_mixture.trainers.refusals import ConfigError, RunError

pytest.importorskip("dm_control", reason="needs the extra 'dmc'")


@pytest.mark.parametrize("num_envs", [None, 3])
@pytest.mark.parametrize("name", ["cartpole-swingup_sparse", "ball_in_cup-catch"])
def test_time_limit_truncates_after_1000_steps(name, num_envs):
    env = dm_control_env(name, num_envs)
    env.set_seed(0)
    following = env.rollout(1_001, break_when_any_done=False)["next"]
    assert not following["terminated"].any()
    assert following["done"].equal(following["truncated"])
    for row in following["truncated"].reshape(-1, 1_001):
        assert row.nonzero().flatten().tolist() == [999]


def test_a_task_that_ends_is_terminated():
    env = dm_control_env("lqr-lqr_2_1")
    tensordict = env.reset()
    physics = env._env.unwrapped._task.physics
    with physics.reset_context():
        physics.data.qpos[:] = physics.data.qvel[:] = 0  # its goal
    following = env.step(tensordict.set("action", torch.zeros(1)))["next"]
    assert following["terminated"] and following["done"] and not following["truncated"]


def test_steps_are_those_of_the_suite():
    from dm_control import suite

    env = dm_control_env("cheetah-run")
    env.set_seed(3)
    tensordict = env.reset()
    task = suite.load("cheetah", "run", task_kwargs={"random": np.random.RandomState(3)})
    task.reset()  # the first one is made by set_seed
    seen, reward = task.reset(), None
    for _ in range(50):
        expected = np.concatenate([seen.observation["position"], seen.observation["velocity"]])
        np.testing.assert_array_equal(tensordict["observation"], expected.astype(np.float32))
        assert reward is None or reward == np.float32(seen.reward)
        stepped, tensordict = env.step_and_maybe_reset(env.rand_action(tensordict))
        seen, reward = task.step(stepped["action"].numpy()), stepped["next", "reward"].item()


@pytest.mark.parametrize("name", ["cartpole-balance_sparse", "lqr-lqr_2_1", "reacher-easy"])
@pytest.mark.parametrize("num_envs", [None, 3])
def test_seeds_repeat_and_copies_differ(name, num_envs):
    def rollout():
        env = dm_control_env(name, num_envs)
        env.set_seed(7)
        torch.manual_seed(0)
        return env.rollout(3)["next", "observation"]

    first, second = rollout(), rollout()
    assert first.equal(second)
    if num_envs:
        assert not first[0].equal(first[1])
    env = dm_control_env(name, num_envs)
    assert not env.reset()["observation"].equal(env.reset()["observation"])


@pytest.mark.parametrize("num_envs", [None, 2])
def test_specs_fit(num_envs):
    env = make_env("dm_control", "humanoid-walk", num_envs)
    check_env_specs(env)
    dtypes = {env.observation_spec["observation"].dtype, env.action_spec.dtype}
    assert dtypes == {torch.float32} and env.reward_spec.dtype == torch.float32


@pytest.mark.parametrize("num_envs", [None, 2])
def test_collector_and_loss_accept_it(num_envs):
    env = dm_control_env("walker-walk", num_envs)
    actor = mixture_actor(env.action_spec_unbatched, num_components=2, num_cells=(8,))
    collector = Collector(
        env,
        actor,
        frames_per_batch=20,
        total_frames=40,
        init_random_frames=20,
        auto_register_policy_transforms=False,
    )
    critics = [
        ValueOperator(MLP(30, 1, num_cells=[8]), in_keys=["observation", "action"])
        for _ in range(2)
    ]
    for batch in collector:
        assert env.action_spec_unbatched.is_in(batch["action"].reshape(-1, 6)[0])
    loss = SACLoss(actor, critics, loss_function="l2")
    assert loss(batch.reshape(-1))["loss_qvalue"].isfinite()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("cartpole-swingup_spars", "cartpole-swingup_sparse"),
        ("cartpole_swingup", "cartpole-swingup"),
        ("ball_in_cup", "ball_in_cup-catch"),
    ],
)
def test_unknown_tasks_are_refused(name, nearest):
    with pytest.raises(ConfigError) as refused:
        make_env("dm_control", name)
    expected = f"expected a domain-task of the suite, the nearest is {nearest}."
    assert str(refused.value) == f"env.name={name}: {expected}"


def test_nothing_is_printed_and_pictures_are_drawn_without_a_display():
    command = (
        "import sys\n"
        "from torchrl_mixture.trainers.environments import dm_control_env\n"
        "assert 'dm_control' not in sys.modules\n"
        "dm_control_env('cartpole-balance', 2).reset()\n"
        "print('made', flush=True)\n"
        "env = dm_control_env('cartpole-balance', render=True)\n"
        "env.reset()\n"
        "print(env.render().shape)"
    )
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL")
    bare = {key: value for key, value in os.environ.items() if key not in hidden}
    program = [sys.executable, "-c", command]
    finished = subprocess.run(program, env=bare, capture_output=True, text=True)
    assert finished.stdout.startswith("made\n")
    if "expected a task that can be drawn here" in finished.stderr:
        pytest.skip("this machine cannot draw")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == "made\n(480, 480, 3)\n"


def test_a_simulation_that_breaks_down_is_told_in_a_line():
    env = dm_control_env("cartpole-swingup")
    tensordict = env.reset().set("action", torch.tensor([float("nan")]))
    with pytest.raises(RunError, match=r"^the simulation cannot go on: .*\.$"):
        env.step(tensordict)
