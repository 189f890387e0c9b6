"""TorchRL's own losses, fed with a mixture policy, unchanged."""

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.data import Bounded
from torchrl.modules import MLP, ValueOperator
from torchrl.objectives import ClipPPOLoss, IQLLoss, REDQLoss, SACLoss, SoftUpdate, TQCLoss

from torchrl_mixture.distributions import TanhNormalMixture
from torchrl_mixture.modules import mixture_actor

K, A = 5, 2


def value_network():
    return ValueOperator(MLP(3, 1, num_cells=[8]), in_keys=["observation"])


def sac(actor, critics):
    return SACLoss(actor, critics, loss_function="l2")


def tqc(actor, critics):
    net = MLP(3 + A, 5, num_cells=[8])
    critic = ValueOperator(net, in_keys=["observation", "action"], out_keys=["state_action_value"])
    return TQCLoss(actor, critic, num_qvalue_nets=2, top_quantiles_to_drop_per_net=1)


def redq(actor, critics):
    return REDQLoss(actor, critics[0], num_qvalue_nets=4, sub_sample_len=2)


def iql(actor, critics):
    return IQLLoss(actor, critics, value_network(), num_qvalue_nets=2)


def ppo(actor, critics):
    loss = ClipPPOLoss(actor, value_network(), samples_mc_entropy=4)
    loss.set_keys(sample_log_prob="action_log_prob")
    return loss


def last_layer(actor):
    return [module for module in actor.modules() if isinstance(module, nn.Linear)][-1]


@pytest.mark.parametrize("build", [sac, tqc, redq, iql, ppo])
def test_one_update(build, make_actor, make_critics, make_batch):
    actor = make_actor(K)
    loss = build(actor, make_critics())
    loss.make_value_estimator(gamma=0.9)
    updater = None if build is ppo else SoftUpdate(loss, tau=0.1)
    batch = make_batch(32)
    with torch.no_grad():
        batch["action_log_prob"] = actor.get_dist(batch.copy()).log_prob(batch["action"])
    if build is ppo:
        batch["advantage"], batch["value_target"] = torch.randn(32, 1), torch.randn(32, 1)
    optimizer = torch.optim.Adam(loss.parameters(), 1e-2)
    before = actor.get_dist(batch.copy()).log_prob(batch["action"])

    output = loss(batch)
    total = sum(value for key, value in output.items() if key.startswith("loss"))
    total.backward()
    gradient = last_layer(actor).weight.grad
    assert gradient.isfinite().all()
    for columns in gradient.split((K, K * A, K * A)):  # logits, locations, scales
        assert columns.any()
    optimizer.step()
    if updater is not None:
        updater.step()

    after = actor.get_dist(batch.copy()).log_prob(batch["action"])
    assert after.isfinite().all()
    assert not after.isclose(before).all()


def test_negative_log_likelihood():
    data = TanhNormalMixture(
        torch.tensor([0.4, 0.6]).log(),
        torch.tensor([[-0.8, 0.5], [0.7, -0.4]]),
        torch.tensor([[0.2, 0.3], [0.3, 0.2]]),
    )
    action = data.sample((1000,))
    batch = TensorDict({"observation": torch.ones(1000, 1), "action": action}, [1000])
    actor = mixture_actor(
        Bounded(-1.0, 1.0, (A,)), 2, net=nn.Linear(1, 2 * (2 * A + 1)), loc_spread=0.3
    )
    assert isinstance(actor.module[0], TensorDictModule)
    optimizer = torch.optim.Adam(actor.parameters(), 5e-2)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        loss = -actor.get_dist(batch.copy()).log_prob(batch["action"]).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    least = -data.log_prob(action).mean().item()
    assert losses[0] > least + 0.5
    assert abs(losses[-1] - least) < 0.02

    found = actor.get_dist(batch[0])
    order = found.loc[:, 0].argsort()
    torch.testing.assert_close(found.weights[order], data.weights, rtol=0, atol=0.05)
    torch.testing.assert_close(found.loc[order], data.loc, rtol=0, atol=0.05)
    torch.testing.assert_close(found.scale[order], data.scale, rtol=0, atol=0.05)
