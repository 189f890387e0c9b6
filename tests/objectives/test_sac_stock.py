"""With one component the loss is TorchRL's SACLoss: values, gradients and priorities."""

import copy

import pytest
import torch
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torch import nn
from torch.testing import assert_close
from torchrl.data import Bounded
from torchrl.modules import MLP, ProbabilisticActor, TanhNormal
from torchrl.objectives import SACLoss

from torchrl_mixture.objectives import MixtureSACLoss

pytestmark = pytest.mark.usefixtures("float64")

EXACT = ("half", "gumbel", "marginal", "implicit")
SHARED = ("loss_actor", "loss_qvalue", "loss_alpha", "alpha", "entropy")


def tanh_normal_twin(actor):
    """TorchRL's actor with the weights of a mixture actor of one component."""
    source = [layer for layer in actor.modules() if isinstance(layer, nn.Linear)]
    net = MLP(3, 4, num_cells=[8], activation_class=nn.ReLU)
    target = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        target[0].load_state_dict(source[0].state_dict())
        target[1].weight.copy_(source[1].weight[1:])  # the first column is the logit
        target[1].bias.copy_(source[1].bias[1:])
    spec = Bounded(-1.5, 1.0, (2,), dtype=torch.get_default_dtype())
    return ProbabilisticActor(
        TensorDictModule(
            nn.Sequential(net, NormalParamExtractor()), ["observation"], ["loc", "scale"]
        ),
        in_keys=["loc", "scale"],
        spec=spec,
        distribution_class=TanhNormal,
        distribution_kwargs={"low": spec.space.low, "high": spec.space.high, "tanh_loc": False},
    )


def make_pair(actor, critics, estimator, stock_actor=None, value=None, **kwargs):
    kwargs = {"loss_function": "l2", "num_qvalue_nets": len(critics), **kwargs}
    twin = copy.deepcopy(actor) if stock_actor is None else stock_actor
    stock = SACLoss(twin, copy.deepcopy(critics), copy.deepcopy(value), **kwargs)
    ours = MixtureSACLoss(actor, critics, value, gradient_estimator=estimator, **kwargs)
    for loss in (stock, ours):
        loss.make_value_estimator(gamma=0.9)
    return stock, ours


@pytest.mark.parametrize("estimator", EXACT)
@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"fixed_alpha": True, "alpha_init": 0.2, "loss_function": "smooth_l1"},
        {"reduction": "sum", "skip_done_states": True, "delay_actor": True},
        {"reduction": "none", "scalar_output_mode": "exclude", "delay_qvalue": False},
    ],
    ids=["default", "fixed alpha", "sum", "none"],
)
def test_equal_with_the_same_actor(estimator, kwargs, make_actor, make_critics, make_batch, run):
    stock, ours = make_pair(make_actor(1), make_critics(), estimator, **kwargs)
    batch = make_batch()
    expected, expected_gradients = run.step(stock, expected_batch := batch.copy())
    output, gradients = run.step(ours, batch)
    for key in expected.keys():
        assert_close(output[key], expected[key])
    assert_close(batch["td_error"], expected_batch["td_error"])
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        assert_close(gradient, expected_gradients[name])


@pytest.mark.parametrize("estimator", EXACT)
def test_equal_with_a_tanh_normal_actor(estimator, make_actor, make_critics, make_batch, run):
    actor = make_actor(1)
    stock, ours = make_pair(actor, make_critics(), estimator, tanh_normal_twin(actor))
    batch = make_batch()
    expected, expected_gradients = run.step(stock, batch.copy())
    output, gradients = run.step(ours, batch.copy())
    for key in SHARED:
        assert_close(output[key], expected[key])
    expected_gradients = dict(reversed(expected_gradients.items()))
    for name, gradient in gradients.items():
        if not name.startswith("actor"):
            assert_close(gradient, expected_gradients.pop(name))
    gradients = [gradient for name, gradient in gradients.items() if name.startswith("actor")]
    of_actor = [g for name, g in expected_gradients.items() if name.startswith("actor")]
    assert len(gradients) == len(of_actor) == 4
    for gradient, expected in zip(gradients, reversed(of_actor), strict=True):
        if len(gradient) != len(expected):
            assert not gradient[0].any()  # the only weight is one, whatever its logit
            gradient = gradient[1:]
        assert_close(gradient, expected)


@pytest.mark.parametrize("estimator", EXACT)
def test_equal_with_a_value_network(estimator, make_actor, make_critics, make_batch, run):
    value = TensorDictModule(nn.Linear(3, 1), ["observation"], ["state_value"])
    stock, ours = make_pair(make_actor(1), make_critics(), estimator, value=value)
    assert {"loss_value", "effective_components"} <= set(ours.out_keys)
    expected, expected_gradients = run.step(stock, (batch := make_batch()).copy())
    output, gradients = run.step(ours, batch.copy())
    for key in (*SHARED, "loss_value"):
        assert_close(output[key], expected[key])
    for name, gradient in gradients.items():
        assert_close(gradient, expected_gradients[name])


def test_equal_after_some_updates(make_actor, make_critics, make_batch, run):
    pair = make_pair(make_actor(1), make_critics(3), "half")
    optimizers = [torch.optim.Adam(loss.parameters(), 1e-2) for loss in pair]
    for seed in range(5):
        batch = make_batch()
        for loss, optimizer in zip(pair, optimizers, strict=True):
            run.step(loss, batch.copy(), seed)
            optimizer.step()
    stock, ours = (dict(loss.named_parameters()) for loss in pair)
    for name, parameter in stock.items():
        assert_close(ours[name], parameter)


def actor_gradients(loss, batch, repeats):
    """The gradient of the actor's loss to the last bias, many times."""
    bias = [p for p in loss.actor_network.parameters()][-1]
    return torch.stack(
        [torch.autograd.grad(loss.actor_loss(batch)[0], bias)[0] for _ in range(repeats)]
    )


@pytest.mark.parametrize("num_components", [1, 3])
@pytest.mark.parametrize("estimator", ["half", "likelihood", "marginal", "implicit"])
def test_unbiased(estimator, num_components, make_actor, make_critics, make_batch):
    """Stock SACLoss is the reference: with this library's actors it differentiates the draw."""
    stock, ours = make_pair(make_actor(num_components), make_critics(), estimator)
    batch = make_batch(1).expand(2000).contiguous()
    first, second = (actor_gradients(loss, batch, 40) for loss in (stock, ours))
    standard_error = ((first.var(0) + second.var(0)) / 40).sqrt()
    difference = (first.mean(0) - second.mean(0)).abs()
    assert (difference < 4 * standard_error + 1e-12).all()
    # Were the estimate zero, or of the other sign, this would show it.
    assert (second.mean(0).abs() > 4 * standard_error).any()
