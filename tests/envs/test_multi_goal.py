"""The point with several goals: its steps, rewards, ends, starts and pictures."""

import math
from fractions import Fraction

import pytest
import torch
from scipy import stats
from torch import Tensor

from torchrl_mixture.envs.multi_goal import MultiGoal, plot_trajectories

FOUR = [(5.0, 0.0), (-5.0, 0.0), (0.0, 5.0), (0.0, -5.0)]
WEIGHTS = {"experiment": (1, 0.1, 1), "constructor": (30, 1, 10)}
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def exact_step(
    position: list[float], action: list[float], goals: list, weights: tuple
) -> tuple[list[float], float, float]:
    """Position, reward without a bonus, and squared distance, by exact arithmetic."""

    def clip(value: Fraction, bound: int) -> Fraction:
        return min(max(value, Fraction(-bound)), Fraction(bound))

    move = [clip(Fraction(a), 1) for a in action]
    after = [clip(Fraction(p) + m, 7) for p, m in zip(position, move, strict=True)]
    distances = [
        sum((p - Fraction(g)) ** 2 for p, g in zip(after, goal, strict=True)) for goal in goals
    ]
    by_action, by_distance = (Fraction(str(w)) for w in weights[:2])
    cost = by_action * sum(m**2 for m in move) + by_distance * min(distances)
    return [float(p) for p in after], -float(cost), float(min(distances))


def step(env: MultiGoal, state: list, action: list) -> tuple[Tensor, float, bool]:
    tensordict = env.begin_in(torch.tensor(state, dtype=env.dtype))
    after = env.step(tensordict.set("action", torch.tensor(action, dtype=env.dtype)))["next"]
    return after["observation"], after["reward"].item(), after["terminated"].item()


# One step, and an episode, against exact arithmetic.


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("coefficients", list(WEIGHTS))
@pytest.mark.parametrize("goals", ["four", "two"])
def test_one_step_is_that_of_exact_arithmetic(goals, coefficients, dtype, tolerance):
    env = MultiGoal(goals, coefficients, dtype=dtype, batch_size=[2500])
    weights = WEIGHTS[coefficients]
    state = 14 * torch.rand(2500, 2, dtype=dtype) - 7
    action = 3 * torch.rand(2500, 2, dtype=dtype) - 1.5
    after = env.step(env.begin_in(state).set("action", action))["next"]
    keys = ("observation", "reward", "terminated")
    columns = (state, action, *(after[key] for key in keys))
    near, ended = 0, 0
    for position, move, ours, (reward,), (ends,) in zip(
        *(c.tolist() for c in columns), strict=True
    ):
        expected, cost, distance = exact_step(position, move, env.goals.tolist(), weights)
        assert math.dist(ours, expected) <= tolerance
        if abs(distance - 1) < 10 * tolerance:
            near += 1
            continue
        assert ends is (distance < 1)
        ended += ends
        # float32 knows a reward of 100 to 8e-6 only.
        assert reward == pytest.approx(cost + weights[2] * ends, abs=tolerance, rel=tolerance / 20)
    assert near <= 2
    assert ended > 50


@pytest.mark.parametrize("goals", ["four", "two"])
def test_an_episode_is_that_of_exact_arithmetic(goals):
    env = MultiGoal(goals, max_steps=None, dtype=torch.float64)
    actions = torch.randn(100, 2, dtype=torch.float64).cumsum(0).mul(0.4).sin().mul(1.3)
    tensordict = env.reset()
    position = tensordict["observation"].tolist()
    for action in actions:
        tensordict = env.step(tensordict.set("action", action))["next"]
        position, cost, distance = exact_step(
            position, action.tolist(), env.goals.tolist(), WEIGHTS["experiment"]
        )
        assert math.dist(tensordict["observation"].tolist(), position) <= 1e-8
        assert tensordict["reward"].item() == pytest.approx(cost + (distance < 1), abs=1e-8)
        assert tensordict["terminated"].item() is (distance < 1)


# Rewards and ends by hand.


