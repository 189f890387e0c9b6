"""The presets of the recipe of several means, against the tables of Dey and Sharon (2025)."""

import pytest
from recipes.running import RECIPES

from torchrl_mixture.trainers import load_config, make_envs, updates_per_batch

PRESETS = sorted(path.stem for path in (RECIPES / "config" / "gamid").glob("*.yaml"))
# Tables 3 and 4: steps, learning rate, random steps, minibatch, discount.
SHARED = {
    "swimmer": ("Swimmer-v5", 1_000_000, 1e-3, 10_000, 100, 0.9999),
    "halfcheetah": ("HalfCheetah-v5", 1_000_000, 1e-3, 10_000, 100, 0.99),
    "hopper": ("Hopper-v5", 1_000_000, 3e-4, 10_000, 256, 0.99),
    "ant": ("Ant-v5", 1_000_000, 1e-3, 10_000, 100, 0.99),
    "walker2d": ("Walker2d-v5", 1_000_000, 1e-3, 10_000, 100, 0.99),
    "humanoid": ("Humanoid-v5", 2_000_000, 3e-4, 10_000, 256, 0.99),
    "fetch_push": ("FetchPush-v4", 1_000_000, 1e-3, 1_000, 2048, 0.95),
    "fetch_slide": ("FetchSlide-v4", 1_000_000, 1e-3, 1_000, 2048, 0.95),
    "fetch_pick_and_place": ("FetchPickAndPlace-v4", 1_000_000, 1e-3, 1_000, 1024, 0.95),
}
# Table 5: N; tau first, last, over which part; epsilon first, last, over which part.
OWN = {
    "swimmer": (3, 0.1, 0.1, 1.0, 0.3, 0.03, 0.5),
    "halfcheetah": (5, 0.1, 0.1, 1.0, 0.2, 0.02, 0.5),
    "hopper": (2, 0.1, 0.01, 1.0, 0.1, 0.1, 1.0),
    "ant": (2, 0.1, 0.1, 1.0, 0.1, 0.1, 1.0),
    "walker2d": (3, 0.1, 0.1, 1.0, 0.3, 0.03, 1.0),
    "humanoid": (4, 0.3, 0.1, 0.3, 0.3, 0.1, 0.3),
    "fetch_push": (4, 0.3, 0.1, 1.0, 0.1, 0.01, 1.0),
    "fetch_slide": (8, 0.3, 0.1, 1.0, 0.1, 0.01, 1.0),
    "fetch_pick_and_place": (8, 0.3, 0.1, 1.0, 0.1, 0.01, 1.0),
}
FRAMES_PER_BATCH = {"halfcheetah": 1000, "walker2d": 100, "ant": 100}
SMALL = ("fetch_push", "fetch_slide", "fetch_pick_and_place")


@pytest.fixture
def load(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.chdir(tmp_path)
    import gamid

    return lambda preset: load_config(gamid.Config, [f"preset={preset}", "evaluation.episodes=1"])


def own(config):
    loss, policy = config.loss, config.policy
    return (
        policy.num_components,
        loss.temperature_initial,
        loss.temperature_final,
        loss.temperature_fraction,
        policy.epsilon_initial,
        policy.epsilon_final,
        policy.epsilon_fraction,
    )


@pytest.mark.parametrize("preset", SHARED)
def test_papers_values(load, preset):
    config, fetch = load(preset), preset.startswith("fetch")
    assert (
        config.env.name,
        config.collector.total_frames,
        config.optim.lr,
        config.collector.init_random_frames,
        config.optim.batch_size,
        config.optim.gamma,
    ) == SHARED[preset]
    assert own(config) == OWN[preset]
    assert config.network.hidden_sizes == ([512] * 3 if fetch else [256] * 2)
    assert config.replay_buffer.her_ratio == (0.8 if fetch else 0)  # 4 goals of 5
    assert config.policy.noise_std == 0.1


@pytest.mark.parametrize("preset", SHARED)
def test_what_the_paper_leaves_to_stable_baselines(load, preset):
    config = load(preset)
    assert (config.optim.tau, config.replay_buffer.size) == (0.005, 1_000_000)
    loss = config.loss
    assert (loss.policy_noise, loss.noise_clip, loss.delay) == (0.2, 0.5, 2)
    assert (loss.loss_function, loss.variance) == ("l2", 1.0)
    frames = 50 if preset.startswith("fetch") else FRAMES_PER_BATCH.get(preset, 10)
    assert updates_per_batch(config) == config.collector.frames_per_batch == frames


@pytest.mark.parametrize("preset", SMALL)
def test_small_presets_differ_in_size_and_targets_alone(load, preset):
    small, large = load(f"{preset}_small"), load(preset)
    assert small.network.hidden_sizes == [256] * 3
    assert (small.optim.batch_size, small.optim.tau) == (256, 0.05)
    small.network, small.optim = large.network, large.optim
    assert small == large


ABLATIONS = {  # figures 2 and 5, as N, tau and epsilon of table 5 with what is varied
    "walker2d_one": (1, 0.1, 0.1, 1.0, 0.3, 0.03, 1.0),
    "walker2d_decaying": (3, 0.1, 0.01, 0.3, 0.3, 0.03, 1.0),
    "walker2d_greedy": (3, 0.1, 0.1, 1.0, 0.0, 0.0, 1.0),
    "walker2d_uniform": (3, 0.1, 0.1, 1.0, 1.0, 1.0, 1.0),
    "walker2d_temperature_0": (3, 0.0, 0.0, 1.0, 0.3, 0.03, 1.0),
    "walker2d_temperature_10": (3, 10.0, 10.0, 1.0, 0.3, 0.03, 1.0),
}


@pytest.mark.parametrize("preset", ABLATIONS)
def test_ablations(load, preset):
    config, base = load(preset), load("walker2d")
    assert own(config) == ABLATIONS[preset]
    config.policy, config.loss = base.policy, base.loss
    assert config == base


def test_every_preset_is_tested(load):
    ours = {"mujoco", "fetch", "fetch_reach_small", "maze_grid", "maze_goal", "multi_goal"}
    small = {f"{preset}_small" for preset in SMALL}
    assert set(PRESETS) == {*SHARED, *ABLATIONS, *small, *ours}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_fit_the_recipe(load, preset):
    config = load(preset)
    assert updates_per_batch(config) > 0
    env, _, _ = make_envs(config)
    assert env.action_spec_unbatched.ndim == 1
