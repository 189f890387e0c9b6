"""How much of the maze has been seen."""

from __future__ import annotations

import torch
from torch import Tensor

from torchrl_mixture.envs.maze_grid import BOX


class Coverage:
    """Which of the maze's 100 unit squares have been visited, over all that was seen so far.

    A position on the border of two squares counts for neither, as in the released code; NaN, as
    after an episode's end, counts for none.

    Arguments:
        device: where the record is kept.

    Source:
        Huang et al. (2023), figure 5, by the authors' code.

    Example:
        >>> coverage = Coverage()
        >>> coverage.update(torch.tensor([[0.5, 0.5], [0.6, 0.5], [-4.5, 4.5]]))
        tensor(0.0200)
        >>> coverage.update(torch.tensor([[1.5, 0.5]]))
        tensor(0.0300)
    """

    def __init__(self, device: torch.device | str | None = None) -> None:
        self.visited = torch.zeros(10, 10, dtype=torch.bool, device=device)

    def update(self, positions: Tensor) -> Tensor:
        """Add positions.

        Arguments:
            positions: ``[*B, 2]``.

        Returns:
            the fraction visited so far, a scalar.
        """
        self.visited = self.visited | visited_squares(positions)
        return self.visited.float().mean()


def visited_squares(positions: Tensor) -> Tensor:
    """Tell which of the maze's 100 unit squares hold one of some positions.

    Arguments:
        positions: ``[*B, 2]``.

    Returns:
        ``[10, 10]``, bool; first along x, then along y, from the bottom left.

    Example:
        >>> visited_squares(torch.tensor([[-4.5, 4.5]])).nonzero()
        tensor([[0, 9]])
    """
    positions = positions.reshape(-1, 2)
    square = positions.floor()
    inside = ((positions > square) & (square >= -BOX) & (square < BOX)).all(-1)
    x, y = (square + BOX).unbind(-1)
    index = torch.where(inside, 10 * x + y, 100).long()
    visited = torch.zeros(101, dtype=torch.bool, device=positions.device)
    visited[index] = True
    return visited[:100].reshape(10, 10)
