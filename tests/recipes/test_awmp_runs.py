"""Runs of the recipe awmp in the scripts that read runs: returns by each way, and goals."""

import sys

import pytest
import torch
from recipes.running import AWMP, RECIPES, build
from torchrl.envs.utils import ExplorationType, set_exploration_type

from torchrl_mixture.trainers import gym_env, normalize_like, train_run
from torchrl_mixture.trainers.evaluation import play_episodes


@pytest.fixture
def recipe(awmp_recipe):
    return awmp_recipe


def trained(recipe, *arguments):
    trainer, run = build(recipe, *AWMP, *arguments)
    assert train_run(trainer, run)
    return trainer, run.record.path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that acts convexly, on normalised observations: its trainer and folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES))
        patch.chdir(tmp_path_factory.mktemp("finished"))
        import awmp

        options = ["policy.acting=convex", "env.normalize_observations=true", "optim.lr=0.01"]
        trainer, folder = trained(awmp, *options)
        return trainer, folder.absolute()


def evaluated(monkeypatch, capsys, *arguments):
    monkeypatch.syspath_prepend(str(RECIPES))
    import evaluate

    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    evaluate.main()
    heading, *lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: float(line.split()[2]) for line in lines}, heading


def by_hand(trainer, way, episodes=4):
    """The mean return of the policy that was trained, when it acts in one way."""
    env = normalize_like(
        gym_env("Swing-v0", episodes), trainer.checkpoint.components["observation_norm"]
    )
    env.set_seed(0)
    torch.manual_seed(0)
    policy, sampled = trainer._policy, way == "sampled"

    def acts(tensordict):
        """Convexly: the weighted mean of modes or draws; or the heaviest component alone."""
        dist = policy.get_dist(tensordict)
        actions = dist.rsample_components_and_log_prob() if sampled else dist.modes_and_log_prob()
        if way == "mixture":
            action = actions[0][torch.arange(episodes), dist.weights.argmax(-1)]
        else:
            action = (dist.weights.unsqueeze(-1) * actions[0]).sum(-2)
        return tensordict.set("action", action)

    kind = ExplorationType.RANDOM if sampled else ExplorationType.DETERMINISTIC
    with set_exploration_type(kind), torch.no_grad():
        return play_episodes(env, acts)["return"].mean().item()


def test_evaluation_by_every_way_of_acting(finished, monkeypatch, capsys):
    trainer, folder = finished
    found, heading = evaluated(monkeypatch, capsys, f"run={folder}", "episodes=4")
    assert heading.endswith("checkpoint-000000000260")
    assert list(found) == ["convex", "mixture", "sampled"]
    for way, mean in found.items():
        assert mean == pytest.approx(by_hand(trainer, way), abs=0.06)
        alone, _ = evaluated(monkeypatch, capsys, f"run={folder}", "episodes=4", f"rule={way}")
        assert alone == {way: mean}
    assert len(set(found.values())) == 3
    best, heading = evaluated(monkeypatch, capsys, f"run={folder}", "checkpoint=best")
    assert heading.endswith("best") and list(best) == list(found)


