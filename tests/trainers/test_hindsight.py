"""Goals in hindsight: whose they are, which ones, and what TorchRL's class makes of the same."""

import pytest
import torch
from tensordict import TensorDict
from torchrl.data import HERReplayBuffer, LazyTensorStorage

from torchrl_mixture.trainers import HindsightReplayBuffer

NEXT_ACHIEVED = ("next", "achieved_goal")


def transitions(lengths, first=0):
    """Episodes one after another; goals are (episode, step), and no goal was ever pursued."""
    rows = []
    for episode, length in enumerate(lengths, first):
        steps = torch.arange(float(length))
        achieved = torch.stack([torch.full_like(steps, episode), steps], -1)
        none, done = torch.full_like(achieved, -1), (steps == length - 1).unsqueeze(-1)
        following = {
            "achieved_goal": achieved + torch.tensor([0.0, 1.0]),
            "desired_goal": none.clone(),
            "reward": torch.full((length, 1), -9.0),
            "done": done,
            "terminated": done & (episode % 2 == 0),
        }
        row = {"achieved_goal": achieved, "desired_goal": none}
        rows.append(TensorDict({**row, "next": TensorDict(following, [length])}, [length]))
    return torch.cat(rows)


def steps_ahead(batch):
    """The reward says which pair of goals it was computed from."""
    following = batch["next"]
    return (following["desired_goal"] - following["achieved_goal"])[..., 1:]


def make_buffer(capacity, batch_size=200, kind=HindsightReplayBuffer, **options):
    storage = LazyTensorStorage(capacity)
    options = {"reward_fn": steps_ahead, "her_ratio": 1.0, **options}
    return kind(storage=storage, batch_size=batch_size, **options)


def check(minibatch, written):
    """Every goal is one that its episode achieved after this step or later, as far as written."""
    episode, step = minibatch[NEXT_ACHIEVED].unbind(-1)
    goal = minibatch["desired_goal"]
    last = torch.stack(
        [written[NEXT_ACHIEVED][written[NEXT_ACHIEVED][:, 0] == one][-1, 1] for one in episode]
    )
    assert goal[:, 0].equal(episode)
    assert (goal[:, 1] >= step).all() and (goal[:, 1] <= last).all()
    assert minibatch["next", "desired_goal"].equal(goal)
    assert minibatch["next", "reward"].equal((goal[:, 1] - step).unsqueeze(-1))


@pytest.mark.parametrize("seed", range(40))
def test_no_goal_comes_from_another_episode_or_from_before(seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high + 1, (), generator=generator))

    torch.manual_seed(seed)
    capacity, longest = draw(1, 30), draw(1, 12)
    data = transitions([draw(1, longest) for _ in range(40)])
    buffer, start = make_buffer(capacity), 0
    while start < min(len(data), 6 * capacity):
        size = draw(1, capacity)
        if draw(0, 1):
            buffer.extend(data[start : start + size])
        else:  # another path of TorchRL's
            size = 1
            buffer.add(data[start])
        start += size
        if draw(0, 2):  # else nothing is drawn in between
            before = buffer[:].clone()
            check(buffer.sample(), data[:start])
            assert (buffer[:] == before).all()


@pytest.mark.parametrize("written", [5, 12, 17, 20, 26, 31, 34])
@pytest.mark.parametrize("sizes", [[1], [3], [7, 2]])
def test_every_later_goal_comes_equally_often(written, sizes):
    """In a ring of 12, with episodes of 7: some go on, some are overwritten in part, some wrap."""
    data, buffer, start, turn = transitions([7] * 5), make_buffer(12, 40_000), 0, 0
    while start < written:
        size = min(sizes[turn % len(sizes)], written - start)
        buffer.extend(data[start : start + size])
        start, turn = start + size, turn + 1
    torch.manual_seed(0)
    minibatch = buffer.sample()
    pairs, counts = torch.cat([minibatch[NEXT_ACHIEVED], minibatch["desired_goal"]], -1).unique(
        dim=0, return_counts=True
    )
    drawn = {tuple(pair): count for pair, count in zip(pairs.tolist(), counts, strict=True)}
    live = data[max(0, written - 12) : written][NEXT_ACHIEVED]
    expected = {}
    for episode, step in live.tolist():
        later = [goal for one, goal in live.tolist() if one == episode and goal >= step]
        for goal in later:
            expected[(episode, step, episode, goal)] = 1 / (len(live) * len(later))
    assert drawn.keys() == expected.keys()
    for pair, share in expected.items():
        z = (drawn[pair] / 40_000 - share) / (share * (1 - share) / 40_000) ** 0.5
        assert abs(z) < 4.5


