"""The recipe of advantage-weighted mixtures from end to end, a few hundred frames long."""

import math
import sys

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from recipes.running import AWMP, HINDSIGHT, RECIPES, build, rows, stop_at
from torchrl.checkpoint import Checkpoint

from torchrl_mixture.analysis import read_progress, report_run
from torchrl_mixture.trainers import load_config, make_test_env, train_run

OF_THE_LOSS = ["loss_actor", "loss_qvalue", "loss_value", "alpha", "entropy", "weight_entropy"]
OF_THE_LOSS += ["effective_components", "component_information", "prior_effective_components"]
OF_THE_PRIOR = ["loss_prior", "prior_information", "prior_marginal_entropy"]
OF_THE_PRIOR += ["prior_conditional_entropy", "prior_divergence", "prior_effective_sample_size"]
LEARNED = [*OF_THE_LOSS, *OF_THE_PRIOR]
WAYS = ["mixture", "convex", "sampled"]


@pytest.fixture
def recipe(awmp_recipe):
    return awmp_recipe


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, its trainer and its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES))
        patch.chdir(tmp_path_factory.mktemp("finished"))
        import awmp

        trainer, run = build(awmp, *AWMP, "seed=3")
        assert train_run(trainer, run)
        return trainer, run.record.path.absolute()


def trained(recipe, *arguments):
    trainer, run = build(recipe, *AWMP, *arguments)
    seen = []
    trainer.register_op("batch_process", lambda batch: seen.append(batch.clone()) or batch)
    assert train_run(trainer, run)
    last = rows(run.record.path)[-1]
    assert last["updates"] == "70"
    assert all(np.isfinite(float(last[key])) for key in LEARNED)
    return trainer, run.record.path, torch.cat(seen, -1)


