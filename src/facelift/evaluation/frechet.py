"""Frechet distance between two sets of pictures, in features of the shipped network's encoder.

Not the FID of papers, whose features are Inception's: numbers compare with one another alone. The features are the 128
channels that the encoder gives the decoder (its fused grids), averaged over the picture: they know faces, their pose,
parts and sharpness, and little of backgrounds.
"""

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from jaxtyping import Float, UInt8

from facelift.onnx_models.lifter import DEFAULT, weights_path

_FUSED = "model.encoder.fuse.weight"


class EncoderFeatures:
    """Pictures of faces -> features of the exported lifter `model`."""

    def __init__(self, model: str | Path = DEFAULT, *, threads: int = 1):
        import onnx

        path = weights_path(model)
        graph = onnx.load(str(path))
        fused = [node.output[0] for node in graph.graph.node if _FUSED in node.input]
        if len(fused) != 1:
            raise ValueError(f"{path}: expected a lifter with {_FUSED}, found a network without")
        graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(fused[0]))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._name, self._size = fused[0], int(self._session.get_inputs()[0].shape[-1])

    def __call__(self, images: UInt8[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "n 128"]:
        parts = [self._run(images[first : first + 32]) for first in range(0, len(images), 32)]
        return np.concatenate(parts)

    def _run(self, images: np.ndarray) -> np.ndarray:
        sized = np.stack([cv2.resize(image, (self._size, self._size)) for image in images])
        x = np.ascontiguousarray(sized.transpose(0, 3, 1, 2), np.float32) / 255
        return self._session.run([self._name], {"image": x})[0].mean((2, 3)).astype(np.float64)


def frechet_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^1/2) of Gaussians with their covariances (Heusel et al. 2017, Eq. 6).

    The trace of the root is the sum of the roots of the eigenvalues of A^1/2 B A^1/2. Raises ValueError for fewer than
    two rows.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"frechet distance: expected two pictures or more on each side, found {len(a)} and {len(b)}")
    A, B = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    values, vectors = np.linalg.eigh(A)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    roots = np.sqrt(np.clip(np.linalg.eigvalsh(root @ B @ root), 0, None)).sum()
    apart = a.mean(0) - b.mean(0)
    return float(apart @ apart + np.trace(A) + np.trace(B) - 2 * roots)
