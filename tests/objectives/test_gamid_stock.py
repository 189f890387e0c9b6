"""Against TorchRL's TD3Loss: with one component, and with several that do not feel each other."""

import copy

import pytest
import torch
from objectives.gamid_cases import (
    TD3_KEYS,
    action_spec,
    make_critics,
    make_means,
    perturb,
    stock_loss,
)
from torch.testing import assert_close
from torchrl.modules import MLP, ValueOperator

from torchrl_mixture.objectives import GamidLoss

pytestmark = pytest.mark.usefixtures("float64")

CASES = {
    "default": {},
    "smooth l1, no delay": {
        "loss_function": "smooth_l1",
        "delay_actor": False,
        "delay_qvalue": False,
    },
    "actor without delay": {"delay_actor": False, "deactivate_vmap": True},
    "critics without delay, sum": {"delay_qvalue": False, "reduction": "sum"},
    "none, three critics": {"reduction": "none", "num_qvalue_nets": 3},
    "one critic": {"num_qvalue_nets": 1},
    "little noise": {"policy_noise": 0.05, "noise_clip": 0.02},
    "bounds": {"action_spec": None, "bounds": (-0.5, 0.25)},
}


def make_pair(actor, critics, component=0, **kwargs):
    fixed = {"loss_function": "l2", "num_qvalue_nets": len(critics), "action_spec": action_spec()}
    kwargs = {**fixed, **kwargs}
    stock = stock_loss(actor, critics, component, **kwargs)
    ours = GamidLoss(copy.deepcopy(actor), copy.deepcopy(critics), **kwargs)
    ours.make_value_estimator(gamma=0.9)
    for loss in (stock, ours):
        if loss.delay_actor:
            perturb(loss.target_actor_network_params)
        if loss.delay_qvalue:
            perturb(loss.target_qvalue_network_params)
    return stock, ours


def check_equal(stock, ours, batch, run):
    expected, expected_gradients = run.step(stock, expected_batch := batch.copy())
    output, gradients = run.step(ours, batch := batch.copy())
    for key in TD3_KEYS:
        assert_close(output[key], expected[key])
    assert_close(batch["td_error"], expected_batch["td_error"])
    assert_close(
        output["state_action_value_actor"].squeeze(-1), expected["state_action_value_actor"][0]
    )
    assert gradients.keys() == expected_gradients.keys()
    assert any(name.startswith("actor") for name in gradients)
    for name, gradient in gradients.items():
        assert_close(gradient, expected_gradients[name])
    return expected


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("temperature", [0.1, 7.0])
def test_equal_with_one_component(case, temperature, make_batch, run):
    kwargs = CASES[case]
    critics = make_critics(kwargs.get("num_qvalue_nets", 2))
    stock, ours = make_pair(make_means(1), critics, **kwargs)
    ours.temperature = temperature
    check_equal(stock, ours, make_batch(), run)
    check_equal(stock, ours, make_batch(4, 5), run)


def test_equal_with_noise_of_each_dimension(make_batch, run):
    noise = {"policy_noise": torch.tensor([0.1, 0.4]), "noise_clip": torch.tensor([0.05, 0.3])}
    stock, ours = make_pair(make_means(1), make_critics(), **noise)
    expected = check_equal(stock, ours, make_batch(), run)
    stock.policy_noise = torch.tensor([0.4, 0.1])
    assert not run.step(stock, make_batch())[0]["loss_qvalue"].isclose(expected["loss_qvalue"])


def test_equal_with_a_single_critic_module(make_batch, run):
    critic = ValueOperator(MLP(5, 1, num_cells=[8]), in_keys=["observation", "action"])
    stock, ours = make_pair(make_means(1), [critic, critic])
    assert len(ours.qvalue_network_params) == 2
    check_equal(stock, ours, make_batch(), run)


def test_equal_with_priority_weights(make_batch, run):
    stock, ours = make_pair(make_means(1), make_critics())
    batch = make_batch()
    plain = run.step(ours, batch.copy())[0]
    batch["priority_weight"] = torch.rand(16)
    weighted = check_equal(stock, ours, batch, run)
    for key in ("loss_actor", "loss_qvalue"):
        assert not weighted[key].isclose(plain[key])


def test_equal_after_some_updates(make_batch, run):
    pair = make_pair(make_means(1), make_critics())
    optimizers = [torch.optim.Adam(loss.parameters(), 1e-2) for loss in pair]
    for seed in range(5):
        batch = make_batch()
        for loss, optimizer in zip(pair, optimizers, strict=True):
            run.step(loss, batch.copy(), seed)
            optimizer.step()
    stock, ours = (dict(loss.named_parameters()) for loss in pair)
    for name, parameter in stock.items():
        assert_close(ours[name], parameter)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_temperature_zero_gives_actors_of_their_own(reduction, make_batch, run):
    """Each mean's gradient is that of a TD3 whose actor is this mean alone."""
    actor, critics, batch = make_means(3), make_critics(), make_batch()
    total = 0.0
    for component in range(3):
        stock, ours = make_pair(actor, critics, component, reduction=reduction)
        ours.temperature = 0.0
        output, gradients = run.step(ours, batch.copy())
        expected, expected_gradients = run.step(stock, batch.copy())
        total = total + expected["loss_actor"]
        values = output["state_action_value_actor"][..., component]
        assert_close(values, expected["state_action_value_actor"][0])
        of_actor = [name for name in gradients if name.startswith("actor")]
        assert len(of_actor) == 4
        for name in of_actor:
            assert_close(gradients[name][component], expected_gradients[name][component])
            assert gradients[name][component].any()
    assert_close(output["loss_actor"], total)


@pytest.mark.parametrize("component", [0, 1, 2])
def test_target_is_that_of_the_chosen_component(component, make_batch, run):
    """Were one mean the best in every state, the critics would learn as TD3's with it alone."""
    actor, batch = make_means(3), make_batch()
    rigged = [ValueOperator(Favourite(), in_keys=["observation", "action"]) for _ in range(2)]
    with torch.no_grad():
        # The greatest action, which the critics like best.
        actor.module.layers[-1].bias[component] += 3.0
    stock, ours = make_pair(actor, rigged, component)
    expected, expected_gradients = run.step(stock, batch.copy())
    output, gradients = run.step(ours, batch.copy())
    for key in ("loss_qvalue", "target_value", "next_state_value", "pred_value"):
        assert_close(output[key], expected[key])
    for name in gradients:
        if name.startswith("qvalue"):
            assert_close(gradients[name], expected_gradients[name])


class Favourite(torch.nn.Module):
    """The greater the action, the better."""

    def __init__(self):
        super().__init__()
        self.net = MLP(5, 1, num_cells=[8])
        self.slope = torch.nn.Parameter(torch.tensor(20.0))

    def forward(self, observation, action):
        value = self.net(torch.cat([observation, action], -1))
        return value + self.slope * action.sum(-1, keepdim=True)
