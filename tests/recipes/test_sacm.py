"""The recipe of mixtures with component critics from end to end, a few hundred frames long."""

import sys

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from recipes.running import (
    HINDSIGHT,
    RECIPES,
    SHORT,
    build,
    check_resumed,
    frames_of,
    rows,
    stop_at,
    updated,
)
from torchrl.checkpoint import Checkpoint, GlobalRNGState

from torchrl_mixture.analysis import read_progress, report_run
from torchrl_mixture.trainers import load_config, newest_checkpoint, train_run

LEARNED = ["loss_actor", "loss_qvalue", "loss_alpha", "alpha", "entropy", "effective_components"]
slow = pytest.mark.slow


@pytest.fixture
def recipe(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.chdir(tmp_path)
    import sacm

    return sacm


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, its trainer and its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES))
        patch.chdir(tmp_path_factory.mktemp("finished"))
        import sacm

        trainer, run = build(sacm, *SHORT, "seed=3")
        assert train_run(trainer, run)
        return trainer, run.record.path.absolute()


def trained(recipe, *arguments):
    trainer, run = build(recipe, *SHORT, *arguments)
    assert train_run(trainer, run)
    last = rows(run.record.path)[-1]
    assert last["updates"] == "70"
    assert all(np.isfinite(float(last[key])) for key in LEARNED)
    return trainer, last, run.record.path


def test_writes_its_record(recipe, finished):
    trainer, folder = finished
    assert folder.parts[-3:-1] == ("runs", "sacm") and folder.name.endswith("-3")
    config = load_config(recipe.Config, [*SHORT, "seed=3"])
    assert OmegaConf.load(folder / "config.yaml") == OmegaConf.structured(config)
    progress = read_progress(folder)
    assert progress["frames"] == [0, 130, 260] and progress["updates"] == [0, 0, 70]
    assert all(np.isfinite(progress[key][-1]) for key in [*LEARNED, "component_distance"])
    assert progress["effective_components"][-1] == pytest.approx(3)  # of equal weights
    ways = [name for name in progress if name.startswith("return_") and name.endswith("_mean")]
    assert ways == [f"return_{way}_mean" for way in ("densest", "heaviest", "sampled")]
    assert trainer.loss_module.log_alpha.shape == (3,)
    assert len(trainer.loss_module.log_alpha.unique()) == 3
    said = report_run(folder).splitlines()
    assert said[0].startswith("In 260 frames the mean return went from ")


def test_settings_reach_the_parts(recipe):
    trainer, _ = build(
        recipe,
        "env.name=Pendulum-v1",
        "network.hidden_sizes=[8,9]",
        "policy.num_components=4",
        "policy.loc_spread=0.7",
        "policy.hold=episode",
        "policy.deterministic=heaviest",
        "loss.variant=s2acm",
        "loss.actor_entropy=mixture",
        "loss.data_masks=true",
        "loss.loss_function=smooth_l1",
        "loss.alpha_init=0.6",
        "loss.fixed_alpha=true",
        "optim.gamma=0.5",
        "optim.tau=0.25",
        "optim.lr=0.125",
    )
    loss, stepper, policy = trainer.loss_module, trainer.optimization_stepper, trainer._policy
    assert (loss.variant, loss.actor_entropy, loss.data_masks) == ("s2acm", "mixture", True)
    assert loss.loss_function == "smooth_l1" and loss.fixed_alpha
    assert loss._alpha.tolist() == pytest.approx([0.6] * 4)
    assert loss.value_estimator.gamma == 0.5 and stepper.target_updater.eps == 0.75
    assert {group["lr"] for group in stepper.optimizer.param_groups} == {0.125}
    critic = [tuple(part.shape) for part in loss.qvalue_network_params.values(True, True)]
    assert sorted(critic) == sorted([(2, 8, 4), (2, 8), (2, 9, 8), (2, 9), (2, 4, 9), (2, 4)])
    actor = [tuple(part.shape) for part in policy.parameters() if part.ndim == 2]
    assert actor == [(8, 3), (9, 8), (8, 9)]  # means and scales, no weights
    assert trainer.collector.policy.hold == "episode"
    dist = policy.get_dist(trainer.collector.env.reset())
    assert dist.deterministic == "heaviest" and dist.loc[:, 0].max() - dist.loc[:, 0].min() > 0.5
    critics = loss.qvalue_network_params
    assert not critics["module", "0", "weight"][0].equal(critics["module", "0", "weight"][1])


