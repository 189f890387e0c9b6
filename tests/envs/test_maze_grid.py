"""The maze: its steps, walls and doors."""

import math

import maze_oracle as oracle
import pytest
import torch
from torch import Tensor

from torchrl_mixture.envs.maze_grid import MazeGrid, cell_centre, maze_distances

CELLS = [(i, j) for i in range(5) for j in range(5)]
CORNER = (4, 4)
LINES = torch.tensor([-3.0, -1.0, 1.0, 3.0], dtype=torch.float64)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def go(env: MazeGrid, state: Tensor, *actions: tuple[float, float]) -> Tensor:
    for action in actions:
        state = env.transition(state, state.new_tensor(action).expand_as(state))[0]
    return state


def pairs(env: MazeGrid, count: int) -> tuple[Tensor, Tensor]:
    """States anywhere, against walls and near the goal, and actions of all sizes."""
    options = {"dtype": env.dtype}
    state = 10 * torch.rand(count, 2, **options) - 5
    state[::4] = torch.tensor(cell_centre(CORNER)) + 2 * torch.rand(len(state[::4]), 2) - 1
    for _ in range(3):
        push = (2 * torch.rand(count // 2, 2, **options) - 1).mul(3).clamp(-1, 1)
        state[: count // 2] = env.transition(state[: count // 2], push)[0]
    size = 10 ** (2.2 * torch.rand(count, 1, **options) - 2)
    return state, size * (2 * torch.rand(count, 2, **options) - 1)


# One step, and an episode, against exact arithmetic.


@pytest.mark.parametrize(
    ("dtype", "tolerance", "slack"), [(torch.float64, 1e-10, 1e-13), (torch.float32, 1e-5, 1e-6)]
)
def test_one_step_is_that_of_exact_arithmetic(dtype, tolerance, slack):
    env = MazeGrid(goal_cell=CORNER, dtype=dtype)
    state, action = pairs(env, 10_000)
    after, reward, terminated = env.transition(state, action.clamp(-1, 1))
    goal, stops, open_to_rounding = cell_centre(CORNER), 0, 0
    rows = zip(*(x.tolist() for x in (state, action, after, reward, terminated)), strict=True)
    for position, move, ours, reward_here, ends in rows:
        answers = {oracle.step(position, move, s) for s in (-slack, slack)}
        open_to_rounding += len(answers) - 1
        assert min(math.dist(ours, map(float, a)) for a in answers) <= tolerance
        free = [p + 0.25 * min(max(m, -1), 1) for p, m in zip(position, move, strict=True)]
        stops += math.dist(free, ours) > 1e-6
        distance = math.dist(ours, goal)
        if abs(distance - 0.5) > tolerance:
            assert (reward_here, ends) == (float(distance < 0.5), distance < 0.5)
    assert open_to_rounding <= 5
    assert stops > 500
    assert terminated.sum() > 300


def test_an_episode_is_that_of_exact_arithmetic():
    env = MazeGrid(max_steps=None, dtype=torch.float64)
    actions = torch.randn(400, 2, dtype=torch.float64).cumsum(0).mul(0.3).sin().mul(1.5)
    position, tensordict, stops = (0.0, 0.0), env.reset(), 0
    for action in actions:
        tensordict = env.step(tensordict.set("action", action))["next"]
        after = tuple(map(float, oracle.step(position, action.tolist())))
        stops += math.dist(position, after) < 0.2 * action.clamp(-1, 1).norm()
        position = after
        assert math.dist(tensordict["observation"].tolist(), position) <= 1e-8
    assert stops > 30


# Walls and doors.


def cell_of(coordinate: Tensor) -> Tensor:
    """Column or row; exact, where a quotient would round up from below a line."""
    return torch.bucketize(coordinate.contiguous(), LINES, right=True)


def through_a_wall(before: Tensor, after: Tensor) -> Tensor:
    """Whether a step ends on a wall, or goes from cell to cell otherwise than by a door."""
    door = torch.zeros(2, 6, 5, dtype=torch.bool)  # axis, line, cell along the line
    for (i, j), (i_next, j_next) in oracle.doors():
        axis = 0 if i_next > i else 1
        door[(axis, i_next, j) if axis == 0 else (axis, j_next, i)] = True
    before, after = before.double(), after.double()
    cells = [cell_of(before), cell_of(after)]
    wrong = (cells[0] != cells[1]).all(-1) | (after.abs() >= 5).any(-1)
    for axis, other in ((0, 1), (1, 0)):
        crossed = cells[0][..., axis] != cells[1][..., axis]
        line = torch.maximum(cells[0], cells[1])[..., axis]
        share = (2 * line - 5 - before[..., axis]) / (after - before)[..., axis]
        at = before[..., other] + share * (after - before)[..., other]
        for here, on_line in (
            (at, crossed),
            (after[..., other], after[..., axis] == 2 * line - 5),
        ):
            cell = cell_of(here)
            in_door = door[axis, line, cell] & ((here - (2 * cell - 4)).abs() < 0.2 + 1e-6)
            wrong |= on_line & ~in_door
    return wrong


def walk(dtype: torch.dtype, copies: int, steps: int) -> Tensor:
    """Take copies with temperaments of their own for a walk; which cells were reached."""
    env = MazeGrid(dtype=dtype)
    state = env.initial_state((copies,))
    size = 10 ** (4 * torch.rand(copies, 1, dtype=dtype) - 3)
    drift = torch.randn(copies, 2, dtype=dtype)
    reached = torch.zeros(5, 5, dtype=torch.bool)
    for step in range(steps):
        if step % 20 == 0:
            drift = torch.randn(copies, 2, dtype=dtype)
        action = (drift + size * torch.randn(copies, 2, dtype=dtype)).clamp(-1, 1)
        # Some have no coordinate but multiples of 1/4, as those who always go at full speed.
        action[::7] = action[::7].sign() * (torch.rand(2) < 0.7)
        action[1::7] *= 1e-3
        after = env.transition(state, action)[0]
        assert not through_a_wall(state, after).any()
        state = after
        reached[tuple(cell_of(state.double()).unbind(-1))] = True
    return reached


@each_dtype
def test_no_random_walk_goes_through_a_wall(dtype):
    reached = walk(dtype, copies=2000, steps=400)  # which asserts it at every step
    assert reached.sum() > 5  # they went through doors, so that there was something to see


@pytest.mark.slow
@each_dtype
def test_no_long_random_walk_of_many_goes_through_a_wall(dtype):
    assert walk(dtype, copies=10_000, steps=2000).all()


def test_check_of_the_walks_finds_each_way_through_a_wall():
    starts = [
        [0.9, 0.5],
        [0.9, 0.35],
        [4.9, 0.0],
        [0.9, 0.9],
        [0.9, 0.5],
        [0.0, 0.0],
        [-4.0, -2.9],
    ]
    ends = [[1.1, 0.5], [1.1, 0.15], [5.0, 0.0], [1.1, 1.1], [1.0, 0.5], [0.2, 0.2], [-3.0, -3.1]]
    wrong = through_a_wall(torch.tensor(starts), torch.tensor(ends))
    assert wrong.tolist() == [True, True, True, True, True, False, True]
    through_doors = [[0.9, 0.1], [1.0, -0.1], [0.1, 1.1]], [[1.1, -0.1], [0.9, 0.0], [-0.1, 0.9]]
    assert not through_a_wall(*map(torch.tensor, through_doors)).any()


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_is_reached_by_its_shortest_path_in_time(cell):
    env = MazeGrid(dtype=torch.float64)
    path = oracle.shortest_path((2, 2), cell)
    state, steps = torch.zeros(2, dtype=torch.float64), 0
    for (i, j), (i_next, j_next) in zip(path, path[1:], strict=False):
        state = go(env, state, *[(i_next - i, j_next - j)] * 8)
        steps += 8
    assert state.tolist() == list(cell_centre(cell))
    assert steps == 8 * maze_distances()[cell] <= env.max_steps


@pytest.mark.parametrize("cell", CELLS)
def test_no_way_leads_to_a_neighbour_without_a_door(cell):
    env = MazeGrid(dtype=torch.float64)
    for direction in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        neighbour = (cell[0] + direction[0], cell[1] + direction[1])
        state = go(env, torch.tensor(cell_centre(cell), dtype=torch.float64), *[direction] * 8)
        moved = math.dist(state.tolist(), cell_centre(cell))
        assert moved == pytest.approx(2 if neighbour in oracle.neighbours(cell) else 1, abs=1e-5)


def test_distances_are_those_of_the_released_maze():
    rows = ["45234", "34123", "21012", "32145", "43234"]
    expected = {(i, 4 - k): int(row[i]) for k, row in enumerate(rows) for i in range(5)}
    assert maze_distances() == expected
    assert maze_distances((0, 4))[0, 3] == 1


@each_dtype
@pytest.mark.parametrize("action", [(1.0, 0.0), (0.7, 0.7), (1.0, -1.0), (0.4, 0.003)])
def test_a_point_pushed_against_a_wall_stays_and_can_leave(dtype, action):
    env = MazeGrid(dtype=dtype)
    state = torch.tensor([[4.9, 4.1], [0.9, 0.4], [0.97, 2.5]], dtype=dtype)
    stopped = go(env, state, *[action] * 2)
    later = go(env, stopped, *[action] * 100)
    torch.testing.assert_close(later, stopped, rtol=0, atol=1e-5)
    gap = torch.tensor([5.0, 1.0, 1.0], dtype=dtype) - later[:, 0]
    assert ((0 < gap) & (gap < 1e-5)).all()
    back = go(env, later, (-1.0, 0.0))
    expected = later - torch.tensor([0.25, 0.0], dtype=dtype)
    torch.testing.assert_close(back, expected, rtol=0, atol=1e-6)
    along = go(env, later, (0.0, 1.0))
    torch.testing.assert_close(along[:, 1], later[:, 1] + 0.25, rtol=0, atol=1e-6)


def test_a_point_does_not_slide():
    state = go(MazeGrid(dtype=torch.float64), torch.tensor([4.9, 4.0]).double(), (1.0, 0.5))
    assert state.tolist() == pytest.approx([5.0, 4.05], abs=1e-5)


@each_dtype
def test_a_point_leaves_a_corner(dtype):
    env = MazeGrid(dtype=dtype)
    corners = torch.tensor([[-5.0, -5.0], [5.0, 5.0], [-5.0, 5.0], [1.0, 1.0]], dtype=dtype)
    inwards = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, -1.0]], dtype=dtype)
    for size in (1.0, 0.01, 1e-4):
        state = corners + 0.3 * size * inwards
        for _ in range(20):
            state = env.transition(state, -size * inwards)[0]
        assert ((state - corners) * inwards > 0).all()
        torch.testing.assert_close(state, corners, rtol=0, atol=1e-5)
        after = env.transition(state, inwards)[0]
        torch.testing.assert_close(after, state + 0.25 * inwards, rtol=0, atol=1e-6)


