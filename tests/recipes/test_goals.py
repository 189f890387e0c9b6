"""Counting and drawing the goals of trained runs."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from recipes.running import RECIPES, build
from scipy import stats
from tensordict.nn import TensorDictModule
from torchrl.envs.utils import ExplorationType, set_exploration_type, step_mdp

from torchrl_mixture.envs import MultiGoal
from torchrl_mixture.studies import CONTOUR_STATES, action_grid
from torchrl_mixture.trainers import train_run

TINY = [
    "env.library=torchrl_mixture",
    "collector.total_frames=110",
    "collector.init_random_frames=100",
    "evaluation.interval=110",
    "evaluation.episodes=2",
    "network.hidden_sizes=[8]",
    "optim.batch_size=8",
]
MEDE = ["env.name=MultiGoal", "policy.num_latents=3", "discriminator.hidden_sizes=[8]"]
DIAYN = ["env.name=MultiGoal-two", "policy.num_latents=2", "loss.diversity=diayn"]
HEADING = "[episodes that ended in goal 0, in goal 1, ..., in none]"
EAST, WEST, NORTH, SOUTH, STAY = ((1.0, 0), (-1.0, 0), (0, 1.0), (0, -1.0), (0, 0))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder with the runs, and by name their folders and trainers."""
    folder, runs = tmp_path_factory.mktemp("goals"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES))
        patch.chdir(folder)
        import gamid
        import mede
        import sac_mixture

        for name, recipe, arguments in (
            ("mede", mede, MEDE),
            ("diayn", mede, DIAYN),
            ("sac_mixture", sac_mixture, ["env.name=MultiGoal", "policy.num_components=2"]),
            ("gamid", gamid, ["env.name=MultiGoal", "policy.num_components=2"]),
            ("normalized", sac_mixture, ["env.name=MultiGoal", "env.normalize_observations=true"]),
            ("other", sac_mixture, ["env.name=BimodalBandit"]),
        ):
            trainer, run = build(recipe, *TINY, *arguments)
            assert train_run(trainer, run)
            runs[name] = (str(run.record.path), trainer)
    return folder, runs


@pytest.fixture
def runs(trained):
    return {name: run for name, (run, _) in trained[1].items()}


