"""Mixture policies for TorchRL: actors, losses and collectors."""

__version__ = "0.1.0"
