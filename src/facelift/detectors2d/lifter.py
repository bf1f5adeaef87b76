"""An exported lifter as a 2D detector: its marks with their covariances. Runs without torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from facelift.detectors2d.looks import CropPoints, look
from facelift.detectors2d.protocol import Detections
from facelift.landmarks import SCHEMES
from facelift.onnx_models.lifter import DEFAULT, OnnxLifter


class LifterDetector:
    """WFLW-98 points of the networks that `Predictor` uses; `model` as there.

    Raises FileNotFoundError, or ValueError for a file that is no exported lifter.
    """

    def __init__(self, model: Path | str = DEFAULT, *, threads: int = 1, refine: bool = False, mirror: bool = False):
        """`refine` and `mirror` as in `looks.look`."""
        self._lifter = OnnxLifter(model, threads=threads)
        self.scheme, self.size = SCHEMES[self._lifter.scheme], self._lifter.input_size
        self.refine, self.mirror = refine, mirror

    def detect(self, images: Sequence[UInt8[np.ndarray, "h w 3"]], boxes: Float[np.ndarray, "n 4"]) -> Detections:
        """As `looks.look`."""
        return look(self, images, boxes, refine=self.refine, mirror=self.mirror)

    def run(self, crops: UInt8[np.ndarray, "n s s 3"]) -> CropPoints:
        """Where a person would mark the landmarks of each crop."""
        heads = self._lifter.run(crops)
        return CropPoints(heads.marks, heads.marks_covariance, heads.visibility)
