"""3D facial landmarks with uncertainty, visibility and head pose from one ordinary photo."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facelift.faces.dense_face import DenseFace
    from facelift.faces.face import Face
    from facelift.faces.mesh_face import MeshFace
    from facelift.predictors.dense_predictor import DensePredictor
    from facelift.predictors.mesh_predictor import MeshPredictor
    from facelift.predictors.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["DenseFace", "DensePredictor", "Face", "MeshFace", "MeshPredictor", "Predictor", "__version__"]
_HOMES = {
    "Predictor": "predictors.predictor",
    "MeshPredictor": "predictors.mesh_predictor",
    "DensePredictor": "predictors.dense_predictor",
    "Face": "faces.face",
    "MeshFace": "faces.mesh_face",
    "DenseFace": "faces.dense_face",
}


def __getattr__(name: str) -> Any:
    """Imports a class when it is first asked for: `import facelift` alone costs nothing (PEP 562)."""
    if name in _HOMES:
        return getattr(import_module(f"facelift.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
