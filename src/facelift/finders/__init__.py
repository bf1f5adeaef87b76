"""Where the faces of a photo are: our own network, or MediaPipe's detectors."""

from facelift.finders.network import NetworkFinder
from facelift.finders.protocol import FaceFinder, FoundFaces, overlaps

__all__ = ["FaceFinder", "FinderOnDemand", "FoundFaces", "NetworkFinder", "find_finder", "overlaps"]


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


class FinderOnDemand:
    """A finder by name, or an object with `find`; our own network is loaded when it is first needed.

    Any other name is looked up now, so that an unknown or missing finder is told at once. Raises as `find_finder`.
    """

    def __init__(self, finder: str | FaceFinder):
        self._finder = find_finder(finder) if isinstance(finder, str) and finder != "auto" else finder

    def get(self) -> FaceFinder:
        """The finder."""
        if isinstance(self._finder, str):
            self._finder = find_finder(self._finder)
        return self._finder
