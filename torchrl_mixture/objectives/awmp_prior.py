"""How the prior of an advantage-weighted mixture policy learns to divide states and actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from tensordict import TensorDict, TensorDictBase, TensorDictParams
from tensordict.nn import dispatch
from tensordict.utils import NestedKey
from torch import Tensor
from torchrl.objectives import LossModule

from torchrl_mixture import functional as F
from torchrl_mixture.modules import PriorNetwork
from torchrl_mixture.objectives.checks import check_choice

__all__ = ["AWMPPriorLoss", "Perturbation"]

Perturbation: TypeAlias = Literal["additive", "multiplicative"]
Reduction: TypeAlias = Literal["mean", "sum"]


class AWMPPriorLoss(LossModule):
    r"""Advantage-weighted information maximisation of the prior of SAC-AWMP.

    .. math::
        L_\eta = \mathbb E_{(s, a)} D_{KL}\big(P_\eta(\cdot \mid \tilde s, \tilde a) \,\|\,
            P_\eta(\cdot \mid s, a)\big) - \zeta\, I_\eta(h; (s, a))

    The divergence keeps the prior :math:`P_\eta(h \mid s, a)` smooth; the information makes it
    decide, and use all components. The information is that under a policy proportional to
    :math:`\exp A`: transitions are weighted by :math:`e^A / \mu(a \mid s)`, see
    :func:`~torchrl_mixture.functional.advantage_weights`. The divergence is that of the data, as
    in the authors' code; the paper leaves its expectation open.

    This loss has no critics. It reads ``"advantage"``, ``[*B, 1]``, which whoever trains them
    writes to the batch before, such as :class:`~torchrl_mixture.trainers.PriorReplay`: the
    paper's :math:`Q(s, a) - V(s)`, by the code of the smaller critic and of target networks.
    :math:`\log \mu` is ``"action_log_prob"``, ``[*B]``, recorded at collection
    (by :func:`~torchrl_mixture.collectors.GatedCollector`). Neither
    receives gradient. In the authors' code :math:`\mu` is the density of the noise that is added
    to the action times the weight of one component, and 1 in the random warm-up.

    Its outputs are ``loss_prior`` and, without gradient and in nats, ``prior_information``,
    ``prior_marginal_entropy``, ``prior_conditional_entropy``; ``prior_divergence``, the
    divergence with the information's weights (that of the loss is
    ``loss_prior`` + :math:`\zeta` ``prior_information``); and
    ``prior_effective_sample_size``, the number of transitions that the weights leave, the
    exponential of their entropy. Where it is near 1, there is no information to be found in a
    batch of this size: the advantages are too far apart, or the densities are, as they are of
    policies that saturate at the edges of the box.

    The weights of a prioritised replay, where there are some, multiply those of both terms.
    Transitions that TorchRL's masks leave out are left out of the batch.

    The authors' code differs: its signs look for the least information (see
    :func:`~torchrl_mixture.functional.weighted_information`), its divergence is the other way
    round, and it adds the error of a reconstruction of state and action, which is not in the
    paper and not here.

    Arguments:
        prior_network: see :class:`~torchrl_mixture.modules.PriorNetwork`.
        information_coef: :math:`\zeta`, at least 0; a buffer, which can be scheduled.
        noise_std: the spread :math:`\sigma` of the perturbation, at least 0; a buffer, which can
            be scheduled.
        noise: with :math:`\epsilon` standard normal, ``"additive"`` is
            :math:`\tilde x = x + \sigma \epsilon`, ``"multiplicative"``
            :math:`\tilde x = x + \sigma \epsilon |x|`, for states and actions alike. The paper
            has 0.04 and does not say of what; the code is multiplicative with 0.005.
        reduction: ``"mean"``, or ``"sum"``, the mean times the number of transitions. The
            information is one of the whole batch, so that there is no ``"none"``.

    Raises:
        ValueError: where ``noise`` or ``reduction`` is unknown, or a coefficient is negative.

    Source:
        Hou et al. (2020), equations 5 to 14; the defaults are those of table 3.

    Example:
        >>> from torchrl.data import Bounded, Composite, Unbounded
        >>> spec = Composite(observation=Unbounded((3,)))
        >>> prior = PriorNetwork(4, Bounded(-1.0, 1.0, (2,)), observation_spec=spec)
        >>> content = {
        ...     "observation": torch.randn(50, 3),
        ...     "action": torch.rand(50, 2),
        ...     "advantage": torch.randn(50, 1),
        ...     "action_log_prob": torch.randn(50),
        ... }
        >>> output = AWMPPriorLoss(prior)(TensorDict(content, [50]))
        >>> [key for key in output.keys() if "entropy" in key]
        ['prior_marginal_entropy', 'prior_conditional_entropy']
    """

    @dataclass
    class _AcceptedKeys:
        """Those of the advantage, the behaviour's log-density, and the replay's weights."""

        advantage: NestedKey = "advantage"
        sample_log_prob: NestedKey = "action_log_prob"
        priority_weight: NestedKey = "priority_weight"

    tensor_keys: _AcceptedKeys
    default_keys = _AcceptedKeys
    _schedulable_buffers = frozenset({"information_coef", "noise_std"})

    information_coef: Tensor
    noise_std: Tensor
    prior_network: PriorNetwork
    prior_network_params: TensorDictParams
    target_prior_network_params: TensorDictParams

    def __init__(
        self,
        prior_network: PriorNetwork,
        *,
        information_coef: float = 0.1,
        noise_std: float = 0.04,
        noise: Perturbation = "additive",
        reduction: str = "mean",
    ) -> None:
        check_choice("noise", noise, Perturbation)
        check_choice("reduction", reduction, Reduction)
        coefficients = {"information_coef": information_coef, "noise_std": noise_std}
        for name, value in coefficients.items():
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}.")
        super().__init__()
        self._in_keys: list[NestedKey] = []
        self.convert_to_functional(prior_network, "prior_network")
        for name, value in coefficients.items():
            self.register_coeff_buffer(name, float(value))
        self.noise = noise
        self.reduction = reduction
        self.out_keys = [
            "loss_prior",
            "prior_information",
            "prior_marginal_entropy",
            "prior_conditional_entropy",
            "prior_divergence",
            "prior_effective_sample_size",
        ]

    @property
    def in_keys(self) -> list[NestedKey]:
        """What the prior reads, the advantage and the behaviour's log-density."""
        keys = [self.tensor_keys.advantage, self.tensor_keys.sample_log_prob]
        return self._in_keys or [*self.prior_network.in_keys, *keys]

    @in_keys.setter
    def in_keys(self, keys: list[NestedKey]) -> None:
        self._in_keys = keys

    def _forward_value_estimator_keys(self, **kwargs: NestedKey) -> None:
        """There is no value estimator."""

    @dispatch
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The loss and what it is judged by, see the class."""
        data = self._unmasked(tensordict)
        inputs = data.select(*self.prior_network.in_keys)
        with self.prior_network_params.to_module(self.prior_network, preserve_module_state=False):
            perturbed_logits = self.prior_network(inputs.apply(self._perturb))["prior_logits"]
            logits = self.prior_network(inputs)["prior_logits"]
        priority, weights = self._weights(data, logits.shape[:-1])
        information, marginal, conditional = F.weighted_information(logits, weights)
        divergence = F.perturbation_divergence(logits, perturbed_logits, priority)
        loss = divergence - self.information_coef * information
        content = {
            "loss_prior": loss * weights.numel() if self.reduction == "sum" else loss,
            "prior_information": information.detach(),
            "prior_marginal_entropy": marginal.detach(),
            "prior_conditional_entropy": conditional.detach(),
        }
        with torch.no_grad():
            divergence = F.perturbation_divergence(logits, perturbed_logits, weights)
            content["prior_divergence"] = divergence
            content["prior_effective_sample_size"] = F.effective_sample_size(weights)
        output = TensorDict(content)
        self._clear_weakrefs(tensordict, output, "prior_network_params")
        return output

    def _unmasked(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The transitions that count, which a batch's statistic must be of."""
        for key in self._loss_mask_keys():
            mask = tensordict.get(key, None)
            if mask is not None:
                tensordict = tensordict[mask.reshape(tensordict.shape)]
        return tensordict

    def _perturb(self, value: Tensor) -> Tensor:
        noise = self.noise_std * torch.randn_like(value)
        return value + (noise if self.noise == "additive" else noise * value.abs())

    def _weights(
        self, tensordict: TensorDictBase, shape: torch.Size
    ) -> tuple[Tensor | None, Tensor]:
        """The replay's weights, where there are some, and those of the information, ``[*B]``."""
        advantage = tensordict[self.tensor_keys.advantage].reshape(shape)
        log_behaviour = tensordict[self.tensor_keys.sample_log_prob].reshape(shape)
        priority = self._maybe_get_priority_weight(tensordict)
        if priority is not None:
            priority = priority.reshape(shape)
            log_behaviour = log_behaviour - priority.log()
        return priority, F.advantage_weights(advantage, log_behaviour)
