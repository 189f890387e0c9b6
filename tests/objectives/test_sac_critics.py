"""How critics are called: against TorchRL's vmap, and critics of every kind in the loss."""

import copy

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torch.testing import assert_close
from torchrl.modules import ValueOperator
from torchrl.objectives import SACLoss
from torchrl.objectives.utils import _vmap_func

from torchrl_mixture.modules.ensemble import EnsembleCall
from torchrl_mixture.objectives import MixtureSACLoss

QVALUE = "state_action_value"


class Net(nn.Module):
    """Two hidden layers of one size, tied in one of three ways, and a buffer."""

    def __init__(self, tied=None):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 1)
        if tied == "weight":
            self.second.weight = self.first.weight
        elif tied == "module":
            self.second = self.first
        self.norm = nn.LayerNorm(5)
        self.register_buffer("shift", torch.randn(5))

    def forward(self, observation, action):
        x = torch.cat([observation, action], -1) + self.shift
        return self.last(self.norm(self.second(self.first(x).tanh()).tanh()))


class BatchNormNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.BatchNorm1d(5), nn.Linear(5, 1)

    def forward(self, observation, action):
        return self.last(self.norm(torch.cat([observation, action], -1)))


class WithFeatures(Net):
    def forward(self, observation, action):
        return super().forward(observation, action), action


def operator(net, out_keys=(QVALUE,)):
    return TensorDictModule(net, ["observation", "action"], list(out_keys))


def sequential():
    features = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    return TensorDictSequential(
        TensorDictModule(features, ["observation"], ["features"]),
        ValueOperator(Net(), in_keys=["features", "action"]),
    )


KINDS = {
    "plain": lambda: operator(Net()),
    "tied weight": lambda: operator(Net("weight")),
    "tied module": lambda: operator(Net("module")),
    "batch norm": lambda: operator(BatchNormNet()),
    "sequential": sequential,
    "nested key": lambda: operator(Net(), [("agent", "value")]),
    "ignored output": lambda: operator(WithFeatures(), [QVALUE, "_"]),
}


def stack(critics):
    return TensorDict.from_modules(*critics, as_module=True, expand_identical=True)


def tensors(module):
    parameters = module.named_parameters(remove_duplicate=False)
    return {**dict(parameters), **dict(module.named_buffers(remove_duplicate=False))}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [1, 3])
def test_equals_vmap(kind, number, make_batch):
    critics = [KINDS[kind]() for _ in range(number)]
    network, batch = critics[0], make_batch(6)
    before = tensors(network)
    parameters = dict(network.named_parameters(remove_duplicate=False))
    key = network.out_keys[0] if kind == "nested key" else QVALUE
    results = []
    for function in (_vmap_func(network, (None, 0)), EnsembleCall(network)):
        params = stack(copy.deepcopy(critics)).detach().clone()
        leaves = dict(params.flatten_keys(".").items())
        learned = [leaf.requires_grad_() for name, leaf in leaves.items() if name in parameters]
        value = function(batch.copy(), params).get(key)
        gradients = torch.autograd.grad(value.square().sum(), learned, allow_unused=True)
        results.append((value, leaves, gradients))
    (expected, buffers, gradients), (value, own_buffers, own_gradients) = results
    assert value.shape == (number, 6, 1)
    assert_close(value, expected)
    assert_close(own_buffers, buffers)  # those that a call updates, too
    assert_close(own_gradients, gradients)
    after = tensors(network)
    assert all(after[name] is tensor for name, tensor in before.items())


def test_input_is_not_written(make_batch):
    critics = [sequential() for _ in range(2)]
    batch = make_batch(6)
    output = EnsembleCall(critics[0])(batch, stack(critics))
    assert set(output.keys()) == {"features", QVALUE}
    assert output.batch_size == (2, 6)
    assert set(batch.keys()) == {"observation", "action", "next"}


