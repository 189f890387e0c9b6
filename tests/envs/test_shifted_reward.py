"""The shift of the rewards and the absorbing state."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.wrappers import TimeLimit

from torchrl_mixture.envs.shifted_reward import SHIFTS, ShiftedReward, shifted_task
from torchrl_mixture.trainers import paper_env

MAX_STEPS, SHIFT, GAMMA = 12, -2.0, 0.9
ACTION = np.zeros(1, np.float32)


class Staircase(gymnasium.Env):
    """Its reward and observation are the step; a terminal state may come at one of them."""

    observation_space = Box(0.0, np.inf, (1,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, length: int | None) -> None:
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        seen = np.full(1, self.steps, np.float32)
        return seen, float(self.steps), self.steps == self.length, False, {}


def make(length: int | None, **options) -> ShiftedReward:
    gymnasium.register("Staircase-v0", Staircase, max_episode_steps=MAX_STEPS)
    try:
        env = gymnasium.make("Staircase-v0", length=length)
    finally:
        del gymnasium.registry["Staircase-v0"]
    return ShiftedReward(env, SHIFT, **options)


def play(env: gymnasium.Env) -> list[tuple]:
    env.reset(seed=0)
    steps = []
    while not (steps and (steps[-1][2] or steps[-1][3])):
        steps.append(env.step(ACTION))
    return steps


@pytest.mark.parametrize("absorbing", ["padding", "closed_form"])
def test_without_a_terminal_state_only_the_shift_is_added(absorbing):
    steps = play(make(None, absorbing=absorbing))
    assert [reward for _, reward, *_ in steps] == [t + SHIFT for t in range(1, MAX_STEPS + 1)]
    assert steps[-1][2:4] == (False, True)


def test_padding_repeats_the_last_observation_until_the_time_limit():
    steps = play(make(5, absorbing="padding"))
    assert len(steps) == MAX_STEPS
    assert [float(seen[0]) for seen, *_ in steps] == [1, 2, 3, 4, 5] + [5] * 7
    assert [r for _, r, *_ in steps] == [t + SHIFT for t in range(1, 6)] + [SHIFT] * 7
    assert not any(terminated for _, _, terminated, *_ in steps)
    assert [truncated for *_, truncated, _ in steps] == [False] * 11 + [True]


def test_an_episode_after_an_absorbed_one_begins_anew():
    env = make(5, absorbing="padding")
    assert [s[1] for s in play(env)] == [s[1] for s in play(env)]


def test_closed_form_ends_the_episode_with_what_was_to_come():
    steps = play(make(5, absorbing="closed_form", gamma=GAMMA))
    assert len(steps) == 5 and steps[-1][2:4] == (True, False)
    to_come = SHIFT * GAMMA * (1 - GAMMA**7) / (1 - GAMMA)
    assert [reward for _, reward, *_ in steps] == pytest.approx([-1, 0, 1, 2, 3 + to_come])


@pytest.mark.parametrize("length", [1, 5, MAX_STEPS - 1, MAX_STEPS])
@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_both_forms_have_the_same_discounted_return(length, gamma):
    returns = [
        sum(gamma**t * reward for t, (_, reward, *_) in enumerate(play(env)))
        for env in (
            make(length, absorbing="padding"),
            make(length, absorbing="closed_form", gamma=gamma),
        )
    ]
    assert returns[0] == pytest.approx(returns[1], rel=1e-12)


PAPER = {"Hopper": -5.0, "Walker2d": -5.0, "HalfCheetah": -15.0, "Ant": -5.0, "Swimmer": -0.5}


def test_all_tasks_of_the_paper_are_there():
    assert dict(SHIFTS) == PAPER


@pytest.mark.parametrize(("name", "shift"), PAPER.items())
def test_tasks_of_the_paper(name, shift):
    env, plain = shifted_task(name), gymnasium.make(f"{name}-v5")
    for one in (env, plain):
        one.reset(seed=3)
    action = 0.5 * np.ones(env.action_space.shape, np.float32)
    for _ in range(5):
        (seen, reward, *_), (seen_plain, reward_plain, *_) = env.step(action), plain.step(action)
        np.testing.assert_array_equal(seen, seen_plain)
        assert reward == pytest.approx(reward_plain + shift, abs=1e-12)


def test_the_closed_form_can_be_chosen():
    env = shifted_task("Hopper", absorbing="closed_form")
    assert env.absorbing == "closed_form"


def test_copies_stepped_together_are_absorbed_each_by_itself():
    env = paper_env("ShiftedHopper", num_envs=3)
    env.set_seed(0)
    torch.manual_seed(0)
    steps = env.rollout(1_010, break_when_any_done=False)
    following = steps["next"]
    ends = following["truncated"][..., 0]
    assert [row.nonzero().flatten().tolist() for row in ends] == [[999]] * 3
    assert not following["terminated"].any()
    padded = (following["reward"][..., 0] == -5.0)[:, :1_000]
    begins = padded.int().argmax(1).tolist()
    assert len(set(begins)) > 1 and max(begins) < 200
    for copy, begin in enumerate(begins):
        assert padded[copy, begin:].all()
        seen = following["observation"][copy, begin - 1 : 1_000]
        assert (seen == seen[0]).all()


def test_a_hopper_that_falls_stays_until_step_1000():
    env = shifted_task("Hopper")
    env.reset(seed=0)
    env.action_space.seed(0)
    steps = [env.step(env.action_space.sample()) for _ in range(1_000)]
    assert [truncated for *_, truncated, _ in steps] == [False] * 999 + [True]
    assert not any(terminated for _, _, terminated, *_ in steps)
    assert sum(reward == -5.0 for _, reward, *_ in steps) > 800


def test_wrong_arguments_are_refused():
    env = gymnasium.make("Hopper-v5")
    with pytest.raises(ValueError, match=r"absorbing must be one of \('padding', .*got 'none'"):
        ShiftedReward(env, -1.0, absorbing="none")
    with pytest.raises(ValueError, match=r"gamma must be in \[0, 1\], got 1.5"):
        ShiftedReward(env, -1.0, gamma=1.5)
    with pytest.raises(ValueError, match="env must have a time limit"):
        ShiftedReward(TimeLimit(Staircase(None), 5).env, -1.0)
