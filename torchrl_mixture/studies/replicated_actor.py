"""Many small networks in one batch of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from torchrl_mixture.distributions import TanhNormalMixture
from torchrl_mixture.envs.bandit_rewards import BOX
from torchrl_mixture.modules.extractor import MixtureParamExtractor

__all__ = ["ReplicatedActor", "evaluate_layers", "linear_layers"]


class ReplicatedActor(nn.Module):
    r"""Independent networks for the observation 1, evaluated together.

    Two hidden layers with ReLU; the output goes to logits, locations and scales as in
    :class:`~torchrl_mixture.modules.MixtureParamExtractor` with its default mapping (scale 1 at
    output 0, above 0.01). The box [-3, 3] is ours. Every replica has an initialisation of its
    own, PyTorch's default for linear layers (ours). Of one component the logit has no effect.

    Arguments:
        num_groups: groups of replicas; each has parameters of its own, for its own optimiser
            settings.
        group_size: replicas in a group. The replicas :math:`R` stand group after group.
        num_components: :math:`K`.
        hidden_size: units in each hidden layer.

    Example:
        >>> actor = ReplicatedActor(num_groups=4, group_size=400, num_components=5)
        >>> actor().sample((32,)).shape
        torch.Size([32, 1600, 1])
    """

    def __init__(
        self, num_groups: int, group_size: int, num_components: int, hidden_size: int = 16
    ) -> None:
        super().__init__()
        sizes = (1, hidden_size, hidden_size, 3 * num_components)
        self.groups = nn.ModuleList(
            nn.ParameterList(linear_layers(group_size, sizes)) for _ in range(num_groups)
        )
        self.extractor = MixtureParamExtractor(num_components)

    def forward(self) -> TanhNormalMixture:
        """The replicas' policies, batch ``[R]``."""
        stacked = [torch.cat(parts) for parts in zip(*self.groups, strict=True)]
        features = evaluate_layers(stacked, stacked[0].new_ones(len(stacked[0]), 1, 1))
        logits, loc, scale = self.extractor(features.squeeze(-1))
        return TanhNormalMixture(logits, loc, scale, low=-BOX, high=BOX)


def linear_layers(num_replicas: int, sizes: Sequence[int]) -> Iterator[nn.Parameter]:
    """Weights ``[R, out, in]`` and biases ``[R, out]`` as ``nn.Linear`` draws them."""
    for size_in, size_out in zip(sizes[:-1], sizes[1:], strict=True):
        bound = size_in**-0.5
        for shape in ((num_replicas, size_out, size_in), (num_replicas, size_out)):
            yield nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def evaluate_layers(parameters: Sequence[Tensor], features: Tensor) -> Tensor:
    """Replicas' networks with ReLU between the layers, ``[R, in, N]`` to ``[R, out, N]``.

    Arguments:
        parameters: of the layers, as :func:`linear_layers` gives them.
        features: :math:`N` inputs of each replica.
    """
    layers = list(zip(parameters[::2], parameters[1::2], strict=True))
    for index, (weight, bias) in enumerate(layers):
        features = torch.baddbmm(bias.unsqueeze(-1), weight, features)
        if index < len(layers) - 1:
            features = features.relu()
    return features