OPTIONS = {
    "s2acm": ["loss.variant=s2acm"],
    "mixture entropy": ["loss.actor_entropy=mixture", "policy.learn_weights=true"],
    "one value": ["network.shared_critic=true", "policy.hold=episode"],
    "masks": ["loss.data_masks=true", "loss.variant=s2acm"],
    "fixed": ["loss.fixed_alpha=true", "loss.alpha_init=0.3"],
    "hindsight": [*HINDSIGHT, "loss.data_masks=true"],
    "masks, copies, steps": [
        "loss.data_masks=true",
        "env.num_envs=5",
        "replay_buffer.n_steps=2",
        "env.normalize_observations=true",
    ],
    "one": ["policy.num_components=1"],
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(recipe, name):
    trainer, last, _ = trained(recipe, *OPTIONS[name])
    loss, stored = trainer.loss_module, trainer._modules["replay_buffer"].buffer[:]
    assert ("component_mask" in stored.keys()) is loss.data_masks
    if loss.data_masks:
        assert (stored["component_mask"].sum(-1) == 1).all()
        assert stored["component_mask"].any(0).all()
    weights = loss.actor_network.get_dist(stored).weights
    learned = (weights != weights[0, 0]).any().item()
    assert learned is ("policy.learn_weights=true" in OPTIONS[name])
    values = {"one value": 1, "one": 1}.get(name, 3)
    assert loss.qvalue_network_params["module", "2", "bias"].shape == (2, values)
    if name == "fixed":
        assert float(last["alpha"]) == pytest.approx(0.3)


def test_a_component_acts_for_an_episode(recipe):
    trainer, run = build(recipe, *SHORT, "policy.hold=episode")
    seen = []
    trainer.register_op("batch_process", lambda batch: seen.append(batch["component"]) or batch)
    assert train_run(trainer, run)
    component = torch.cat(seen).flatten()
    episodes = component.reshape(13, 20)  # of 20 steps; the first ten act at random
    assert (episodes[:10] < 0).all() and (episodes[10:] >= 0).all()
    assert (episodes == episodes[:, :1]).all()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["network.shared_critic=true", "loss.variant=s2acm"],
            "loss.variant=s2acm: expected sacm with network.shared_critic=true.",
        ),
        (
            ["network.shared_critic=true", "loss.data_masks=true"],
            "loss.data_masks=True: expected false with network.shared_critic=true.",
        ),
        (["loss.variant=sac"], "loss.variant=sac: expected sacm | s2acm."),
        (["loss.actor_entropy=both"], "loss.actor_entropy=both: expected component | mixture."),
        (["policy.num_components=0"], "policy.num_components=0: expected an integer above 0."),
        (["policy.hold=run"], "policy.hold=run: expected step | episode."),
        (["policy.loc_spread=-1"], "policy.loc_spread=-1: expected a number at least 0."),
        (["loss.alpha_init=0"], "loss.alpha_init=0: expected a number above 0."),
        (["loss.loss_function=l1"], "loss.loss_function=l1: expected l2 | smooth_l1."),
    ],
)
def test_settings_are_refused(recipe, monkeypatch, capsys, tmp_path, arguments, line):
    monkeypatch.setattr(sys, "argv", ["sacm.py", *arguments])
    with pytest.raises(SystemExit) as end:
        recipe.main()
    said = capsys.readouterr()
    assert (end.value.code, said.out, said.err) == (2, "", line + "\n")
    assert not list(tmp_path.iterdir())


def test_an_asked_stop_is_code_130(recipe, monkeypatch, capsys):
    trainer, run = build(recipe, *SHORT)
    stop_at(trainer, 100)
    monkeypatch.setattr(recipe, "make_trainer", lambda config: (trainer, run))
    monkeypatch.setattr(sys, "argv", ["sacm.py"])
    with pytest.raises(SystemExit) as end:
        recipe.main()
    said = capsys.readouterr().out.splitlines()
    assert end.value.code == 130 and said[0].startswith("Stopped at frame 100 of 260; resume=")


