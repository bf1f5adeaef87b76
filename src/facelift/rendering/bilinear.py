"""Pictures looked up between their pixels."""

import cv2
import numpy as np
from jaxtyping import Float, Shaped

_ROW = 1024
"""OpenCV maps at most 32767 columns."""


def bilinear(picture: Shaped[np.ndarray, "h w *c"], xy: Float[np.ndarray, "*n 2"]) -> Shaped[np.ndarray, "..."]:
    """The picture (8-bit or float32, at most 4 channels) at places in px, to 1/32 px; its rim goes on outside of it."""
    flat = np.ascontiguousarray(xy.reshape(-1, 2), np.float32) - np.float32(0.5)
    if not len(flat):
        return np.zeros((*xy.shape[:-1], *picture.shape[2:]), picture.dtype)
    rows = np.pad(flat, ((0, -len(flat) % _ROW), (0, 0))).reshape(-1, _ROW, 2)
    found = cv2.remap(picture, rows[..., 0], rows[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found).reshape(-1, *picture.shape[2:])[: len(flat)].reshape(*xy.shape[:-1], *picture.shape[2:])