@pytest.mark.parametrize(
    ("state", "action", "experiment", "constructor", "ends"),
    [
        ([0.0, 0.0], [0.5, 0.0], -0.25 - 2.025, -7.5 - 20.25, False),
        ([0.0, -2.0], [0.0, -1.0], -1 - 0.4, -30 - 4, False),
        ([3.5, 0.0], [1.0, 0.0], -1 - 0.025 + 1, -30 - 0.25 + 10, True),
        ([-5.0, 0.5], [0.0, -0.5], -0.25 + 1, -7.5 + 10, True),
        ([0.0, 4.0], [5.0, 0.0], -1 - 0.2, -30 - 2, False),  # the action counts as clipped
        ([6.5, 6.5], [1.0, 1.0], -2 - 5.3, -60 - 53, False),  # the position as well
    ],
)
def test_reward_and_end_by_hand(state, action, experiment, constructor, ends):
    for name, expected in (("experiment", experiment), ("constructor", constructor)):
        env = MultiGoal(coefficients=name, dtype=torch.float64)
        _, reward, terminated = step(env, state, action)
        assert reward == pytest.approx(expected, abs=1e-12)
        assert terminated is ends


def test_experiment_with_four_goals_is_the_default():
    env = MultiGoal()
    assert env.goals.tolist() == [list(goal) for goal in FOUR]
    assert step(env, [0.0, 0.0], [1.0, 0.0])[1] == pytest.approx(-1 - 1.6)


@pytest.mark.parametrize("goal", FOUR)
def test_a_distance_of_exactly_one_does_not_end_an_episode(goal):
    env = MultiGoal()
    unit = [g / 5 for g in goal]
    tensordict = env.begin_in(torch.zeros(2))
    for _ in range(4):
        tensordict = env.step(tensordict.set("action", torch.tensor(unit)))["next"]
    assert math.dist(tensordict["observation"].tolist(), goal) == 1
    assert not tensordict["terminated"]
    assert tensordict["reward"].item() == pytest.approx(-1 - 0.1)
    nudge = torch.tensor(unit) * 1e-3
    assert env.step(tensordict.set("action", nudge))["next", "terminated"]


@pytest.mark.parametrize("action", [[1.0, 1.0], [4.0, 9.0]])
def test_position_stays_in_the_box_and_its_spec(action):
    env = MultiGoal(max_steps=None)
    tensordict = env.begin_in(torch.tensor([6.3, 6.9]))
    for _ in range(3):
        tensordict = env.step(tensordict.set("action", torch.tensor(action)))["next"]
        assert env.observation_spec["observation"].is_in(tensordict["observation"])
    assert tensordict["observation"].tolist() == [7.0, 7.0]


def test_episode_is_truncated_at_30_steps_without_an_end():
    env = MultiGoal()
    still = env.begin_in(torch.zeros(2)).set("action", torch.zeros(2))
    ends = []
    for _ in range(30):
        after = env.step(still)["next"]
        ends.append(after["truncated"].item())
        assert not after["terminated"]
    assert ends == [False] * 29 + [True]


# Starts.


@each_dtype
def test_starts_are_normal_with_the_standard_deviation_of_the_released_code(dtype):
    env = MultiGoal(batch_size=[20_000], dtype=dtype)
    env.set_seed(1)
    start = env.reset()["observation"].double()
    assert stats.kstest(start.flatten() / 0.1, "norm").pvalue > 0.01
    assert abs(torch.corrcoef(start.T)[0, 1]) < 0.03


def test_starts_are_clipped_to_the_box():
    env = MultiGoal(init_sigma=10.0, batch_size=[20_000])
    start = env.reset()["observation"]
    assert start.abs().max() == 7
    outside = 2 * stats.norm.sf(0.7)
    assert (start.abs() == 7).double().mean().item() == pytest.approx(outside, abs=0.01)
    assert (MultiGoal(init_sigma=0.0).reset()["observation"] == 0).all()


# Goals.


def test_of_two_goals_the_one_in_the_south_west_is_slightly_closer():
    south_west, north_east = MultiGoal("two").goals
    assert (south_west < 0).all()
    assert (north_east > 0).all()
    assert 0.9 < (south_west.norm() / north_east.norm()).item() < 1


def test_goals_of_ones_own_are_taken():
    env = MultiGoal([(2, 1), (-3, 0.5), (0, 0)], dtype=torch.float64)
    assert env.goals.tolist() == [[2, 1], [-3, 0.5], [0, 0]]
    assert env.goals.dtype == torch.float64
    _, reward, terminated = step(env, [-3.0, 1.5], [0.0, 0.5])
    assert reward == pytest.approx(-0.25 - 0.225)
    assert not terminated