RESUMED = {
    "masks": ["loss.data_masks=true", "loss.variant=s2acm"],
    "mixture": ["loss.actor_entropy=mixture", "policy.learn_weights=true", "policy.hold=episode"],
    "copies": ["loss.data_masks=true", "env.num_envs=2", "replay_buffer.n_steps=3"],
}


@pytest.mark.parametrize("name", ["masks", "mixture", pytest.param("copies", marks=slow)])
def test_continued_run_is_bitwise_the_stopped_one(recipe, tmp_path, name):
    trainer, run = build(recipe, *SHORT, *RESUMED[name])
    stop_at(trainer, 230)
    assert not train_run(trainer, run)
    start, frames = newest_checkpoint(run.record.checkpoints)
    assert frames == 230
    Checkpoint(rng=GlobalRNGState()).load(start)
    expected, generator = updated(trainer, updates=20), torch.get_rng_state()
    torch.manual_seed(123)
    resumed = check_resumed(recipe, run.record.path, tmp_path / "copy")
    found = updated(resumed, updates=20)
    assert expected.keys() == found.keys() and len(found) > 30
    assert [key for key in found if not found[key].equal(expected[key])] == []
    assert torch.get_rng_state().equal(generator)
    stored = [each._modules["replay_buffer"].buffer[:] for each in (trainer, resumed)]
    for key in stored[0].keys(True, True):
        assert stored[0][key].equal(stored[1][key])
    again, run = build(recipe, f"resume={run.record.path}")
    assert train_run(again, run)
    assert frames_of(run.record.path) == [0, 130, 260]


def test_evaluation_of_a_run(finished, monkeypatch, capsys):
    _, folder = finished
    monkeypatch.syspath_prepend(str(RECIPES))
    import evaluate

    monkeypatch.setattr(sys, "argv", ["evaluate.py", f"run={folder}", "episodes=2"])
    evaluate.main()
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.endswith("checkpoint-000000000260")
    assert [line.split()[0] for line in lines] == ["densest", "heaviest", "sampled"]
    assert all(-400 < float(line.split()[2]) < -5 for line in lines)


# Goals.

GOALS = [
    "env.library=torchrl_mixture",
    "env.name=MultiGoal",
    "collector.total_frames=110",
    "collector.init_random_frames=100",
    "evaluation.interval=110",
    "evaluation.episodes=1",
    "network.hidden_sizes=[8]",
    "policy.num_components=2",
    "optim.batch_size=8",
]


@pytest.mark.parametrize("shared", ["true", "false"])
def test_goals_of_a_run(recipe, monkeypatch, capsys, tmp_path, shared):
    trainer, run = build(recipe, *GOALS, f"network.shared_critic={shared}")
    assert train_run(trainer, run)
    import goals

    kept, plot = {}, goals.studies.plot_multi_goal

    def record(env, panels, path, **values):
        kept.update(values, panels=panels)
        return plot(env, panels, path, **values)

    monkeypatch.setattr(goals.studies, "plot_multi_goal", record)
    folder, figure = run.record.path, tmp_path / "goals.png"
    arguments = [f"runs=[{folder}]", f"figure={figure}", "episodes=2"]
    monkeypatch.setattr(sys, "argv", ["goals.py", *arguments])
    goals.main()
    _, line, told, last = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{folder}  [") and "of 4 goals" in line
    assert told.startswith("sacm, component (K = 2) on MultiGoal: ")
    assert last == f"The figure is in {figure}"
    assert figure.read_bytes().startswith(b"\x89PNG")
    (panel,) = kept["panels"]
    assert panel.title.startswith("sacm, component (K = 2), ") and panel.latents is None
    # The values are the restored critics', in the mean over the components.
    loss, states = trainer.loss_module, torch.tensor(goals.studies.CONTOUR_STATES)
    actions = goals.studies.action_grid()
    for row, column in ((0, 40), (13, 7)):
        each = []
        for index in range(2):
            with loss.qvalue_network_params[index].to_module(loss.qvalue_network):
                value = loss.qvalue_network(observation=states[1], action=actions[row, column])
            each.append(value.detach())
        found = kept["q_soft"][1, row, column].item()
        assert found == pytest.approx(torch.stack(each).amin(0).mean().item(), rel=1e-5)
