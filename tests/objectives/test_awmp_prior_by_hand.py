"""The prior's loss: a batch in NumPy, finite differences, and extremes."""

import copy
import math

import numpy as np
import pytest
import torch
from objectives.awmp_cases import OUT_KEYS, K, make_batch, make_loss, step
from scipy.special import softmax
from torch.testing import assert_close

NOISES = pytest.mark.parametrize("noise", ["additive", "multiplicative"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def probabilities(loss, inputs):
    layers = loss.prior_network_params["module"]
    first, last = ({k: p.detach().numpy() for k, p in layers[i].items()} for i in "02")
    hidden = np.tanh(inputs @ first["weight"].T + first["bias"])
    return softmax(hidden @ last["weight"].T + last["bias"], axis=-1)


def by_hand(loss, batch, noise, seed, replay=None):
    """Everything the loss returns, for the noise that it draws."""
    torch.manual_seed(seed)
    state, action = batch["observation"], batch["action"]
    clean = torch.cat([state, action], -1).numpy().reshape(-1, 5)
    drawn = [torch.randn_like(state), torch.randn_like(action)]
    drawn = 0.3 * torch.cat(drawn, -1).numpy().reshape(-1, 5)
    noisy = clean + (drawn if noise == "additive" else drawn * np.abs(clean))
    prob, other = probabilities(loss, clean), probabilities(loss, noisy)
    replay = np.ones(len(clean)) if replay is None else replay
    advantage, log_density = batch["advantage"].numpy(), batch["action_log_prob"].numpy()
    weight = replay * np.exp(advantage.ravel()) / np.exp(log_density.ravel())
    share = weight / weight.sum()
    mean = (share[:, None] * prob).sum(0)
    marginal = -(mean * np.log(mean)).sum()
    conditional = -(share[:, None] * prob * np.log(prob)).sum()
    divergence = (other * np.log(other / prob)).sum(-1)
    penalty = (replay * divergence).sum() / replay.sum()
    loss_value = penalty - 0.1 * (marginal - conditional)
    effective = math.exp(-(share[share > 0] * np.log(share[share > 0])).sum())
    values = [loss_value, marginal - conditional, marginal, conditional]
    return dict(zip(OUT_KEYS, [*values, share @ divergence, effective], strict=True))


@NOISES
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(16,), (3, 4)])
def test_a_batch_in_numpy(shape, reduction, noise, float64):
    loss, batch = make_loss(noise=noise, reduction=reduction), make_batch(*shape)
    expected = by_hand(loss, batch, noise, seed=5)
    if reduction == "sum":
        expected["loss_prior"] *= math.prod(shape)
    torch.manual_seed(5)
    output = loss(batch)
    assert list(output.keys()) == loss.out_keys == OUT_KEYS
    assert output.batch_size == ()
    for key, value in expected.items():
        assert_close(output[key], torch.tensor(value))
        assert output[key].requires_grad is (key == "loss_prior")
    assert expected["prior_information"] > 0.01  # no term is one that vanishes
    assert expected["prior_divergence"] > 0.002


def test_replay_weights_multiply_both_terms(float64):
    loss, batch = make_loss(), make_batch(6)
    replay = np.array([1.0, 0.0, 2.0, 0.5, 0.0, 1.5])
    expected = by_hand(loss, batch, "additive", 5, replay)
    assert abs(expected["loss_prior"] - by_hand(loss, batch, "additive", 5)["loss_prior"]) > 1e-3
    for shape in [(6,), (6, 1)]:
        torch.manual_seed(5)
        output = loss(batch.set("priority_weight", torch.tensor(replay).reshape(shape)))
        assert_close(dict(output), {key: torch.tensor(value) for key, value in expected.items()})


@NOISES
def test_gradient_matches_finite_differences(noise, float64):
    loss, batch = make_loss(noise=noise, information_coef=0.7), make_batch()
    _, gradients = step(loss, batch)
    assert len(gradients) == 4
    width = 1e-6
    for name, parameter in loss.named_parameters():
        for index in np.random.default_rng(0).choice(parameter.numel(), 3, replace=False):
            values = []
            for sign in (1, -1):
                other = copy.deepcopy(loss)
                flat = dict(other.named_parameters())[name].data.view(-1)
                flat[index] += sign * width
                values.append(step(other, batch)[0]["loss_prior"].item())
            slope = (values[0] - values[1]) / (2 * width)
            gradient = gradients[name].view(-1)[index].item()
            assert gradient == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_gradient_reaches_the_prior_alone():
    loss, batch = make_loss(), make_batch()
    leaves = [batch["advantage"].requires_grad_(), batch["action_log_prob"].requires_grad_()]
    output, gradients = step(loss, batch)
    assert output["loss_prior"].requires_grad
    assert all(leaf.grad is None for leaf in leaves)
    assert set(gradients) == {name for name, _ in loss.named_parameters()}
    assert all(gradient.abs().sum() > 0 for gradient in gradients.values())


def test_without_information_and_noise_nothing_is_lost(float64):
    loss = make_loss(information_coef=0, noise_std=0)
    output, gradients = step(loss, make_batch())
    assert_close(output["loss_prior"], torch.tensor(0.0))
    assert output["prior_information"] > 0.01
    assert all(gradient.abs().max() < 1e-12 for gradient in gradients.values())


@pytest.mark.parametrize("noise_std", [0.0, 0.5])
def test_one_component_has_no_information(noise_std):
    output, gradients = step(make_loss(1, noise_std=noise_std), make_batch())
    assert all(output[key] == 0 for key in OUT_KEYS[:-1])
    assert all((gradient == 0).all() for gradient in gradients.values())


@DTYPES
@pytest.mark.parametrize("advantage", [-1e4, 1e4])
@pytest.mark.parametrize("log_prob", [-50.0, 50.0])
@pytest.mark.parametrize("logit", [0.0, 1e4])
def test_extremes_are_finite(logit, log_prob, advantage, dtype):
    loss = make_loss().to(dtype)
    batch = make_batch().to(dtype)
    batch["advantage"][3] = advantage
    batch["action_log_prob"][5] = log_prob
    with torch.no_grad():
        last = loss.prior_network_params["module", "2"]
        last["bias"][0] += logit
        last["weight"].mul_(1 + logit)
    output, gradients = step(loss, batch)
    assert all(output[key].dtype == dtype and output[key].isfinite() for key in OUT_KEYS)
    assert all(value.dtype == dtype and value.isfinite().all() for value in gradients.values())
    assert -1e-5 < output["prior_information"] < math.log(K) + 1e-5
    assert 0.999 < output["prior_effective_sample_size"] < 16
    if advantage > 0:  # one transition has all the weight, and tells nothing of the others
        assert_close(output["prior_effective_sample_size"], torch.ones((), dtype=dtype))
        assert abs(output["prior_information"]) < 1e-5
