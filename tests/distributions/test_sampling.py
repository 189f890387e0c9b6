"""Drawing: shapes, scores at the point of drawing, what carries a gradient and what does not."""

import numpy as np
import pytest
import torch
from mixture_cases import CASES, every_case, parameters_of, squashed_cases
from oracles import gradients
from scipy.stats import chisquare, kstest

from torchrl_mixture import functional as F

shapes = pytest.mark.parametrize(
    ("samples", "batch"), [((), ()), ((4,), ()), ((), (3,)), ((4, 2), (3, 2))]
)


def away_from_edges(case, value):
    low, high = case.edges(value.shape[-1])
    inside = 1e-4 * (high - low).nan_to_num(posinf=0.0)
    return ((value > low + inside) & (value < high - inside)).all(-1)


@every_case
@shapes
@pytest.mark.parametrize("components", [1, 3])
def test_shapes_and_support(case, samples, batch, components):
    mixture = case.random(*batch, components=components, size=2)
    assert mixture.batch_shape == batch and mixture.event_shape == (2,)
    component, of_component = mixture.sample_component(samples)
    index, chosen, log_prob = mixture.rsample_component_and_log_prob(samples)
    assert component.dtype == index.dtype == torch.int64
    assert component.shape == index.shape == log_prob.shape == samples + batch
    pairs = [mixture.sample_and_log_prob(samples), mixture.rsample_and_log_prob(samples)]
    values = [of_component, chosen, mixture.sample(samples), mixture.rsample(samples)]
    for value, log_prob in pairs:
        assert log_prob.shape == samples + batch
        values.append(value)
    for value in values:
        assert value.shape == samples + batch + (2,) and value.dtype == torch.float64
        assert mixture.support.check(value).all()


@every_case
@pytest.mark.parametrize("components", [1, 3])
def test_draws_are_distributed_as_the_cdf(case, components):
    mixture = case.random(components=components)
    with torch.no_grad():
        draws = [
            mixture.sample((4000,)),
            mixture.rsample((4000,)),
            mixture.sample_and_log_prob((4000,))[0],
            mixture.rsample_and_log_prob((4000,))[0],
            mixture.sample_component((4000,))[1],
            mixture.rsample_component_and_log_prob((4000,))[1],
        ]
        draws.append(mixture.expand((4000,)).rsample_relaxed_and_log_prob(1.0)[0])
    with torch.enable_grad():
        draws.append(mixture.rsample((4000,)).detach())
        draws.append(mixture.rsample_and_log_prob((4000,))[0].detach())
    for value in draws:
        uniform = mixture.cdf(value).detach().numpy()
        assert kstest(uniform, "uniform").pvalue > 1e-4


@every_case
def test_components_are_drawn_by_weight_and_draw_their_own_values(case):
    mixture = case.random(size=1)
    component, value = mixture.sample_component((20_000,))
    counts = np.bincount(component, minlength=3)
    expected = mixture.weights.detach().numpy()
    assert chisquare(counts, 20_000 * expected / expected.sum()).pvalue > 1e-4
    for k in range(3):
        uniform = mixture.component(k).cdf(value[component == k]).detach()
        assert kstest(uniform.numpy(), "uniform").pvalue > 1e-4


@every_case
@pytest.mark.parametrize("components", [1, 4])
def test_scores_equal_those_of_the_value(case, components):
    mixture = case.random(3, components=components, size=2)
    expanded = mixture.expand((50, 3))
    pairs = [
        mixture.rsample_and_log_prob((50,)),
        mixture.sample_and_log_prob((50,)),
        mixture.rsample_component_and_log_prob((50,))[1:],
        expanded.rsample_relaxed_and_log_prob(0.5),
    ]
    for value, log_prob in pairs:
        keep = away_from_edges(case, value)
        assert keep.double().mean() > 0.8
        expected = mixture.log_prob(value)
        torch.testing.assert_close(log_prob[keep], expected[keep], rtol=1e-7, atol=1e-7)


