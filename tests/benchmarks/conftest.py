"""The scripts of benchmarks/ as modules."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Imports a script by its name."""

    def load(name: str):
        monkeypatch.syspath_prepend(str(FOLDER))
        return importlib.import_module(name)

    return load
