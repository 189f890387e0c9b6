"""What the loss refuses, in whole messages."""

import math
import re

import pytest
from objectives.mede_cases import (
    Z,
    action_spec,
    make_actor,
    make_critics,
    make_discriminator,
    make_loss,
)
from torchrl.data import Composite, Unbounded

from torchrl_mixture.modules import Discriminator
from torchrl_mixture.objectives import MEDELoss

every_diversity = pytest.mark.parametrize("diversity", ["mede", "diayn"])


def refused(message, *args, **kwargs):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_loss(*args, **kwargs)


def test_unknown_diversity_is_refused():
    message = "diversity must be one of ('mede', 'diayn'), got 'dads'."
    refused(message, "dads")


def test_mede_needs_the_action():
    message = "discriminator must read the action with diversity='mede', it reads ['observation']."
    refused(message, discriminator=make_discriminator(form="state"))


def test_mede_reads_what_the_critics_read():
    spec = Composite(observation=Unbounded((3,)), goal=Unbounded((2,)))
    discriminator = Discriminator(Z, action_spec(), observation_spec=spec, in_keys=["goal"])
    message = (
        "discriminator must read what the critics read, ['observation', 'action', 'latent'], "
        "with diversity='mede', it reads ['goal', 'action']."
    )
    refused(message, discriminator=discriminator)


def test_mede_needs_the_tasks_reward():
    refused("task_reward=False must have diversity='diayn', got 'mede'.", task_reward=False)


@every_diversity
@pytest.mark.parametrize("coef", [-0.1, math.nan])
def test_coefficient_must_not_be_negative(diversity, coef):
    message = f"diversity_coef must be None or at least 0, got {coef}."
    refused(message, diversity, diversity_coef=coef)


def test_a_discriminator_is_required():
    with pytest.raises(TypeError, match="discriminator"):
        MEDELoss(make_actor(), make_critics())


def test_unknown_key():
    with pytest.raises(ValueError, match="no_such_key"):
        make_loss().set_keys(no_such_key="action")