FINAL = {2: {2}, **dict.fromkeys(range(3, 8), {7}), 8: {9}, 9: {9}}
WHOLE = {2: {2}, **dict.fromkeys(range(3, 8), {3, 4, 5, 6, 7}), 8: {8, 9}, 9: {8, 9}}


@pytest.mark.parametrize(("strategy", "goals"), [("final", FINAL), ("episode", WHOLE)])
def test_other_strategies_stay_in_the_episode_across_the_wrap(strategy, goals):
    """Of episodes with 3, 5 and more steps a ring of 8 holds those from the third of ten on."""
    data = transitions([3, 5, 9])
    buffer = make_buffer(8, 2_000, strategy=strategy)
    for start in range(0, 10, 5):
        buffer.extend(data[start : start + 5])
    minibatch = buffer.sample()
    names = {tuple(row): place for place, row in enumerate(data[NEXT_ACHIEVED].tolist())}
    drawn = {}
    for one, goal in zip(minibatch[NEXT_ACHIEVED], minibatch["desired_goal"], strict=True):
        drawn.setdefault(names[tuple(one.tolist())], set()).add(names[tuple(goal.tolist())])
    assert drawn == goals


def test_random_goals_come_from_the_whole_buffer():
    buffer = make_buffer(8, 2_000, strategy="random")
    buffer.extend(transitions([3, 5, 2])[:6])
    buffer.extend(transitions([3, 5, 2])[6:])
    assert len(buffer.sample()["desired_goal"].unique(dim=0)) == 8


@pytest.mark.parametrize(("ratio", "expected"), [(0.0, 0), (0.5, 100), (0.8, 160), (1.0, 200)])
def test_a_share_of_the_goals_changes(ratio, expected):
    buffer = make_buffer(20, her_ratio=ratio)
    buffer.extend(transitions([7, 7]))
    minibatch = buffer.sample()
    changed = (minibatch["desired_goal"] >= 0).all(-1)
    assert changed.sum() == expected
    assert (minibatch["next", "reward"][~changed] == -9).all()
    assert (minibatch["next", "desired_goal"][~changed] == -1).all()
    for end in ("done", "terminated"):
        stored = buffer[minibatch["index"]]["next", end]
        assert minibatch["next", end].equal(stored) and stored.any() and not stored.all()


SHAPES = {"B": lambda reward: reward[..., 0], "B, 1": lambda reward: reward}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
@pytest.mark.parametrize("stored", [torch.float32, torch.float64])
def test_rewards_of_either_shape_take_the_stored_dtype(shape, dtype, stored):
    buffer = make_buffer(20, reward_fn=lambda batch: SHAPES[shape](steps_ahead(batch)).to(dtype))
    data = transitions([7, 7])
    data["next", "reward"] = data["next", "reward"].to(stored)
    buffer.extend(data)
    minibatch = buffer.sample()
    assert minibatch["next", "reward"].dtype == stored
    assert minibatch["next", "reward"].equal(steps_ahead(minibatch).to(stored))
    assert minibatch["next", "reward"].max() > 1


def ahead_of_goals(buffer):
    """How many steps the goals are ahead of what the step achieved; minus a million elsewhere."""
    minibatch = buffer.sample()
    episode, step = minibatch[NEXT_ACHIEVED].unbind(-1)
    goal = minibatch["desired_goal"]
    return torch.where(goal[:, 0] == episode, goal[:, 1] - step, -1e6)


def test_torchrl_takes_goals_from_before_the_step():
    for kind, smallest in ((HERReplayBuffer, -1), (HindsightReplayBuffer, 0)):
        buffer = make_buffer(20, kind=kind)
        buffer.extend(transitions([7, 7]))
        assert ahead_of_goals(buffer).min() == smallest


def test_torchrl_cannot_draw_from_a_full_storage():
    for kind in (HERReplayBuffer, HindsightReplayBuffer):
        buffer, data = make_buffer(8, kind=kind), transitions([4] * 6)
        buffer.extend(data[:8])
        buffer.sample()
        buffer.extend(data[8:13])
        if kind is HERReplayBuffer:
            with pytest.raises(RuntimeError):
                buffer.sample()
        else:
            assert ahead_of_goals(buffer).min() == 0


