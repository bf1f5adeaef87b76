"""The tiny network and a finder that needs no model, for every test of the user's side."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from tiny_network import write_network

from facelift.finders import FoundFaces
from facelift.predictor import Predictor


class FixedFinder:
    """Finds the boxes that it was given, in whatever picture."""

    name = "fixed"

    def __init__(self, boxes, rolls=None):
        self.boxes = np.array(boxes, float).reshape(-1, 4)
        self.rolls = np.zeros(len(self.boxes)) if rolls is None else np.array(rolls, float)

    def find(self, image):
        return FoundFaces(self.boxes, np.full(len(self.boxes), 0.9), self.rolls)


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """An .onnx file with everything that the Predictor asks for."""
    return write_network(tmp_path_factory.mktemp("weights") / "tiny.onnx")


@pytest.fixture
def predictor(weights) -> Predictor:
    """One face per picture, at 20 20 60 60."""
    return Predictor(weights, finder=FixedFinder([[20, 20, 60, 60]]), threads=1)