@each_dtype
@pytest.mark.parametrize("size", [1.0, 0.03, 1e-3, 1e-5])
def test_small_steps_do_not_come_to_lie_on_a_wall(dtype, size):
    env = MazeGrid(dtype=dtype)
    speed = torch.tensor([[1.0, 0.3], [-1.0, 0.3], [0.3, 1.0], [0.3, -1.0]], dtype=dtype) * size
    state = torch.tensor([[5.0, 0.5], [1.0, 0.5], [0.5, 3.0], [0.5, -1.0]], dtype=dtype) - speed
    for _ in range(30):
        state = env.transition(state, speed)[0]
    after = env.transition(state, -speed / size)[0]
    torch.testing.assert_close(after, state - 0.25 * speed / size, rtol=0, atol=1e-6)


@each_dtype
def test_a_point_in_a_door_does_not_go_into_the_wall_beside_it(dtype):
    env = MazeGrid(dtype=dtype)
    in_door = go(env, torch.zeros(2, dtype=dtype), *[(1.0, 0.0)] * 4)
    assert in_door.tolist() == [1.0, 0.0]
    for side in (1.0, -1.0):
        beside = go(env, in_door, *[(0.0, side)] * 3)
        assert beside.tolist() == pytest.approx([1.0, 0.2 * side], abs=1e-5)
        assert abs(beside[1]) < 0.2
        assert go(env, beside, (1.0, 0.0)).tolist() == pytest.approx([1.25, 0.2 * side], abs=1e-5)
        assert go(env, beside, (-1.0, 0.0)).tolist() == pytest.approx([0.75, 0.2 * side], abs=1e-5)


