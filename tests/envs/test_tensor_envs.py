"""What every tensor environment promises, whatever its task."""

import math

import numpy as np
import pytest
import torch
from env_cases import CASES
from matplotlib.figure import Figure
from torchrl.envs.utils import check_env_specs

LIMITED = [name for name, case in CASES.items() if case.max_steps is not None]
RANDOM = [name for name, case in CASES.items() if case.random_start]
each_case = pytest.mark.parametrize("name", CASES)
each_limited = pytest.mark.parametrize("name", LIMITED)
each_random = pytest.mark.parametrize("name", RANDOM)
each_batch = pytest.mark.parametrize("batch_size", [[], [3], [2, 2]], ids=str)


def make(name, **options):
    return CASES[name].make(**options)


def go(env, steps, tensordict=None):
    """Take random steps; what the last one returned."""
    tensordict = env.reset() if tensordict is None else tensordict
    for _ in range(steps):
        tensordict = env.step(tensordict.set("action", env.action_spec.rand()))["next"]
    return tensordict


def act(env, action):
    return env.step(env.reset().set("action", action))["next"]


# Specs, shapes and types.


@each_case
@each_batch
def test_specs_tell_what_comes(name, batch_size):
    env = make(name, batch_size=batch_size)
    check_env_specs(env)
    assert env.rollout(3).batch_size[:-1] == torch.Size(batch_size)


@each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_has_the_type_that_was_asked_for(name, dtype):
    env = make(name, dtype=dtype, batch_size=[2])
    after = go(env, 2)
    values = [env.state, env.low, env.reward_spec.zero(), env.action_spec.zero()]
    values += [after["observation"], after["reward"], *env.transition(env.state, env.low)[:2]]
    assert {value.dtype for value in values} == {dtype}


@each_case
def test_type_and_device_are_the_defaults_unless_given(name, float64):
    env = make(name)
    assert env.reset()["observation"].dtype == torch.float64
    assert env.device == torch.device("cpu") and env.batch_size == ()


# Seeds and resets.


@each_random
def test_a_seed_gives_the_same_starts_whatever_the_global_generator_does(name):
    env = make(name, batch_size=[3])
    starts = []
    for seed, noise in ((5, 1), (5, 2), (6, 2)):
        env.set_seed(seed)
        torch.manual_seed(noise)
        starts.append(torch.stack([env.reset()["observation"] for _ in range(2)]))
    assert torch.equal(starts[0], starts[1])
    assert not torch.isclose(starts[0], starts[2]).all(-1).any()
    assert not torch.isclose(starts[0][0], starts[0][1]).all(-1).any()
    assert not torch.isclose(starts[0][0, 0], starts[0][0, 1]).all()


@each_random
def test_an_unseeded_environment_depends_on_the_global_seed(name):
    starts = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        starts.append(make(name).reset()["observation"])
    assert torch.equal(starts[0], starts[1])
    assert not torch.isclose(starts[0], starts[2]).all()


@each_random
def test_starts_leave_the_global_generator_alone(name):
    env = make(name)
    before = torch.get_rng_state()
    env.reset()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", [name for name in CASES if name not in RANDOM])
def test_a_fixed_start_is_the_same_for_every_seed(name):
    env = make(name, batch_size=[2])
    starts = []
    for seed in (0, 1):
        env.set_seed(seed)
        starts.extend(env.reset()["observation"])
    assert all(torch.equal(start, starts[0]) for start in starts)


@each_case
def test_a_partial_reset_changes_only_the_chosen_copies(name):
    env = make(name, batch_size=[2, 3])
    tensordict = go(env, 3)
    seen, state = tensordict["observation"].clone(), env.state.clone()
    chosen = torch.tensor([[True, False, True], [False, False, True]])
    after = env.reset(tensordict.clone().set("_reset", chosen.unsqueeze(-1)))["observation"]
    assert torch.equal(after[~chosen], seen[~chosen])
    assert torch.equal(env.state[~chosen], state[~chosen])
    assert env.elapsed.tolist() == [[0, 3, 0], [3, 3, 0]]
    if CASES[name].random_start:
        assert not torch.isclose(after[chosen], seen[chosen]).all(-1).any()
    else:
        start = env.initial_state((2, 3))
        assert torch.equal(env.state[chosen], start[chosen])
    torch.testing.assert_close(after, env.observe(env.state))


@each_case
def test_an_episode_can_begin_in_a_given_state(name, float64):
    env = make(name, batch_size=[2])
    go(env, 4)
    state = env.state.clone()
    tensordict = env.begin_in(state)
    assert torch.equal(env.state, state) and not env.elapsed.any()
    torch.testing.assert_close(tensordict["observation"], env.observe(state))
    assert not tensordict["done"].any()
    size = state.shape[-1]
    message = rf"state must have shape \[2, {size}\], got \[3, {size}\]\."
    with pytest.raises(ValueError, match=message):
        env.begin_in(state[[0, 1, 1]])


