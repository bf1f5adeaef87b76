"""Our own 2D detector, exported to ONNX: runs without torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from facelift.detectors2d.looks import CropPoints, look
from facelift.detectors2d.protocol import Detections
from facelift.landmarks import DEFINITIONS, SCHEMES
from facelift.onnx_models.session import open_session


class NetworkDetector:
    """Landmarks of one of the definitions (`facelift.landmarks.DEFINITIONS`) of an exported detector.

    Raises FileNotFoundError, or ValueError for a file that is no exported detector or lacks the definition.
    """

    def __init__(
        self,
        path: Path,
        *,
        definition: str = "wflw98",
        threads: int = 1,
        batch: int = 32,
        refine: bool = False,
        mirror: bool = False,
    ):
        """`refine` and `mirror` as in `looks.look`."""
        self._session = open_session(Path(path), threads=threads)
        names = [output.name for output in self._session.get_outputs()]
        if f"points_{definition}" not in names:
            raise ValueError(f"{path}: expected a detector with output points_{definition}, found outputs {names}")
        self.scheme, self.batch = SCHEMES[DEFINITIONS[definition]], batch
        self.size = self._session.get_inputs()[0].shape[-1]
        self.refine, self.mirror = refine, mirror
        self._outputs = [f"{kind}_{definition}" for kind in ("points", "cholesky", "visibility")]

    def detect(self, images: Sequence[UInt8[np.ndarray, "h w 3"]], boxes: Float[np.ndarray, "n 4"]) -> Detections:
        """As `looks.look`."""
        return look(self, images, boxes, refine=self.refine, mirror=self.mirror)

    def run(self, crops: UInt8[np.ndarray, "n s s 3"]) -> CropPoints:
        """The points of each crop."""
        parts = []
        for start in range(0, len(crops), self.batch):
            image = crops[start : start + self.batch].transpose(0, 3, 1, 2).astype(np.float32) / 255
            parts.append(self._session.run(self._outputs, {"image": image}))
        points, flat, visibility = (np.concatenate(part).astype(float) for part in zip(*parts, strict=True))
        cholesky = np.zeros((*flat.shape[:2], 2, 2))
        cholesky[..., 0, 0], cholesky[..., 1, 0], cholesky[..., 1, 1] = np.moveaxis(flat, -1, 0)
        return CropPoints(points, cholesky @ np.swapaxes(cholesky, -1, -2), np.clip(visibility, 0, 1))
