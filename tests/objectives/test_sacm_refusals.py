"""What the loss refuses, in whole messages."""

import re

import pytest
import torch
from objectives.sacm_cases import make_actor, make_critics, make_loss
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torch import nn
from torchrl.data import Bounded
from torchrl.modules import ProbabilisticActor, TanhNormal

from torchrl_mixture.distributions import TanhNormalMixture
from torchrl_mixture.objectives import SACMLoss


def refused(message, *args, **kwargs):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_loss(*args, **kwargs)


def test_unknown_variant():
    refused("variant must be one of ('sacm', 's2acm'), got 's3acm'.", variant="s3acm")


def test_unknown_actor_entropy():
    message = "actor_entropy must be one of ('component', 'mixture'), got 'joint'."
    refused(message, actor_entropy="joint")


def test_a_value_network():
    network = TensorDictModule(nn.Linear(3, 1), ["observation"], ["state_value"])
    message = "value_network must be None: a component's value is of its critic."
    refused(message, value_network=network)
    make_loss(value_network=None)


@pytest.mark.parametrize("entropies", [[-1.0, -2.0], (-1.0, -2.0)])
def test_target_entropies_of_another_number(entropies):
    message = (
        "target_entropy must be one number or one for each of 3 components, got [-1.0, -2.0]."
    )
    refused(message, target_entropy=entropies)


def test_an_actor_without_a_mixture():
    net = nn.Sequential(nn.Linear(3, 4), NormalParamExtractor())
    actor = ProbabilisticActor(
        TensorDictModule(net, ["observation"], ["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=Bounded(-1.0, 1.0, (2,)),
        distribution_class=TanhNormal,
    )
    with pytest.raises(ValueError, match="actor_network must have a ComponentMixture.*TanhNormal"):
        SACMLoss(actor, make_critics())


class Constant(nn.Module):
    """A mixture of three that no extractor makes."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.randn(3, 2))

    def forward(self, observation):
        batch = observation.shape[:-1]
        loc = self.loc.expand(*batch, 3, 2)
        return loc.new_zeros(*batch, 3), loc, torch.ones_like(loc)


def test_components_that_cannot_be_counted():
    keys = ["logits", "loc", "scale"]
    actor = ProbabilisticActor(
        TensorDictModule(Constant(), ["observation"], keys),
        in_keys=keys,
        spec=Bounded(-1.0, 1.0, (2,)),
        distribution_class=TanhNormalMixture,
    )
    refused(
        "actor_network must have a MixtureParamExtractor, by which its components are counted, "
        "got none.",
        actor=actor,
    )


@pytest.mark.parametrize(
    ("mask", "given"),
    [
        (torch.ones(8, 1, dtype=torch.bool), "torch.bool (8, 1)"),
        (torch.ones(8, 2, dtype=torch.bool), "torch.bool (8, 2)"),
        (torch.zeros(8, dtype=torch.int64), "torch.int64 (8,)"),
        (torch.ones(8, 3), "torch.float32 (8, 3)"),
    ],
)
def test_masks_of_another_form(mask, given, make_batch):
    batch = make_batch(8).set("component_mask", mask)
    message = re.escape(f"component_mask must be bool (8, 3), got {given}.")
    with pytest.raises(ValueError, match=f"^{message}$"):
        make_loss(data_masks=True)(batch)


def test_rewards_without_their_last_axis(make_batch):
    batch = make_batch(3)  # as many transitions as components
    batch["next"].set("reward", torch.randn(3))
    with pytest.raises(RuntimeError, match="unique shape"):
        make_loss()(batch)


@pytest.mark.parametrize(
    ("values", "settings", "allowed"),
    [
        (2, {}, "3 values or one with 3 components, variant='sacm' and data_masks=False"),
        (
            1,
            {"variant": "s2acm"},
            "3 values with 3 components, variant='s2acm' and data_masks=False",
        ),
        (
            1,
            {"data_masks": True},
            "3 values with 3 components, variant='sacm' and data_masks=True",
        ),
        (
            4,
            {"data_masks": True},
            "3 values with 3 components, variant='sacm' and data_masks=True",
        ),
    ],
)
def test_critics_of_another_number_of_values(values, settings, allowed, make_batch):
    loss = make_loss(critics=make_critics(values), **settings)
    message = f"qvalue_network must have {allowed}, got {values}."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        loss(make_batch())


def test_masks_that_are_missing(make_batch):
    with pytest.raises(KeyError, match="component_mask"):
        make_loss(data_masks=True)(make_batch())


def test_unknown_key():
    with pytest.raises(ValueError, match="no_such_key"):
        make_loss().set_keys(no_such_key="action")


def test_actor_is_what_makes_the_number():
    assert make_loss(5).num_components == 5
    assert make_loss(actor=make_actor(4), critics=make_critics(4)).num_components == 4