def test_torchrl_does_not_see_a_whole_round_of_writes():
    for kind, mixed in ((HERReplayBuffer, True), (HindsightReplayBuffer, False)):
        buffer = make_buffer(12, kind=kind, achieved_goal_key=NEXT_ACHIEVED)
        for lengths, first in (([6, 6], 0), ([4, 8], 2)):
            for row in transitions(lengths, first):
                buffer.add(row)
            ahead = ahead_of_goals(buffer)
        assert (ahead < 0).any() == mixed


def test_torchrl_ends_the_episode_that_spans_the_wrap_elsewhere():
    for kind, mixed in ((HERReplayBuffer, True), (HindsightReplayBuffer, False)):
        buffer = make_buffer(8, kind=kind, achieved_goal_key=NEXT_ACHIEVED, strategy="final")
        for row in transitions([5, 6]):
            buffer.add(row)
        assert (ahead_of_goals(buffer) < 0).any() == mixed


def test_torchrl_takes_no_rewards_without_their_last_axis():
    buffer = make_buffer(20, kind=HERReplayBuffer, reward_fn=lambda b: steps_ahead(b)[..., 0])
    buffer.extend(transitions([7, 7]))
    with pytest.raises((RuntimeError, ValueError)):
        buffer.sample()


def filled(kind=HindsightReplayBuffer, **options):
    """A ring of 12 that has wrapped, its last episode in progress."""
    buffer, data = make_buffer(12, kind=kind, **options), transitions([7, 7, 7])
    for start in range(0, 18, 6):
        buffer.extend(data[start : start + 6])
    return buffer


@pytest.mark.parametrize("rounds", [1, 2])
def test_what_is_written_after_loading_is_another_episode(rounds):
    buffer = filled()
    for round in range(rounds):
        state = buffer.state_dict()
        buffer = make_buffer(12)
        kept = {**state}
        for _ in range(2):
            buffer.load_state_dict(state)
        assert state.keys() == kept.keys()
        assert buffer.episode_ends.equal(kept["episode_ends"])
        buffer.extend(transitions([9], 10 + round)[: 3 + round])
        assert ahead_of_goals(buffer).min() == 0
    assert buffer.sample()["desired_goal"][:, 0].unique().tolist() == [1, 2, 10, 11][: 2 + rounds]


def test_torchrl_joins_what_is_written_after_loading():
    old = make_buffer(20, kind=HERReplayBuffer, achieved_goal_key=NEXT_ACHIEVED)
    old.extend(transitions([7, 7])[:10])
    new = make_buffer(20, kind=HERReplayBuffer, achieved_goal_key=NEXT_ACHIEVED)
    state = old.state_dict()
    new.load_state_dict(state)
    assert "_her" not in state
    new.extend(transitions([4], 5))
    assert (ahead_of_goals(new) < 0).any()


def test_the_same_goals_are_drawn_after_loading():
    buffer, other = filled(), make_buffer(12)
    other.load_state_dict(buffer.state_dict())
    samples = [torch.manual_seed(3) and each.sample() for each in (buffer, other)]
    assert (samples[0] == samples[1]).all()


def test_the_ends_are_read_again_from_files(tmp_path):
    buffer = filled()
    buffer.dumps(tmp_path)
    other = make_buffer(12)
    other.extend(transitions([2] * 5))  # its own are forgotten
    other.sample()
    other.loads(tmp_path)
    assert other.episode_ends.equal(buffer.episode_ends)
    assert ahead_of_goals(other).min() == 0


@pytest.mark.parametrize("everything", [True, False])
def test_an_emptied_buffer_begins_again(everything):
    buffer = filled()
    buffer.sample()
    buffer.empty(empty_write_count=everything)
    assert buffer.episode_ends.numel() == 0
    data = transitions([2, 9, 4])
    for size in (3, 9, 14):
        buffer.extend(data[size - 5 if size > 3 else 0 : size])
        check(buffer.sample(), data)


def test_ends_that_are_overwritten_are_forgotten():
    buffer = make_buffer(10)
    for round in range(50):
        buffer.extend(transitions([1] * 7, 7 * round))
        buffer.sample()
        assert len(buffer._ends) <= 10