def state_of(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def returns(columns):
    return [name for name in columns if name.startswith("return_") and name.endswith("_mean")]


def test_writes_its_record(recipe, finished):
    _, folder = finished
    assert folder.parts[-3:-1] == ("runs", "awmp") and folder.name.endswith("-3")
    config = load_config(recipe.Config, [*AWMP, "seed=3"])
    assert OmegaConf.load(folder / "config.yaml") == OmegaConf.structured(config)
    progress = read_progress(folder)
    assert progress["frames"] == [0, 130, 260] and progress["updates"] == [0, 0, 70]
    assert all(np.isfinite(progress[key][-1]) for key in [*LEARNED, "component_distance"])
    assert returns(progress) == [f"return_{way}_mean" for way in WAYS]
    said = report_run(folder).splitlines()
    assert said[0].startswith("In 260 frames the mean return went from ")


def test_columns_agree_with_each_other(finished):
    first, warm_up, last = rows(finished[1])
    assert first["component_distance"] == "" != warm_up["component_distance"]
    assert warm_up["loss_prior"] == "" == warm_up["loss_value"]
    found = {key: float(last[key]) for key in (*LEARNED, "component_distance")}
    assert found["alpha"] == pytest.approx(0.2)  # as it was set
    assert 1 < found["prior_effective_sample_size"] <= 5  # transitions of a minibatch
    difference = found["prior_marginal_entropy"] - found["prior_conditional_entropy"]
    assert found["prior_information"] == pytest.approx(difference, abs=1e-6)
    assert 0 < found["prior_information"] < found["prior_marginal_entropy"] < math.log(3)
    assert 0 < found["weight_entropy"] < math.log(3) and found["component_distance"] > 0
    assert 1 < found["effective_components"] <= 3 and 1 < found["prior_effective_components"] <= 3


def check_best(folder, way):
    """The best checkpoint is that of the row with the largest mean return."""
    best = Checkpoint.manifest(folder / "checkpoints" / "best")["metadata"]
    by_return = {float(row[f"return_{way}_mean"]): int(row["frames"]) for row in rows(folder)}
    assert best["value"] == max(by_return) and len(by_return) == 3
    assert best["collected_frames"] == by_return[max(by_return)]


def test_the_mixtures_return_decides_what_is_best(finished):
    check_best(finished[1], "mixture")


def test_a_convex_policy_is_tested_first_and_decides(recipe):
    trainer, folder, seen = trained(recipe, "policy.acting=convex")
    ways = [f"return_{way}_mean" for way in ("convex", "mixture", "sampled")]
    assert returns(rows(folder)[-1]) == ways
    check_best(folder, "convex")
    assert trainer._policy.acting == "convex" and "component" not in seen.keys()


def test_checkpoints_have_the_policy_and_its_prior(recipe, tmp_path):
    """At the end those that were trained; the best of a run whose returns fall, the first."""
    trainer, run = build(recipe, *AWMP)
    parts = {"policy": trainer._policy, "prior": trainer.loss_module.prior_network}
    first = {part: state_of(module) for part, module in parts.items()}
    evaluation = trainer._modules["evaluation"]
    evaluation.evaluate = lambda frames: {"return_mixture_mean": -float(frames)}
    assert train_run(trainer, run)
    last = {part: state_of(module) for part, module in parts.items()}
    env = make_test_env(run.config)
    for name, expected in (("best", first), ("checkpoint-000000000260", last)):
        torch.manual_seed(99)
        made = {"policy": recipe.make_actor(run.config, env)}
        made["prior"] = recipe.make_prior(run.config, env)
        load_parts = {"components": list(made), "strict": "error"}
        Checkpoint(**made).load(run.record.path / "checkpoints" / name, **load_parts)
        for part, module in made.items():
            found = module.state_dict()
            assert found.keys() == expected[part].keys() and len(found) >= 4
            assert all(found[key].equal(value) for key, value in expected[part].items())
    for part, before in first.items():
        weights = [key for key in before if key.endswith("weight")]
        assert not any(before[key].equal(last[part][key]) for key in weights)


@pytest.mark.parametrize("acting", ["mixture", "convex"])
def test_the_other_policy_is_the_same_with_another_way(recipe, acting):
    config = load_config(recipe.Config, [*AWMP, f"policy.acting={acting}"])
    trainer, _ = build(recipe, *AWMP, f"policy.acting={acting}")
    first, second = recipe.make_policies(config, trainer._policy).items()
    assert first == (acting, trainer._policy)
    assert second[0] == second[1].acting == {"mixture": "convex", "convex": "mixture"}[acting]
    assert second[1].actor is trainer._policy.actor


def test_the_warm_up_has_a_uniform_density_and_no_component(recipe):
    _, _, seen = trained(recipe)
    warm, acted = seen[..., :200], seen[..., 200:]
    assert (warm["component"] == -1).all() and (acted["component"] >= 0).all()
    torch.testing.assert_close(warm["action_log_prob"], torch.full((200,), -math.log(4)))
    assert (acted["action_log_prob"] != warm["action_log_prob"][0]).all() and len(acted) == 60


def test_the_prior_is_trained_on_the_newest_and_not_on_the_replay(recipe):
    """Minibatches of both losses in the order of the updates."""
    trainer, run = build(recipe, *AWMP, "prior.newest=20")
    loss, stepper = trainer.loss_module, trainer.optimization_stepper
    collected, calls = [], []

    def keep(batch):
        collected.extend(map(tuple, batch["observation"].reshape(-1, 3).tolist()))
        return batch

    def of_the_prior(module, arguments):
        (batch,) = arguments
        rows = set(map(tuple, batch["observation"].tolist()))
        assert rows <= set(collected[-20:]) and batch.shape == (5,)
        assert batch["advantage"].equal(loss.advantage(batch))  # of the targets of this moment
        calls.append(("prior", rows))

    def of_the_rest(module, arguments):
        (batch,) = arguments
        assert batch.shape == (8,) and "advantage" not in batch.keys()
        calls.append(("rest", set(map(tuple, batch["observation"].tolist()))))

    trainer.register_op("batch_process", keep)
    stepper.auxiliary["prior"].loss_module.register_forward_pre_hook(of_the_prior)
    loss.register_forward_pre_hook(of_the_rest)
    assert train_run(trainer, run)
    assert [name for name, _ in calls] == ["prior", "rest"] * 70
    assert stepper.updates == stepper.auxiliary["prior"].updates == 70
    drawn = set.union(*(rows for name, rows in calls if name == "rest"))
    old = [state for state in collected[:200] if state in drawn]
    assert len(old) > 100  # the rest is trained on all that was collected
    assert len(trainer._modules["prior_replay"].buffer) == 20


OPTIONS = {
    "hindsight": [*HINDSIGHT, "prior.noise=multiplicative"],
    "normalized": ["env.normalize_observations=true", "loss.prior_action=sampled"],
    "convex, copies": ["policy.acting=convex", "env.num_envs=5", "replay_buffer.n_steps=2"],
    "one": ["policy.num_components=1"],
    "huber": ["loss.loss_function=smooth_l1", "policy.loc_spread=0.5"],
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(recipe, name):
    trainer, folder, seen = trained(recipe, *OPTIONS[name])
    last = rows(folder)[-1]
    newest = trainer._modules["prior_replay"]
    kept = {"observation", "action", "action_log_prob"}
    assert set(newest.buffer[:].keys()) == kept | ({"desired_goal"} & set(seen.keys()))
    # The newest are what the policy saw: its own observations, with the recorded density.
    for key in kept:
        last_steps = seen[..., -40 * seen.shape[-1] // seen.numel() :]
        flat = last_steps[key].reshape(40, -1)
        held = newest.buffer[:][key].reshape(40, -1)
        assert sorted(map(tuple, held.tolist())) == sorted(map(tuple, flat.tolist()))
    if name == "hindsight":
        assert newest.sample(None)["desired_goal"].shape == (5, 2)
        assert 0 <= float(last["success_mixture_mean"]) <= 1
    if name == "one":
        ones = {"effective_components": 1, "prior_effective_components": 1, "weight_entropy": 0}
        ones |= {"prior_information": 0, "component_distance": 0, "loss_prior": 0}
        assert {key: float(last[key]) for key in ones} == pytest.approx(ones, abs=1e-6)
        assert last["return_mixture_mean"] == last["return_convex_mean"]


@pytest.mark.slow
def test_a_compiled_update_learns_all_parts(recipe):
    trainer, run = build(recipe, *AWMP, "optim.compile=true")
    loss, stepper = trainer.loss_module, trainer.optimization_stepper
    before = {**state_of(loss), **state_of(loss.prior_network)}
    assert train_run(trainer, run)
    assert stepper._compiled is not None and stepper.auxiliary["prior"]._compiled is not None
    after = {**loss.state_dict(), **loss.prior_network.state_dict()}
    weights = [key for key in before if key.endswith("weight")]
    assert len(weights) >= 10 and not any(before[key].equal(after[key]) for key in weights)
    batch = trainer._modules["replay_buffer"].sample(None)
    for size in (1.0, 5.0):  # the compiled loss sees the prior as it is
        for parameter in loss.prior_network.parameters():
            parameter.data.mul_(size)
        weights = loss.prior_network(batch.copy())["prior_logits"].softmax(-1).mean(0)
        expected = (-weights * weights.log()).sum().exp()
        found = stepper._compiled(batch.copy())["prior_effective_components"]
        assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_an_asked_stop_is_code_130(recipe, monkeypatch, capsys):
    trainer, run = build(recipe, *AWMP)
    stop_at(trainer, 100)
    monkeypatch.setattr(recipe, "make_trainer", lambda config: (trainer, run))
    monkeypatch.setattr(sys, "argv", ["awmp.py"])
    with pytest.raises(SystemExit) as end:
        recipe.main()
    said = capsys.readouterr().out.splitlines()
    assert end.value.code == 130 and said[0].startswith("Stopped at frame 100 of 260; resume=")
