"""From a network's output to logits, locations and scales."""

import math

import pytest
import torch
from tensordict.nn import NormalParamExtractor

from torchrl_mixture.modules import MixtureParamExtractor, spread_locations


@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
@pytest.mark.parametrize(("components", "size"), [(1, 1), (3, 2), (5, 4)])
def test_layout(batch, components, size):
    features = torch.randn(*batch, components * (2 * size + 1))
    logits, loc, scale = MixtureParamExtractor(components)(features)
    split = components, components + components * size
    assert torch.equal(logits, features[..., : split[0]])
    assert loc.shape == scale.shape == (*batch, components, size)
    assert torch.equal(loc.flatten(-2), features[..., split[0] : split[1]])
    # TorchRL's mapping: a softplus with a floor of 0.01, shifted so that 0 gives 1.
    bias = math.log(math.expm1(0.99))
    expected = torch.nn.functional.softplus(features[..., split[1] :] + bias) + 0.01
    torch.testing.assert_close(scale.flatten(-2), expected)


def test_fixed_weights_take_no_columns():
    features = torch.randn(4, 3 * 2 * 2)
    logits, loc, scale = MixtureParamExtractor(3, learn_weights=False)(features)
    assert logits.shape == (4, 3) and not logits.any()
    assert torch.equal(loc.flatten(-2), features[:, :6])
    assert scale.shape == (4, 3, 2)


@pytest.mark.parametrize("mapping", ["exp", "softplus", "biased_softplus_0.5", "relu"])
def test_scales_equal_those_of_torchrl(mapping):
    features = torch.randn(6, 1 + 2 * 4)
    _, loc, scale = MixtureParamExtractor(1, mapping, scale_lb=0.3)(features)
    reference = NormalParamExtractor(scale_mapping=mapping, scale_lb=0.3)
    expected_loc, expected_scale = reference(features[:, 1:])
    assert torch.equal(loc.squeeze(-2), expected_loc)
    torch.testing.assert_close(scale.squeeze(-2), expected_scale)


def test_scale_floor_and_default():
    extractor = MixtureParamExtractor(2)
    features = torch.zeros(2 * 3)
    torch.testing.assert_close(extractor(features)[2], torch.ones(2, 1))
    features[4:] = -100
    torch.testing.assert_close(extractor(features)[2], torch.full((2, 1), 0.01))
    narrow = MixtureParamExtractor(2, "softplus")
    torch.testing.assert_close(narrow(features)[2], torch.full((2, 1), 1e-4))
    floor = MixtureParamExtractor(2, scale_lb=0.25)
    torch.testing.assert_close(floor(features)[2], torch.full((2, 1), 0.25))


def test_offsets_move_the_locations_and_are_saved():
    offset = torch.randn(3, 2)
    extractor, plain = MixtureParamExtractor(3, loc_offset=offset), MixtureParamExtractor(3)
    features = torch.randn(4, 15)
    for moved, still, shift in zip(
        extractor(features), plain(features), (0, offset, 0), strict=True
    ):
        torch.testing.assert_close(moved, still + shift)
    assert list(plain.state_dict()) == [] and list(extractor.state_dict()) == ["loc_offset"]
    other = MixtureParamExtractor(3, loc_offset=torch.zeros(3, 2))
    other.load_state_dict(extractor.state_dict())
    assert torch.equal(other.loc_offset, offset)
    assert list(extractor.parameters()) == []
    assert extractor.double().loc_offset.dtype is torch.float64


@pytest.mark.parametrize("columns", [1, 3, 4, 13])
def test_columns_that_do_not_divide_are_named(columns):
    with pytest.raises(ValueError, match=r"3 \* \(2 \* A \+ 1\) columns, got shape \(7, \d+\)"):
        MixtureParamExtractor(3)(torch.zeros(7, columns))


@pytest.mark.parametrize("columns", [0, 3, 9])
def test_columns_that_do_not_divide_without_weights_are_named(columns):
    with pytest.raises(ValueError, match=r"3 \* \(2 \* A\) columns, got shape"):
        MixtureParamExtractor(3, learn_weights=False)(torch.zeros(7, columns))


@pytest.mark.parametrize("components", [0, -1])
def test_number_of_components_is_checked(components):
    with pytest.raises(ValueError, match=f"num_components must be at least 1, got {components}"):
        MixtureParamExtractor(components)


@pytest.mark.parametrize(("components", "size"), [(2, 1), (5, 1), (5, 4)])
def test_spread_is_a_latin_hypercube(components, size):
    offset = spread_locations(components, size, 0.8)
    grid = torch.tensor(
        [0.8 * (2 * k - components + 1) / (components - 1) for k in range(components)]
    )
    assert offset.shape == (components, size)
    torch.testing.assert_close(offset[:, 0], grid)
    torch.testing.assert_close(offset.sort(0).values, grid.unsqueeze(-1).expand(-1, size))


def test_spread_is_random_beyond_the_first_dimension():
    offsets = [spread_locations(6, 3, 1.0) for _ in range(8)]
    assert len({tuple(offset.flatten().tolist()) for offset in offsets}) > 1
    torch.manual_seed(0)
    again = spread_locations(6, 3, 1.0)
    assert torch.equal(again, offsets[0])


def test_one_component_is_not_moved():
    assert torch.equal(spread_locations(1, 3, 2.0), torch.zeros(1, 3))
