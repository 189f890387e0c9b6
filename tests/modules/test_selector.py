"""The selector by itself and in ``env.rollout``: choice, holding, densities, refusals."""

import copy
import math
import pickle
import re

import pytest
import torch
from rollout_cases import NUM_COMPONENTS, check_held, clock_actor, constant_actor, staggered
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torchrl.data import Bounded, Unbounded
from torchrl.envs import SerialEnv, check_env_specs
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.modules import ProbabilisticActor, TanhNormal

from torchrl_mixture.modules import ComponentSelector, mixture_actor

HOLDS = ["step", "episode", 1, 2, 4]
every_hold = pytest.mark.parametrize("hold", HOLDS)
RANDOM, DETERMINISTIC = ExplorationType.RANDOM, ExplorationType.DETERMINISTIC


def random_actor(components=4, **kwargs):
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 3 * components)
    actor = mixture_actor(
        Bounded(-2.0, 2.0, (1,)), components, net=net, loc_spread=components - 1.0, **kwargs
    )
    with torch.no_grad():
        actor.module[0].module[0].weight.mul_(3)
    return actor


def primed(batch=256):
    """Observations at a reset, with the state that the primer sets."""
    component = torch.full((batch,), -1)
    steps_left = torch.zeros(batch, dtype=torch.long)
    data = {"observation": torch.randn(batch, 3), "component": component}
    return TensorDict(data | {"_component_steps_left": steps_left}, [batch])


def rollout(make_env, selector, steps=60):
    env = make_env().append_transform(selector.make_tensordict_primer())
    try:
        env.set_seed(0)
        return env.rollout(steps, selector, break_when_any_done=False)
    finally:
        env.close()


@every_hold
@pytest.mark.parametrize("exploration", [RANDOM, DETERMINISTIC])
@pytest.mark.parametrize("num_envs", [None, 4])
def test_component_is_held_in_a_rollout(hold, exploration, num_envs):
    selector = ComponentSelector(clock_actor(), hold)
    with set_exploration_type(exploration):
        data = rollout(lambda: staggered(num_envs), selector)
    check_held(data, hold)


def test_component_is_held_where_the_primer_is_in_each_copy():
    selector = ComponentSelector(clock_actor(), 2)

    def copy_of_env():
        return staggered().append_transform(selector.make_tensordict_primer())

    env = SerialEnv(2, copy_of_env)
    check_held(env.rollout(30, selector, break_when_any_done=False), 2)
    env.close()


def test_environment_with_the_primer_keeps_its_specs():
    selector = ComponentSelector(clock_actor(), 2, return_log_prob=True)
    check_env_specs(staggered(2).append_transform(selector.make_tensordict_primer()))


def test_frequencies_are_the_weights():
    weights, steps = torch.tensor([0.1, 0.3, 0.6]), 5_000
    selector = ComponentSelector(constant_actor(weights.tolist(), torch.zeros(3, 2)))
    with set_exploration_type(RANDOM):
        data = selector(TensorDict({"observation": torch.zeros(steps, 4)}, [steps]))
    counts = data["component"].bincount(minlength=3)
    z = (counts - steps * weights) / (steps * weights * (1 - weights)).sqrt()
    assert z.abs().max() < 4.5


@every_hold
def test_action_comes_from_the_component(hold):
    selector = ComponentSelector(clock_actor(), hold)
    with set_exploration_type(RANDOM):
        data = rollout(lambda: staggered(3), selector)
    center, half_width = torch.tensor([0.0, 0.5]), torch.tensor([1.0, 2.5])
    loc = torch.tensor([[-1.0, 1.0], [0.0, 0.0], [1.0, -1.0]])
    expected = center + half_width * loc[data["component"]].tanh()
    assert (data["action"] - expected).abs().max() < 20 * 1e-4  # ten deviations of either axis
    assert len(data["component"].unique()) == (1 if hold == "episode" else NUM_COMPONENTS)


@pytest.mark.parametrize("components", [1, 4])
def test_step_draws_what_the_actor_draws_from_the_same_seed(components):
    actor, data = random_actor(components), primed()
    with set_exploration_type(RANDOM):
        torch.manual_seed(1)
        expected = actor(data.copy())["action"]
        torch.manual_seed(1)
        action = ComponentSelector(actor)(data.copy())["action"]
    assert (action == expected).all()


@pytest.mark.parametrize("rule", ["heaviest", "densest"])
def test_deterministic_choice_is_the_actors(rule):
    actor, data = random_actor(deterministic=rule), primed()
    mixture = actor.get_dist(data)
    for exploration in (DETERMINISTIC, ExplorationType.MODE):
        with set_exploration_type(exploration):
            acted = ComponentSelector(actor)(data.copy())
        assert (acted["action"] == mixture.deterministic_sample).all()
        assert len(acted["component"].unique()) > 1
    if rule == "heaviest":
        assert (acted["component"] == mixture.weights.argmax(-1)).all()


