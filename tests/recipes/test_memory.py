"""Memory of a long run stays flat."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"
PROGRAM = """
import sys
import torch
from torchrl import torchrl_logger
import sac_mixture
from torchrl_mixture.trainers import load_config, train_run

torchrl_logger.setLevel("WARNING")
torch.set_num_threads(1)
trainer, run = sac_mixture.make_trainer(load_config(sac_mixture.Config, sys.argv[1:]))

def report(batch):
    if trainer.collected_frames % 10_000 == 0:
        pages = int(open("/proc/self/statm").read().split()[1])
        print(trainer.collected_frames, pages, flush=True)

trainer.register_op("post_steps_log", report)
train_run(trainer, run)
"""
SETTINGS = [
    "collector.total_frames=200000",
    "collector.frames_per_batch=10",
    "env.num_envs=10",
    "replay_buffer.size=10000",
    "optim.utd_ratio=0.1",
    "network.hidden_sizes=[32]",
    "evaluation.interval=10000",
    "evaluation.episodes=2",
    "checkpoint.interval=20000",
]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads memory from /proc")
def test_memory_is_flat_over_200_000_frames(tmp_path):
    command = [sys.executable, "-c", PROGRAM, *SETTINGS]
    environment = {**os.environ, "PYTHONPATH": str(RECIPES), "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    pages = [int(line.split()[1]) for line in finished.stdout.splitlines() if line[0].isdigit()]
    assert len(pages) == 20
    print([f"{page / 256:.1f} MiB" for page in pages])
    settled = pages[1:]  # the buffer fills until frame 10,000
    assert max(settled) / min(settled) < 1.02
