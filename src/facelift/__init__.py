"""3D facial landmarks with uncertainty, visibility and head pose from one ordinary photo."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facelift.face import Face
    from facelift.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["Face", "Predictor", "__version__"]


def __getattr__(name: str) -> Any:
    """Imports Predictor and Face when they are first asked for: `import facelift` alone costs nothing (PEP 562)."""
    if name == "Predictor":
        from facelift.predictor import Predictor

        return Predictor
    if name == "Face":
        from facelift.face import Face

        return Face
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
