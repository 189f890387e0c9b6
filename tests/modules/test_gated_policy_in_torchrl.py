"""The gated policy in a collector, and what it refuses."""

import re

import pytest
from gate_cases import K, make
from rollout_cases import staggered
from tensordict import TensorDict
from torch import nn
from torch.testing import assert_close
from torchrl.collectors import Collector
from torchrl.data import Composite, Unbounded
from torchrl.modules import ValueOperator

from torchrl_mixture.modules import ComponentCritic, GatedPolicy, mixture_actor


@pytest.mark.parametrize("acting", ["mixture", "convex"])
def test_in_a_collector(acting):
    """In the warm-up the density is that of uniform actions, and the component is -1."""
    env = staggered(2)
    actor = mixture_actor(
        env.action_spec, K, observation_spec=env.observation_spec, learn_weights=False
    )
    critic = ComponentCritic(env.action_spec, 1, observation_spec=env.observation_spec)
    params = TensorDict.from_modules(critic, as_module=True)
    policy = GatedPolicy(actor, critic, params, acting=acting, alpha=0.2)
    collector = Collector(
        env.append_transform(policy.make_tensordict_primer()),
        policy,
        frames_per_batch=20,
        total_frames=40,
        init_random_frames=20,
        auto_register_policy_transforms=False,
    )
    try:
        warm, data = list(collector)
    finally:
        collector.shutdown()
    volume = (env.action_spec.high - env.action_spec.low)[0].prod()
    assert_close(warm["action_log_prob"], -volume.log().expand(warm.shape).float())
    assert data["action_log_prob"].shape == data.shape == warm.shape
    assert not (data["action_log_prob"] == warm["action_log_prob"]).any()
    if acting == "mixture":
        assert (warm["component"] == -1).all() and (data["component"] >= 0).all()
    else:
        assert "component" not in data.keys()


REFUSED = [
    ({"acting": "mean"}, "acting must be one of ('mixture', 'convex'), got 'mean'."),
    ({"gate_temperature": 0.0}, "gate_temperature must be positive, got 0.0."),
    ({"alpha": -0.1}, "alpha must be at least 0, got -0.1."),
]


@pytest.mark.parametrize(("kwargs", "message"), REFUSED)
def test_refusals(kwargs, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(**kwargs)


def test_other_keys_are_refused():
    _, policy = make()
    other = ValueOperator(nn.Linear(5, 1), in_keys=["observation", "act"])
    message = (
        "qvalue_network must read 'action' and write 'state_action_value', it reads "
        "['observation', 'act'] and writes ['state_value']."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        GatedPolicy(policy.actor, other, policy.qvalue_params, alpha=0.1)


def test_a_primer_without_a_box_is_refused():
    actor = mixture_actor(
        Unbounded((1,)), 2, base="normal", observation_spec=Composite(observation=Unbounded((3,)))
    )
    _, policy = make()
    policy.actor = actor
    message = (
        "actor must have a bounded action in its spec, for others random actions have no density, "
        "got Unbounded"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        policy.make_tensordict_primer()
