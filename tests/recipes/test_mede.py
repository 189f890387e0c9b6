"""The recipe of latent policies from end to end, a few hundred frames long."""

import math
import sys

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from recipes.running import LATENT, LEARNED, RECIPES, build, rows, stop_at
from tensordict import TensorDict
from torchrl.checkpoint import Checkpoint
from torchrl.envs.utils import ExplorationType, set_exploration_type

from torchrl_mixture.analysis import read_progress, report_run
from torchrl_mixture.trainers import RunningNorm, gym_env, load_config, normalize_like, train_run
from torchrl_mixture.trainers.evaluation import play_episodes

WAYS = ["latents", "best_latent", "marginal", "z0", "z1", "z2", "sampled"]


@pytest.fixture
def recipe(mede_recipe):
    return mede_recipe


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, its trainer and its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES))
        patch.chdir(tmp_path_factory.mktemp("finished"))
        import mede

        trainer, run = build(mede, *LATENT, "seed=3")
        assert train_run(trainer, run)
        return trainer, run.record.path.absolute()


def trained(recipe, *arguments):
    trainer, run = build(recipe, *LATENT, *arguments)
    assert train_run(trainer, run)
    return trainer, rows(run.record.path)[-1], run.record.path


def test_writes_its_record(recipe, finished):
    _, folder = finished
    assert folder.parts[-3:-1] == ("runs", "mede") and folder.name.endswith("-3")
    config = load_config(recipe.Config, [*LATENT, "seed=3"])
    assert OmegaConf.load(folder / "config.yaml") == OmegaConf.structured(config)
    progress = read_progress(folder)
    assert progress["frames"] == [0, 130, 260]
    assert progress["updates"] == [0, 0, 70]
    assert all(np.isfinite(progress[key][-1]) for key in [*LEARNED, "component_distance"])
    returns = [name for name in progress if name.startswith("return_")]
    assert returns == [f"return_{way}_{kind}" for way in WAYS for kind in ("mean", "std")]


def test_columns_agree_with_each_other(finished):
    first, warm_up, last = rows(finished[1])
    assert first["share_z0"] == "" == first["component_distance"]  # nothing is stored
    assert warm_up["loss_actor"] == "" != warm_up["share_z0"]
    for row in (warm_up, last):
        assert sum(float(row[f"share_z{latent}"]) for latent in range(3)) == pytest.approx(1)
        means = [float(row[f"return_z{latent}_mean"]) for latent in range(3)]
        assert float(row["return_latents_mean"]) == pytest.approx(np.mean(means))
        assert float(row["return_latents_std"]) == pytest.approx(np.std(means))
        assert float(row["return_best_latent_mean"]) == max(means)
    assert "share_z3" not in last and float(last["component_distance"]) > 0
    for form in ("state_action", "state"):
        assert float(last[f"log_q_{form}"]) == pytest.approx(
            -float(last[f"loss_discriminator_{form}"])
        )
        assert abs(float(last[f"log_q_{form}"]) + math.log(3)) < 0.2  # untrained, it guesses
        assert 0 <= float(last[f"accuracy_{form}"]) <= 1


def test_the_mean_over_latents_decides_what_is_best(finished):
    _, folder = finished
    best = Checkpoint.manifest(folder / "checkpoints" / "best")["metadata"]
    returns = {float(row["return_latents_mean"]): int(row["frames"]) for row in rows(folder)}
    assert best["value"] == max(returns) and best["collected_frames"] == returns[max(returns)]


