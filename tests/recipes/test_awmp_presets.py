"""The presets of the recipe of advantage-weighted mixtures, against the paper's values."""

from dataclasses import asdict

import pytest
import torch
from recipes.running import RECIPES

from torchrl_mixture.trainers import load_config, updates_per_batch

PRESETS = sorted(path.stem for path in (RECIPES / "config" / "awmp").glob("*.yaml"))
SMALL = ["multi_goal", "pendulum"]
TASKS = {  # table 1: dimensions of the action
    "ant": ("Ant-v5", 8),
    "halfcheetah": ("HalfCheetah-v5", 6),
    "walker2d": ("Walker2d-v5", 6),
    "hopper": ("Hopper-v5", 3),
    "mujoco": ("Hopper-v5", 3),
}
TINY = [
    "collector.total_frames=20",
    "collector.frames_per_batch=10",
    "collector.init_random_frames=10",
    "replay_buffer.size=100",
    "optim.utd_ratio=0.1",
    "optim.batch_size=8",
    "evaluation.episodes=1",
]
slow = pytest.mark.slow


@pytest.fixture
def recipe(awmp_recipe):
    return awmp_recipe


def of(recipe, preset, *arguments):
    return load_config(recipe.Config, [f"preset={preset}", *arguments])


def test_there_are_presets_of_the_papers_tasks_and_small_ones():
    assert sorted(PRESETS) == sorted([*TASKS, *SMALL])


@pytest.mark.parametrize(
    "preset", [name if name in SMALL else pytest.param(name, marks=slow) for name in PRESETS]
)
def test_presets_make_an_update(recipe, preset):
    config = of(recipe, preset, *TINY)
    assert updates_per_batch(config) == 1
    trainer, _ = recipe.make_trainer(config)
    env, policy, loss = trainer.collector.env, trainer._policy, trainer.loss_module
    if preset in TASKS:
        assert env.action_spec.shape[-1] == TASKS[preset][1]
    replay, newest = (trainer._modules[name] for name in ("replay_buffer", "prior_replay"))
    for batch in trainer.collector:
        newest.extend(replay.extend(batch))
    torch.manual_seed(3)  # the data of a tenth of an episode divide nothing: a prior that does
    for parameter in loss.prior_network.parameters():
        parameter.data.mul_(3)
    parts = {"actor": policy.actor, "prior": loss.prior_network}
    parts["targets"] = loss.target_qvalue_network_params
    before = {name: [part.clone() for part in tensors(module)] for name, module in parts.items()}
    outputs = trainer.optimization_stepper.step(trainer, replay.sample(None))
    assert all(value.isfinite().all() for value in outputs.values())
    for name, module in parts.items():
        moved = [not a.equal(b) for a, b in zip(before[name], tensors(module), strict=True)]
        assert all(moved), name
    trainer.collector.shutdown()


def tensors(module):
    return [*module.values(True, True)] if hasattr(module, "keys") else [*module.parameters()]


@pytest.mark.parametrize("preset", TASKS)
def test_values_of_the_papers_tables(recipe, preset):
    """Tables 1 to 3 of Hou et al. (2020), and section 4.1."""
    config = of(recipe, preset)
    optim, prior, loss = config.optim, config.prior, config.loss
    assert config.env.name == TASKS[preset][0] and config.env.library == "gymnasium"
    # Table 1.
    assert loss.alpha == 0.2
    # Table 2.
    assert (optim.batch_size, config.network.hidden_sizes) == (100, [400, 400])
    assert (optim.tau, optim.lr, optim.gamma) == (0.005, 3e-4, 0.99)
    assert config.replay_buffer.size == 1_000_000 and optim.utd_ratio == 1  # gradient steps
    # Table 3.
    assert (prior.batch_size, prior.newest, prior.lr) == (50, 5000, 3e-4)
    assert (prior.noise_std, prior.information_coef) == (0.04, 0.1)
    assert (optim.tau_qvalue, loss.gate_entropy_coef) == (0.001, 0.001)
    # Section 4.1, and equations 16, 20 and 22.
    assert config.policy.num_components == 4 and config.collector.total_frames == 1_000_000
    assert (config.evaluation.interval, config.evaluation.episodes) == (1000, 10)
    assert (loss.gate_temperature, loss.loss_function) == (1, "l2")


@pytest.mark.parametrize("preset", TASKS)
def test_values_that_the_paper_leaves_open_are_those_that_the_preset_names(recipe, preset):
    config = of(recipe, preset)
    assert (config.collector.init_random_frames, config.prior.hidden_sizes) == (10_000, [400, 300])
    assert (config.collector.frames_per_batch, updates_per_batch(config)) == (10, 10)
    assert (config.policy.acting, config.loss.prior_action) == ("mixture", "replay")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_of_a_task_is_that_of_mujoco(recipe, preset):
    own, other = (asdict(of(recipe, name)) for name in (preset, "mujoco"))
    same = {key for key in own if own[key] == other[key]}
    if preset in TASKS:
        assert own["env"].pop("name").endswith("-v5") and other["env"].pop("name")
        assert same >= set(own) - {"env"} and own["env"] == other["env"]
    else:
        assert not {"collector", "optim", "network"} & same


@pytest.mark.parametrize("preset", SMALL)
def test_small_presets_are_those_of_the_mixture(recipe, preset):
    """All that the two recipes share, but the rates of the targets, which are two here."""
    import sac_mixture

    own, other = (
        load_config(module.Config, [f"preset={preset}"]) for module in (recipe, sac_mixture)
    )
    for part in ("env", "collector", "replay_buffer", "evaluation", "checkpoint"):
        assert getattr(own, part) == getattr(other, part)
    optim = asdict(own.optim)
    rates = {key: optim.pop(key) for key in ("tau", "tau_qvalue")}
    shared = asdict(other.optim)
    del shared["tau"]
    assert optim == shared
    assert own.network.hidden_sizes == other.network.hidden_sizes
    assert other.loss.fixed_alpha and own.loss.alpha == other.loss.alpha_init
    if preset == "pendulum":
        assert rates["tau"] == other.optim.tau == pytest.approx(5 * rates["tau_qvalue"])
    else:
        of_the_paper = of(recipe, "mujoco").optim
        assert rates == {key: getattr(of_the_paper, key) for key in rates}
        assert own.policy.num_components == other.policy.num_components
