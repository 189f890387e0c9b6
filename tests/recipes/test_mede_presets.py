"""The presets of the recipe of latent policies, against the paper of Cohen et al. (2019)."""

import pytest
import torch
from recipes.running import RECIPES

from torchrl_mixture.trainers import load_config, updates_per_batch

PRESETS = sorted(path.stem for path in (RECIPES / "config" / "mede").glob("*.yaml"))
# Section 5 and appendix B: library, task, policies, widths of actor and critics, temperature.
PAPER = {
    "multi_goal": ("torchrl_mixture", "MultiGoal", 4, [128, 128], 0.3),
    "multi_goal_two": ("torchrl_mixture", "MultiGoal-two", 3, [128, 128], 0.3),
    "hopper": ("gymnasium", "Hopper-v5", 4, [300, 300], 0.3),
    "hopper_ten": ("gymnasium", "Hopper-v5", 10, [300, 300], 0.3),
    "walker2d": ("gymnasium", "Walker2d-v5", 4, [300, 300], 0.3),
    "walker2d_ten": ("gymnasium", "Walker2d-v5", 10, [300, 300], 0.3),
    # a temperature of 1 with rewards times 5
    "multi_direction_ant": ("torchrl_mixture", "MultiDirectionAnt", 4, [128, 128], 0.2),
}
TINY = [
    "collector.total_frames=20",
    "collector.frames_per_batch=10",
    "collector.init_random_frames=10",
    "replay_buffer.size=100",
    "optim.utd_ratio=0.1",
    "evaluation.episodes=1",
]


@pytest.fixture
def recipe(mede_recipe):
    return mede_recipe


@pytest.mark.parametrize("preset", PAPER)
def test_papers_values(recipe, preset):
    config = load_config(recipe.Config, [f"preset={preset}"])
    network, loss = config.network, config.loss
    found = (config.env.library, config.env.name, config.policy.num_latents)
    assert (*found, network.hidden_sizes, loss.alpha_init) == PAPER[preset]
    assert config.discriminator.hidden_sizes == [256, 256] and loss.fixed_alpha
    assert network.separate == (preset == "multi_direction_ant")
    goals = preset.startswith("multi_goal")  # its minibatch is the released experiment's
    coefficient = 1.0 if goals else None
    assert (loss.diversity, loss.diversity_coef, loss.task_reward) == ("mede", coefficient, True)
    assert (config.optim.batch_size, config.optim.utd_ratio) == (64 if goals else 256, 1.0)
    assert config.replay_buffer.n_steps == 1


@pytest.mark.parametrize("preset", PAPER)
def test_what_the_paper_leaves_to_soft_actor_critic(recipe, preset):
    config = load_config(recipe.Config, [f"preset={preset}"])
    optim, goals = config.optim, preset.startswith("multi_goal")
    assert optim.lr == config.discriminator.lr == 3e-4
    assert (optim.gamma, optim.tau) == (0.99, 1e-4 if goals else 0.005)
    assert config.replay_buffer.size == (100_000 if goals else 1_000_000)
    assert config.collector.total_frames == (20_000 if goals else 1_000_000)


def test_every_preset_is_tested():
    assert set(PRESETS) == {*PAPER, "mujoco"}


@pytest.mark.parametrize("diversity", ["mede", "diayn"])
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_make_an_update(recipe, preset, diversity):
    arguments = [f"preset={preset}", *TINY, f"loss.diversity={diversity}"]
    config = load_config(recipe.Config, arguments)
    assert updates_per_batch(config) == 1
    trainer, _ = recipe.make_trainer(config)
    policy, batches = trainer._policy, []
    for batch in trainer.collector:
        batches.append(trainer._modules["replay_buffer"].extend(batch))
    assert torch.cat(batches)["latent"].shape == (20, config.policy.num_latents)
    before = [part.clone() for part in policy.parameters()]
    outputs = trainer.optimization_stepper.step(
        trainer, trainer._modules["replay_buffer"].sample(None)
    )
    assert all(value.isfinite().all() for value in outputs.values())
    moved = [not a.equal(b) for a, b in zip(before, policy.parameters(), strict=True)]
    assert sum(moved) >= len(moved) - 2  # with several networks not all outputs are used
    trainer.collector.shutdown()
