"""Heads to fit, with exact pictures of them."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

_HERE = Path(__file__).parent


def _module(name: str):
    """A module beside the tests."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, _HERE / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


flame_like = _module("flame_like")
scenes = _module("scenes")


@pytest.fixture(scope="session")
def flame_arrays():
    return flame_like.arrays(np.random.default_rng(1))


@pytest.fixture(scope="session")
def flame_path(flame_arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("flame") / "flame.npz"
    np.savez(path, **flame_arrays)
    return path


@pytest.fixture(scope="session")
def flame(flame_path):
    """20 shape and 15 expression components."""
    from facelift.morphable.readers.flame import read_flame

    return read_flame(flame_path, shape=20, expression=15)


@pytest.fixture(scope="session")
def procedural():
    """The procedural head as a linear model of 5 + 3 components."""
    from facelift.morphable.face_cut import procedural_face
    from facelift.morphable.head_model import head_model
    from facelift.morphable.procedural_head import ProceduralHead
    from facelift.morphable.skinned import skinned_linear

    head = ProceduralHead()
    built = head_model(head, procedural_face(head), name="procedural", sources=(), faces=60, shape=5, expression=3)
    return skinned_linear(built.model)
