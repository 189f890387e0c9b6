"""A point in the plane that may go to any of several goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from torchrl_mixture.envs.base import TensorEnv

BOX = 7.0
THRESHOLD = 1.0


class Coefficients(NamedTuple):
    """What the reward weighs: the action and the distance, which cost, and the arrival."""

    action: float
    distance: float
    arrival: float


GOALS: Mapping[str, Sequence[Sequence[float]]] = MappingProxyType(
    {
        "four": ((5.0, 0.0), (-5.0, 0.0), (0.0, 5.0), (0.0, -5.0)),
        "two": ((-3.4, -3.4), (3.5, 3.5)),
    }
)

COEFFICIENTS: Mapping[str, Coefficients] = MappingProxyType(
    {
        "experiment": Coefficients(action=1.0, distance=0.1, arrival=1.0),
        "constructor": Coefficients(action=30.0, distance=1.0, arrival=10.0),
    }
)


class MultiGoal(TensorEnv):
    r"""A point that is paid for being near the nearest of several goals.

    .. math::
        s' = \operatorname{clip}(s + a, -7, 7), \qquad
        r = -c_a \lVert a \rVert^2 - c_d\, d^2 + c_g\, [d < 1], \qquad
        d = \min_g \lVert s' - g \rVert

    It starts at :math:`\mathcal N(0, \sigma^2)`, clipped to the box, and the episode ends where
    :math:`d < 1`. The observation is the position.

    The released code of soft actor-critic knows two sets of coefficients :math:`(c_a, c_d, c_g)`:
    its experiment uses (1, 0.1, 1), its constructor has (30, 1, 10) by default. Cohen et al. give
    none; the temperature of their agent, 0.3, is close to the experiment's, 1/3.

    Of two goals, Cohen et al. say that the one in the south-west is slightly closer to the start.
    Ours: (-3.4, -3.4) and (3.5, 3.5). With the experiment's coefficients, a discount of 0.99 and a
    temperature of 0.3, the optimal policy goes to the first in about 7 of 10 episodes.

    Arguments:
        goals: "four", on the axes at a distance of 5; "two"; or coordinates of one's own,
            ``[G, 2]``.
        coefficients: "experiment" or "constructor".
        init_sigma: :math:`\sigma`, the standard deviation of the start.
        max_steps: steps after which an episode is truncated; ``None`` for no limit.
        options: ``batch_size``, ``device`` and ``dtype``, as for :class:`TensorEnv`.

    Raises:
        ValueError: if the goals or the coefficients have an unknown name, the coordinates
            another shape, or ``init_sigma`` is negative or not finite.

    Source:
        Cohen et al. (2019), section 5.1; Haarnoja et al. (2018), by the authors' code.

    Example:
        >>> env = MultiGoal(goals="two", batch_size=[100])
        >>> env.goals
        tensor([[-3.4000, -3.4000],
                [ 3.5000,  3.5000]])
        >>> env.goal_of(torch.tensor([[-3.0, -3.0], [0.0, 0.0]]))
        tensor([ 0, -1])
    """

    goals: Tensor

    def __init__(
        self,
        goals: Literal["four", "two"] | Sequence[Sequence[float]] = "four",
        coefficients: Literal["experiment", "constructor"] = "experiment",
        *,
        init_sigma: float = 0.1,
        max_steps: int | None = 30,
        **options: Any,
    ) -> None:
        places = _coordinates(goals)
        if coefficients not in COEFFICIENTS:
            raise ValueError(
                f"coefficients must be one of {sorted(COEFFICIENTS)}, got {coefficients!r}."
            )
        if not 0 <= init_sigma < torch.inf:
            raise ValueError(f"init_sigma must be at least 0 and finite, got {init_sigma}.")
        self.coefficients = COEFFICIENTS[coefficients]
        self.init_sigma = init_sigma
        super().__init__(
            low=[-1.0] * 2,
            high=[1.0] * 2,
            observation_low=[-BOX] * 2,
            observation_high=[BOX] * 2,
            max_steps=max_steps,
            **options,
        )
        self.register_buffer("goals", places.to(self.device, self.dtype), persistent=False)

    def initial_state(self, shape: Sequence[int]) -> Tensor:
        return self.normal(self.init_sigma, (*shape, 2)).clamp(-BOX, BOX)

    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        state = (state + action).clamp(-BOX, BOX)
        distance = self._squared_distances(state).amin(-1)
        reached = distance < THRESHOLD**2
        by_action, by_distance, by_arrival = self.coefficients
        cost = by_action * action.square().sum(-1) + by_distance * distance
        return state, by_arrival * reached.to(cost.dtype) - cost, reached

    def goal_of(self, state: Tensor) -> Tensor:
        """Tell which goal a state has reached.

        Arguments:
            state: ``[*B, 2]``.

        Returns:
            the goal's index, or -1 where the state is near none, ``[*B]``, int64.
        """
        distance, nearest = self._squared_distances(state).min(-1)
        return torch.where(distance < THRESHOLD**2, nearest, -1)

    def _squared_distances(self, state: Tensor) -> Tensor:
        """Squared distances from the goals, ``[*B, G]``."""
        return (state.unsqueeze(-2) - self.goals).square().sum(-1)

    def draw(self, axes: Any, state: Tensor) -> None:
        from matplotlib.patches import Circle

        goals = self.goals.cpu()
        line = torch.linspace(-BOX, BOX, 141, dtype=goals.dtype)
        grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
        distance = (grid.unsqueeze(-2) - goals).square().sum(-1).amin(-1)
        cost = self.coefficients.distance * distance
        axes.contour(*grid.unbind(-1), cost, 12, colors="0.85", linewidths=0.8, zorder=0)
        for goal in goals.tolist():
            axes.add_patch(Circle(goal, THRESHOLD, color="tab:red", alpha=0.2))
            axes.plot(*goal, "o", color="tab:red")
        axes.plot(*state.tolist(), "o", color="black")
        axes.set(xlim=(-BOX, BOX), ylim=(-BOX, BOX), aspect="equal", xlabel="x", ylabel="y")


def _coordinates(goals: str | Sequence[Sequence[float]]) -> Tensor:
    if isinstance(goals, str) and goals not in GOALS:
        raise ValueError(
            f"goals must be one of {sorted(GOALS)} or coordinates [G, 2], got {goals!r}."
        )
    given = GOALS[goals] if isinstance(goals, str) else goals
    places = torch.as_tensor(given, dtype=torch.float64)
    if places.ndim != 2 or places.shape[1] != 2:
        raise ValueError(
            f"goals must be one of {sorted(GOALS)} or coordinates [G, 2], "
            f"got the shape {list(places.shape)}."
        )
    return places


def plot_trajectories(axes: Any, positions: Tensor, labels: Tensor | None = None) -> None:
    """Draw paths in the plane.

    Arguments:
        axes: a Matplotlib ``Axes``.
        positions: ``[N, T, 2]``; NaN after an episode's end.
        labels: what to colour by, such as the latent variable of each path, integers ``[N]``;
            without them, all paths are black; those below 0 are grey.

    Example:
        >>> from matplotlib.figure import Figure
        >>> axes = Figure().add_subplot()
        >>> plot_trajectories(axes, torch.zeros(3, 5, 2), torch.tensor([0, 1, 1]))
        >>> len(axes.lines)
        3
    """
    x, y = positions.detach().cpu().transpose(0, 1).unbind(-1)
    style = {"linewidth": 0.9, "alpha": 0.8}
    if labels is None:
        axes.plot(x, y, color="black", **style)
        return
    labels = labels.cpu()
    for label in labels.unique().tolist():
        chosen = labels == label
        color = f"C{label}" if label >= 0 else "gray"
        lines = axes.plot(x[:, chosen], y[:, chosen], color=color, **style)
        lines[0].set_label(str(label))