def test_without_an_exploration_type_it_acts_as_the_actor():
    actor, data = random_actor(), primed()
    assert (ComponentSelector(actor)(data.copy())["action"] == actor(data)["action"]).all()


@pytest.mark.parametrize("exploration", [RANDOM, DETERMINISTIC])
def test_log_densities_are_those_of_the_written_action(exploration):
    actor, data = random_actor(), primed()
    selector = ComponentSelector(
        actor, "episode", return_log_prob=True, return_component_log_prob=True
    )
    with set_exploration_type(exploration):
        data = selector(data)
    mixture = actor.get_dist(data.select("observation"))
    every = mixture.component_log_prob(data["action"])
    own = every.gather(-1, data["component"].unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(data["action_log_prob"], mixture.log_prob(data["action"]))
    torch.testing.assert_close(data["component_log_prob"], own)


@pytest.mark.parametrize("asked", [[], ["action_log_prob"], ["component_log_prob"]])
def test_only_what_is_asked_for_is_written(asked):
    selector = ComponentSelector(
        clock_actor(),
        2,
        return_log_prob="action_log_prob" in asked,
        return_component_log_prob="component_log_prob" in asked,
    )
    env = staggered(2).append_transform(selector.make_tensordict_primer())
    before = env.reset()
    after = selector(before.copy())
    state = {"component", "_component_steps_left", *asked}
    assert set(before.keys()) == state | {"observation", "done", "terminated", "truncated"}
    assert set(after.keys()) == set(before.keys()) | {"action"}
    assert set(selector.out_keys) == {"action", *state}
    assert set(selector.spec.keys()) == {"action", *state}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_primed_log_density_is_uniform_over_the_box(dtype):
    low, high = torch.tensor([-1.0, -2.0], dtype=dtype), torch.tensor([1.0, 3.0], dtype=dtype)
    actor = mixture_actor(Bounded(low, high, dtype=dtype), 2)
    primer = ComponentSelector(
        actor, return_log_prob=True, return_component_log_prob=True
    ).make_tensordict_primer()
    data = staggered(3).append_transform(primer).reset()
    for key in ("action_log_prob", "component_log_prob"):
        expected = torch.full((3,), -math.log(2) - math.log(5), dtype=dtype)
        torch.testing.assert_close(data[key], expected, rtol=1e-7, atol=0)
    assert (data["component"] == -1).all()


def test_copies_act_alike_and_share_nothing():
    selector = ComponentSelector(random_actor(), 3)
    for other in (copy.deepcopy(selector), pickle.loads(pickle.dumps(selector))):
        data = primed()
        expected = selector(data.copy())
        torch.testing.assert_close(other(data.copy()), expected)
        assert next(other.parameters()) is not next(selector.parameters())


def test_parameters_are_the_actors():
    actor = random_actor()
    assert list(ComponentSelector(actor).parameters()) == list(actor.parameters())


@every_hold
def test_compiles_without_a_break(hold):
    selector = ComponentSelector(
        random_actor(), hold, return_log_prob=True, return_component_log_prob=True
    )
    compiled = torch.compile(selector, fullgraph=True, backend="eager")
    data = primed(8)
    data["component"][:4] = 2  # some are held
    data["_component_steps_left"][:4] = 1
    with set_exploration_type(RANDOM), torch.no_grad():
        torch.manual_seed(0)
        expected = selector(data.clone())
        torch.manual_seed(0)
        torch.testing.assert_close(compiled(data.clone()), expected)


@pytest.mark.parametrize("hold", [0, -3, "epoch", 2.0, True, None])
def test_bad_hold_is_refused(hold):
    message = f"hold must be 'step', 'episode' or a number of steps of at least 1, got {hold!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        ComponentSelector(clock_actor(), hold)


def test_actor_without_a_mixture_is_refused():
    network = TensorDictModule(
        torch.nn.Linear(3, 2), in_keys=["observation"], out_keys=["loc", "scale"]
    )
    single = ProbabilisticActor(network, in_keys=["loc", "scale"], distribution_class=TanhNormal)
    for actor, name in ((single, "TanhNormal"), (network, "TensorDictModule"), (None, "NoneType")):
        message = f"^actor must be a ProbabilisticActor with a ComponentMixture.*got {name}"
        with pytest.raises(ValueError, match=message):
            ComponentSelector(actor)


@pytest.mark.parametrize("flag", ["return_log_prob", "return_component_log_prob"])
def test_log_density_without_a_box_is_refused(flag):
    actor = mixture_actor(Unbounded((1,)), 2, base="normal")
    ComponentSelector(actor)
    message = f"^{flag} must be False where .* no bounded action.*got {flag}=True for Unbounded"
    with pytest.raises(ValueError, match=message):
        ComponentSelector(actor, **{flag: True})
