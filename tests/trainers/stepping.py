"""Steps outside a trainer, and comparisons of losses."""

from types import SimpleNamespace

import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.objectives import LossModule

from torchrl_mixture.trainers import AdamStepper


def run(
    loss: LossModule, stepper: AdamStepper, minibatch: TensorDict, steps: int, seed: int = 2
) -> list[TensorDict]:
    """Take steps on the same minibatch and return the outputs."""
    torch.manual_seed(seed)
    trainer = SimpleNamespace(compute_loss=loss)
    return [stepper.step(trainer, minibatch.clone()) for _ in range(steps)]


def parameters(loss: LossModule) -> list[Tensor]:
    """Copy all parameters, targets and buffers."""
    return [value.clone() for value in loss.state_dict().values() if torch.is_tensor(value)]


def assert_same_state(left: LossModule, right: LossModule) -> None:
    for key, value in left.state_dict().items():
        torch.testing.assert_close(value, right.state_dict()[key], rtol=1e-5, atol=1e-6, msg=key)
