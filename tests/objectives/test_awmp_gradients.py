"""Who learns from which loss, and what the prior changes."""

import copy

import pytest
import torch
from objectives.awmp_cases import make_prior
from objectives.awmp_loss_cases import make_loss, shift_targets
from objectives.sacm_cases import make_actor
from torch.testing import assert_close

from torchrl_mixture.objectives import AWMPPriorLoss

every_prior_action = pytest.mark.parametrize("prior_action", ["replay", "sampled"])
LEARNS = {
    "loss_actor": "actor_network_params",
    "loss_qvalue": "qvalue_network_params",
    "loss_value": "value_network_params",
    "loss_alpha": "log_alpha",
}


def gradients(loss, value):
    names, parameters = zip(*loss.named_parameters(), strict=True)
    found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return {name: g for name, g in zip(names, found, strict=True) if g is not None and g.any()}


@every_prior_action
@pytest.mark.parametrize("name", LEARNS)
def test_each_loss_is_learned_by_its_own_network(name, prior_action, make_batch):
    loss = make_loss(prior_action=prior_action)
    found = gradients(loss, loss(make_batch())[name])
    assert found and all(key.startswith(LEARNS[name]) for key in found)
    own = [key for key, _ in loss.named_parameters() if key.startswith(LEARNS[name])]
    assert set(found) == set(own)


@every_prior_action
def test_targets_and_the_prior_get_no_gradient(prior_action, make_batch, run):
    loss = make_loss(prior_action=prior_action)
    shift_targets(loss)
    run.step(loss, make_batch())
    for params in (loss.target_qvalue_network_params, loss.target_value_network_params):
        assert all(value.grad is None for value in params.values(True, True))
    assert all(parameter.grad is None for parameter in loss.prior_network.parameters())


def test_targets_are_constants_where_states_are_learned(make_batch):
    """Such as the features of an encoder, which learn from the predictions alone."""
    loss, batch = make_loss(prior_action="sampled"), make_batch()
    for part in (batch, batch["next"]):
        part["observation"].requires_grad_()
    assert not loss._value_target(batch).requires_grad
    assert not loss._critic_target(batch).requires_grad
    assert not loss.advantage(batch).requires_grad
    assert not loss._prior_log_prob(batch, torch.zeros(16, 3, 2)).requires_grad
    for value in (loss.value_loss(batch)[0], loss.qvalue_v1_loss(batch)[0]):
        here, following = torch.autograd.grad(
            value,
            [batch["observation"], batch["next", "observation"]],
            allow_unused=True,
            retain_graph=True,
        )
        assert here.any() and following is None


@every_prior_action
def test_the_prior_changes_the_actors_gradient_and_what_follows_from_its_weights(
    prior_action, make_batch, run
):
    loss, batch = make_loss(prior_action=prior_action), make_batch()
    before, before_gradients = run.step(loss, batch.copy())
    with torch.no_grad():
        for parameter in loss.prior_network.parameters():
            parameter.add_(torch.randn_like(parameter))
    output, after_gradients = run.step(loss, batch.copy())
    changed = {key for key in output.keys() if not output[key].equal(before[key])}
    # The temperature is adapted to the entropy that the actor's loss has.
    weighted = {"loss_actor", "loss_alpha", "entropy", "prior_effective_components"}
    assert changed == weighted
    for name, gradient in after_gradients.items():
        same = gradient.equal(before_gradients[name])
        assert same == name.startswith(("qvalue_network", "value_network"))


def test_the_draws_weight_is_a_constant(make_batch):
    """The gradient is that of the same weights as numbers."""
    loss, batch = make_loss(prior_action="sampled"), make_batch()
    torch.manual_seed(1)
    value = loss.actor_loss(batch)[0]
    found = gradients(loss, value)
    torch.manual_seed(1)
    policy = loss._policy(batch)
    actions, _, log_prob = policy.rsample_components_and_log_prob()
    weights = loss._prior_log_prob(batch, actions).exp().tolist()
    cost = loss._alpha * log_prob - loss._values(batch, actions, loss.qvalue_network_params)
    expected = gradients(loss, (torch.tensor(weights) * cost).sum(-1).mean())
    for name, gradient in found.items():
        assert_close(gradient, expected[name])


def test_a_component_without_weight_does_not_learn(make_batch):
    prior = make_prior(num_cells=())
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.zero_()
        prior.module[0].bias[1] = -1e4
    actor = make_actor(num_cells=(), learn_weights=False)
    loss = make_loss(actor=actor, prior=prior)
    found = gradients(loss, loss.actor_loss(make_batch())[0])
    size, outputs = 2, 12  # of the action; locations and scales of three components
    rows = torch.arange(outputs) % (3 * size) // size == 1
    bias = next(g for name, g in found.items() if name.endswith("bias"))
    assert bias.shape == (outputs,) and not bias[rows].any() and bias[~rows].all()


def test_the_prior_is_another_losss(make_batch):
    loss, batch = make_loss(), make_batch()
    own = {id(parameter) for parameter in loss.prior_network.parameters()}
    assert own.isdisjoint(id(parameter) for parameter in loss.parameters())
    assert not any("prior" in key for key in loss.state_dict())
    trained = AWMPPriorLoss(loss.prior_network)
    batch["advantage"], batch["action_log_prob"] = loss.advantage(batch), torch.zeros(16)
    torch.manual_seed(1)
    before = loss.actor_loss(batch)[0]
    optimizer = torch.optim.SGD(trained.parameters(), 10.0)
    trained(batch)["loss_prior"].backward()
    optimizer.step()
    torch.manual_seed(1)
    assert not loss.actor_loss(batch)[0].equal(before)
    assert copy.deepcopy(loss).prior_network is not loss.prior_network
