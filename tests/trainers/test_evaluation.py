"""Returns of complete episodes, where they are known."""

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torchrl.modules import ProbabilisticActor, TanhNormal

from torchrl_mixture.trainers import ConfigError, Evaluator, episode_returns, gym_env


def constant_policy(value):
    return TensorDictModule(
        lambda observation: torch.full_like(observation[..., :1], value),
        in_keys=["observation"],
        out_keys=["action"],
    )


def noisy_policy():
    """An actor whose deterministic action is 0.5 everywhere."""
    parameters = TensorDictModule(
        lambda observation: (
            torch.full_like(observation[..., :1], 0.5).atanh(),
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


def test_returns_of_time_limited_episodes():
    returns = episode_returns(gym_env("Counting-v0", num_envs=3), constant_policy(0.5))
    assert returns.tolist() == [2.5, 2.5, 2.5]


def test_each_copy_counts_its_first_episode_only():
    env = gym_env("CountingRandom-v0", num_envs=20)
    env.set_seed(0)
    returns = episode_returns(env, constant_policy(1.0))
    lengths = torch.tensor([1.0 * copy.unwrapped.length for copy in env._env.envs])
    first = torch.tensor([copy.unwrapped.episode for copy in env._env.envs]) == 0
    assert set(returns.tolist()) == {3.0, 4.0, 5.0, 6.0, 7.0}
    # the slowest copies are still in their first episode's length
    assert returns[first].tolist() == lengths[first].tolist()


def test_statistics_and_reproducibility():
    evaluate = Evaluator(gym_env("Counting-v0", num_envs=8), noisy_policy(), seed=3)
    row = evaluate(frames=100)
    assert row["episodes"] == 8
    assert row["return_deterministic_mean"] == pytest.approx(2.5)
    assert row["return_deterministic_std"] == pytest.approx(0.0, abs=1e-6)
    assert row["return_sampled_std"] > 0.1
    assert evaluate(frames=100) == row
    assert evaluate(frames=200)["return_sampled_mean"] != row["return_sampled_mean"]


def test_training_is_not_disturbed():
    evaluate = Evaluator(gym_env("Counting-v0", num_envs=2), noisy_policy(), seed=0)
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    evaluate(frames=0)
    assert torch.randn(3).equal(expected)
    assert torch.is_grad_enabled()


def test_observations_are_float32():
    for num_envs in (None, 2):
        env = gym_env("Counting-v0", num_envs=num_envs)
        assert env.reset()["observation"].dtype == torch.float32
        assert env.rollout(7).get(("next", "observation")).dtype == torch.float32
    assert isinstance(env.reset(), TensorDict)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("CartPole-v1", r"actions Discrete\(2\): expected a flat, bounded Box"),
        ("Pendulun-v1", "Did you mean: `Pendulum`"),
        ("FrozenLake-v1", "expected a flat, bounded Box"),
    ],
)
def test_unfit_environments_are_refused(name, reason):
    with pytest.raises(ConfigError, match=reason):
        gym_env(name)
