"""How the states of a run of awmp are divided: what is told, what is drawn, what is refused."""

import math
import re
import shutil
import sys

import numpy as np
import pytest
import torch
from gate_cases import mean_weights
from recipes.running import AWMP, RECIPES, build
from scipy import stats
from torchrl.envs.utils import ExplorationType, set_exploration_type

from torchrl_mixture.envs import MultiGoal, Pendulum
from torchrl_mixture.studies import Split
from torchrl_mixture.trainers import normalize_like, train_run

TINY = [
    "collector.total_frames=110",
    "collector.init_random_frames=100",
    "evaluation.interval=110",
    "evaluation.episodes=1",
]
OURS = "env.library=torchrl_mixture"
RUNS = {
    "goals": [OURS, "env.name=MultiGoal"],
    "swing": [],
    "pendulum": [OURS, "env.name=Pendulum"],
    "normalized": [OURS, "env.name=Pendulum", "env.normalize_observations=true"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder with the runs, and by name their folders and trainers."""
    folder, runs = tmp_path_factory.mktemp("split"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES))
        patch.chdir(folder)
        import awmp

        for name, arguments in RUNS.items():
            trainer, run = build(awmp, *AWMP, *TINY, *arguments)
            assert train_run(trainer, run)
            runs[name] = (str(run.record.path), trainer)
    return folder, runs


@pytest.fixture
def runs(trained):
    return {name: run for name, (run, _) in trained[1].items()}


@pytest.fixture
def split(trained, monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.chdir(trained[0])
    import split

    return split


@pytest.fixture
def main(split, monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["split.py", *map(str, arguments)])
        capsys.readouterr()
        split.main()
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out.splitlines()

    return call


@pytest.fixture
def panels(split, monkeypatch):
    """What the figure was drawn of."""
    kept, plot = {}, split.studies.plot_split

    def record(points, labels, panels, path):
        kept.update(points=points, labels=labels, panels=panels)
        return plot(points, labels, panels, path)

    monkeypatch.setattr(split.studies, "plot_split", record)
    return kept


def numbers(line):
    return [float(number) for number in re.findall(r"\d\.\d{3}", line)]


def check_lines(lines, gate, prior):
    """The numbers of weights ``[N, K]``, from SciPy's entropy."""
    heading, *told, last = lines
    assert heading == f"{len(gate)} states, {gate.shape[1]} components"
    for line, name, weights in zip(told, ("gate", "prior"), (gate, prior), strict=True):
        mean, heaviest = weights.mean(0), weights.argmax(-1)
        shares = [(heaviest == k).double().mean().item() for k in range(len(mean))]
        names = re.findall(r"[a-z][a-z_]*\d?", line)
        keys = ["effective_components", "information", *(f"share_{k}" for k in range(len(mean)))]
        assert names == [name, *keys] and line.startswith(f"{name:5}  effective")
        information = stats.entropy(mean) - np.mean(stats.entropy(weights, axis=1))
        expected = [math.exp(stats.entropy(mean)), information, *shares]
        assert numbers(line) == pytest.approx(expected, abs=6e-4)
    same = (gate.argmax(-1) == prior.argmax(-1)).double().mean().item()
    pairs = [
        (gate[i].argmax() == prior[j].argmax())
        for i in range(len(gate))
        for j in range(len(prior))
    ]
    by_chance = sum(pairs).item() / len(pairs)
    told = f"in {100 * same:.1f}% (by chance {100 * by_chance:.1f}%)"
    assert last == f"gate and prior have the same heaviest component {told}"


@torch.no_grad()
def by_hand(env, trainer, seed):
    """The same episodes, stepped here with the networks that were trained."""
    policy, rows, ended = trainer._policy, [], torch.zeros(env.batch_size, dtype=torch.bool)
    env.set_seed(seed)
    torch.manual_seed(seed)
    now = env.reset()
    while not ended.all():
        with set_exploration_type(ExplorationType.RANDOM):
            stepped, now = env.step_and_maybe_reset(policy(now))
        rows.append(stepped.select("observation", "action")[~ended])
        ended |= stepped["next", "done"].squeeze(-1)
    data = torch.cat(rows)
    prior = trainer.loss_module.prior_network
    return data, *mean_weights(policy, prior, data, 128, alpha=0.2, temperature=1.0)


def test_a_run_of_goals_by_hand(trained, runs, main, panels, tmp_path):
    figure = tmp_path / "split.png"
    *lines, last = main(f"run={runs['goals']}", "episodes=3", "seed=7", f"figure={figure}")
    assert last == f"The figure is in {figure}"
    assert figure.read_bytes().startswith(b"\x89PNG")
    data, gate, prior = by_hand(MultiGoal(batch_size=[3]), trained[1]["goals"][1], 7)
    check_lines(lines, gate, prior)
    assert panels["points"].equal(data["observation"]) and panels["labels"] == ("x", "y")
    assert list(panels["panels"]) == ["gate", "prior"]
    for found, expected in zip(panels["panels"].values(), (gate, prior), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_run_on_normalised_observations_by_hand(trained, runs, main):
    """Policy and prior read what they were trained on."""
    trainer = trained[1]["normalized"][1]
    norm = trainer.checkpoint.components["observation_norm"]
    lines = main(f"run={runs['normalized']}", "episodes=2", "seed=7")
    _, gate, prior = by_hand(normalize_like(Pendulum(batch_size=[2]), norm), trainer, 7)
    check_lines(lines, gate, prior)


def test_a_run_of_another_task(runs, main, panels, tmp_path):
    """Twenty steps an episode; the states lie in a plane of principal components."""
    figure = tmp_path / "split.pdf"
    lines = main(f"run={runs['swing']}", "episodes=4", f"figure={figure}")
    assert lines[0] == "80 states, 3 components" and len(lines) == 5
    assert figure.read_bytes().startswith(b"%PDF")
    assert panels["points"].shape == (80, 2)
    assert all(re.fullmatch(r"direction \d \(\d+%\)", label) for label in panels["labels"])
    assert lines[:4] == main(f"run={runs['swing']}", "episodes=4")
    assert lines[:4] != main(f"run={runs['swing']}", "episodes=4", "seed=1")


def test_angles_of_a_pendulum(runs, main, panels, tmp_path):
    main(f"run={runs['pendulum']}", "episodes=2", f"figure={tmp_path / 'a.png'}")
    assert panels["labels"] == ("angle", "velocity") and panels["points"].shape == (400, 2)
    angle, velocity = panels["points"].reshape(200, 2, 2).unbind(-1)
    turned = torch.remainder(angle.diff(dim=0) + math.pi, 2 * math.pi) - math.pi
    torch.testing.assert_close(turned, 0.05 * velocity[1:], rtol=0, atol=1e-4)


def test_what_is_called_an_angle_is_one_where_observations_are_normalised(
    runs, main, panels, tmp_path
):
    """A pendulum turns by its velocity times the time of a step."""
    main(f"run={runs['normalized']}", "episodes=2", f"figure={tmp_path / 'a.png'}")
    points = panels["points"].reshape(200, 2, 2)
    if panels["labels"] == ("angle", "velocity"):
        angle, velocity = points.unbind(-1)
        turned = torch.remainder(angle.diff(dim=0) + math.pi, 2 * math.pi) - math.pi
        torch.testing.assert_close(turned, 0.05 * velocity[1:], rtol=0, atol=1e-3)
    else:
        assert all(label.startswith("direction ") for label in panels["labels"])


def test_numbers_of_splits_that_are_made_by_hand(split):
    gate = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]], dtype=torch.float64)
    prior = torch.tensor([[0.6, 0.4], [0.6, 0.4], [0.6, 0.4], [0.4, 0.6]], dtype=torch.float64)
    lines = split.describe(Split(torch.zeros(4, 3), gate, prior)).splitlines()
    check_lines(lines, gate, prior)
    assert lines[3] == "gate and prior have the same heaviest component in 75.0% (by chance 50.0%)"
    halves = torch.eye(2).repeat(3, 1)
    lines = split.describe(Split(torch.zeros(6, 3), halves, halves.flip(0))).splitlines()
    told = "effective_components 2.000  information 0.693  share_0 0.500  share_1 0.500"
    assert lines == [
        "6 states, 2 components",
        f"gate   {told}",
        f"prior  {told}",
        "gate and prior have the same heaviest component in 0.0% (by chance 50.0%)",
    ]


