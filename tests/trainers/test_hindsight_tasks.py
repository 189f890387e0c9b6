"""Tasks with goals: their rewards, whether they are reached, what the settings make of them."""

import pytest
import torch
from goal_task import RADIUS
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torchrl.checkpoint import Checkpoint
from torchrl.envs import check_env_specs

from torchrl_mixture.modules import input_size
from torchrl_mixture.trainers import (
    ConfigError,
    EpisodeEvaluator,
    HindsightReplayBuffer,
    OffPolicyConfig,
    Replay,
    goal_env,
    goal_reward,
    load_config,
    make_envs,
    play_episodes,
    policy_keys,
)
from torchrl_mixture.trainers.replay import make_buffer, transition_keys

GOALS = {"achieved_goal", "desired_goal", ("next", "achieved_goal"), ("next", "desired_goal")}


def settings(*arguments, name="PointGoal-v0"):
    given = [f"env.name={name}", "replay_buffer.her_ratio=0.8", *arguments]
    return load_config(OffPolicyConfig, given)


def seek(env, seekers=None):
    """A policy that goes to the goal, in the copies that are named."""

    def act(achieved, desired):
        action = ((desired - achieved) * 2).clamp(-1, 1)
        return action if seekers is None else torch.where(seekers, action, -action)

    return TensorDictModule(act, ["achieved_goal", "desired_goal"], ["action"])


@pytest.mark.parametrize("name", ["PointGoal-v0", "FetchReach-v4"])
def test_rewards_are_those_of_the_environment(name):
    env, reward = goal_env(name), goal_reward(name)
    env.set_seed(0)
    steps = env.rollout(40, seek(env) if name == "PointGoal-v0" else None)
    found = reward(steps)
    assert (
        found.shape == (len(steps),) and found.tolist() == steps["next", "reward"][:, 0].tolist()
    )
    moved = steps.clone()
    moved["next", "desired_goal"] = steps["next", "achieved_goal"].flip(0)
    distance = (moved["next", "desired_goal"] - moved["next", "achieved_goal"]).norm(dim=-1)
    radius = 0.05 if name == "FetchReach-v4" else RADIUS
    assert reward(moved).tolist() == (-(distance > radius).float()).tolist()
    assert reward(moved).unique().tolist() == [-1, 0]


def test_rewards_know_which_goal_is_which():
    steps = goal_env("Ordered-v0").rollout(5)["next"]
    by_hand = steps["achieved_goal"][:, 0] - 2 * steps["desired_goal"][:, 0]
    found = goal_reward("Ordered-v0")(TensorDict({"next": steps}, [5]))
    assert found.tolist() == pytest.approx(by_hand.tolist())


def test_asking_for_the_reward_leaves_the_random_state_alone():
    state = torch.get_rng_state()
    goal_reward("PointGoal-v0")
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("OneByOne", "one goal at a time"),
        ("Summed", "its compute_reward does not give the rewards of two steps"),
        ("Paid", "its compute_reward does not give the rewards of two steps"),
    ],
)
def test_rewards_that_are_no_function_of_batches_of_goals(name, reason):
    with pytest.raises(ConfigError) as refused:
        goal_reward(f"{name}-v0")
    expected = "expected a task whose compute_reward takes batches of goals."
    assert str(refused.value) == f"env.name={name}-v0 ({reason}): {expected}"


@pytest.mark.parametrize("name", ["PointGoal-v0", "Maze-v0"])
@pytest.mark.parametrize("num_envs", [None, 3])
def test_every_step_says_whether_the_goal_is_reached(name, num_envs):
    env = goal_env(name, num_envs)
    check_env_specs(env)
    env.set_seed(0)
    following = env.rollout(40, seek(env), break_when_any_done=False)["next"]
    distance = (following["achieved_goal"] - following["desired_goal"]).norm(dim=-1, keepdim=True)
    assert following["is_success"].dtype == torch.bool
    assert following["is_success"].shape == (*env.batch_size, 40, 1)
    assert following["is_success"].equal(distance <= RADIUS)
    assert following["is_success"].any() and not following["is_success"].all()


def test_a_task_that_does_not_say_so_is_refused():
    line = "env.name=Unwatched-v0: expected a task that says is_success or success of its steps."
    for look in (goal_reward, lambda name: goal_env(name).rollout(1)):
        with pytest.raises(ConfigError) as refused:
            look("Unwatched-v0")
        assert str(refused.value) == line


def test_success_is_that_of_the_last_step():
    env = goal_env("PointGoal-v0", num_envs=4)
    env.set_seed(0)
    seekers = torch.tensor([[True], [False], [True], [False]])
    played = play_episodes(env, seek(env, seekers))
    assert played["success"].tolist() == [True, False, True, False]
    assert played["success"].dtype == torch.bool and played["length"].tolist() == [10.0] * 4

    steps = torch.zeros(4, 1)

    def pass_by(achieved, desired):  # there, and away again
        steps.add_(1)
        return torch.where(steps > 8, 1.0, ((desired - achieved) * 2).clamp(-1, 1))

    env.set_seed(0)
    policy = TensorDictModule(pass_by, ["achieved_goal", "desired_goal"], ["action"])
    left = play_episodes(env, policy)
    assert (left["return"] > -10).all() and left["success"].tolist() == [False] * 4