def test_one_network_many_batch_dimensions(make_batch):
    critics = [operator(Net()) for _ in range(2)]
    call, params = EnsembleCall(critics[0]), stack(critics)
    batch = make_batch(4, 5)
    flat = call(batch.reshape(-1), params).get(QVALUE)
    assert_close(call(batch, params).get(QVALUE), flat.reshape(2, 4, 5, 1))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "nested key"])
def test_loss_equals_stock(kind, make_actor, make_batch, run):
    critics = [KINDS[kind]() for _ in range(2)]
    actor = make_actor(1)
    stock, ours = (
        cls(copy.deepcopy(actor), copy.deepcopy(critics), loss_function="l2")
        for cls in (SACLoss, MixtureSACLoss)
    )
    for loss in (stock, ours):
        loss.make_value_estimator(gamma=0.9)
    batch = make_batch()
    expected, expected_gradients = run.step(stock, batch.copy())
    output, gradients = run.step(ours, batch.copy())
    for name in expected.keys():
        assert_close(output[name], expected[name])
    assert_close(gradients, expected_gradients)


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_single_critic(number, make_loss, make_critics, make_batch, run):
    loss = make_loss(critics=make_critics(1)[0], num_qvalue_nets=number)
    sizes = {params.shape[0] for params in loss.qvalue_network_params.values(True, True)}
    assert sizes == {number}
    output, gradients = run.step(loss, make_batch())
    assert output["loss_qvalue"].isfinite()
    assert all(gradient.abs().amax() > 0 for gradient in gradients.values())


@pytest.mark.parametrize("estimator", ["half", "gumbel", "likelihood", "marginal", "implicit"])
def test_no_gradient_from_the_actor_to_the_critics(estimator, make_loss, make_batch):
    loss = make_loss(estimator)
    loss.actor_loss(make_batch())[0].backward()
    assert all(p.grad is None for p in loss.qvalue_network_params.values(True, True))
    assert all(p.grad.isfinite().all() for p in loss.actor_network_params.values(True, True))


@pytest.mark.parametrize("separate_losses", [False, True])
def test_a_trunk_shared_with_the_actor(separate_losses, make_actor, make_batch, run):
    """With separate losses the trunk learns from the actor's loss alone."""
    trunk = TensorDictModule(nn.Linear(3, 3), ["observation"], ["features"])
    head = make_actor(3, in_keys=["features"], observation_spec=None)
    head(TensorDict({"features": torch.zeros(1, 3)}, [1]))  # lazy layers take their size
    actor = type(head)(
        TensorDictSequential(trunk, head.module[0]),
        in_keys=["logits", "loc", "scale"],
        spec=head.spec["action"],
        distribution_class=head.module[1].distribution_class,
        distribution_kwargs={"low": -1.5, "high": 1.0},
    )
    critic = TensorDictSequential(trunk, ValueOperator(Net(), in_keys=["features", "action"]))
    loss = MixtureSACLoss(actor, critic, separate_losses=separate_losses)
    loss.make_value_estimator(gamma=0.9)
    loss.qvalue_v2_loss(make_batch())[0].backward()
    in_critic = loss.qvalue_network_params["module", "0", "module", "weight"]
    assert in_critic.requires_grad is not separate_losses
    assert (in_critic.grad is None) is separate_losses
    assert loss.qvalue_network_params["module", "1", "module", "last", "weight"].grad.any()
    loss.actor_loss(make_batch())[0].backward()
    assert trunk.module.weight.grad.any()


def test_dropout_draws_for_every_critic(make_actor, make_batch):
    class Dropped(Net):
        def forward(self, observation, action):
            return super().forward(nn.functional.dropout(observation), action)

    critics = [operator(Dropped())] * 2
    loss = MixtureSACLoss(make_actor(), critics)
    output = loss._vmap_qnetworkN0(make_batch(), loss.qvalue_network_params)
    first, second = output[QVALUE].unbind(0)
    assert not first.equal(second)