def test_other_ways_are_refused(finished, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        evaluated(monkeypatch, capsys, f"run={finished[1]}", "rule=heaviest")
    line = "rule=heaviest: expected all | convex | mixture | sampled.\n"
    assert (end.value.code, capsys.readouterr().err) == (2, line)


def test_a_run_of_split_has_no_policy(recipe, monkeypatch, capsys, tmp_path):
    """The script split is no recipe."""
    folder = tmp_path / "runs" / "split" / "a"
    folder.mkdir(parents=True)
    (folder / "config.yaml").touch()
    with pytest.raises(SystemExit) as end:
        evaluated(monkeypatch, capsys, f"run={folder}")
    said = capsys.readouterr().err
    known = "awmp | gamid | mede | sac_mixture | sacm"
    assert end.value.code == 2 and said.endswith(f"with RECIPE {known}.\n")


GOALS = [
    "env.library=torchrl_mixture",
    "env.name=MultiGoal",
    "collector.total_frames=110",
    "collector.init_random_frames=100",
    "evaluation.interval=110",
    "evaluation.episodes=1",
    "policy.num_components=2",
]


@pytest.fixture
def drawn(recipe, monkeypatch):
    """The script, and what its figure is drawn of."""
    import goals

    kept, plot = {}, goals.studies.plot_multi_goal

    def record(env, panels, path, **values):
        kept.update(values, panels=panels)
        return plot(env, panels, path, **values)

    monkeypatch.setattr(goals.studies, "plot_multi_goal", record)
    return goals, kept


@torch.no_grad()
def ends_by_hand(goals, policy, episodes, seed):
    """Counts of episodes by the goal that they ended in, and in none."""
    env = goals.MultiGoal(batch_size=[episodes])
    env.set_seed(seed)
    torch.manual_seed(seed)
    now, ended, counts = env.reset(), torch.zeros(episodes, dtype=torch.bool), [0] * 5
    while not ended.all():
        with set_exploration_type(ExplorationType.RANDOM):
            now = env.step(policy(now))["next"]
        distance = torch.cdist(now["observation"], env.goals)
        for copy in (now["done"].squeeze(-1) & ~ended).nonzero().flatten().tolist():
            near = distance[copy].min() < 1
            counts[distance[copy].argmin() if near else 4] += 1
        ended |= now["done"].squeeze(-1)
        now = now.exclude("reward")
    return counts


@pytest.mark.parametrize("acting", ["mixture", "convex"])
def test_goals_of_a_run(recipe, drawn, monkeypatch, capsys, tmp_path, acting):
    trainer, folder = trained(recipe, *GOALS, f"policy.acting={acting}")
    goals, kept = drawn
    figure = tmp_path / "goals.png"
    arguments = [f"runs=[{folder}]", f"figure={figure}", "episodes=5", "seed=3"]
    monkeypatch.setattr(sys, "argv", ["goals.py", *arguments])
    goals.main()
    _, line, told, last = capsys.readouterr().out.splitlines()
    counts = ends_by_hand(goals, trainer._policy, 20, 3)
    reached = sum(count >= 2 for count in counts[:4])  # a tenth of the episodes at least
    assert line.startswith(f"{folder}  [{' '.join(map(str, counts))}]  {reached} of 4 goals: ")
    assert told.startswith(f"awmp (K = 2) on MultiGoal: {reached} goals in 1 runs; ")
    assert last == f"The figure is in {figure}"
    assert figure.read_bytes().startswith(b"\x89PNG")
    (panel,) = kept["panels"]
    assert panel.title == f"awmp (K = 2), {reached} of 4 goals" and panel.latents is None
    # The values are those of the critics that were trained, not of their targets.
    loss, states = trainer.loss_module, torch.tensor(goals.studies.CONTOUR_STATES)
    actions = goals.studies.action_grid()
    for row, column in ((0, 40), (13, 7)):
        each = []
        for params in loss.qvalue_network_params.unbind(0):
            with params.to_module(loss.qvalue_network):
                value = loss.qvalue_network(observation=states[1], action=actions[row, column])
            each.append(value.item())
        assert kept["q_soft"][1, row, column].item() == pytest.approx(min(each), rel=1e-5)


def test_there_is_nothing_to_split_with_one_component(recipe, monkeypatch, capsys):
    _, folder = trained(recipe, "policy.num_components=1", "collector.total_frames=210")
    monkeypatch.syspath_prepend(str(RECIPES))
    import split

    monkeypatch.setattr(sys, "argv", ["split.py", f"run={folder}"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        split.main()
    said = capsys.readouterr()
    assert (end.value.code, said.out) == (2, "")
    assert said.err == f"run={folder}: expected a run with several components.\n"
