"""Measures of collapse, by brute force and at their extremes."""

import math

import pytest
import torch

from torchrl_mixture import functional as F


def test_effective_components_of_the_mean_weights():
    weights = torch.tensor([[[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]], dtype=torch.float64)
    mean = [0.4, 0.5, 0.1]
    expected = math.exp(-sum(w * math.log(w) for w in mean))
    assert float(F.effective_components(weights.log())) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(2, 4), (3, 2, 4), (4,)])
def test_effective_components_between_one_and_all(shape):
    assert float(F.effective_components(torch.full(shape, 0.25).log())) == pytest.approx(4)
    alone = torch.zeros(shape)
    alone[..., 0] = 1
    assert float(F.effective_components(alone.log())) == pytest.approx(1)


def test_component_information_is_a_kl_divergence():
    log_weights = torch.log_softmax(torch.randn(5, 3).double(), -1)
    share = torch.softmax(torch.randn(5, 3).double(), -1)
    expected = torch.nn.functional.kl_div(log_weights, share, reduction="none").sum(-1)
    torch.testing.assert_close(F.component_information(log_weights, share), expected)


def test_component_information_at_its_extremes():
    log_weights = torch.tensor([0.25, 0.75]).double().log()
    apart = sum(
        float(w) * F.component_information(log_weights, one)
        for w, one in zip(log_weights.exp(), torch.eye(2).double(), strict=True)
    )
    torch.testing.assert_close(apart, F.weight_entropy(log_weights))
    assert F.component_information(log_weights, log_weights.exp()) == pytest.approx(0, abs=1e-12)
    vanished = torch.tensor([0.0, -1e4])
    for gone in (vanished, torch.tensor([0.0, -math.inf])):
        assert F.component_information(gone, torch.tensor([1.0, 0.0])) == 0


def test_mean_pairwise_distance_by_brute_force():
    distance = torch.rand(2, 4, 4).double()
    distance.diagonal(dim1=-2, dim2=-1).zero_()
    pairs = [(i, j) for i in range(4) for j in range(i)]
    expected = sum(distance[:, i, j] + distance[:, j, i] for i, j in pairs) / len(pairs)
    torch.testing.assert_close(F.mean_pairwise_distance(distance), expected)