def test_places_in_the_plane(split):
    places = torch.rand(20, 2) * 10 - 5
    for task in ("MultiGoal", "MultiGoal-two"):
        points, labels = split.plane(task, places)
        assert points.equal(places) and labels == ("x", "y")


@pytest.mark.parametrize("task", ["Pendulum", "Pendulum-v1"])
def test_places_of_a_pendulum(split, task):
    angle = torch.tensor([-3.0, -math.pi / 2, 0, 1, 3])
    velocity = torch.tensor([8.0, -1, 0, 0.5, -8])
    points, labels = split.plane(task, torch.stack([angle.cos(), angle.sin(), velocity], -1))
    assert labels == ("angle", "velocity")
    torch.testing.assert_close(points, torch.stack([angle, velocity], -1))


@pytest.mark.parametrize(("task", "size"), [("Hopper-v5", 11), ("InvertedDoublePendulum-v5", 9)])
def test_places_of_other_tasks(split, task, size):
    """Against the singular values of the centred states."""
    states = torch.randn(100, size, generator=torch.Generator().manual_seed(0))
    states = states * torch.linspace(5, 1, size) + 7
    points, labels = split.plane(task, states)
    centred = states.double().numpy() - states.double().numpy().mean(0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ directions[:2].T
    signs = np.sign((expected * points.numpy()).sum(0))
    np.testing.assert_allclose(points, expected * signs, atol=1e-6)
    share = values**2 / (values**2).sum()
    assert labels == tuple(f"direction {i + 1} ({100 * share[i]:.0f}%)" for i in range(2))


def test_the_seed_and_the_number_of_episodes_are_those_asked_for(runs, main):
    lines = [main(f"run={runs['goals']}", "episodes=2", f"seed={seed}") for seed in (0, 0, 1)]
    assert lines[0] == lines[1] != lines[2]
    states = int(main(f"run={runs['swing']}")[0].split()[0])
    assert states == 20 * 20


def refused(main, capsys, *arguments):
    with pytest.raises(SystemExit) as exit_info:
        main(*arguments)
    captured = capsys.readouterr()
    assert (exit_info.value.code, captured.out) == (2, "")
    assert captured.err.count("\n") == 1
    return captured.err.rstrip("\n")


def test_refused_runs(runs, main, capsys, tmp_path):
    assert refused(main, capsys) == "run=: expected the folder of a run of awmp, in runs/awmp."
    line = refused(main, capsys, "run=runs/sacm/a")
    assert line == "run=runs/sacm/a: expected the folder of a run of awmp, in runs/awmp."
    line = refused(main, capsys, "run=runs/awmp/a")
    assert line == "run=runs/awmp/a: expected the folder of a run, with its config.yaml."
    copy = tmp_path / "awmp" / "copy"
    shutil.copytree(runs["goals"], copy)
    shutil.rmtree(next((copy / "checkpoints").glob("*110/components/*-prior")))
    assert refused(main, capsys, f"run={copy}").startswith(
        f"{copy / 'checkpoints' / 'checkpoint-000000000110'}: "
    )
    shutil.rmtree(copy / "checkpoints")
    line = refused(main, capsys, f"run={copy}")
    assert line == f"{copy / 'checkpoints'}: expected a complete checkpoint, found none."


def test_refused_settings(runs, main, capsys, monkeypatch):
    run = f"run={runs['swing']}"
    line = refused(main, capsys, run, "episodes=0")
    assert line == "episodes=0: expected an integer above 0 and at most 100000."
    assert refused(main, capsys, run, "seed=-1").startswith(
        "seed=-1: expected an integer at least"
    )
    line = refused(main, capsys, run, "latent=1")
    assert line == "latent=1: expected a known key; --help lists them."
    line = refused(main, capsys, run, "figure=a.txt")
    assert line == "figure=a.txt: expected a file that ends in .png, .pdf, .svg."
    line = refused(main, capsys, run, "figure=no/where.png")
    assert line == "figure=no/where.png: expected a file in a folder that is there."
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    line = refused(main, capsys, run, "figure=a.png")
    assert line == (
        "figure=a.png: expected no figure, or first: pip install 'torchrl_mixture[plots]'."
    )


def test_a_figure_that_cannot_be_written(runs, main, capsys, tmp_path):
    folder = tmp_path / "a.png"
    folder.mkdir()
    with pytest.raises(SystemExit) as exit_info:
        main(f"run={runs['swing']}", f"figure={folder}", "episodes=1")
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == f"{folder}: cannot be written (Is a directory).\n"