def test_goal_of_a_state_is_the_one_it_has_reached():
    env = MultiGoal(dtype=torch.float64)
    for index, (x, y) in enumerate(FOUR):
        near = torch.tensor([[x, y], [x + 0.6, y - 0.6], [x - 0.999, y]], dtype=torch.float64)
        assert env.goal_of(near).tolist() == [index] * 3
    far = torch.tensor([[0.0, 0.0], [4.0, 0.0], [5.8, 0.8]], dtype=torch.float64)
    assert env.goal_of(far).tolist() == [-1] * 3
    assert env.goal_of(far[0]).shape == ()


def test_goal_of_a_state_near_several_is_the_nearest():
    env = MultiGoal([(0, 0), (1, 0)])
    assert env.goal_of(torch.tensor([[0.4, 0.0], [0.6, 0.0], [-0.9, 0.0]])).tolist() == [0, 1, 0]


def test_an_episode_has_a_goal_where_it_ends_and_only_there():
    env = MultiGoal("two", batch_size=[200], max_steps=None)
    tensordict = env.reset()
    state = tensordict["observation"]
    for _ in range(20):
        state, _, terminated = env.transition(state, 2 * torch.rand(200, 2) - 1)
        assert (env.goal_of(state) >= 0).equal(terminated)


@pytest.mark.parametrize("goals", ["three", "", [(1.0, 2.0, 3.0)], [], [1.0, 2.0]])
def test_unknown_goals_are_refused(goals):
    with pytest.raises(ValueError, match=r"goals must be one of \['four', 'two'\] or coordinates"):
        MultiGoal(goals)


@pytest.mark.parametrize("name", ["launcher", "", None])
def test_unknown_coefficients_are_refused(name):
    message = r"coefficients must be one of \['constructor', 'experiment'\], got "
    with pytest.raises(ValueError, match=message):
        MultiGoal(coefficients=name)


# The same by other ways.


def test_shape_of_the_batch_does_not_matter():
    env = MultiGoal()
    state, action = 14 * torch.rand(60, 2) - 7, 2 * torch.rand(60, 2) - 1
    flat = (*env.transition(state, action), env.goal_of(state))
    one = state.reshape(3, 4, 5, 2), action.reshape(3, 4, 5, 2)
    for expected, shaped in zip(flat, (*env.transition(*one), env.goal_of(one[0])), strict=True):
        assert expected.equal(shaped.flatten(0, 2))


@each_dtype
def test_compiled_it_gives_the_same(dtype):
    torch.compiler.reset()
    env = MultiGoal(dtype=dtype)
    state, action = 14 * torch.rand(60, 2, dtype=dtype) - 7, 2 * torch.rand(60, 2, dtype=dtype) - 1
    compiled = torch.compile(env.transition, fullgraph=True, backend="aot_eager")
    for one, other in zip(compiled(state, action), env.transition(state, action), strict=True):
        torch.testing.assert_close(one, other)


# Pictures.


@pytest.fixture
def axes():
    from matplotlib.figure import Figure

    return Figure().add_subplot()


def test_picture_has_goals_contours_and_position(axes):
    env = MultiGoal("two", "constructor")
    env.draw(axes, torch.tensor([0.5, -1.5]))
    *goals, position = [line.get_xydata()[0].tolist() for line in axes.lines]
    assert position == [0.5, -1.5]
    torch.testing.assert_close(torch.tensor(goals), env.goals)
    assert [circle.radius for circle in axes.patches] == [1.0, 1.0]
    (contours,) = axes.collections
    x, y = contours.get_paths()[2].vertices[0]
    squared = (torch.tensor([x, y]) - env.goals).square().sum(-1).min().item()
    assert squared == pytest.approx(contours.levels[2], rel=0.02)


def test_trajectories_are_coloured_by_their_label(axes):
    positions = torch.rand(5, 4, 2)
    positions[1, 2:] = math.nan
    labels = torch.tensor([2, 0, 2, 0, 7])
    plot_trajectories(axes, positions, labels)
    drawn = {line.get_color(): [] for line in axes.lines}
    for line in axes.lines:
        drawn[line.get_color()].append(torch.from_numpy(line.get_xydata()).float())
    expected = {f"C{label}": positions[labels == label] for label in (0, 2, 7)}
    assert drawn.keys() == expected.keys()
    for color, paths in expected.items():
        torch.testing.assert_close(torch.stack(drawn[color]), paths, equal_nan=True)
    assert [text.get_text() for text in axes.legend().get_texts()] == ["0", "2", "7"]


def test_trajectories_without_labels_are_black(axes):
    plot_trajectories(axes, torch.rand(3, 4, 2, requires_grad=True))
    assert [line.get_color() for line in axes.lines] == ["black"] * 3
