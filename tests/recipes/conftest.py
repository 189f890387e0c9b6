"""The recipe as a module, in a folder of its own."""

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
