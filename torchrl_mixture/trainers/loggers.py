"""Rows of a run for TensorBoard and Weights & Biases."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

from torchrl.record.loggers import Logger, get_logger

from torchrl_mixture.trainers.refusals import ConfigError


def check_backend(backend: str) -> None:
    """Refuse a logger whose package is not installed.

    Arguments:
        backend: ``"csv"``, ``"tensorboard"`` or ``"wandb"``.

    Raises:
        ConfigError: if the package is missing.

    Example:
        >>> check_backend("csv")
    """
    if backend != "csv" and importlib.util.find_spec(backend) is None:
        allowed = f"csv, or {backend} after: pip install 'torchrl_mixture[{backend}]'"
        raise ConfigError("logger.backend", backend, allowed)


def row_logger(backend: str, folder: Path) -> Callable[[Mapping[str, float]], None]:
    """Build a function that logs a row of ``progress.csv``, each column a curve over frames.

    Arguments:
        backend: ``"csv"``, which needs nothing beside the file, ``"tensorboard"`` or ``"wandb"``.
        folder: the run's folder, which holds the events; its name is the run's.

    Returns:
        the function, which takes a row with the key ``"frames"``.

    Example:
        >>> row_logger("csv", Path("runs/a"))({"frames": 0, "alpha": 1.0})
    """
    if backend == "csv":
        return lambda row: None
    logger = _make_logger(backend, folder)

    def log(row: Mapping[str, float]) -> None:
        for key, value in row.items():
            logger.log_scalar(key, value, step=int(row["frames"]))
        if backend == "tensorboard":  # it would keep two minutes of events for itself
            logger.experiment.flush()

    return log


def _make_logger(backend: str, folder: Path) -> Logger:
    if backend == "tensorboard":
        return get_logger("tensorboard", logger_name=str(folder), experiment_name="events")
    return get_logger(
        "wandb",
        logger_name=str(folder),
        experiment_name=folder.name,
        wandb_kwargs={"project": folder.parent.name, "id": folder.name, "resume": "allow"},
    )
