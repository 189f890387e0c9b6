"""Raw streams of transitions with every kind of episode end, and their n-step transitions."""

import torch
from tensordict import TensorDict

LENGTHS = [1, 4, 2, 1, 1, 3, 7, 2, 5, 1, 3, 2]  # of the episodes, over and over


def stream(steps: int, copies: int | None, seed: int = 0) -> TensorDict:
    """Make transitions ``[steps]`` or ``[copies, steps]``; each observation occurs once.

    The observation is ``(copy, 2 * step)``, the next one ``(copy, 2 * step + 1)``.
    """
    rows = [_one_copy(steps, copy, seed + copy) for copy in range(copies or 1)]
    return rows[0] if copies is None else torch.stack(rows).contiguous()


def _one_copy(steps: int, copy: int, seed: int) -> TensorDict:
    generator = torch.Generator().manual_seed(seed)
    ends, episode = torch.zeros(steps, dtype=torch.int), copy
    end = LENGTHS[episode] - 1
    while end < steps:
        ends[end] = torch.randint(1, 4, (), generator=generator)  # 3: both at once
        episode += 1
        end += LENGTHS[episode % len(LENGTHS)]
    time = 2.0 * torch.arange(steps)
    signals = {"terminated": ends % 2 == 1, "truncated": ends >= 2, "done": ends > 0}
    following = {key: value.unsqueeze(-1) for key, value in signals.items()}
    following["observation"] = torch.stack([torch.full_like(time, copy), time + 1], -1)
    following["reward"] = torch.randn(steps, 1, generator=generator)
    fields = {
        "observation": torch.stack([torch.full_like(time, copy), time], -1),
        "action": torch.rand(steps, 1, generator=generator) * 1.8 - 0.9,
        "loc": torch.randn(steps, 3, generator=generator),
        "next": TensorDict(following, [steps]),
    }
    return TensorDict(fields, [steps])


def split(data: TensorDict, lengths: list[int]) -> list[TensorDict]:
    """Cut a stream along time into batches of these lengths, over and over."""
    batches, start, turn = [], 0, 0
    while start < data.shape[-1]:
        batches.append(data[..., start : start + lengths[turn % len(lengths)]].clone())
        start += lengths[turn % len(lengths)]
        turn += 1
    return batches


def n_step(data: TensorDict, n: int, gamma: float) -> dict[tuple, dict]:
    """Compute the n-step transition from each step of a stream, by its observation."""
    found = {}
    for row in data.unsqueeze(0) if data.ndim == 1 else data:
        for first in range(len(row)):
            reward, last = 0.0, first
            for last in range(first, min(first + n, len(row))):
                reward += gamma ** (last - first) * row["next", "reward"][last].item()
                if row["next", "done"][last]:
                    break
            found[tuple(row["observation"][first].tolist())] = {
                "action": row["action"][first],
                "reward": reward,
                "steps": last - first + 1,
                "last": row["next"][last],
            }
    return found
