"""Arguments, errors, dtype and device, expansion, support, transforms."""

import numpy as np
import pytest
import torch
from mixture_cases import CASES, every_case, parameters_of, squashed_cases
from oracles import gradients, random_parameters

from torchrl_mixture.distributions import (
    ArctanCauchyMixture,
    ComponentMixture,
    NormalMixture,
    TanhNormalMixture,
)


@every_case
@pytest.mark.parametrize(
    ("logits", "loc", "scale"),
    [
        ((2,), (2, 1), (3, 1)),
        ((3,), (2, 1), (2, 1)),
        ((4, 2), (2, 1), (2, 1)),
        ((2,), (4, 2, 1), (4, 2, 1)),
        ((), (1,), (1,)),
    ],
)
def test_shapes_that_do_not_agree_are_named(case, logits, loc, scale):
    with pytest.raises(ValueError, match="logits must be") as error:
        case.kind(torch.zeros(logits), torch.zeros(loc), torch.ones(scale))
    for name, shape in (("logits", logits), ("loc", loc), ("scale", scale)):
        assert f"{name} {shape}" in str(error.value)


@every_case
def test_unknown_rule_is_named(case):
    with pytest.raises(ValueError, match="deterministic must be .*'densest', got 'mean'"):
        case.random(deterministic="mean")


@pytest.mark.parametrize("kind", [TanhNormalMixture, ArctanCauchyMixture])
def test_bounds_of_the_wrong_shape_are_named(kind):
    for name in ("low", "high"):
        bound = {name: torch.full((3,), -1.0 if name == "low" else 1.0)}
        with pytest.raises(ValueError, match=rf"{name} must be .*\(2,\), got \(3,\)"):
            kind(torch.zeros(1), torch.zeros(1, 2), torch.ones(1, 2), **bound)


@pytest.mark.parametrize("kind", [TanhNormalMixture, ArctanCauchyMixture])
@pytest.mark.parametrize(
    ("low", "high"),
    [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (torch.tensor([0.0, 1.0]), 1.0)],
)
def test_empty_boxes_are_refused(kind, low, high):
    with pytest.raises(ValueError, match="low must be below high"):
        kind(torch.zeros(1), torch.zeros(1, 2), torch.ones(1, 2), low=low, high=high)


@pytest.mark.parametrize("low", [-float("inf"), torch.tensor([-torch.inf])])
def test_infinite_boxes_are_refused(low):
    with pytest.raises(ValueError, match="low"):
        TanhNormalMixture(torch.zeros(1), torch.zeros(1, 1), torch.ones(1, 1), low=low)


@pytest.mark.parametrize("low", [-2, -2.0, torch.tensor(-2.0), torch.tensor([-2, -2])])
@pytest.mark.parametrize("high", [3, torch.tensor([3.0, 3.0])])
def test_bounds_of_every_kind_mean_the_same(low, high):
    parameters = random_parameters(4, components=2, size=2)
    mixture = TanhNormalMixture(*parameters, low=low, high=high)
    reference = TanhNormalMixture(*parameters, low=-2.0, high=3.0)
    value = reference.sample((3,))
    torch.testing.assert_close(mixture.log_prob(value), reference.log_prob(value))
    torch.testing.assert_close(mixture.mean, reference.mean)
    torch.testing.assert_close(mixture.entropy_upper_bound(), reference.entropy_upper_bound())
    assert mixture.support.check(value).all()


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_parameters(case, dtype):
    parameters = random_parameters(3, components=2, size=1, dtype=dtype)
    mixture = case.make(parameters)
    value, log_prob = mixture.rsample_and_log_prob((2,))
    results = [
        value,
        log_prob,
        mixture.sample(),
        *mixture.sample_and_log_prob(),
        mixture.sample_component()[1],
        *mixture.rsample_components_and_log_prob(),
        *mixture.rsample_relaxed_and_log_prob(1.0),
        mixture.log_prob(value),
        mixture.cdf(value),
        mixture.component_log_prob(value),
        mixture.responsibilities(value),
        mixture.sample_responsibilities(),
        mixture.mean,
        mixture.mode,
        mixture.weights,
        mixture.entropy_lower_bound(),
        mixture.entropy_upper_bound(),
        mixture.entropy_pairwise(),
        mixture.entropy_mc(2),
        mixture.component_distance(),
    ]
    assert {result.dtype for result in results} == {dtype}


