"""A lifter small enough to be written in a test, and a finder that needs no model."""

from pathlib import Path

import numpy as np
import pytest

from facelift.finders import FoundFaces
from facelift.geometry import intrinsics, look_at_rotation, project, sphere_translation
from facelift.onnx_models.lifter import FORMAT, OUTPUTS
from facelift.predictors.predictor import Predictor

SIZE = 16
SHAPES = {
    "landmarks": (98, 3),
    "rotation": (3, 3),
    "translation": (3,),
    "points": (98, 2),
    "cholesky": (98, 3),
    "visibility": (98,),
    "marks": (98, 2),
    "marks_cholesky": (98, 3),
}
METADATA = {"facelift_format": FORMAT, "scheme": "wflw98", "input_size": str(SIZE), "name": "tiny", "card": '"a test"'}


def truth(*, azimuth_deg: float = 20.0, elevation_deg: float = 10.0, roll_deg: float = 0.0) -> dict[str, np.ndarray]:
    """What the tiny network answers for every crop."""
    rng = np.random.default_rng(7)
    landmarks = rng.uniform([-0.2, -0.28, 0.0], [0.2, 0.2, 0.3], (98, 3))
    rotation = look_at_rotation(azimuth_deg, elevation_deg, roll_deg)
    translation = sphere_translation(rotation) + np.array([0.01, -0.02, 0.05])
    cholesky = np.stack([rng.uniform(0.01, 0.02, 98), rng.uniform(-0.01, 0.01, 98), rng.uniform(0.01, 0.02, 98)], -1)
    points = project(landmarks, rotation, translation, intrinsics(1.0))
    return {
        "landmarks": landmarks,
        "rotation": rotation,
        "translation": translation,
        "points": points,
        "cholesky": cholesky,
        "visibility": np.linspace(0, 1, 98),
        "marks": points + rng.normal(0, 0.02, (98, 2)),
        "marks_cholesky": 1.5 * cholesky,
    }


def write_network(
    path: Path,
    values: dict[str, np.ndarray] | None = None,
    *,
    metadata: dict[str, str] = METADATA,
    outputs: tuple[str, ...] = OUTPUTS,
    size: int = SIZE,
) -> Path:
    """Writes an ONNX file whose outputs are constant, repeated for each crop of the batch."""
    onnx = pytest.importorskip("onnx")
    helper, make_array = onnx.helper, onnx.numpy_helper.from_array
    values = values or truth()
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["zero"]),
    ]
    constants = []
    for name in outputs:
        shape = SHAPES.get(name, (1,))
        constants.append(make_array(values.get(name, np.zeros(shape))[None].astype(np.float32), f"{name}_value"))
        constants.append(make_array(np.arange(1, 1 + len(shape)), f"{name}_axes"))
        nodes.append(helper.make_node("Unsqueeze", ["zero", f"{name}_axes"], [f"{name}_zero"]))
        nodes.append(helper.make_node("Add", [f"{name}_zero", f"{name}_value"], [name]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", 3, size, size])],
        [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *SHAPES.get(name, (1,))])
            for name in outputs
        ],
        initializer=constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, str(path))
    return path


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


@pytest.fixture(scope="session")
def make_network():
    """`write_network`: writes a tiny network with chosen answers, metadata, outputs."""
    return write_network


@pytest.fixture(scope="session")
def answers() -> dict[str, np.ndarray]:
    """What the tiny network says about every crop."""
    return truth()


@pytest.fixture(scope="session")
def fixed_finder() -> type:
    """The class of finders that find what they were told."""
    return FixedFinder


@pytest.fixture
def predictor(weights) -> Predictor:
    """One face per picture, at 20 20 60 60."""
    return Predictor(weights, finder=FixedFinder([[20, 20, 60, 60]]), threads=1)
