"""Mixture policies for TorchRL: distributions, actors and losses."""

__version__ = "0.1.0"
