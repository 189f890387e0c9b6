"""What the transition function of every tensor environment promises."""

import pytest
import torch
from env_cases import CASES

each_case = pytest.mark.parametrize("name", CASES)


def make(name, **options):
    return CASES[name].make(**options)


@each_case
def test_a_long_random_walk_stays_in_the_box_in_float32(name):
    env = make(name, batch_size=[64])
    spec, state = env.observation_spec["observation"], env.initial_state((64,))
    for step in range(500):
        if step % 10 == 0:  # now and then an action that stays, which goes farther
            held = torch.where(torch.rand_like(env.action_spec.rand()) < 0.5, env.low, env.high)
        action = env.action_spec.rand() if step % 200 < 50 else held
        state, reward, _ = env.transition(state, action)
        assert spec.is_in(env.observe(state)) and reward.isfinite().all()


@each_case
def test_transition_is_pure_and_of_each_copy_by_itself(name, float64):
    env = make(name)
    state = env.initial_state((4, 3))
    for _ in range(5):
        action = env.low + (env.high - env.low) * torch.rand(4, 3, *env.low.shape)
        before = state.clone(), action.clone()
        results = env.transition(state, action)
        again = env.transition(state, action)
        assert torch.equal(state, before[0]) and torch.equal(action, before[1])
        assert all(map(torch.equal, results, again))
        for i, j in ((0, 0), (3, 1)):
            alone = env.transition(state[i, j], action[i, j])
            for one, many in zip(alone, results, strict=True):
                torch.testing.assert_close(one, many[i, j], rtol=0, atol=1e-13)
        assert results[0].shape == state.shape
        assert results[1].shape == results[2].shape == (4, 3)
        state = results[0]


@each_case
def test_transition_makes_no_tensor_on_another_device(name):
    env = make(name, batch_size=[2])
    torch.nn.Module.to(env, "meta")
    state = env.state
    results = env.transition(state, env.low.expand(2, -1))
    assert {value.device.type for value in (*results, env.observe(state))} == {"meta"}


def assert_compiled_is_eager(name, backend):
    torch.compiler.reset()
    env = make(name, batch_size=[16], dtype=torch.float64)
    state = env.initial_state((16,))
    for _ in range(3):
        state = env.transition(state, env.action_spec.rand())[0]
    action = env.action_spec.rand()
    compiled = torch.compile(env.transition, fullgraph=True, backend=backend)
    torch.testing.assert_close(compiled(state, action), env.transition(state, action))
    observe = torch.compile(env.observe, fullgraph=True, backend=backend)
    torch.testing.assert_close(observe(state), env.observe(state))


@each_case
def test_transition_is_one_graph(name):
    assert_compiled_is_eager(name, "aot_eager")


@pytest.mark.slow
@each_case
def test_compiled_transition_gives_the_same(name):
    assert_compiled_is_eager(name, "inductor")


@each_case
def test_step_is_the_transition_of_the_state(name, float64):
    env = make(name, batch_size=[5])
    env.set_seed(0)
    tensordict = env.reset()
    for _ in range(3):
        action = env.action_spec.rand()
        state, reward, terminated = env.transition(env.state, action)
        tensordict = env.step(tensordict.set("action", action))["next"]
        torch.testing.assert_close(env.state, state)
        torch.testing.assert_close(tensordict["observation"], env.observe(state))
        torch.testing.assert_close(tensordict["reward"][:, 0], reward)
        assert torch.equal(tensordict["terminated"][:, 0], terminated)
