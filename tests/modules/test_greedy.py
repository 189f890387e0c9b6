"""Acting with the best component: the choice by hand, exploration, and use in a collector."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torch.testing import assert_close
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.modules import ValueOperator
from torchrl.objectives import SoftUpdate

from torchrl_mixture.modules import GreedyComponent, MeanActors
from torchrl_mixture.objectives import GamidLoss
from torchrl_mixture.trainers import LinearSchedule

RANDOM, DETERMINISTIC = ExplorationType.RANDOM, ExplorationType.DETERMINISTIC
# The value of each component, by critic and state. The best of the minimum is 2 and 0; of the
# first critic alone 1 and 0, of the second 0 and 2, of the mean 1 and 2, of the maximum 1 and 2.
TABLE = torch.tensor([[[1.0, 5.0, 2.0], [4.0, 1.0, 2.5]], [[4.0, 0.5, 2.2], [3.0, 2.0, 9.0]]])
BEST = (2, 0)


class Table(nn.Module):
    """Where state ``s`` is observed, component ``k``'s action is worth row ``s``, entry ``k``."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(table.clone())

    def forward(self, observation, action):
        return (observation @ self.table * action).sum(-1, keepdim=True)


def unit_actor():
    """Mean ``k`` is half of unit vector ``k``, in every state."""
    spec = Composite(observation=Unbounded((2,)))
    actor = MeanActors(Bounded(-1.0, 1.0, (3,)), 3, observation_spec=spec, num_cells=())
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.zero_()
        actor.module.layers[0].bias.squeeze(1).copy_(torch.eye(3) * math.atanh(0.5))
    return actor


def critics(table=TABLE, observed="observation"):
    return [ValueOperator(Table(of_critic), in_keys=[observed, "action"]) for of_critic in table]


def make(table=TABLE, **kwargs):
    actor = unit_actor()
    loss = GamidLoss(actor, critics(table), action_spec=Bounded(-1.0, 1.0, (3,)))
    return loss, GreedyComponent(actor, loss.qvalue_network, loss.qvalue_network_params, **kwargs)


def states(*index):
    index = torch.tensor(index) if index else torch.randint(2, (4000,))
    return TensorDict({"observation": nn.functional.one_hot(index, 2).float()}, index.shape)


def half_of_unit(component):
    return nn.functional.one_hot(component, 3) / 2


def check_share(component, best, expected):
    """How often the best one acts, as a z-score."""
    count, total = (component == best).sum().item(), component.numel()
    assert abs(count - expected * total) < 4.5 * math.sqrt(total * expected * (1 - expected))


def test_takes_the_best_of_the_minimum():
    _, policy = make()
    data = policy(states(0, 1, 1, 0))
    assert data["component"].tolist() == [2, 0, 0, 2]
    assert data["component"].dtype == torch.int64
    assert_close(data["action"], half_of_unit(data["component"]))
    assert set(data.keys()) == {"observation", "action", "component"}


@pytest.mark.parametrize("critic", [0, 1])
def test_one_critic(critic):
    _, policy = make(TABLE[critic : critic + 1].expand(2, 2, 3))
    expected = TABLE[critic].argmax(-1).tolist()
    assert policy(states(0, 1))["component"].tolist() == expected != list(BEST)


def test_three_critics():
    tables = torch.cat([TABLE, torch.tensor([[[1.5, 9.0, 0.3], [9.0, 9.0, 9.0]]])])
    spec = Bounded(-1.0, 1.0, (3,))
    loss = GamidLoss(unit_actor(), critics(tables), action_spec=spec, num_qvalue_nets=3)
    policy = GreedyComponent(unit_actor(), loss.qvalue_network, loss.qvalue_network_params)
    assert policy(states(0, 1))["component"].tolist() == [0, 0]


@pytest.mark.parametrize("batch", [(), (5,), (2, 5), (3, 2, 5)])
def test_batch_shapes(batch):
    _, policy = make(epsilon=0.5)
    index = torch.randint(2, batch)
    observation = nn.functional.one_hot(index, 2).float()
    data = TensorDict({"observation": observation}, batch)
    with set_exploration_type(DETERMINISTIC):
        policy(data)
    assert data["component"].shape == batch and data["action"].shape == (*batch, 3)
    assert data["component"].equal(torch.tensor(BEST)[index])
    with set_exploration_type(RANDOM):
        policy(data)
    assert data["component"].shape == batch
    assert_close(data["action"], half_of_unit(data["component"]))


def test_epsilon_one_is_uniform():
    _, policy = make(epsilon=1.0)
    with set_exploration_type(RANDOM):
        data = policy(states())
    for k in range(3):
        check_share(data["component"], k, 1 / 3)
    assert_close(data["action"], half_of_unit(data["component"]))


def test_share_of_the_best():
    _, policy = make(epsilon=0.3)
    data = states()
    best = torch.tensor(BEST)[data["observation"].argmax(-1)]
    policy(data)  # an exploration type that is not set counts as random
    check_share(data["component"], best, 0.8)
    check_share(data["component"], (best + 1) % 3, 0.1)
    for index in (0, 1):  # whatever the state
        component = data["component"][data["observation"][:, index] == 1]
        check_share(component, BEST[index], 0.8)


@pytest.mark.parametrize(
    "exploration", [DETERMINISTIC, ExplorationType.MEAN, ExplorationType.MODE]
)
def test_other_exploration_types_never_explore(exploration):
    _, policy = make(epsilon=1.0)
    data = states()
    with set_exploration_type(exploration):
        policy(data)
    assert data["component"].equal(torch.tensor(BEST)[data["observation"].argmax(-1)])


