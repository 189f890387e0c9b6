"""What a latent policy refuses."""

import pytest
import torch
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torch import nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.modules import ProbabilisticActor, TanhNormal

from torchrl_mixture.modules import Discriminator, LatentPolicy, latent_actor, mixture_actor

Z = 3
KEYS = ["observation", ("task", "goal")]
SPEC = Composite(observation=Unbounded((4,)), task=Composite(goal=Unbounded((2,))))
BOX = Bounded(torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 0.5]))


@pytest.fixture
def actor():
    return latent_actor(BOX, Z, observation_spec=SPEC)


def test_there_must_be_a_latent(actor):
    with pytest.raises(ValueError, match=r"^num_latents must be at least 1, got 0\.$"):
        LatentPolicy(actor, 0)


def test_the_actor_must_read_the_latent():
    actor = mixture_actor(BOX, 2, observation_spec=SPEC)
    message = r"^actor must read 'latent', it reads \['observation'\]\.$"
    with pytest.raises(ValueError, match=message):
        LatentPolicy(actor, Z)


def test_the_discriminator_must_read_the_state_alone(actor):
    message = (
        r"^discriminator must read the state alone, \['observation'\], it reads "
        r"\[\"\('task', 'goal'\)\", 'action'\] too\.$"
    )
    with pytest.raises(ValueError, match=message):
        LatentPolicy(actor, Z, Discriminator(Z, BOX, observation_spec=SPEC, in_keys=KEYS))


def test_the_discriminator_must_know_as_many_latents(actor):
    message = r"^discriminator must have num_latents = 3 values, it has 4\.$"
    with pytest.raises(ValueError, match=message):
        LatentPolicy(actor, Z, Discriminator(4, observation_spec=SPEC))


@pytest.mark.parametrize("latent", [-1, Z])
def test_latents_that_do_not_exist(actor, latent):
    message = f"^latent must be at least 0 and below {Z}, got {latent}\\.$"
    with pytest.raises(ValueError, match=message):
        LatentPolicy(actor, Z).with_latent(latent)


def test_the_marginal_must_be_of_a_mixture():
    module = TensorDictModule(
        nn.Sequential(nn.Linear(Z, 4), NormalParamExtractor()), ["latent"], ["loc", "scale"]
    )
    stock = ProbabilisticActor(module, ["loc", "scale"], distribution_class=TanhNormal)
    message = (
        r"^actor must have a ComponentMixture as its distribution, such as latent_actor makes, "
        r"got TanhNormal\.$"
    )
    with pytest.raises(ValueError, match=message):
        LatentPolicy(stock, Z).marginal()
