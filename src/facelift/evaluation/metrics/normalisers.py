"""The lengths that errors are divided by. Each in the unit of its points, one a face; never zero, never NaN."""

import numpy as np
from jaxtyping import Float

from facelift.landmarks import SCHEMES

OUTER_EYE_CORNERS = {"wflw98": (60, 72), "ibug68": (36, 45), "lapa106": (66, 79)}
PUPILS = {
    "wflw98": ((96,), (97,)),
    "ibug68": (tuple(range(36, 42)), tuple(range(42, 48))),
    "lapa106": ((104,), (105,)),
}
"""Landmarks whose mean is a pupil, left and right in a frontal picture."""


def box_size(boxes: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "m"]:
    """sqrt(w h) of boxes x0 y0 x1 y1 (Zhu et al. 2016, AFLW2000-3D; z of Ferman et al. 2024, Eq. 5).

    Raises ValueError that names the faces whose box has no area or is NaN.
    """
    width, height = _sides(boxes)
    return np.sqrt(width * height)


def box_diagonal(boxes: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "m"]:
    """sqrt(w^2 + h^2) of boxes x0 y0 x1 y1. Raises ValueError that names faces whose box has no area or is NaN."""
    return np.hypot(*_sides(boxes))


def inter_ocular(points: Float[np.ndarray, "m n d"], scheme: str) -> Float[np.ndarray, "m"]:
    """|p_a - p_b| of the outer eye corners: 60 and 72 of wflw98 (WFLW), 36 and 45 of ibug68 (300-W), 66 and 79 of
    lapa106.

    Raises ValueError for a scheme without them, a wrong number of points, and for faces, named, whose corners are
    unlabelled or coincide.
    """
    left, right = _of_scheme(OUTER_EYE_CORNERS, scheme, points, "outer eye corners")
    return _distance(points[:, left], points[:, right], "distance between the outer eye corners")


def inter_pupil(points: Float[np.ndarray, "m n d"], scheme: str) -> Float[np.ndarray, "m"]:
    """|mean(left) - mean(right)| of the pupils: 96 and 97 of wflw98, 104 and 105 of lapa106, the means of the eye
    contours of ibug68 (300-W).

    Raises ValueError as `inter_ocular` does; every point of both contours must be labelled.
    """
    left, right = _of_scheme(PUPILS, scheme, points, "pupils")
    return _distance(points[:, list(left)].mean(1), points[:, list(right)].mean(1), "distance between the pupils")


def _sides(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.asarray(boxes, float)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    _reject(np.where((width > 0) & (height > 0), width * height, np.nan), "box with area (x0 < x1, y0 < y1)")
    return width, height


def _of_scheme(table: dict, scheme: str, points: np.ndarray, what: str) -> tuple:
    if scheme not in table:
        raise ValueError(f"{what}: expected one of the schemes {sorted(table)}, found {scheme!r}")
    size = SCHEMES[scheme].size
    if points.shape[1] != size:
        raise ValueError(f"{what}: expected {size} points of {scheme}, found {points.shape[1]}")
    return table[scheme]


def _distance(a: np.ndarray, b: np.ndarray, what: str) -> np.ndarray:
    distance = np.linalg.norm(np.asarray(a, float) - b, axis=-1)
    _reject(distance, what)
    return distance


def _reject(values: np.ndarray, what: str) -> None:
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(bad):
        shown = ", ".join(map(str, bad[:10])) + (", ..." if len(bad) > 10 else "")
        raise ValueError(f"normaliser: expected a {what} in every face, found none in {len(bad)}: {shown}")
