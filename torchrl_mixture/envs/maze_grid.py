"""A point in a maze of 25 rooms with narrow doors."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchrl_mixture.envs.base import TensorEnv

Cell = tuple[int, int]
Wall = tuple[tuple[float, float], tuple[float, float]]

SIZE = 5  # cells a side
BOX = 5.0
DOOR = 0.2  # half the width
SPEED = 0.25
MARGIN = 1e-5  # of a step, left before a wall
NUM_FREQUENCIES = 6
CENTRE: Cell = (2, 2)

# Pairs of neighbours without a door, by the one on the right, and by the upper one.
CLOSED_LEFT = {(1, 0), (1, 4), (2, 0), (2, 3), (2, 4), (3, 1), (3, 4), (4, 1), (4, 3), (4, 4)}
CLOSED_BELOW = {(0, 2), (1, 2), (1, 3), (3, 2), (3, 3), (4, 2)}


def cell_centre(cell: Cell) -> tuple[float, float]:
    """Give the position of a cell's centre; cell (0, 0) is at the bottom left."""
    return 2.0 * cell[0] - 4, 2.0 * cell[1] - 4


def _pieces(doors: Sequence[float]) -> list[tuple[float, float]]:
    """Cut a line across the maze at the doors' centres."""
    cuts = [-BOX, *(centre + side for centre in doors for side in (-DOOR, DOOR)), BOX]
    return list(zip(cuts[::2], cuts[1::2], strict=True))


def _walls() -> tuple[Wall, ...]:
    walls: list[Wall] = []
    for line in range(SIZE + 1):
        at, inner = 2.0 * line - BOX, 0 < line < SIZE
        left = [j for j in range(SIZE) if inner and (line, j) not in CLOSED_LEFT]
        below = [i for i in range(SIZE) if inner and (i, line) not in CLOSED_BELOW]
        walls += [((at, low), (at, high)) for low, high in _pieces([2.0 * j - 4 for j in left])]
        walls += [((low, at), (high, at)) for low, high in _pieces([2.0 * i - 4 for i in below])]
    return tuple(walls)


WALLS = _walls()  # lower and upper end of each


def _has_door(cell: Cell, neighbour: Cell) -> bool:
    x, y = (0.5 * (a + b) for a, b in zip(cell_centre(cell), cell_centre(neighbour), strict=True))
    return not any(low[0] <= x <= high[0] and low[1] <= y <= high[1] for low, high in WALLS)


def maze_distances(start: Cell = CENTRE) -> dict[Cell, int]:
    """Count the doors on the shortest way to each cell, by a breadth-first search.

    Arguments:
        start: column and row of the cell to begin at, 0 to 4, from the bottom left.

    Returns:
        the number of doors by cell; all 25 can be reached.

    Example:
        >>> maze_distances()[4, 4]
        4
    """
    distances, queue = {start: 0}, deque([start])
    while queue:
        i, j = cell = queue.popleft()
        for neighbour in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if neighbour not in distances and _has_door(cell, neighbour):
                distances[neighbour] = distances[cell] + 1
                queue.append(neighbour)
    return distances