@every_case
def test_one_value_of_every_component(case):
    mixture = case.random(20, 2, components=3, size=2)
    value, log_prob, own = mixture.rsample_components_and_log_prob()
    assert value.shape == (20, 2, 3, 2) and log_prob.shape == own.shape == (20, 2, 3)
    for k in range(3):
        at = value[..., k, :]
        keep = away_from_edges(case, at)
        assert keep.any()
        joint = mixture.component_log_prob(at)[..., k]
        close = {"rtol": 1e-7, "atol": 1e-7}
        torch.testing.assert_close(log_prob[..., k][keep], mixture.log_prob(at)[keep], **close)
        torch.testing.assert_close(own[..., k][keep], joint[keep], **close)


@every_case
def test_the_mode_of_every_component(case):
    mixture = case.random(20, components=3, size=2)
    value, log_prob, own = mixture.modes_and_log_prob()
    for k in range(3):
        component = mixture.component(k)
        torch.testing.assert_close(value[:, k], component.mode)
        keep = away_from_edges(case, value[:, k])
        assert keep.any()
        expected = mixture.log_prob(value[:, k])[keep], component.log_prob(value[:, k])[keep]
        for found, known in zip((log_prob, own), expected, strict=True):
            torch.testing.assert_close(found[:, k][keep], known, rtol=1e-7, atol=1e-7)


@every_case
def test_other_weights_for_the_same_components(case):
    mixture = case.random(5, components=3, size=2)
    logits = torch.randn(5, 3, dtype=mixture.loc.dtype)
    other = mixture.with_weights(logits)
    value = mixture.sample()
    terms = mixture.component_log_prob(value).exp() * logits.softmax(-1)
    torch.testing.assert_close(other.log_prob(value).exp(), terms.sum(-1))
    assert other._settings() == mixture._settings()


@every_case
def test_value_of_every_component_moves_with_that_component_alone(case):
    mixture = case.random(components=3, size=2)
    value, _, own = mixture.rsample_components_and_log_prob()
    for k in range(3):
        for output in (value[k], own[k]):
            to_logits, to_loc, to_scale = gradients(output, parameters_of(mixture))
            assert not to_logits.any()
            others = [j for j in range(3) if j != k]
            assert not to_loc[others].any() and not to_scale[others].any()
        assert gradients(value[k], [mixture.loc])[0][k].all()


@every_case
def test_chosen_component_alone_moves_the_value(case):
    mixture = case.random(components=3, size=2)
    component, value, log_prob = mixture.rsample_component_and_log_prob()
    to_logits, to_loc, to_scale = gradients(value, parameters_of(mixture))
    chosen = torch.arange(3) == component
    assert not to_logits.any()
    for gradient in (to_loc, to_scale):
        assert gradient[chosen].all() and not gradient[~chosen].any()
    assert all(gradient.any() for gradient in gradients(log_prob, parameters_of(mixture)))


@every_case
def test_rsample_moves_with_every_component(case):
    mixture = case.random(components=3, size=2)
    for output in (mixture.rsample(), *mixture.rsample_and_log_prob()):
        for gradient in gradients(output, parameters_of(mixture)):
            assert gradient.all()


@every_case
@pytest.mark.parametrize("components", [1, 3])
def test_plain_sampling_has_no_gradient(case, components, monkeypatch):
    def never(*args):
        raise AssertionError("the implicit gradient is not needed here")

    monkeypatch.setattr(F, "implicit_reparameterization", never)
    mixture = case.random(2, components=components, size=2)
    assert not mixture.sample((3,)).requires_grad
    assert not mixture.sample_component((3,))[1].requires_grad
    assert not mixture.sample_responsibilities().requires_grad
    with torch.no_grad():
        outputs = [
            mixture.rsample((3,)),
            *mixture.rsample_and_log_prob((3,)),
            *mixture.sample_and_log_prob((3,)),
            *mixture.rsample_component_and_log_prob((3,)),
            *mixture.rsample_components_and_log_prob(),
            *mixture.rsample_relaxed_and_log_prob(1.0),
            mixture.entropy_mc(3),
        ]
    assert not any(output.requires_grad for output in outputs)


