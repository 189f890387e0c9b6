"""What a network has to know of the specs of an environment."""

from __future__ import annotations

from collections.abc import Sequence

from tensordict.utils import NestedKey
from torch import Tensor
from torchrl.data import Bounded, Composite, TensorSpec

__all__ = ["action_box", "action_leaf", "check_num_latents", "input_size", "uniform_log_prob"]


def input_size(observation_spec: Composite, in_keys: Sequence[NestedKey]) -> int:
    """Add up the sizes of what a network reads.

    Arguments:
        observation_spec: the environment's, with leaves ``[*B, size]``.
        in_keys: what is read; several are concatenated.

    Raises:
        ValueError: where a key is not in the spec.

    Example:
        >>> from torchrl.data import Unbounded
        >>> spec = Composite(observation=Unbounded((10,)), desired_goal=Unbounded((3,)))
        >>> input_size(spec, ["observation", "desired_goal"])
        13
    """
    missing = [key for key in in_keys if key not in observation_spec.keys(True)]
    if missing:
        raise ValueError(
            f"in_keys must be in observation_spec, which has "
            f"{sorted(map(str, observation_spec.keys(True, True)))}; got {missing}."
        )
    return sum(observation_spec[key].shape[-1] for key in in_keys)


def action_leaf(action_spec: TensorSpec) -> TensorSpec:
    """The action's own spec, ``[*B, A]``: the spec itself, or the ``"action"`` of a composite."""
    if isinstance(action_spec, Composite):
        if "action" not in action_spec.keys():
            keys = list(action_spec.keys())
            raise ValueError(f"action_spec must have the key 'action' at its top, got {keys}.")
        action_spec = action_spec["action"]
    if not action_spec.dtype.is_floating_point or not action_spec.shape:
        raise ValueError(f"action_spec must be continuous, [*B, A], got {_summary(action_spec)}.")
    return action_spec


def action_box(action_spec: TensorSpec) -> dict[str, float | Tensor]:
    """Edges of the action's box: numbers where all dimensions share them, else ``[A]``."""
    if not isinstance(action_spec, Bounded):
        raise ValueError(
            f"action_spec must be bounded for a squashed base, got {_summary(action_spec)}."
        )
    edges = {}
    for name in ("low", "high"):
        edges_of_all = getattr(action_spec.space, name).reshape(-1, action_spec.shape[-1])
        edge = edges_of_all[0]
        if not edge.isfinite().all() or (edges_of_all != edge).any():
            raise ValueError(
                f"action_spec must have finite bounds, the same for every environment of a batch, "
                f"got {name} {edges_of_all.tolist()}."
            )
        edges[name] = edge[0].item() if (edge == edge[0]).all() else edge
    return edges


def uniform_log_prob(action_spec: Bounded) -> Tensor:
    """Log-density of a uniform action, by the box that all environments of a batch share."""
    edges = (action_spec.high - action_spec.low).reshape(-1, action_spec.shape[-1])
    return -edges[0].log().sum()


def check_num_latents(num_latents: int) -> None:
    """Refuse a latent variable without a value."""
    if num_latents < 1:
        raise ValueError(f"num_latents must be at least 1, got {num_latents}.")


def _summary(spec: TensorSpec) -> str:
    return f"{type(spec).__name__} of shape {tuple(spec.shape)} and {spec.dtype}"
