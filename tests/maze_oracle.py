"""The maze once more: read off a picture, and stepped in exact rational arithmetic."""

from fractions import Fraction

PICTURE = """
+-+-+-+-+-+
| | | | | |
+.+.+.+.+.+
| : | : | |
+.+-+.+-+.+
| : : : : |
+-+-+.+-+-+
| : : | | |
+.+.+.+.+.+
| | | : : |
+-+-+-+-+-+
"""  # - and | are walls, . and : walls with a door

SPEED, MARGIN, DOOR = Fraction(1, 4), Fraction(1, 100_000), Fraction(1, 5)

Cell = tuple[int, int]
Point = tuple[Fraction, Fraction]

_ROWS = PICTURE.strip().splitlines()[::-1]  # from the bottom


def doors() -> set[tuple[Cell, Cell]]:
    """Pairs of neighbours with a door, the left or lower one first."""
    pairs = set()
    for row, line in enumerate(_ROWS):
        for column, mark in enumerate(line):
            if mark == ":":
                pairs.add((((column - 2) // 2, row // 2), (column // 2, row // 2)))
            if mark == ".":
                pairs.add(((column // 2, (row - 2) // 2), (column // 2, row // 2)))
    return pairs


def neighbours(cell: Cell) -> list[Cell]:
    pairs = doors()
    return [b for a, b in pairs if a == cell] + [a for a, b in pairs if b == cell]


def shortest_path(start: Cell, end: Cell) -> list[Cell]:
    """Cells from start to end, by paths that grow in all directions at once."""
    paths = {start: [start]}
    while end not in paths:
        paths = {n: path + [n] for cell, path in paths.items() for n in neighbours(cell)} | paths
    return paths[end]


def walls() -> list[tuple[Point, Point]]:
    """Pieces of wall, one for each side without a door and two for each with one."""
    pieces = []
    for row, line in enumerate(_ROWS):
        for column, mark in enumerate(line):
            if mark not in "-.|:":
                continue
            along, across = (column, row) if mark in "-." else (row, column)
            low, at = Fraction(along - 1 - 5), Fraction(across - 5)
            ends = [(low, low + 2)]
            if mark in ".:":
                ends = [(low, low + 1 - DOOR), (low + 1 + DOOR, low + 2)]
            for first, last in ends:
                one, other = (first, at), (last, at)
                pieces.append((one, other) if mark in "-." else (one[::-1], other[::-1]))
    return pieces


_WALLS = [(wall, tuple(tuple(map(float, end)) for end in wall)) for wall in walls()]


def _cross(a: Point, b: Point) -> Fraction:
    return a[0] * b[1] - a[1] * b[0]


def _minus(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1]


def _meetings(start: Point, move: Point) -> list[tuple[Fraction, Fraction]]:
    """Where the lines of a move and of each wall near it meet, as fractions of both."""
    found = []
    x, y = map(float, start)
    for (first, last), ((x_low, y_low), (x_high, y_high)) in _WALLS:
        if not (x_low - 0.3 < x < x_high + 0.3 and y_low - 0.3 < y < y_high + 0.3):
            continue
        wall, gap = _minus(last, first), _minus(first, start)
        determinant = _cross(move, wall)
        if determinant != 0:
            found.append((_cross(gap, wall) / determinant, _cross(gap, move) / determinant))
        elif _cross(gap, wall) == 0 and any(move):
            axis = 0 if move[0] != 0 else 1
            ends = (gap[axis] / move[axis], (gap[axis] + wall[axis]) / move[axis])
            if max(ends) >= 0:
                found.append((max(min(ends), Fraction(0)), Fraction(1, 2)))
    return found


def step(position: tuple[float, float], action: tuple[float, float], slack: float = 0) -> Point:
    """Position after an action, in exact arithmetic.

    A positive slack makes walls and the far end of the move longer by that fraction, a negative
    one shorter: where the two answers differ, rounding may decide.
    """
    start = (Fraction(position[0]), Fraction(position[1]))
    x, y = (SPEED * min(max(Fraction(a), Fraction(-1)), Fraction(1)) for a in action)
    low, high = -Fraction(slack), 1 + Fraction(slack)
    met = [t for t, u in _meetings(start, (x, y)) if 0 <= t <= high and low <= u <= high]
    share = max(min(met) - MARGIN, Fraction(0)) if met else Fraction(1)
    return start[0] + share * x, start[1] + share * y
