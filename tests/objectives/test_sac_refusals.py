"""What the loss refuses, and what it says."""

import pytest
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torch import nn
from torchrl.data import Bounded
from torchrl.modules import ProbabilisticActor, TanhNormal

from torchrl_mixture.objectives import GradientEstimator, MixtureSACLoss


def test_actor_without_a_mixture_is_refused(make_critics):
    net = nn.Sequential(nn.Linear(3, 4), NormalParamExtractor())
    actor = ProbabilisticActor(
        TensorDictModule(net, ["observation"], ["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=Bounded(-1.0, 1.0, (2,)),
        distribution_class=TanhNormal,
    )
    with pytest.raises(ValueError, match="actor_network must have a ComponentMixture.*TanhNormal"):
        MixtureSACLoss(actor, make_critics())


def test_estimator_of_another_shape_is_refused(make_loss, make_batch):
    class Forgetful(GradientEstimator):
        def forward(self, policy, q_function, alpha):
            actions, log_prob = policy.rsample_and_log_prob((2,))
            return alpha * log_prob - q_function(actions), log_prob

    loss, batch = make_loss(Forgetful()), make_batch()
    with pytest.raises(ValueError, match=r"shape \(16,\), Forgetful returned \(2, 16\)"):
        loss(batch)