@pytest.fixture
def goals(trained, monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.chdir(trained[0])
    import goals

    return goals


@pytest.fixture
def main(goals, monkeypatch, capsys):
    def call(*folders, options=()):
        arguments = [f"runs=[{','.join(folders)}]", *options]
        monkeypatch.setattr(sys, "argv", ["goals.py", *arguments])
        capsys.readouterr()
        goals.main()
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out.splitlines()

    return call


@pytest.fixture
def walking(goals, monkeypatch):
    """Put policies that go straight in place of the trained ones, by recipe."""

    def put(**directions):
        def policies(run):
            return [walker(torch.tensor(ways)) for ways in directions[run.recipe]]

        monkeypatch.setattr(goals.TrainedRun, "policies", property(policies))

    return put


def walker(actions):
    return TensorDictModule(
        lambda position: actions.expand_as(position).clone(), ["observation"], ["action"]
    )


def test_goals_of_straight_walks(runs, main, walking):
    single = [EAST] * 8 + [WEST] * 7 + [SOUTH] * 60 + [STAY] * 5  # of 80; 8 are a tenth
    walking(mede=[[EAST] * 12 + [NORTH] * 8, [NORTH], [NORTH]], sac_mixture=[single])
    lines = main(runs["mede"], runs["sac_mixture"], runs["mede"])
    of_mede = f"{runs['mede']}  z0 to 0 [12 0 8 0 0]  z1 to 2 [0 0 20 0 0]  z2 to 2 [0 0 20 0 0]"
    of_mede += "  2 of 4 goals"
    assert lines == [
        HEADING,
        of_mede,
        f"{runs['sac_mixture']}  [8 7 0 60 5]  2 of 4 goals: 0 3",
        of_mede,
        "mede (Z = 3, c = default) on MultiGoal: 2 goals in 2 runs; all 4 in 0 of 2, "
        "95% [0.000, 0.658]",
        "sac_mixture (K = 2) on MultiGoal: 2 goals in 1 runs; all 4 in 0 of 1, 95% [0.000, 0.793]",
    ]


def test_all_goals_and_none(runs, main, walking):
    to_all = [EAST] * 20 + [WEST] * 20 + [SOUTH] * 20 + [NORTH] * 20
    walking(mede=[[STAY], [STAY], [STAY]], sac_mixture=[to_all], gamid=[to_all])
    lines = main(runs["sac_mixture"], runs["mede"], runs["gamid"], runs["sac_mixture"])
    assert lines[1] == f"{runs['sac_mixture']}  [20 20 20 20 0]  4 of 4 goals: 0 1 2 3"
    assert "z0 to none [0 0 0 0 20]  z1 to none" in lines[2] and "0 of 4 goals" in lines[2]
    low, high = stats.binomtest(2, 2).proportion_ci(method="wilson")
    assert (
        f"MultiGoal: 4 goals in 2 runs; all 4 in 2 of 2, 95% [{low:.3f}, {high:.3f}]" in lines[5]
    )
    assert lines[6].startswith(
        "mede (Z = 3, c = default) on MultiGoal: 0 goals in 1 runs; all 4 in 0"
    )
    assert lines[7].startswith("gamid (K = 2) on MultiGoal: 4 goals in 1 runs; all 4 in 1 of 1")


def test_both_of_two_goals(runs, main, walking):
    walking(mede=[[(1.0, 1.0)], [(-1.0, -1.0)]])
    assert main(runs["diayn"])[1:] == [
        f"{runs['diayn']}  z0 to 1 [0 20 0]  z1 to 0 [20 0 0]  2 of 2 goals",
        "diayn (Z = 2, c = default) on MultiGoal-two: 2 goals in 1 runs; all 2 in 1 of 1, "
        "95% [0.207, 1.000]",
    ]


def test_runs_with_other_rewards_and_tasks_are_told_apart(runs, main):
    lines = main(runs["mede"], runs["diayn"], options=["episodes=2"])
    assert re.fullmatch(r".*  z0 to \S+ \[\d \d \d\]  z1 to \S+ \[\d \d \d\]  \d of 2.*", lines[2])
    assert [line.split(":")[0] for line in lines[3:]] == [
        f"{diversity} (Z = {size}, c = default) on {task}"
        for diversity, size, task in (("mede", 3, "MultiGoal"), ("diayn", 2, "MultiGoal-two"))
    ]


@torch.no_grad()
def test_counts_are_those_of_the_checkpoints_policies(trained, runs, main):
    """The same episodes, stepped here with the policy that was trained."""
    policy = trained[1]["mede"][1].collector.policy
    line = main(runs["mede"], options=["episodes=50", "seed=7"])[1]
    counts = [list(map(int, each.split())) for each in re.findall(r"\[([\d ]+)\]", line)]
    env = MultiGoal(batch_size=[50])
    for latent, told in enumerate(counts):
        env.set_seed(7)
        torch.manual_seed(7)
        actor, stepped = policy.with_latent(latent), env.reset()
        ends = torch.full((50,), -2)
        for _ in range(30):
            with set_exploration_type(ExplorationType.RANDOM):
                stepped = env.step(actor(stepped))
            distance = torch.cdist(stepped["next", "observation"], env.goals)
            near = torch.where(distance.amin(-1) < 1, distance.argmin(-1), -1)
            done = stepped["next", "done"].squeeze(-1)
            ends = torch.where(done & (ends == -2), near, ends)
            stepped = step_mdp(stepped)
        assert told == [int((ends == goal).sum()) for goal in (0, 1, 2, 3, -1)]


@torch.no_grad()
@pytest.mark.parametrize("name", ["mede", "diayn", "sac_mixture"])
def test_values_are_those_of_the_trained_critics(trained, runs, goals, name):
    folder, trainer = trained[1][name]
    loss = trainer.loss_module
    run = goals.TrainedRun(folder)
    (values,) = goals.critics_values(goals.Config(latent=1), [run]).values()
    states, actions = torch.tensor(CONTOUR_STATES), action_grid()
    for state in range(3):
        for row, column in ((0, 40), (13, 7)):
            inputs = {"observation": states[state], "action": actions[row, column]}
            if run.latents:
                inputs["latent"] = torch.eye(run.latents)[1]
            each = []
            for index in range(2):
                with loss.qvalue_network_params[index].to_module(loss.qvalue_network):
                    *_, value = loss.qvalue_network(**inputs)
                each.append(value.item())
            assert values[state, row, column].item() == pytest.approx(min(each), rel=1e-5)


def drawn_of(goals, monkeypatch, main, *folders, options):
    """What the figure is drawn of."""
    kept = {}
    plot = goals.studies.plot_multi_goal

    def record(env, panels, path, **values):
        kept.update(values, panels=panels)
        return plot(env, panels, path, **values)

    monkeypatch.setattr(goals.studies, "plot_multi_goal", record)
    *_, last = main(*folders, options=options)
    assert last == f"The figure is in {options[0].removeprefix('figure=')}"
    return kept


def test_figure_of_both_kinds(runs, goals, main, walking, monkeypatch, tmp_path):
    walking(mede=[[EAST], [NORTH], [STAY]], sac_mixture=[[WEST]], gamid=[[WEST]])
    options = [f"figure={tmp_path / 'both.png'}", "episodes=2", "latent=2"]
    kept = drawn_of(
        goals, monkeypatch, main, runs["gamid"], runs["mede"], runs["sac_mixture"], options=options
    )
    single, latents = kept["panels"]
    assert single.title == "sac_mixture (K = 2), 1 of 4 goals" and single.latents is None
    assert latents.title == "mede (Z = 3, c = default), 2 of 4 goals"
    assert latents.latents.tolist() == [0, 0, 1, 1, 2, 2]
    # One waits for 30 steps; the paths of the others end, and go on as NaN.
    assert latents.positions.shape == (6, 31, 2) and single.positions.shape[0] == 8
    assert latents.positions[:4, -1].isnan().all() and latents.positions[4:].isfinite().all()
    assert (latents.positions[:2, 4, 0] > 3).all() and (single.positions[:, 4, 0] < -3).all()
    assert kept["latent"] == 2 and {"q_soft", "q_z"} <= kept.keys()
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("name", "values"), [("mede", "q_z"), ("sac_mixture", "q_soft")])
def test_figure_of_one_kind(runs, goals, main, monkeypatch, tmp_path, name, values):
    options = [f"figure={tmp_path / 'one.pdf'}", "episodes=2"]
    kept = drawn_of(goals, monkeypatch, main, runs[name], options=options)
    assert len(kept["panels"]) == 1
    assert kept.keys() & {"q_soft", "q_z"} == {values}


