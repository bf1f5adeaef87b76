"""Our own 2D detector, exported to ONNX: runs without torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from facelift.crops import crop_transform, cut
from facelift.detectors2d.protocol import Detections
from facelift.landmarks import DEFINITIONS, SCHEMES


class NetworkDetector:
    """Landmarks of one of the definitions (`facelift.landmarks.DEFINITIONS`) of an exported detector.

    Raises FileNotFoundError, or ValueError for a file that is no exported detector or lacks the definition.
    """

    def __init__(self, path: Path, *, definition: str = "wflw98", threads: int = 1, batch: int = 32):
        import onnxruntime

        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: expected a detector exported by `facelift export`, found no file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except (RuntimeError, onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf) as error:
            raise ValueError(f"{path}: expected an ONNX file, found one that does not load: {error}") from error
        names = [output.name for output in self._session.get_outputs()]
        if f"points_{definition}" not in names:
            raise ValueError(f"{path}: expected a detector with output points_{definition}, found outputs {names}")
        self.scheme, self.batch = SCHEMES[DEFINITIONS[definition]], batch
        self.size = self._session.get_inputs()[0].shape[-1]
        self._outputs = [f"{kind}_{definition}" for kind in ("points", "cholesky")]

    def detect(self, images: Sequence[UInt8[np.ndarray, "h w 3"]], boxes: Float[np.ndarray, "n 4"]) -> Detections:
        """Points in px of each image. Confidence is exp(-sigma / 2 % of the crop): 1 where the network is sure."""
        crops = [crop_transform(box, size=self.size) for box in np.asarray(boxes, float)]
        points, cholesky = self._run([cut(image, crop) for image, crop in zip(images, crops, strict=True)])
        covariance = cholesky @ np.swapaxes(cholesky, -1, -2)
        sigma = np.sqrt(np.trace(covariance, axis1=-2, axis2=-1) / 2)
        to_image = np.stack([np.linalg.inv(crop.crop_from_image[:, :2]) for crop in crops])[:, None] * self.size
        return Detections(
            np.stack([crop.to_image(p * self.size) for crop, p in zip(crops, points, strict=True)]),
            np.exp(-sigma / 0.02),
            np.ones(len(crops), bool),
            to_image @ covariance @ np.swapaxes(to_image, -1, -2),
        )

    def _run(self, crops: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, l, 2) and Cholesky factors (n, l, 2, 2), crop widths."""
        points, factors = [], []
        for start in range(0, len(crops), self.batch):
            image = np.stack(crops[start : start + self.batch]).transpose(0, 3, 1, 2).astype(np.float32) / 255
            found = self._session.run(self._outputs, {"image": image})
            points.append(found[0])
            factors.append(found[1])
        flat = np.concatenate(factors).astype(float)
        cholesky = np.zeros((*flat.shape[:2], 2, 2))
        cholesky[..., 0, 0], cholesky[..., 1, 0], cholesky[..., 1, 1] = np.moveaxis(flat, -1, 0)
        return np.concatenate(points).astype(float), cholesky