@pytest.mark.parametrize("name", ["normal", "tanh", "tanh, box", "arctan"])
def test_device_follows_the_parameters(name):
    parameters = [p.detach().to("meta") for p in random_parameters(3, components=2, size=2)]
    mixture = CASES[name].make(parameters)
    assert mixture.sample((2,)).device.type == "meta"
    assert mixture.log_prob(mixture.sample()).device.type == "meta"
    assert mixture.mean.device.type == mixture.entropy_upper_bound().device.type == "meta"


@every_case
def test_expand(case):
    mixture = case.random(3, components=2, size=2)
    expanded = mixture.expand((4, 3))
    assert type(expanded) is case.kind
    assert expanded.batch_shape == (4, 3) and expanded.event_shape == (2,)
    assert expanded.loc.data_ptr() == mixture.loc.data_ptr()
    value = expanded.sample()
    torch.testing.assert_close(expanded.log_prob(value), mixture.log_prob(value))
    assert len(value[..., 0].unique()) == 12
    torch.testing.assert_close(expanded.mean, mixture.mean.expand(4, 3, 2), equal_nan=True)


@every_case
def test_support(case):
    mixture = case.random(components=2, size=2)
    low, high = case.edges(2)
    assert mixture.support.event_dim == 1
    assert mixture.support.check(mixture.sample((100,))).all()
    if case.squashed:
        assert mixture.support.check(torch.stack([low, high])).all()
        assert not mixture.support.check(torch.stack([low - 0.1, high + 0.1])).any()
        outside_in_one = torch.stack([(low[0] + high[0]) / 2, high[1] + 0.1])
        assert not mixture.support.check(outside_in_one)


@every_case
def test_weights_are_the_softmax_of_the_logits(case):
    mixture = case.random(3, components=4, size=2)
    torch.testing.assert_close(mixture.weights, torch.softmax(mixture.logits, -1))
    shifted = case.make((mixture.logits + 5, mixture.loc, mixture.scale))
    value = mixture.sample()
    torch.testing.assert_close(shifted.log_prob(value), mixture.log_prob(value))


@every_case
def test_representation_and_class(case):
    mixture = case.random(components=2)
    assert isinstance(mixture, ComponentMixture) and mixture.has_rsample
    assert mixture.num_components == 2
    assert case.kind.__name__ in repr(mixture)


@squashed_cases
def test_compiled_draw_equals_eager(case):
    torch._dynamo.reset()
    parameters = random_parameters(4, components=3, size=2)

    def draw(*parameters):
        return case.make(parameters).rsample_and_log_prob((2,))

    results = []
    for function in (draw, torch.compile(draw, backend="aot_eager", fullgraph=True)):
        torch.manual_seed(1)
        value, log_prob = function(*parameters)
        results.append((value, log_prob, *gradients(value.sum() + log_prob.sum(), parameters)))
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, eager)


@every_case
def test_vmap_draws_a_member_of_its_own_each(case):
    parameters = random_parameters(5, components=2, size=2)

    def draw(*parameters):
        return case.make(parameters).rsample_and_log_prob()

    value, log_prob = torch.vmap(draw, randomness="different")(*parameters)
    assert value.shape == (5, 2) and len(value.unique()) == 10
    expected = case.make(parameters).log_prob(value)
    torch.testing.assert_close(log_prob, expected, rtol=1e-5, atol=1e-5)
    for gradient in gradients(log_prob, parameters_of(case.make(parameters))):
        assert gradient.isfinite().all() and gradient.any()


def test_base_class_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        ComponentMixture(torch.zeros(1), torch.zeros(1, 1), torch.ones(1, 1))
    assert issubclass(TanhNormalMixture, NormalMixture)


@pytest.mark.parametrize("method", ["log_prob", "component_log_prob", "responsibilities", "cdf"])
def test_value_whose_last_axis_is_not_the_action_is_refused(method):
    mixture = TanhNormalMixture(torch.zeros(4, 2), torch.zeros(4, 2, 1), torch.ones(4, 2, 1))
    with pytest.raises(ValueError, match=r"A = 1, got \(4,\) for batch shape \(4,\)"):
        getattr(mixture, method)(torch.zeros(4))


def test_edges_as_lists_and_arrays():
    parameters = torch.zeros(2), torch.zeros(2, 2), torch.ones(2, 2)
    for kind in (list, np.array):
        mixture = TanhNormalMixture(*parameters, low=kind([-1.0, -2.0]), high=kind([1.0, 3.0]))
        assert mixture.support.check(mixture.sample((100,))).all()
