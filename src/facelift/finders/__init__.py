"""Where the faces of a photo are: our own network, or MediaPipe's detectors."""

from facelift.finders.network import NetworkFinder
from facelift.finders.protocol import FaceFinder, FoundFaces, overlaps

__all__ = ["FaceFinder", "FoundFaces", "NetworkFinder", "find_finder", "overlaps"]


def find_finder(name: str = "auto") -> FaceFinder:
    """The finder `name`: "auto" is our own, "mediapipe" that package's.

    Raises ValueError for another name, ImportError if "mediapipe" is asked for and does not import.
    """
    if name == "auto":
        return NetworkFinder()
    if name == "mediapipe":
        from facelift.finders.mediapipe import MediaPipeFinder

        return MediaPipeFinder()
    raise ValueError(f"face finder: expected 'auto' or 'mediapipe', found {name!r}")
