"""A 2D detector from what a user types."""

from pathlib import Path

from facelift.detectors2d.protocol import Detector2D


def build_detector(name: str) -> Detector2D:
    """WFLW-98 detector: "mediapipe", or the path of our own, exported to ONNX.

    Raises ImportError without the packages it needs, FileNotFoundError or ValueError for a wrong path or file.
    """
    if name == "mediapipe":
        from facelift.detectors2d.mediapipe import MediaPipeDetector

        return MediaPipeDetector()
    if not Path(name).is_file():
        raise FileNotFoundError(f'detector: expected "mediapipe" or the path of an ONNX file, found {name!r}')
    from facelift.detectors2d.network import NetworkDetector

    return NetworkDetector(Path(name))
