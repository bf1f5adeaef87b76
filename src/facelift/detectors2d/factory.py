"""A 2D detector from what a user types."""

from facelift.detectors2d.lifter import LifterDetector
from facelift.detectors2d.network import NetworkDetector
from facelift.detectors2d.protocol import Detector2D
from facelift.onnx_models.lifter import DEFAULT, SHIPPED, weights_path


def build_detector(name: str, *, refine: bool = False, mirror: bool = False) -> Detector2D:
    """WFLW-98 detector: "mediapipe", "small" for the lifter that comes with the package, or an exported one's path.

    `refine` and `mirror` as in `looks.look`; MediaPipe's own crop follows the face already. Raises ImportError without
    the packages it needs, FileNotFoundError or ValueError for a wrong path or file.
    """
    if name == "mediapipe":
        from facelift.detectors2d.mediapipe import MediaPipeDetector

        return MediaPipeDetector()
    if name in SHIPPED and name != DEFAULT:
        raise ValueError(
            f'detector: expected "mediapipe", "{DEFAULT}" or the path of an ONNX file, found "{name}", no detector'
        )
    if not weights_path(name).is_file():
        raise FileNotFoundError(
            f'detector: expected "mediapipe", "{DEFAULT}" or the path of an ONNX file, found {name!r}'
        )
    try:
        return LifterDetector(name, refine=refine, mirror=mirror)
    except ValueError:  # no lifter: then a detector, or else the error below tells what it is
        return NetworkDetector(weights_path(name), refine=refine, mirror=mirror)
