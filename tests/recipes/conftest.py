"""Recipes as modules, in a folder of their own."""

from types import ModuleType

import pytest
from recipes.running import RECIPES
from torchrl import torchrl_logger


@pytest.fixture
def recipe(monkeypatch, tmp_path) -> ModuleType:
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torchrl_logger, "level", torchrl_logger.level)
    torchrl_logger.setLevel("WARNING")
    import sac_mixture

    return sac_mixture


@pytest.fixture
def mede_recipe(monkeypatch, tmp_path) -> ModuleType:
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.chdir(tmp_path)
    import mede

    return mede


@pytest.fixture
def awmp_recipe(monkeypatch, tmp_path) -> ModuleType:
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.chdir(tmp_path)
    import awmp

    return awmp