@each_case
def test_what_is_done_to_data_does_not_move_the_environment(name):
    env = make(name, batch_size=[2])
    given = env.initial_state((2,))
    tensordict = env.begin_in(given)
    state = env.state.clone()
    given.fill_(0.3)
    tensordict["observation"].fill_(0.3)
    assert torch.equal(env.state, state)
    following = env.step(tensordict.set("action", env.action_spec.rand()))["next"]
    state = env.state.clone()
    following["observation"].fill_(0.3)
    assert torch.equal(env.state, state)


# The limit of steps.


@each_case
def test_the_limit_is_the_papers_by_default(name):
    assert make(name).max_steps == CASES[name].max_steps


@each_limited
def test_the_limit_truncates_and_does_not_terminate(name):
    env = make(name, max_steps=3, batch_size=[2])
    steps = env.rollout(10)
    assert steps["next", "truncated"][..., 0].tolist() == [[False, False, True]] * 2
    assert torch.equal(steps["next", "done"], steps["next", "truncated"])
    assert not steps["next", "terminated"].any()


@each_limited
def test_after_the_limit_the_next_episode_has_as_many_steps(name):
    steps = make(name, max_steps=3).rollout(7, break_when_any_done=False)
    assert steps["next", "truncated"][:, 0].tolist() == [False, False, True] * 2 + [False]


@each_limited
def test_without_a_limit_nothing_is_truncated(name):
    env = make(name, max_steps=None)
    env.reset()
    env.elapsed += 10**6
    assert not env.step(env.rand_action())["next", "truncated"].any()


@each_limited
@pytest.mark.parametrize("max_steps", [0, -1])
def test_a_bad_limit_is_refused(name, max_steps):
    with pytest.raises(ValueError, match=f"max_steps must be None or at least 1, got {max_steps}"):
        make(name, max_steps=max_steps)


# Actions.


@each_case
@pytest.mark.parametrize("side", [-1, 1])
def test_an_action_outside_the_box_is_clipped(name, side):
    env = make(name, batch_size=[2])
    edge = env.low if side < 0 else env.high
    results = []
    for size in (1, 3):
        env.set_seed(0)
        action = (size * edge).expand(2, -1).clone()
        results.append(act(env, action))
        assert torch.equal(action, (size * edge).expand(2, -1))
    for key in ("observation", "reward", "terminated"):
        assert torch.equal(results[0][key], results[1][key])
    env.set_seed(0)
    inside = act(env, (0.5 * edge).expand(2, -1))
    assert not all(torch.equal(inside[key], results[0][key]) for key in ("observation", "reward"))


@each_case
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_action_that_is_not_finite_is_refused(name, bad):
    env = make(name, batch_size=[2])
    action = env.action_spec.zero()
    action[1, -1] = bad
    with pytest.raises(ValueError, match=rf"action must be finite, got {bad}\."):
        act(env, action)


@each_case
def test_an_action_of_a_wrong_shape_is_refused(name):
    env = make(name, batch_size=[2])
    size = env.low.shape[0]
    message = rf"action must have shape \[2, {size}\], got \[2, {size + 2}\]\."
    with pytest.raises(ValueError, match=message):
        act(env, torch.zeros(2, size + 2))


# Pictures.


@each_case
def test_the_picture_is_an_array_of_colours(name):
    picture = make(name).render()
    assert picture.shape == (480, 480, 3) and picture.dtype == np.uint8
    assert picture.std() > 10
    assert np.array_equal(make(name, batch_size=[2, 2]).render((1, 0)).shape, picture.shape)


@each_case
def test_the_picture_is_of_the_copy_that_is_asked_for(name):
    env = make(name, batch_size=[2])
    env.reset()
    start = env.initial_state((2,))
    state = start
    for _ in range(10):
        state = env.transition(state, env.high.expand(2, -1))[0]
    state = torch.stack((start[0], state[1]))
    env.begin_in(state)
    same = torch.equal(state[0], state[1])
    assert np.array_equal(env.render(0), env.render(1)) == same
    env.begin_in(state.flip(0))
    assert np.array_equal(env.render(1), env.render(0)) == same


@each_case
def test_the_picture_has_the_same_limits_for_every_state(name):
    limits = set()
    env = make(name, batch_size=[6])
    go(env, 10)
    for copy in range(6):
        axes = Figure().add_subplot()
        env.plot(axes, copy)
        limits.add((axes.get_xlim(), axes.get_ylim()))
    assert len(limits) == 1


@each_case
def test_of_several_copies_one_must_be_chosen_for_a_picture(name):
    env = make(name, batch_size=[2, 3])
    for index in ((), 1):
        with pytest.raises(ValueError, match=r"index must choose one of the copies \[2, 3\], got"):
            env.render(index)