def test_a_state_on_a_wall_does_not_move():
    state = torch.tensor([1.0, 0.5])
    for action in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.5, 0.5)):
        assert go(MazeGrid(), state, action).tolist() == [1.0, 0.5]


# The same by other ways.


def test_shape_of_the_batch_does_not_matter():
    env = MazeGrid(CORNER)
    state, action = pairs(env, 60)
    action = action.clamp(-1, 1)
    flat = env.transition(state, action)
    for shape in ((3, 20), (2, 3, 10)):
        shaped = env.transition(state.reshape(*shape, 2), action.reshape(*shape, 2))
        for one, other in zip(flat, shaped, strict=True):
            assert one.equal(other.flatten(0, len(shape) - 1))
    single = [env.transition(s, a) for s, a in zip(state, action, strict=True)]
    for one, rows in zip(flat, zip(*single, strict=True), strict=True):
        assert one.equal(torch.stack(rows))


@each_dtype
def test_compiled_it_gives_the_same(dtype):
    torch.compiler.reset()
    env = MazeGrid(CORNER, fourier=True, dtype=dtype)
    state, action = pairs(env, 1000)
    action = action.clamp(-1, 1)
    action[::3, 0] = 0
    compiled = torch.compile(env.transition, fullgraph=True, backend="aot_eager")
    for one, other in zip(compiled(state, action), env.transition(state, action), strict=True):
        assert one.equal(other)
    observe = torch.compile(env.observe, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(observe(state), env.observe(state))
