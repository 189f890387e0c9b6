"""What the loss refuses, in whole messages."""

import re

import pytest
import torch
from objectives.awmp_cases import make_prior
from objectives.awmp_loss_cases import make_loss
from objectives.sacm_cases import make_actor, make_critics
from tensordict.nn import TensorDictModule
from torch import nn

from torchrl_mixture.objectives import AWMPLoss


def refused(message, **kwargs):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_loss(**kwargs)


def test_prior_action():
    message = "prior_action must be one of ('replay', 'sampled'), got 'mean'."
    refused(message, prior_action="mean")


def test_no_value_network():
    message = "value_network must be a network: the critics' target is its value."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        AWMPLoss(make_actor(), make_critics(1), None, prior_network=make_prior())


def test_skipped_states():
    message = "skip_done_states must be False: the policy is not called in the next state."
    refused(message, skip_done_states=True)
    make_loss(skip_done_states=False)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_gate_temperature(value):
    refused(f"gate_temperature must be positive, got {value}.", gate_temperature=value)


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_gate_entropy_coef(value):
    refused(f"gate_entropy_coef must be at least 0, got {value}.", gate_entropy_coef=value)
    make_loss(gate_entropy_coef=0.0)


def test_a_prior_of_other_components():
    message = "prior_network must have the actor's 3 components, got 4."
    refused(message, prior=make_prior(4))


def test_a_prior_of_the_state_alone():
    prior = TensorDictModule(nn.Linear(3, 3), ["observation"], ["prior_logits"])
    prior.num_components = 3
    message = "prior_network must read the action 'action', it reads ['observation']."
    refused(message, prior=prior)


def test_what_is_no_prior():
    keys = ["observation", "action"]
    other = TensorDictModule(nn.Linear(5, 3), keys, ["logits"])
    wanted = (
        "prior_network must write 'prior_logits' and have num_components, such as a PriorNetwork"
    )
    refused(f"{wanted}, got TensorDictModule that writes ['logits'].", prior=other)
    uncounted = TensorDictModule(nn.Linear(5, 3), keys, ["prior_logits"])
    refused(f"{wanted}, got TensorDictModule that writes ['prior_logits'].", prior=uncounted)


def test_critics_of_each_component(make_batch):
    loss = make_loss(critics=make_critics(3))
    message = "qvalue_network must have one value, for all components, got 3."
    for call in ("value_loss", "actor_loss"):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            getattr(loss, call)(make_batch())


def test_integers_are_numbers(make_batch):
    loss = make_loss(gate_temperature=1, gate_entropy_coef=0)
    assert loss.gate_temperature.dtype == torch.get_default_dtype()
    assert loss(make_batch())["loss_value"].isfinite()