def test_settings_reach_the_parts(recipe):
    trainer, _ = build(
        recipe,
        "env.name=Pendulum-v1",
        "network.hidden_sizes=[8,9]",
        "discriminator.hidden_sizes=[7]",
        "policy.num_latents=5",
        "loss.diversity_coef=0.4",
        "loss.loss_function=smooth_l1",
        "loss.alpha_init=0.6",
        "optim.gamma=0.5",
        "optim.tau=0.25",
        "optim.lr=0.125",
        "discriminator.lr=0.25",
    )
    loss, stepper, policy = trainer.loss_module, trainer.optimization_stepper, trainer._policy
    assert policy is trainer.collector.policy and policy.num_latents == 5
    assert loss.diversity == "mede" and loss.task_reward and loss.loss_function == "smooth_l1"
    assert loss.diversity_coef.item() == pytest.approx(0.4)
    assert loss._alpha.item() == pytest.approx(0.6) and loss.fixed_alpha
    assert loss.value_estimator.gamma == 0.5 and stepper.target_updater.eps == 0.75
    assert loss.discriminator.in_keys == ["observation", "action"]
    assert policy.discriminator.in_keys == ["observation"]
    for discriminator, inputs in ((loss.discriminator, 4), (policy.discriminator, 3)):
        shapes = [tuple(part.shape) for part in discriminator.parameters()]
        assert shapes == [(7, inputs), (7,), (5, 7), (5,)]
    actor = [tuple(part.shape) for part in policy.actor.parameters() if part.ndim == 2]
    assert actor == [(8, 8), (9, 8), (3, 9)]  # the state and the latent
    assert list(stepper.auxiliary) == ["discriminator_state_action", "discriminator_state"]
    assert {group["lr"] for group in stepper.optimizer.param_groups} == {0.125}
    for each in stepper.auxiliary.values():
        assert {group["lr"] for group in each.optimizer.param_groups} == {0.25}


def test_parts_are_shared_as_they_must_be(recipe):
    trainer, run = build(recipe, *LATENT)
    policy, loss, stepper = trainer._policy, trainer.loss_module, trainer.optimization_stepper
    auxiliary = stepper.auxiliary

    def pointers(parameters):
        return {parameter.data_ptr() for parameter in parameters}

    acting = pointers(policy.actor.parameters())
    assert acting == pointers(loss.actor_network_params.flatten_keys().values()) & acting
    learned = {
        "discriminator_state_action": loss.discriminator,
        "discriminator_state": policy.discriminator,
    }
    for name, used in learned.items():
        learning = pointers(auxiliary[name].loss_module.parameters())
        assert learning == pointers(used.parameters())
        adam = auxiliary[name].optimizer.param_groups
        assert learning == pointers(part for group in adam for part in group["params"])
    main = pointers(part for group in stepper.optimizer.param_groups for part in group["params"])
    assert not main & pointers(loss.discriminator.parameters())
    assert not main & pointers(policy.discriminator.parameters())
    before = {name: [p.clone() for p in used.parameters()] for name, used in learned.items()}
    before["actor"] = [part.clone() for part in policy.actor.parameters()]
    learned["actor"] = policy.actor
    assert train_run(trainer, run)
    for name, used in learned.items():
        moved = [not a.equal(b) for a, b in zip(before[name], used.parameters(), strict=True)]
        assert all(moved), name


def test_temperature_is_fixed_by_default(finished):
    assert float(rows(finished[1])[-1]["alpha"]) == pytest.approx(0.3)


def evaluated(monkeypatch, capsys, *arguments):
    monkeypatch.syspath_prepend(str(RECIPES))
    import evaluate

    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    evaluate.main()
    heading, *lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: float(line.split()[2]) for line in lines}, heading


def by_hand(trainer, rule, episodes=4, norm=None):
    """The mean return of one of the policies, its latent written by hand."""
    env = gym_env("Swing-v0", episodes)
    if norm is not None:
        env = normalize_like(env, norm)
    env.set_seed(0)
    policy = trainer._policy
    if rule in ("marginal", "sampled"):
        acts = policy.marginal()
    else:
        latent = torch.eye(policy.num_latents)[int(rule[1:])].expand(episodes, -1)

        def acts(tensordict):
            return policy.actor(tensordict.set("latent", latent))

    way = ExplorationType.RANDOM if rule == "sampled" else ExplorationType.DETERMINISTIC
    torch.manual_seed(0)
    with set_exploration_type(way), torch.no_grad():
        return play_episodes(env, acts)["return"].mean().item()


