"""Acting with the component that the critics score highest."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase, TensorDictParams
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor
from torchrl.data import Unbounded
from torchrl.envs import TensorDictPrimer
from torchrl.envs.utils import ExplorationType, exploration_type

from torchrl_mixture import functional as F
from torchrl_mixture.modules.ensemble import EnsembleCall, check_critic_keys, component_values
from torchrl_mixture.modules.means import MeanActors

__all__ = ["GreedyComponent"]


class GreedyComponent(TensorDictModuleBase):
    r"""A policy that takes the mean with the highest value, or now and then any.

    .. math::
        k = \arg\max_i \min_e Q_e(s, \mu_i(s)) \text{ with probability } 1 - \epsilon,
        \text{ else uniform over } 1, \dots, K; \qquad a = \mu_k(s)

    The best component is thus taken with probability :math:`1 - \epsilon + \epsilon / K`. Where
    an exploration type other than ``RANDOM`` is set, it is taken always. Written are
    ``"action"``, ``[*B, A]``, and ``"component"``, int64 ``[*B]``. For noise on the action put
    TorchRL's ``AdditiveGaussianModule`` after this module.

    The scores are those of the critics whose parameters are given: in the example the online
    critics. The paper does not say which; its released code scores with the target critics, for
    which give ``loss.target_qvalue_network_params``. With one component nothing is scored.

    Arguments:
        actor: the means.
        qvalue_network: the critic as a module, such as ``loss.qvalue_network``; it reads
            ``"action"`` and writes ``"state_action_value"``.
        qvalue_params: parameters of an ensemble of it, ``[E]``, such as
            ``loss.qvalue_network_params``; shared, so that the policy follows the training.
        epsilon: :math:`\epsilon`, a buffer, that
            :class:`~torchrl_mixture.trainers.LinearSchedule` can set.

    Raises:
        ValueError: where epsilon is no probability, or the critic has other keys.

    Source:
        Dey and Sharon (2025), section 3.1; the minimum over critics is from their code.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl.data import Bounded, Composite, Unbounded
        >>> from torchrl.modules import MLP, ValueOperator
        >>> from torchrl_mixture.objectives import GamidLoss
        >>> spec = Bounded(-1.0, 1.0, (2,))
        >>> observed = Composite(observation=Unbounded((3,)))
        >>> actor = MeanActors(spec, num_components=5, observation_spec=observed)
        >>> critic = ValueOperator(MLP(5, 1), in_keys=["observation", "action"])
        >>> state = TensorDict({"observation": torch.zeros(8, 3)}, [8])
        >>> loss = GamidLoss(actor, critic, action_spec=spec)
        >>> policy = GreedyComponent(
        ...     actor, loss.qvalue_network, loss.qvalue_network_params, epsilon=0.1
        ... )
        >>> policy(state)["action"].shape
        torch.Size([8, 2])
    """

    epsilon: Tensor

    def __init__(
        self,
        actor: MeanActors,
        qvalue_network: TensorDictModule,
        qvalue_params: TensorDictParams,
        *,
        epsilon: float = 0.0,
    ) -> None:
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon must be from 0 to 1, got {epsilon}.")
        check_critic_keys(qvalue_network)
        super().__init__()
        self.actor = actor
        self.qvalue_params = qvalue_params
        self.critics = EnsembleCall(qvalue_network)
        self.register_buffer("epsilon", torch.tensor(float(epsilon)))
        observed = [key for key in qvalue_network.in_keys if key != "action"]
        self.in_keys = list(dict.fromkeys([*actor.in_keys, *observed]))
        self.out_keys = ["action", "component"]

    def make_tensordict_primer(self) -> TensorDictPrimer:
        """The transform that marks the actions of a collector's random warm-up with -1."""
        spec = Unbounded((), dtype=torch.int64)
        return TensorDictPrimer({"component": spec}, default_value=-1, expand_specs=True)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Score the means, choose one, and act."""
        means = self.actor(tensordict.select(*self.actor.in_keys))["means"]
        component = self.best(tensordict, means)
        if exploration_type() in (ExplorationType.RANDOM, None):
            explore = torch.rand(component.shape, device=component.device) < self.epsilon
            anyone = torch.randint_like(component, self.actor.num_components)
            component = torch.where(explore, anyone, component)
        tensordict.set("component", component)
        return tensordict.set("action", F.take_component(means, component))

    def best(self, tensordict: TensorDictBase, means: Tensor) -> Tensor:
        """The component of the highest score, int64 ``[*B]``, of means ``[*B, K, A]``."""
        if self.actor.num_components == 1:
            return torch.zeros(means.shape[:-2], dtype=torch.int64, device=means.device)
        values = component_values(self.critics, self.qvalue_params, tensordict, means)
        return values.squeeze(-1).amin(0).argmax(-1)