def test_every_call_explores_anew():
    _, policy = make(epsilon=0.5)
    data = states()
    assert not policy(data)["component"].equal(policy(data.copy())["component"])


@pytest.mark.parametrize("first", [1, 1.0])
def test_epsilon_follows_a_schedule(first):
    _, policy = make(epsilon=first)
    schedule = LinearSchedule(policy.epsilon.fill_, values=(first, 0.0), frames=(0, 100))
    for frame, expected in ((0, 1.0), (50, 0.5), (100, 0.0)):
        schedule.trainer = SimpleNamespace(collected_frames=frame)
        schedule()
        assert policy.epsilon.item() == expected
        data = policy(states(*[0] * 3000))
        if expected:
            check_share(data["component"], 2, 1 - expected + expected / 3)
        else:
            assert (data["component"] == 2).all()


@pytest.mark.parametrize("epsilon", [-0.1, 1.5, math.nan])
def test_epsilon_is_a_probability(epsilon):
    with pytest.raises(ValueError, match=f"^epsilon must be from 0 to 1, got {epsilon}\\.$"):
        make(epsilon=epsilon)


def test_other_keys_are_refused():
    _, policy = make()
    for keys in ({"in_keys": ["observation", "act"]}, {"out_keys": ["value"]}):
        keys = {"in_keys": ["observation", "action"], **keys}
        other = ValueOperator(Table(TABLE[0]), **keys)
        with pytest.raises(ValueError, match="^qvalue_network must read 'action' and write "):
            GreedyComponent(policy.actor, other, policy.qvalue_params)


def test_follows_the_loss():
    loss, policy = make()
    assert policy(states(0))["component"].item() == 2
    optimizer = torch.optim.SGD(loss.parameters(), lr=1.0)
    for parameter in loss.qvalue_network_params.parameters():
        parameter.grad = torch.zeros_like(parameter)
        parameter.grad[:, 0, 1] = -9.0  # component 1 becomes the best of state 0
    for parameter in loss.actor_network_params.parameters():
        parameter.grad = torch.full_like(parameter, -0.1)
    optimizer.step()
    data = policy(states(0, 1))
    assert data["component"].tolist() == [1, 0]
    # State 0 reads one weight and the bias, each greater by 0.1.
    expected = torch.tensor([0.2, math.atanh(0.5) + 0.2, 0.2]).tanh()
    assert_close(data["action"][0], expected)


def test_follows_the_targets_where_it_is_given_them():
    loss, _ = make()
    policy = GreedyComponent(unit_actor(), loss.qvalue_network, loss.target_qvalue_network_params)
    updater = SoftUpdate(loss, tau=0.5)
    for parameter in loss.qvalue_network_params.parameters():
        parameter.data[:, 0, 1] += 9
    assert policy(states(0))["component"].item() == 2
    updater.step()
    assert policy(states(0))["component"].item() == 1


def test_state_dict_is_complete():
    _, policy = make(epsilon=0.4)
    policy.epsilon.fill_(0.25)
    other = make(torch.zeros_like(TABLE), epsilon=0.0)[1]
    with torch.no_grad():
        for parameter in other.actor.parameters():
            parameter.normal_()
    other.load_state_dict(copy.deepcopy(policy.state_dict()))
    assert other.epsilon == 0.25
    with set_exploration_type(DETERMINISTIC):
        expected, data = policy(states(0, 1)), other(states(0, 1))
    assert data["component"].tolist() == [2, 0] and data["action"].equal(expected["action"])


def test_a_copy_is_independent():
    loss, policy = make()
    other = copy.deepcopy(policy)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.zero_()
    data = other(states(0, 1))
    assert data["component"].tolist() == [2, 0]
    assert_close(data["action"], half_of_unit(data["component"]))


class Uncalled(Table):
    def forward(self, observation, action):
        raise AssertionError("one component needs no score")


def test_one_component_is_its_mean_and_nothing_is_scored():
    spec = Bounded(-1.0, 1.0, (3,))
    observed = Composite(observation=Unbounded((2,)))
    actor = MeanActors(spec, 1, observation_spec=observed, num_cells=(4,))
    data = states()
    means = actor(data.copy())["means"]
    uncalled = [
        ValueOperator(Uncalled(table), in_keys=["observation", "action"]) for table in TABLE
    ]
    loss = GamidLoss(actor, uncalled, action_spec=spec)
    policy = GreedyComponent(actor, loss.qvalue_network, loss.qvalue_network_params, epsilon=0.5)
    policy(data)
    assert data["action"].equal(means.squeeze(-2))
    assert not data["component"].any() and data["component"].shape == (4000,)


def test_critics_with_keys_of_their_own():
    actor = unit_actor()
    loss = GamidLoss(actor, critics(observed="state"), action_spec=Bounded(-1.0, 1.0, (3,)))
    policy = GreedyComponent(actor, loss.qvalue_network, loss.qvalue_network_params)
    assert policy.in_keys == ["observation", "state"]
    assert policy.out_keys == ["action", "component"]
    data = states(0, 0).set("state", states(0, 1)["observation"])
    assert policy(data)["component"].tolist() == [2, 0]


def test_module_keys():
    module = TensorDictModule(nn.Identity(), ["features"], ["observation"])
    _, policy = make()
    sequence = TensorDictSequential(module, policy)
    assert sequence.in_keys == ["features"]
    features = TensorDict({"features": torch.eye(2)}, [2])
    assert sequence(features)["component"].tolist() == [2, 0]