class MazeGrid(TensorEnv):
    r"""A point that moves in a maze of 5 by 5 cells, from the middle, without a reward.

    .. math::
        s' = s + \tau\, \frac a4, \qquad
        \tau = \begin{cases}
            \max(0,\, t - 10^{-5}) & \text{if the way to } s + a/4
                \text{ first meets a wall at its fraction } t \\
            1 & \text{if it meets none}
        \end{cases}

    The maze is :math:`[-5, 5]^2`, its cells have side 2. Of the 40 pairs of neighbours, 24 are
    joined by a door 0.4 wide in the middle of the wall. A point does not slide along walls. Where
    rounding would put it on a wall, it stays on its side, so that it never goes through, in
    float32 either. A state on a wall, which only :meth:`begin_in` can give, does not move.

    The released code lets a point that moves exactly along the line of a wall, out of a door,
    into that wall, where it is stuck. Ours: it meets the wall's end.

    In the released code the reward is zero, and the measure is :class:`Coverage`. Dey and Sharon
    give the maze a sparse reward and a goal, and nothing about them. Ours: with a goal, the reward
    is 1 where the point arrives within ``goal_radius`` of the centre of ``goal_cell``, which ends
    the episode, and 0 elsewhere. All four corners are 4 doors from the start.

    The observation is the position, or, of 28 dimensions,

    .. math::
        \left(\frac{s}{100},\ \frac s5,\ \sin\frac{2^k s}{5},\ \cos\frac{2^k s}{5}\right),
        \qquad k = 0, \dots, 5.

    Arguments:
        goal_cell: column and row of the goal, 0 to 4, from the bottom left, such as (4, 4);
            ``None`` for no goal.
        goal_radius: of the goal, in (0, 1]: it does not reach through walls.
        fourier: whether the observation is the longer one.
        max_steps: steps after which an episode is truncated; ``None`` for no limit.
        options: ``batch_size``, ``device`` and ``dtype``, as for :class:`TensorEnv`.

    Raises:
        ValueError: if the goal is in no cell, or at the start, or its radius is out of range.

    Source:
        Huang et al. (2023), "Reparameterized Policy Learning for Multimodal Trajectory
        Optimization", figure 5, by the authors' code; used by Dey and Sharon (2025), figure 3.

    Example:
        >>> env = MazeGrid(goal_cell=(4, 4), batch_size=[100])
        >>> state, reward, terminated = env.transition(
        ...     torch.tensor([0.9, 0.5]), torch.tensor([1.0, 0.0])
        ... )
        >>> state  # at the wall
        tensor([1.0000, 0.5000])
    """

    wall_low: Tensor
    wall_high: Tensor
    goal: Tensor
    frequencies: Tensor

    def __init__(
        self,
        goal_cell: Cell | None = None,
        *,
        goal_radius: float = 0.5,
        fourier: bool = False,
        max_steps: int | None = 50,
        **options: Any,
    ) -> None:
        cells = set(maze_distances()) - {CENTRE}
        if goal_cell is not None and tuple(goal_cell) not in cells:
            raise ValueError(
                f"goal_cell must be None or two integers from 0 to {SIZE - 1} other than "
                f"{CENTRE}, the start, got {goal_cell}."
            )
        if not 0 < goal_radius <= 1:
            raise ValueError(
                f"goal_radius must be greater than 0 and at most 1, got {goal_radius}."
            )
        self.goal_cell, self.goal_radius, self.fourier = goal_cell, goal_radius, fourier
        bound = [BOX / 100] * 2 + [1.0] * (2 + 4 * NUM_FREQUENCIES) if fourier else [BOX] * 2
        super().__init__(
            low=[-1.0] * 2,
            high=[1.0] * 2,
            observation_low=[-b for b in bound],
            observation_high=bound,
            max_steps=max_steps,
            **options,
        )
        low, high = torch.tensor(WALLS, dtype=torch.float64).unbind(1)
        goal = torch.tensor(cell_centre(goal_cell or CENTRE))
        frequencies = 2.0 ** torch.arange(NUM_FREQUENCIES)
        buffers = {"wall_low": low, "wall_high": high, "goal": goal, "frequencies": frequencies}
        for name, value in buffers.items():
            self.register_buffer(name, value.to(self.device, self.dtype), persistent=False)

    def initial_state(self, shape: Sequence[int]) -> Tensor:
        return torch.zeros(*shape, 2, device=self.device, dtype=self.dtype)

    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        move = SPEED * action
        met = self._first_wall(state, move).unsqueeze(-1)
        after = state + torch.where(met <= 1, (met - MARGIN).clamp(min=0), 1.0) * move
        after = self._own_side(after, state)
        arrived = torch.zeros_like(met.squeeze(-1), dtype=torch.bool)
        if self.goal_cell is not None:
            arrived = (after - self.goal).square().sum(-1) < self.goal_radius**2
        return after, arrived.to(after.dtype), arrived

    def _first_wall(self, state: Tensor, move: Tensor) -> Tensor:
        """Fraction of a move at which it first meets a wall, ``[*B]``; infinite if at none."""
        (enter_x, leave_x), (enter_y, leave_y) = (
            _times_between(state[..., k], move[..., k], self.wall_low[:, k], self.wall_high[:, k])
            for k in (0, 1)
        )
        enter = torch.maximum(enter_x, enter_y).clamp(min=0)
        leave = torch.minimum(leave_x, leave_y).clamp(max=1)
        return torch.where(enter <= leave, enter, torch.inf).amin(-1)

    def _own_side(self, after: Tensor, before: Tensor) -> Tensor:
        """Take a point that rounding put on a wall back by the least step, ``[*B, 2]``."""
        point = after.unsqueeze(-2)
        in_x, in_y = ((self.wall_low <= point) & (point <= self.wall_high)).unbind(-1)
        upright, level = (self.wall_low == self.wall_high).unbind(-1)
        on_wall = in_x & in_y
        back = torch.stack(((on_wall & upright).any(-1), (on_wall & level).any(-1)), -1)
        return torch.where(back, torch.nextafter(after, before), after)

    def observe(self, state: Tensor) -> Tensor:
        if not self.fourier:
            return super().observe(state)
        scaled = state / BOX
        angle = scaled.unsqueeze(-2) * self.frequencies.unsqueeze(-1)
        waves = torch.stack((angle.sin(), angle.cos()), -2).flatten(-3)
        return torch.cat((state / 100, scaled, waves), -1)

    def draw(self, axes: Any, state: Tensor) -> None:
        from matplotlib.patches import Circle

        for start, end in WALLS:
            axes.plot(*zip(start, end, strict=True), color="black", linewidth=1.5)
        if self.goal_cell is not None:
            centre = cell_centre(self.goal_cell)
            axes.add_patch(Circle(centre, self.goal_radius, color="tab:green", alpha=0.5))
        axes.plot(*state.tolist(), "o", color="tab:red")
        ticks, limits = range(-5, 6, 2), (-5.3, 5.3)
        axes.set(xlim=limits, ylim=limits, xticks=ticks, yticks=ticks, aspect="equal")
        axes.set(xlabel="x", ylabel="y")


def _times_between(at: Tensor, step: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """When a coordinate ``[*B]`` enters and leaves each of some intervals ``[W]``, ``[*B, W]``."""
    at, step = at.unsqueeze(-1), step.unsqueeze(-1)
    moves, inside = step != 0, (low <= at) & (at <= high)
    divisor = torch.where(moves, step, 1.0)  # the gradient of a division by zero would be NaN
    one, other = (low - at) / divisor, (high - at) / divisor
    # One that does not move is inside always or never.
    never = torch.where(inside, -torch.inf, torch.inf)
    enter = torch.where(moves, torch.minimum(one, other), never)
    leave = torch.where(moves, torch.maximum(one, other), -never)
    return enter, leave