def test_report_and_evaluation_by_every_rule(recipe, finished, monkeypatch, capsys):
    trainer, folder = finished
    said = report_run(folder).splitlines()
    assert said[0].startswith("In 260 frames the mean return went from ")
    assert said[-1].endswith("curve.png") and (folder / "curve.png").is_file()
    found, heading = evaluated(monkeypatch, capsys, f"run={folder}", "episodes=4")
    assert heading.endswith("checkpoint-000000000260")
    assert list(found) == ["marginal", "z0", "z1", "z2", "sampled"]
    for rule, mean in found.items():
        assert mean == pytest.approx(by_hand(trainer, rule), abs=0.06)
        (alone,) = evaluated(monkeypatch, capsys, f"run={folder}", "episodes=4", f"rule={rule}")[0]
        assert alone == rule
    best, heading = evaluated(monkeypatch, capsys, f"run={folder}", "checkpoint=best", "rule=z0")
    assert heading.endswith("best") and list(best) == ["z0"]
    with pytest.raises(SystemExit) as end:
        evaluated(monkeypatch, capsys, f"run={folder}", "rule=z3")
    line = "rule=z3: expected all | marginal | z0 | z1 | z2 | sampled.\n"
    assert (end.value.code, capsys.readouterr().err) == (2, line)


def test_observations_are_normalised_as_in_the_run(recipe, monkeypatch, capsys):
    trainer, last, folder = trained(recipe, "env.normalize_observations=true")
    norm = trainer.checkpoint.components["observation_norm"]
    assert isinstance(norm, RunningNorm)
    found, _ = evaluated(monkeypatch, capsys, f"run={folder}", "episodes=4")
    for rule, mean in found.items():
        assert mean == pytest.approx(by_hand(trainer, rule, norm=norm), abs=0.06)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["loss.diversity=diayn", "replay_buffer.n_steps=3"],
            "replay_buffer.n_steps=3: expected 1 with loss.diversity=diayn, whose reward is of "
            "one state.",
        ),
        (
            ["loss.task_reward=false"],
            "loss.task_reward=False: expected true with loss.diversity=mede.",
        ),
        (["loss.diversity=both"], "loss.diversity=both: expected mede | diayn."),
        (
            ["loss.diversity_coef=-1"],
            "loss.diversity_coef=-1: expected null or a number at least 0.",
        ),
        (["policy.num_latents=0"], "policy.num_latents=0: expected an integer above 0."),
        (["loss.alpha_init=0"], "loss.alpha_init=0: expected a number above 0."),
        (
            ["discriminator.hidden_sizes=[0]"],
            "discriminator.hidden_sizes=[0]: expected a list of integers, each above 0.",
        ),
        (
            ["policy.num_components=2"],
            "policy.num_components=2: expected a known key, the nearest is policy.num_latents (an "
            "integer above 0).",
        ),
    ],
)
def test_settings_are_refused(recipe, monkeypatch, capsys, tmp_path, arguments, line):
    monkeypatch.setattr(sys, "argv", ["mede.py", *arguments])
    with pytest.raises(SystemExit) as end:
        recipe.main()
    said = capsys.readouterr()
    assert (end.value.code, said.out, said.err) == (2, "", line + "\n")
    assert not list(tmp_path.iterdir())


def test_an_asked_stop_is_code_130(recipe, monkeypatch, capsys):
    trainer, run = build(recipe, *LATENT)
    stop_at(trainer, 100)
    monkeypatch.setattr(recipe, "make_trainer", lambda config: (trainer, run))
    monkeypatch.setattr(sys, "argv", ["mede.py"])
    with pytest.raises(SystemExit) as end:
        recipe.main()
    said = capsys.readouterr().out.splitlines()
    assert end.value.code == 130 and said[0].startswith("Stopped at frame 100 of 260; resume=")


def test_distance_and_policies_are_of_one_mixture(finished):
    """The marginal's components are the policies of the latent values, in their order."""
    trainer, _ = finished
    policy = trainer._policy
    states = TensorDict({"observation": torch.randn(50, 3)}, [50])
    with torch.no_grad():
        marginal = policy.marginal().get_dist(states)
        for latent in range(3):
            one_hot = torch.eye(3)[latent].expand(50, 3)
            own = policy.actor.get_dist(states.copy().set("latent", one_hot))
            torch.testing.assert_close(marginal.loc[:, latent], own.loc[:, 0])
            torch.testing.assert_close(marginal.scale[:, latent], own.scale[:, 0])
        weights = policy.discriminator(states)["latent_logits"].softmax(-1)
    torch.testing.assert_close(marginal.weights, weights)
