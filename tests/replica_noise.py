"""The random numbers of a batch of replicas, recorded and given to each replica alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor

Recorded = list[tuple[str, Tensor]]


@contextmanager
def recorded_noise() -> Iterator[Recorded]:
    """What ``torch.rand`` and ``torch.randn`` return inside, in turn."""
    noise: Recorded = []

    def recorder(name):
        original = getattr(torch, name)

        def draw(shape, **options):
            noise.append((name, original(shape, **options)))
            return noise[-1][1]

        return mock.patch.object(torch, name, draw)

    with recorder("rand"), recorder("randn"):
        yield noise


@contextmanager
def replayed_noise(noise: Recorded, replica: int, num_replicas: int) -> Iterator[None]:
    """``torch.rand`` and ``torch.randn`` return one replica's part of it, all and no more.

    The axis of replicas is the one of length ``num_replicas``; no other may be as long.
    """
    queue = list(noise)

    def player(name):
        def draw(shape, **_):
            kind, batch = queue.pop(0)
            assert kind == name
            part = batch.narrow(batch.shape.index(num_replicas), replica, 1)
            assert part.shape == shape, f"{name} was asked for {shape}, not {part.shape}"
            return part

        return mock.patch.object(torch, name, draw)

    with player("rand"), player("randn"):
        yield
    assert not queue
