"""The ant that is paid for speed in any direction."""

import numpy as np
import pytest

from torchrl_mixture.envs.multi_direction_ant import MultiDirectionAnt


def torso(env: MultiDirectionAnt) -> np.ndarray:
    return env.unwrapped.data.body("torso").xpos.copy()


@pytest.mark.parametrize("seed", [0, 1])
def test_reward_is_that_of_the_formula(seed):
    env = MultiDirectionAnt()
    env.reset(seed=seed)
    env.action_space.seed(seed)
    touched = 0
    for _ in range(100):
        before, action = torso(env), env.action_space.sample()
        _, reward, terminated, *_ = env.step(action)
        data = env.unwrapped.data
        speed = np.linalg.norm((torso(env) - before)[:2]) / 0.05
        forces = np.clip(data.cfrc_ext, -1, 1)
        touched += np.abs(forces).sum() > 0
        costs = 0.005 * np.square(action).sum() + 0.0005 * np.square(forces).sum()
        assert reward == pytest.approx(speed + 0.05 - costs, abs=1e-6)
        if terminated:
            break
    assert touched > 5


def test_direction_does_not_matter_and_backwards_is_not_punished():
    env = MultiDirectionAnt(reset_noise_scale=0.0)
    rewards = []
    for velocity in ([2.0, 0.0], [-2.0, 0.0], [0.0, -2.0], [1.2, 1.6]):
        env.reset(seed=0)
        env.unwrapped.data.qvel[:2] = velocity
        rewards.append(env.step(np.zeros(8, np.float32))[1])
    assert rewards == pytest.approx([rewards[0]] * 4, rel=0.02)
    assert rewards[0] > 1.9


def test_episode_ends_where_the_torso_is_too_low_or_too_high():
    env = MultiDirectionAnt()
    env.reset(seed=0)
    for height, ends in [(0.75, False), (1.5, True)]:
        env.unwrapped.data.qpos[2] = height
        assert env.step(np.zeros(8, np.float32))[2] is ends


def test_episode_is_cut_off_after_a_thousand_steps():
    env = MultiDirectionAnt(terminate_when_unhealthy=False)
    env.reset(seed=0)
    truncated = [env.step(np.zeros(8, np.float32))[3] for _ in range(1_000)]
    assert truncated == [False] * 999 + [True]


def test_position_can_be_seen():
    env = MultiDirectionAnt(exclude_current_positions_from_observation=False)
    observation, _ = env.reset(seed=0)
    assert observation.shape == (107,)
    np.testing.assert_array_equal(observation[:2], env.unwrapped.data.qpos[:2])
