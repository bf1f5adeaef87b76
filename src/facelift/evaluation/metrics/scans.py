"""Predicted face meshes against 3D scans: Florence/MICC (point to plane) and NoW (scan to mesh)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from facelift.datasets.readers.florence import CROP_MM
from facelift.evaluation.metrics.icp import compose, icp, plane_step
from facelift.evaluation.metrics.surface_distance import Surface
from facelift.geometry import Similarity, procrustes
from facelift.morphable.head import vertex_normals


def within(points: Float[np.ndarray, "n 3"], centre: Float[np.ndarray, "3"], radius: float) -> Bool[np.ndarray, "n"]:
    """|x - centre| <= radius."""
    return np.linalg.norm(np.asarray(points, float) - centre, axis=-1) <= radius


def florence_rmse(
    prediction: Float[np.ndarray, "n 3"],
    scan: Float[np.ndarray, "m 3"],
    scan_triangles: Int[np.ndarray, "f 3"],
    *,
    nose_tip: Float[np.ndarray, "3"],
    with_scale: bool,
    start: Similarity | None = None,
    crop_mm: float = CROP_MM,
) -> float:
    """sqrt(mean_i (n_i . (T p_i - q_i))^2) in mm: point-to-plane RMSE after point-to-plane ICP, Florence/MICC.

    q_i is the scan vertex nearest to T p_i, n_i its normal. The scan is cropped to `crop_mm` round its nose tip first,
    and so is the prediction, where `start` (from landmarks, say; the identity) puts it. mm; `with_scale`: whether T
    has a scale, as single-image systems need (Genova et al. 2018 allow it). Raises ValueError where the crop leaves
    fewer than 3 points. Not symmetric: the prediction's vertices are measured.
    """
    scan, prediction = np.asarray(scan, float), np.asarray(prediction, float)
    normals = vertex_normals(scan, scan_triangles)
    kept = within(scan, nose_tip, crop_mm) & normals.any(-1)
    placed = prediction if start is None else start.apply(prediction)
    face = prediction[within(placed, nose_tip, crop_mm)]
    for name, count in (("scan", int(kept.sum())), ("prediction", len(face))):
        if count < 3:
            raise ValueError(f"florence_rmse: expected {name} points within {crop_mm} mm of the nose, found {count}")
    return icp(face, scan[kept], metric="plane", target_normals=normals[kept], with_scale=with_scale, start=start).rmse


@dataclass(frozen=True)
class ScanErrors:
    """Scan-to-mesh distance over all points of all scans, in the scans' unit."""

    median: float
    mean: float
    std: float
    """Of the population (n, not n - 1), as NoW's code prints it."""
    points: int
    scans: int


def now_crop(landmarks: Float[np.ndarray, "7 3"]) -> tuple[Float[np.ndarray, "3"], float]:
    """Centre and radius of NoW's face region on a scan, from its seven landmarks.

    centre = nose bottom + 0.3 (middle of the inner eye corners - nose bottom);
    radius = 1.4 (outer eye distance + |middle of the inner eye corners - nose bottom|) / 2.
    """
    bridge = (landmarks[1] + landmarks[2]) / 2
    nose = bridge - landmarks[4]
    outer = np.linalg.norm(landmarks[0] - landmarks[3])
    return landmarks[4] + 0.3 * nose, float(1.4 * (outer + np.linalg.norm(nose)) / 2)


def now_distances(
    scan: Float[np.ndarray, "n 3"],
    scan_landmarks: Float[np.ndarray, "7 3"],
    prediction: Float[np.ndarray, "v 3"],
    prediction_triangles: Int[np.ndarray, "f 3"],
    prediction_landmarks: Float[np.ndarray, "7 3"],
    *,
    refine: bool = True,
    with_reflection: bool = False,
) -> Float[np.ndarray, "k"]:
    """min_y |x - T y| of every scan vertex x within `now_crop`, y on the predicted surface; the scan's unit (mm).

    Sanyal et al. 2019 (NoW): T is the similarity of the seven landmarks, then, as the released evaluation does and
    unless `refine` is off, the similarity that minimises the squared distances themselves. The released code lets the
    landmarks' T be a reflection; here only `with_reflection`, because a mirrored face is not a match.
    Raises ValueError where the crop leaves no scan point.
    """
    scan = np.asarray(scan, float)
    region = scan[within(scan, *now_crop(scan_landmarks))]
    if not len(region):
        raise ValueError("now_distances: expected scan vertices round the landmarks, found none: are units the same?")
    transform = procrustes(prediction_landmarks, scan_landmarks, with_scale=True, with_reflection=with_reflection)
    if refine:
        transform = align_surface(prediction, prediction_triangles, region, start=transform)
    return Surface(transform.apply(np.asarray(prediction, float)), prediction_triangles).closest(region).distances


def now_summary(distances: Sequence[Float[np.ndarray, "..."]]) -> ScanErrors:
    """Median, mean and standard deviation over the vertices of all scans together, one array a picture (NoW).

    Raises ValueError for no picture.
    """
    if not len(distances):
        raise ValueError("now_summary: expected the distances of at least one scan, found none")
    values = np.concatenate(distances)
    return ScanErrors(float(np.median(values)), float(values.mean()), float(values.std()), len(values), len(distances))


def align_surface(
    vertices: Float[np.ndarray, "v 3"],
    triangles: Int[np.ndarray, "f 3"],
    points: Float[np.ndarray, "n 3"],
    *,
    start: Similarity,
    iterations: int = 50,
    tolerance: float = 1e-9,
) -> Similarity:
    """The similarity T near `start` that minimises sum_i min_y |x_i - T y|^2 over a mesh's surface.

    Gauss-Newton on the distances (their gradient is the unit vector from the foot); where a step does not lower the
    sum, the Procrustes step of the feet, which never raises it. Ends when neither lowers it by `tolerance` of itself.
    """
    surface, points = Surface(vertices, triangles), np.asarray(points, float)
    normals = _triangle_normals(surface.corners)
    transform = start
    feet, directions, cost = _match(surface, normals, points, transform)
    for _ in range(iterations):
        moved = transform.apply(feet)
        step = compose(plane_step(moved, points, directions, with_scale=True), transform)
        options = [step] if step.scale > 0 else []
        for candidate in (*options, procrustes(feet, points, with_scale=True)):
            trial = _match(surface, normals, points, candidate)
            if trial[2] < cost:
                break
        if not trial[2] < cost * (1 - tolerance):
            break
        transform, (feet, directions, cost) = candidate, trial
    return transform


def _match(surface: Surface, normals, points, transform: Similarity) -> tuple[np.ndarray, np.ndarray, float]:
    """Feet on the mesh where it lies, unit vectors from the moved feet to the points, and the sum of squares."""
    inverse = (points - transform.translation) @ transform.rotation / transform.scale
    found = surface.closest(inverse)
    across = points - transform.apply(found.points)
    length = np.linalg.norm(across, axis=-1, keepdims=True)
    turned = normals[found.triangles] @ transform.rotation.T
    directions = np.where(length > 1e-9 * (1 + np.abs(points).max()), across / np.maximum(length, 1e-300), turned)
    return found.points, directions, float((length**2).sum())


def _triangle_normals(corners: np.ndarray) -> np.ndarray:
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return area / np.maximum(np.linalg.norm(area, axis=-1, keepdims=True), 1e-300)
