"""With one latent value the loss is TorchRL's SACLoss: values, gradients and priorities."""

import copy

import pytest
import torch
from objectives.mede_cases import (
    make_actor,
    make_critics,
    make_discriminator,
    with_latents,
)
from tensordict.nn import TensorDictModule
from torch.testing import assert_close
from torchrl.modules import MLP
from torchrl.objectives import SACLoss

from torchrl_mixture.objectives import MEDELoss

pytestmark = pytest.mark.usefixtures("float64")

DIVERSITIES = ("mede", "diayn")
every_diversity = pytest.mark.parametrize("diversity", DIVERSITIES)


def make_pair(diversity, critics=None, value=None, num_latents=1, **kwargs):
    actor = make_actor(num_latents)
    critics = make_critics(num_latents) if critics is None else critics
    form = "state_action" if diversity == "mede" else "state"
    discriminator = make_discriminator(num_latents, form)
    own = {name: kwargs.pop(name) for name in ("diversity_coef", "task_reward") if name in kwargs}
    kwargs = {"loss_function": "l2", "num_qvalue_nets": len(critics), **kwargs}
    stock = SACLoss(*copy.deepcopy([actor, critics, value]), **kwargs)
    ours = MEDELoss(
        *(actor, critics, value),
        discriminator=discriminator,
        diversity=diversity,
        **own,
        **kwargs,
    )
    for loss in (stock, ours):
        loss.make_value_estimator(gamma=0.9)
    return stock, ours


def check_equal(pair, batch, run, seed=1):
    stock, ours = pair
    expected, expected_gradients = run.step(stock, expected_batch := batch.copy(), seed)
    output, gradients = run.step(ours, batch := batch.copy(), seed)
    assert set(output.keys()) == set(expected.keys())
    for key in expected.keys():
        assert_close(output[key], expected[key])
    assert_close(batch["td_error"], expected_batch["td_error"])
    assert gradients.keys() == expected_gradients.keys()
    assert any(gradient.any() for gradient in gradients.values())
    for name, gradient in gradients.items():
        assert_close(gradient, expected_gradients[name])


SETTINGS = {
    "default": {},
    "fixed alpha": {"fixed_alpha": True, "alpha_init": 0.3, "loss_function": "smooth_l1"},
    "learned alpha": {"alpha_init": 0.3, "target_entropy": -1.5, "max_alpha": 0.25},
    "sum": {"reduction": "sum", "skip_done_states": True, "delay_actor": True},
    "none": {"reduction": "none", "scalar_output_mode": "exclude", "delay_qvalue": False},
    "separate": {"separate_losses": True, "deactivate_vmap": True},
    "coefficient": {"diversity_coef": 2.5},
}


@every_diversity
@pytest.mark.parametrize("name", SETTINGS)
def test_one_latent(diversity, name, make_batch, run):
    pair = make_pair(diversity, **SETTINGS[name])
    check_equal(pair, with_latents(make_batch(), 1), run)


@every_diversity
def test_one_latent_in_batches_with_time(diversity, make_batch, run):
    pair = make_pair(diversity, make_critics(1, 3))
    check_equal(pair, with_latents(make_batch(4, 5), 1), run)


@every_diversity
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_one_latent_with_priority_weights(diversity, reduction, make_batch, run):
    batch = with_latents(make_batch(), 1).set("priority_weight", torch.rand(16))
    pair = make_pair(diversity, reduction=reduction)
    check_equal(pair, batch, run)
    weighted = run.step(pair[1], batch.copy())[0]["loss_actor"]
    plain = run.step(pair[1], batch.exclude("priority_weight"))[0]["loss_actor"]
    assert not weighted.isclose(plain)


def value_network(num_latents):
    net = MLP(3 + num_latents, 1, num_cells=[8])
    return TensorDictModule(net, ["observation", "latent"], ["state_value"])


@every_diversity
@pytest.mark.parametrize("delay_value", [False, True])
def test_one_latent_with_a_value_network(diversity, delay_value, make_batch, run):
    pair = make_pair(diversity, value=value_network(1), delay_value=delay_value)
    check_equal(pair, with_latents(make_batch(), 1), run)
    assert "loss_value" in pair[1].out_keys


@every_diversity
@pytest.mark.parametrize("value", [False, True])
def test_no_coefficient_is_stock_with_any_number_of_latents(diversity, value, make_batch, run):
    value = value_network(3) if value else None
    pair = make_pair(diversity, value=value, num_latents=3, diversity_coef=0.0)
    check_equal(pair, with_latents(make_batch(), 3), run)
    pair[1].diversity_coef = 1.0  # and with one it is not
    with pytest.raises(AssertionError, match="not close"):
        check_equal(pair, with_latents(make_batch(), 3), run)


@every_diversity
def test_equal_after_some_updates(diversity, make_batch, run):
    pair = make_pair(diversity, make_critics(1, 3))
    optimizers = [torch.optim.Adam(loss.parameters(), 1e-2) for loss in pair]
    for seed in range(5):
        batch = with_latents(make_batch(), 1)
        for loss, optimizer in zip(pair, optimizers, strict=True):
            run.step(loss, batch.copy(), seed)
            optimizer.step()
    stock, ours = (dict(loss.named_parameters()) for loss in pair)
    assert stock.keys() == ours.keys()
    for name, parameter in stock.items():
        assert_close(ours[name], parameter)


def test_the_only_latent_pays_nothing(make_batch, run):
    """DIAYN without the task's reward is SAC without a reward."""
    stock, ours = make_pair("diayn", task_reward=False)
    batch = with_latents(make_batch(), 1)
    output, gradients = run.step(ours, batch.copy())
    batch["next", "reward"] = torch.zeros(16, 1)
    expected, expected_gradients = run.step(stock, batch.copy())
    assert_close(dict(output), dict(expected))
    assert_close(gradients, expected_gradients)
