"""The presets of the recipe of mixtures with component critics, against the papers' values."""

import pytest
from recipes.running import RECIPES

from torchrl_mixture.trainers import load_config, updates_per_batch

PRESETS = sorted(path.stem for path in (RECIPES / "config" / "sacm").glob("*.yaml"))
slow = pytest.mark.slow


@pytest.fixture
def recipe(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.chdir(tmp_path)
    import sacm

    return sacm


TINY = [
    "collector.total_frames=20",
    "collector.frames_per_batch=10",
    "collector.init_random_frames=10",
    "replay_buffer.size=100",
    "optim.utd_ratio=0.1",
    "optim.batch_size=8",
    "evaluation.episodes=1",
]
SMALL = ["multi_goal", "pendulum"]


@pytest.mark.parametrize(
    "preset", [name if name in SMALL else pytest.param(name, marks=slow) for name in PRESETS]
)
def test_presets_make_an_update(recipe, preset):
    config = load_config(recipe.Config, [f"preset={preset}", *TINY])
    assert updates_per_batch(config) == 1
    trainer, _ = recipe.make_trainer(config)
    policy, replay = trainer._policy, trainer._modules["replay_buffer"]
    for batch in trainer.collector:
        replay.extend(batch)
    before = [part.clone() for part in policy.parameters()]
    outputs = trainer.optimization_stepper.step(trainer, replay.sample(None))
    assert all(value.isfinite().all() for value in outputs.values())
    assert all(not a.equal(b) for a, b in zip(before, policy.parameters(), strict=True))
    trainer.collector.shutdown()


@pytest.mark.parametrize("preset", PRESETS)
def test_values_of_the_presets(recipe, preset):
    """Section 6 of Baram et al. (2021); tables 7 and 8 of Dey and Sharon (2025)."""
    config = load_config(recipe.Config, [f"preset={preset}"])
    optim, name = config.optim, config.env.name
    found = (config.network.hidden_sizes, config.policy.num_components, optim.batch_size)
    assert config.loss.loss_function == "l2" and not config.policy.learn_weights
    assert config.loss.actor_entropy == "component" and not config.loss.data_masks
    if preset in ("mujoco", "hopper", "humanoid", "swimmer"):
        assert found == ([300, 400], 3, 256) and config.loss.variant == "s2acm"
        assert (optim.lr, optim.gamma, optim.tau) == (3e-4, 0.99, 0.005)
        assert (config.collector.frames_per_batch, optim.utd_ratio) == (1000, 1.0)
        assert config.collector.total_frames == (1_000_000 if preset == "hopper" else 3_000_000)
        assert config.replay_buffer.size == 50_000 and not config.loss.fixed_alpha
    elif "fetch" in preset:
        size = 1024 if preset.endswith("place") else 2048
        assert found == ([512] * 3, 3, size) and name.startswith("Fetch")
        assert (optim.lr, optim.gamma, optim.tau) == (1e-3, 0.95, 0.005)
        assert config.replay_buffer.her_ratio == 0.8 and config.loss.variant == "sacm"
    elif preset.startswith("dey_"):
        rate = 6e-4 if preset.endswith("swimmer") else 3e-4
        assert found == ([256, 256], 3, 256) and config.loss.variant == "sacm"
        assert (optim.lr, optim.gamma, optim.tau) == (rate, 0.99, 0.05)
        frames = 2_000_000 if preset.endswith("humanoid") else 1_000_000
        assert (config.collector.total_frames, optim.utd_ratio) == (frames, 1.0)
    else:
        assert preset in SMALL and config.loss.variant == "sacm"


@pytest.mark.parametrize("preset", SMALL)
def test_small_presets_are_those_of_the_mixture(recipe, preset):
    import sac_mixture

    own, other = (
        load_config(module.Config, [f"preset={preset}"]) for module in (recipe, sac_mixture)
    )
    for part in ("env", "collector", "replay_buffer", "optim", "evaluation", "checkpoint"):
        assert getattr(own, part) == getattr(other, part)
    assert own.network.hidden_sizes == other.network.hidden_sizes
    for name in ("alpha_init", "fixed_alpha"):
        assert getattr(own.loss, name) == getattr(other.loss, name)
