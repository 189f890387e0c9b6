"""Runs of the recipe awmp that were stopped and go on, bit for bit."""

import pytest
import torch
from recipes.running import AWMP, HINDSIGHT, build, check_resumed, frames_of, stop_at, updated
from torchrl.checkpoint import Checkpoint, GlobalRNGState

from torchrl_mixture.trainers import newest_checkpoint, train_run

RESUMED = {
    "mixture": [],
    "hindsight": [*HINDSIGHT, "policy.acting=convex"],
    "copies": ["env.num_envs=2", "replay_buffer.n_steps=3", "loss.prior_action=sampled"],
}
slow = pytest.mark.slow


@pytest.fixture
def recipe(awmp_recipe):
    return awmp_recipe


def prior_of(trainer):
    """Prior, its Adam, its updates, and the newest transitions."""
    stepper = trainer.optimization_stepper.auxiliary["prior"]
    found = {f"prior.{k}": v for k, v in trainer.loss_module.prior_network.state_dict().items()}
    for index, state in stepper.optimizer.state_dict()["state"].items():
        found |= {f"prior_adam.{index}.{key}": value for key, value in state.items()}
    newest = trainer._modules["prior_replay"].buffer[:]
    found |= {f"newest.{key}": value for key, value in newest.items()}
    return {key: value.clone() for key, value in found.items()}, stepper.updates


def stepped(trainer, updates=20):
    """Take updates as training does, of the prior too, and return all that they change."""
    replay, stepper = trainer._modules["replay_buffer"], trainer.optimization_stepper
    for _ in range(updates):
        stepper.step(trainer, replay.sample(None))
    found, count = prior_of(trainer)
    assert stepper.auxiliary["prior"].updates == count == stepper.updates
    return found | updated(trainer, updates=0), count


def stopped(recipe, *arguments):
    trainer, run = build(recipe, *AWMP, *arguments)
    stop_at(trainer, 230)
    assert not train_run(trainer, run)
    start, frames = newest_checkpoint(run.record.checkpoints)
    assert frames == 230
    return trainer, run.record.path, start


@pytest.mark.parametrize("name", ["mixture", "hindsight", pytest.param("copies", marks=slow)])
def test_continued_run_is_bitwise_the_stopped_one(recipe, tmp_path, name):
    trainer, folder, start = stopped(recipe, *RESUMED[name])
    Checkpoint(rng=GlobalRNGState()).load(start)
    before, _ = prior_of(trainer)
    expected, count = stepped(trainer)
    generator = torch.get_rng_state()
    assert count == 60
    torch.manual_seed(123)
    resumed = check_resumed(recipe, folder, tmp_path / "copy")
    found, again = stepped(resumed)
    assert expected.keys() == found.keys() and again == count
    for part, size in (("prior.", 4), ("prior_adam.", 12), ("newest.", 3), ("adam.", 36)):
        assert len([key for key in found if key.startswith(part)]) >= size
    assert not any(before[key].equal(found[key]) for key in found if key.startswith("prior"))
    assert [key for key in found if not found[key].equal(expected[key])] == []
    assert torch.get_rng_state().equal(generator)
    stored = [each._modules["replay_buffer"].buffer[:] for each in (trainer, resumed)]
    for key in stored[0].keys(True, True):
        assert stored[0][key].equal(stored[1][key])
    policies = [each._policy.state_dict() for each in (trainer, resumed)]
    assert all(value.equal(policies[1][key]) for key, value in policies[0].items())
    last, run = build(recipe, f"resume={folder}")
    assert train_run(last, run)
    assert frames_of(folder) == [0, 130, 260]
    assert last.optimization_stepper.auxiliary["prior"].updates == 70
