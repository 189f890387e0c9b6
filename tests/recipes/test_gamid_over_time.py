"""What the recipe of several means does over a run: schedules, continuing, moments."""

import numpy as np
import pytest
import torch
from recipes.running import (
    HINDSIGHT,
    RECIPES,
    SHORT,
    build,
    check_resumed,
    frames_of,
    stop_at,
    updated,
)
from tensordict import TensorDict
from torchrl.checkpoint import Checkpoint, GlobalRNGState

from torchrl_mixture.trainers import newest_checkpoint, train_run

SETTINGS = {
    "policy.epsilon_initial": 1.0,
    "policy.epsilon_final": 0.5,
    "policy.epsilon_fraction": 0.9,
    "loss.temperature_initial": 0.4,
    "loss.temperature_final": 0.2,
    "loss.temperature_fraction": 0.5,
}
SCHEDULED = [f"{key}={value}" for key, value in SETTINGS.items()]


@pytest.fixture
def recipe(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.chdir(tmp_path)
    import gamid

    return gamid


def spy_on_schedules(trainer):
    found = []

    def keep():
        epsilon = trainer.collector.policy[0].epsilon.item()
        found.append((trainer.collected_frames, trainer.loss_module.temperature.item(), epsilon))

    trainer.register_op("post_steps", keep)
    return found


def test_schedules_reach_their_final_values(recipe):
    trainer, run = build(recipe, *SHORT, *SCHEDULED)
    found = spy_on_schedules(trainer)
    assert train_run(trainer, run)
    values = {frames: rest for frames, *rest in found}
    assert values[50] == pytest.approx([0.4 - 0.2 * 50 / 130, 1.0 - 0.5 * 50 / 234])
    assert values[130] == pytest.approx([0.2, 1.0 - 0.5 * 130 / 234])
    assert values[230] == pytest.approx([0.2, 1.0 - 0.5 * 230 / 234])
    assert values[240] == values[260] == pytest.approx([0.2, 0.5])


def test_a_fraction_of_less_than_a_frame(recipe):
    trainer, _ = build(recipe, *SHORT, *SCHEDULED, "loss.temperature_fraction=1e-9")
    assert trainer.loss_module.temperature == pytest.approx(0.4)


def stopped_and_continued(recipe, tmp_path, *arguments):
    """Two runs at frame 230: the one that was stopped there, and what goes on from it."""
    trainer, run = build(recipe, *SHORT, *SCHEDULED, *arguments)
    stop_at(trainer, 230)
    assert not train_run(trainer, run)
    Checkpoint(rng=GlobalRNGState()).load(newest_checkpoint(run.record.checkpoints)[0])
    return trainer, check_resumed(recipe, run.record.path, tmp_path / "copy"), run


@pytest.mark.parametrize(
    "arguments",
    [[], ["env.num_envs=2", "replay_buffer.n_steps=3"], HINDSIGHT],
    ids=["one copy", "two copies, three steps", "hindsight"],
)
def test_continued_run_is_bitwise_the_stopped_one(recipe, tmp_path, arguments):
    trainer, resumed, _ = stopped_and_continued(recipe, tmp_path, *arguments)
    generator = torch.get_rng_state()
    expected = updated(trainer, updates=30)
    torch.set_rng_state(generator)
    resumed._setup_hook()  # the schedules set their values
    torch.set_rng_state(generator)
    found = updated(resumed, updates=30)
    assert expected.keys() == found.keys() and len(found) > 30
    assert [key for key in found if not found[key].equal(expected[key])] == []
    one, two = (t.collector.policy.state_dict() for t in (trainer, resumed))
    assert one.keys() == two.keys() and all(one[key].equal(two[key]) for key in one)
    states = TensorDict(
        {"observation": torch.randn(50, 3), "desired_goal": torch.randn(50, 2)}, [50]
    )
    actions = []
    for policy in (trainer.collector.policy, resumed.collector.policy):
        torch.manual_seed(0)
        actions.append(policy(states.clone())["action"])
    assert actions[0].equal(actions[1])


def test_continued_run_keeps_rows_and_moments(recipe, tmp_path):
    _, resumed, run = stopped_and_continued(recipe, tmp_path)
    folder = run.record.path
    before = dict(np.load(folder / "means.npz"))
    (folder / "means.npz").unlink()
    found = spy_on_schedules(resumed)
    resumed.train()
    assert frames_of(folder) == [0, 130, 260]
    assert [frames for frames, *_ in found] == [240, 250, 260]
    assert found[-1][1:] == pytest.approx((0.2, 0.5))
    after = dict(np.load(folder / "means.npz"))
    assert list(before) == ["200"] and list(after) == ["200", "260"]
    assert np.array_equal(before["200"], after["200"])


def test_means_are_kept_at_five_moments(recipe):
    frames = ["collector.total_frames=100", "collector.init_random_frames=20"]
    trainer, run = build(recipe, *SHORT, *frames, "policy.num_components=2")
    untrained = [value.clone() for value in trainer.collector.policy[0].actor.parameters()]
    checked = []

    def check_untrained():
        if trainer.collected_frames == 20:
            now = trainer.collector.policy[0].actor.parameters()
            checked.append(all(a.equal(b) for a, b in zip(untrained, now, strict=True)))

    trainer.register_op("pre_optim_steps", check_untrained)
    assert train_run(trainer, run)
    kept = np.load(run.record.path / "means.npz")
    assert checked == [True]
    assert kept.files == ["20", "30", "50", "80", "100"]
    assert {kept[name].shape for name in kept.files} == {(200, 2, 1)}
    stored = trainer._modules["replay_buffer"].buffer[:]["observation"]
    last = trainer.collector.policy[0].actor(
        TensorDict({"observation": stored[torch.linspace(0, 99, 200).long()]}, [200])
    )
    assert np.allclose(kept["100"], last["means"].detach().numpy(), atol=1e-6)
    assert np.abs(kept["100"]).max() <= 2 and not np.allclose(kept["20"], kept["100"])


def test_means_that_cannot_be_written_are_told(recipe, capsys):
    trainer, run = build(recipe, *SHORT)
    (run.record.path / "means.npz").mkdir()
    assert train_run(trainer, run)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("means.npz was not written (" in line for line in lines)
    assert not list(run.record.path.glob(".means*"))