def refused(main, capsys, *folders, options=()):
    with pytest.raises(SystemExit) as exit_info:
        main(*folders, options=options)
    captured = capsys.readouterr()
    assert (exit_info.value.code, captured.out) == (2, "")
    assert captured.err.count("\n") == 1
    return captured.err.rstrip("\n")


def test_refused_runs(runs, main, capsys, tmp_path):
    line = refused(main, capsys)
    assert line == "runs=[]: expected the folder of a run at least, as [runs/mede/FOLDER]."
    line = refused(main, capsys, options=["runs=a"])
    assert line == "runs=a: expected a list of texts as [a,b]."
    line = refused(main, capsys, runs["mede"], "nowhere")
    assert line == "run=nowhere: expected the folder of a run, with its config.yaml."
    other = runs["other"]
    line = refused(main, capsys, runs["mede"], other)
    assert line == f"runs={other}: expected a run of a task MultiGoal, not of BimodalBandit."
    line = refused(main, capsys, runs["normalized"])
    assert line.startswith(f"runs={runs['normalized']}: expected a run without env.normalize_")
    copy = tmp_path / "mede" / "copy"
    shutil.copytree(runs["mede"], copy)
    shutil.rmtree(copy / "checkpoints")
    line = refused(main, capsys, str(copy))
    assert line == f"{copy / 'checkpoints'}: expected a complete checkpoint, found none."


def test_refused_latents(runs, main, capsys):
    line = refused(main, capsys, runs["sac_mixture"], runs["mede"], options=["latent=3"])
    assert line == f"latent=3: expected below 3, the latents of {runs['mede']}."
    assert refused(main, capsys, runs["mede"], options=["latent=-1"]).startswith("latent=-1: ")


def test_refused_figures(runs, main, capsys, monkeypatch, tmp_path):
    line = refused(main, capsys, runs["mede"], options=["figure=a.txt"])
    assert line == "figure=a.txt: expected a file that ends in .png, .pdf, .svg."
    line = refused(main, capsys, runs["mede"], options=["figure=no/where.png"])
    assert line == "figure=no/where.png: expected a file in a folder that is there."
    line = refused(main, capsys, runs["gamid"], options=["figure=a.png"])
    known = "mede, sac_mixture, sacm, awmp"
    assert line == f"figure=a.png: expected no figure without a run of {known}."
    line = refused(main, capsys, runs["sac_mixture"], runs["diayn"], options=["figure=a.png"])
    assert line == "figure=a.png: expected no figure of two tasks, MultiGoal-two and MultiGoal."
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    line = refused(main, capsys, runs["mede"], options=["figure=a.png"])
    assert line.endswith(
        "a.png: expected no figure, or first: pip install 'torchrl_mixture[plots]'."
    )
    assert not Path("a.png").exists()


def test_a_figure_that_cannot_be_written(runs, main, capsys, tmp_path):
    folder = tmp_path / "a.png"
    folder.mkdir()
    with pytest.raises(SystemExit) as exit_info:
        main(runs["mede"], options=[f"figure={folder}", "episodes=1"])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == f"{folder}: cannot be written (Is a directory).\n"