@every_case
@pytest.mark.parametrize("components", [1, 3])
def test_sample_and_log_prob_keeps_the_score_but_no_path(case, components):
    mixture = case.random(components=components, size=2)
    value, log_prob = mixture.sample_and_log_prob((5,))
    assert not value.requires_grad and log_prob.requires_grad
    got = gradients(log_prob, parameters_of(mixture))
    for one, other in zip(
        got, gradients(mixture.log_prob(value), parameters_of(mixture)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@every_case
def test_grad_mode_does_not_change_what_is_drawn(case):
    mixture = case.random(3, components=3, size=2)
    draws = []
    for grad in (False, True):
        torch.manual_seed(7)
        with torch.set_grad_enabled(grad):
            draws.append(mixture.rsample((4,)).detach())
    torch.manual_seed(7)
    draws.append(mixture.sample((4,)))
    assert torch.equal(draws[0], draws[1]) and torch.equal(draws[0], draws[2])


@every_case
def test_responsibilities_of_a_draw(case):
    mixture = case.random(components=3, size=2)
    share = mixture.expand((20_000,)).sample_responsibilities()
    assert share.shape == (20_000, 3)
    torch.testing.assert_close(share.sum(-1), torch.ones(20_000).double())
    # On average over draws, responsibilities are the weights.
    error = share.std(0) / len(share) ** 0.5
    assert ((share.mean(0) - mixture.weights).abs() < 5 * error).all()


@every_case
def test_responsibilities_are_those_of_the_last_scored_draw(case):
    mixture = case.random(3, components=3, size=2)
    value, _ = mixture.sample_and_log_prob((2,))
    state = torch.get_rng_state()
    share = mixture.sample_responsibilities()
    assert torch.get_rng_state().equal(state)
    torch.testing.assert_close(
        share, mixture.responsibilities(value).detach(), rtol=1e-6, atol=1e-6
    )
    mixture.log_prob(-value)  # no draw of the mixture
    assert mixture.sample_responsibilities().equal(share)


@squashed_cases
@pytest.mark.parametrize("mean", [-20.0, 20.0])
def test_saturated_float32_draws_are_scored_where_they_were_drawn(case, mean):
    loc = torch.full((2, 3), mean, requires_grad=True)
    parameters = (torch.zeros(2, requires_grad=True), loc, torch.ones(2, 3, requires_grad=True))
    mixture = case.make(parameters)
    for pair in (
        mixture.rsample_and_log_prob((100,)),
        mixture.sample_and_log_prob((100,)),
        mixture.rsample_component_and_log_prob((100,))[1:],
        mixture.rsample_components_and_log_prob()[:2],
        mixture.rsample_relaxed_and_log_prob(1.0),
    ):
        assert pair[0].isfinite().all() and pair[1].isfinite().all()
        for gradient in gradients(pair[1] + pair[0].sum(-1), parameters):
            assert gradient.isfinite().all()
    if case.kind is CASES["tanh"].kind:
        _, log_prob = mixture.rsample_and_log_prob((2000,))
        entropy = mixture.component(0).entropy_lower_bound()
        torch.testing.assert_close(-log_prob.mean(), entropy, rtol=5e-3, atol=0)


@pytest.mark.parametrize("as_tensor", [False, True], ids=["numbers", "tensors"])
@pytest.mark.parametrize("name", ["tanh", "arctan"])
def test_saturated_draws_stay_in_a_box_of_any_edges(name, as_tensor):
    for low in range(-30, 0, 3):
        for high in range(low + 1, 30, 3):
            edges = {"low": low / 10, "high": high / 10}
            if as_tensor:
                edges = {key: torch.tensor([edge]) for key, edge in edges.items()}
            for loc in (-1e9, 1e9):
                loc = torch.full((1, 1), loc)
                mixture = CASES[name].kind(torch.zeros(1), loc, torch.ones(1, 1), **edges)
                assert mixture.support.check(mixture.sample((2,))).all()
