"""The four distributions, with boxes, as one list to parametrise over."""

from typing import Any, NamedTuple

import pytest
import torch
from oracles import Parameters, random_parameters
from torch import Tensor

from torchrl_mixture.distributions import (
    ArctanCauchyMixture,
    CauchyMixture,
    ComponentMixture,
    NormalMixture,
    TanhNormalMixture,
)


class Case(NamedTuple):
    """A distribution class and its box: ``None``, two numbers, or two tensors ``[A]``."""

    kind: type[ComponentMixture]
    box: tuple[Any, Any] | None

    def settings(self, size: int, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
        """Keyword arguments for ``A = size``."""
        if self.box is None:
            return {}
        if self.box == "tensors":
            low, high = torch.tensor([-2.0, 0.5, -1.0]), torch.tensor([3.0, 0.75, 10.0])
            return {"low": low[:size].to(dtype), "high": high[:size].to(dtype)}
        return dict(zip(("low", "high"), self.box, strict=True))

    def edges(self, size: int) -> tuple[Tensor, Tensor]:
        """Edges of the support, ``[A]``; those of the standard box where none is given."""
        settings = self.settings(size)
        if self.squashed:
            settings = {"low": -1.0, "high": 1.0} | settings
            return tuple(
                torch.as_tensor(settings[name]).double().expand(size) for name in ("low", "high")
            )
        return tuple(torch.full((size,), edge).double() for edge in (-torch.inf, torch.inf))

    @property
    def squashed(self) -> bool:
        return self.kind in (TanhNormalMixture, ArctanCauchyMixture)

    def make(self, parameters: Parameters, **kwargs: Any) -> ComponentMixture:
        settings = self.settings(parameters[1].shape[-1], parameters[1].dtype)
        return self.kind(*parameters, **settings, **kwargs)

    def random(
        self, *batch: int, components: int = 3, size: int = 1, **kwargs: Any
    ) -> ComponentMixture:
        """A mixture of random parameters with gradients, found at ``.logits`` and so on."""
        parameters = random_parameters(*batch, components=components, size=size)
        return self.make(parameters, **kwargs)


CASES = {
    "normal": Case(NormalMixture, None),
    "tanh": Case(TanhNormalMixture, None),
    "tanh, box": Case(TanhNormalMixture, (-2.0, 3.0)),
    "tanh, tensors": Case(TanhNormalMixture, "tensors"),
    "cauchy": Case(CauchyMixture, None),
    "arctan": Case(ArctanCauchyMixture, None),
    "arctan, box": Case(ArctanCauchyMixture, (-2.0, 3.0)),
    "arctan, tensors": Case(ArctanCauchyMixture, "tensors"),
}
SQUASHED = {name: case for name, case in CASES.items() if case.squashed}

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
squashed_cases = pytest.mark.parametrize("case", SQUASHED.values(), ids=SQUASHED.keys())


def parameters_of(mixture: ComponentMixture) -> Parameters:
    """The tensors that the mixture was made from."""
    return mixture.logits, mixture.loc, mixture.scale