def test_success_is_that_of_the_first_episode_of_a_copy():
    env = goal_env("Ending-v0", num_envs=20)
    env.set_seed(0)
    played = play_episodes(env, seek(env))
    assert played["success"].all() and len(played["length"].unique()) > 3


def test_the_share_of_successes_is_reported():
    env = goal_env("PointGoal-v0", num_envs=4)
    seekers = torch.tensor([[True], [False], [True], [True]])
    policies = {"good": seek(env), "mixed": seek(env, seekers)}
    row = EpisodeEvaluator(env, policies, seed=0)(frames=0)
    names = ["good", "mixed", "sampled"]
    columns = [("return", "mean"), ("return", "std"), ("success", "mean")]
    assert list(row) == ["episodes", *(f"{a}_{way}_{b}" for way in names for a, b in columns)]
    assert [row[f"success_{way}_mean"] for way in names] == [1.0, 0.75, 1.0]


def test_goals_are_stored_and_read_by_the_networks():
    config, plain = settings(), load_config(OffPolicyConfig, ["env.name=PointGoal-v0"])
    assert set(transition_keys(config)) == set(transition_keys(plain)) | GOALS
    assert len(transition_keys(config)) == len(transition_keys(plain)) + len(GOALS)
    env, test_env, saved = make_envs(config)
    assert saved == {} and test_env.batch_size == (10,) and env.batch_size == ()
    assert policy_keys(config) == ["observation", "desired_goal"]
    assert input_size(env.observation_spec, policy_keys(config)) == 5
    env, test_env, _ = make_envs(plain)
    assert input_size(env.observation_spec, policy_keys(plain)) == 7
    assert "is_success" not in test_env.observation_spec
    assert not isinstance(make_buffer(plain), HindsightReplayBuffer)


def test_a_task_without_goals_is_refused():
    with pytest.raises(
        ConfigError, match=r"env.name=Pendulum-v1, with observations Box.*: expect"
    ):
        make_envs(settings(name="Pendulum-v1"))


def test_relabelled_rewards_are_those_of_the_new_goals():
    config = settings("optim.batch_size=500", "replay_buffer.her_ratio=0.5")
    replay = Replay(make_buffer(config), transition_keys(config))
    env, _, _ = make_envs(config)
    torch.manual_seed(0)
    replay.extend(env.rollout(200, break_when_any_done=False))
    minibatch = replay.sample(None)
    stored = replay.buffer[minibatch["index"]]
    following = minibatch["next"]
    distance = (following["achieved_goal"] - following["desired_goal"]).norm(dim=-1, keepdim=True)
    assert following["reward"].equal(-(distance > RADIUS).float())
    changed = (minibatch["desired_goal"] != stored["desired_goal"]).any(-1)
    assert changed[:250].all() and not changed[250:].any()
    same = ["observation", "achieved_goal", "action", ("next", "observation"), ("next", "done")]
    assert (minibatch.select(*same) == stored.select(*same)).all()
    assert following["reward"][:250].mean() > stored["next", "reward"].mean() + 0.2


def test_normalised_observations_leave_goals_and_rewards_alone():
    config = settings("env.normalize_observations=true", "optim.batch_size=300")
    env, test_env, saved = make_envs(config)
    torch.manual_seed(0)
    steps = env.rollout(200, break_when_any_done=False)
    plain, _, _ = make_envs(settings())
    torch.manual_seed(0)
    raw = plain.rollout(200, break_when_any_done=False)
    assert not steps["observation"].equal(raw["observation"])
    for key in GOALS:
        assert steps[key].equal(raw[key])
    replay = Replay(make_buffer(config), transition_keys(config))
    replay.extend(steps)
    following = replay.sample(None)["next"]
    distance = (following["achieved_goal"] - following["desired_goal"]).norm(dim=-1, keepdim=True)
    assert following["reward"].equal(-(distance > RADIUS).float())
    assert "is_success" in test_env.observation_spec and set(saved) == {"observation_norm"}
    assert "success" in play_episodes(test_env, seek(test_env))


@pytest.mark.parametrize("frames", [0, 7, 30, 57], ids=["empty", "part", "full", "wrapped"])
@pytest.mark.parametrize("way", ["in memory", "checkpoint"])
def test_state_round_trip(frames, way, tmp_path):
    config = settings("replay_buffer.size=30", "optim.batch_size=400")
    replay, other = (Replay(make_buffer(config), transition_keys(config)) for _ in range(2))
    env, _, _ = make_envs(config)
    steps = env.rollout(100, break_when_any_done=False)
    for start in range(0, frames, 7):
        replay.extend(steps[start : min(start + 7, frames)])
    if way == "in memory":
        other.load_state_dict(replay.state_dict())
    else:
        Checkpoint(replay=replay).save(tmp_path / "c")
        Checkpoint(replay=other).load(tmp_path / "c")
    if frames:
        samples = [torch.manual_seed(3) and each.sample(None) for each in (replay, other)]
        assert (samples[0] == samples[1]).all()
    other.extend(steps[80:85])
    goals = other.sample(None)[:320]
    old = steps[max(0, frames - 25) : frames]["next", "achieved_goal"]
    rows = torch.cat([old, steps[80:85]["next", "achieved_goal"]])
    places = [(rows == each[:, None]).all(-1).int().argmax(-1) for each in
              (goals["next", "achieved_goal"], goals["desired_goal"])]  # fmt: skip
    assert ((places[0] < len(old)) == (places[1] < len(old))).all()
    assert (places[1] >= places[0]).all()
