"""Shape and type checks for every annotated function, one thread, the folders of outside material, and the modules
beside this file for all tests."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads slow a shared machine by up to 50x
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping
import numpy as np
import pytest

# Before anything imports facelift. An int where a float is asked for is right (PEP 484's numeric tower).
jaxtyping.install_import_hook("facelift", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

try:
    import torch
except ImportError:  # the install that only predicts
    collect_ignore = ["losses", "models", "training", "rendering/test_torch_raster.py"]
else:
    torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes seconds; leave out with -m 'not slow'")


def _folder(variable: str, what: str) -> Path:
    if not os.environ.get(variable):
        pytest.skip(f"{variable} is not set: {what} are not at hand")
    folder = Path(os.environ[variable])
    if not folder.is_dir():
        raise FileNotFoundError(f"{variable}: expected a folder, found {str(folder)!r}")
    return folder


@pytest.fixture(scope="session")
def assets_dir() -> Path:
    """The folder with the open head (FACELIFT_ASSETS); the test is skipped without it."""
    return _folder("FACELIFT_ASSETS", "the open head's files")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with photos and human labels (FACELIFT_DATA); the test is skipped without it."""
    return _folder("FACELIFT_DATA", "photos and labels")


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of random numbers, the same in every run."""
    return np.random.default_rng(20240617)
