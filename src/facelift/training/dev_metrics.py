"""Errors on held-out faces during training."""

import numpy as np
from jaxtyping import Float

from facelift.datasets.real_faces import CropSample
from facelift.datasets.sample import OCCLUDED
from facelift.evaluation.metrics.landmarks_3d import landmark_error
from facelift.geometry import UNIT_CM, geodesic_distance, intrinsics, project
from facelift.landmarks import wflw98_of_ibug68
from facelift.losses.facelift_loss import LifterOutput


def visible_nme(
    points: Float[np.ndarray, "n 98 2"], crops: list[CropSample], yaw_deg: Float[np.ndarray, "n"]
) -> dict[str, float]:
    """NME in percent over the visible iBUG-68 points, by sqrt(w h) of the labelled points' box; by yaw bin too."""
    index = wflw98_of_ibug68()
    truth = np.stack([crop.points for crop in crops])[:, index]
    seen = np.isfinite(truth).all(-1) & (np.stack([crop.state for crop in crops])[:, index] < OCCLUDED)
    box = np.nanmax(truth, axis=1) - np.nanmin(truth, axis=1)
    error = np.where(seen, np.linalg.norm(points[:, index] - truth, axis=-1), 0.0)
    per_face = 100 * error.sum(1) / np.maximum(seen.sum(1), 1) / np.sqrt(box.prod(-1))
    per_face[~seen.any(1)] = np.nan
    metrics = {"nme": float(np.nanmean(per_face))}
    for low, high in ((0, 30), (30, 60), (60, 180)):
        chosen = (np.abs(yaw_deg) >= low) & (np.abs(yaw_deg) < high)
        if chosen.any():
            metrics[f"nme_yaw_{low}_{high}"] = float(np.nanmean(per_face[chosen]))
    return metrics


def head_errors(
    found: LifterOutput,
    landmarks: Float[np.ndarray, "n 98 3"],
    rotation: Float[np.ndarray, "n 3 3"],
    translation: Float[np.ndarray, "n 3"],
) -> dict[str, float]:
    """Errors on views of heads whose landmarks (canonical, NaN where none) and cameras are known, means over views.

    heads_nme: of the projected landmarks, hidden ones too, in percent of sqrt(w h) of their box. heads_3d_mm: of the 3D
    landmarks after a similarity, mm of an average head; a photo does not tell the size. heads_pose_deg: angle between
    the rotations.
    """
    truth = project(landmarks.astype(float), rotation, translation, intrinsics(1.0))
    box = np.nanmax(truth, axis=1) - np.nanmin(truth, axis=1)
    error = np.linalg.norm(found.points.numpy() - truth, axis=-1) / np.sqrt(box.prod(-1))[:, None]
    shape = landmark_error(found.landmarks.numpy(), landmarks, alignment="similarity")
    turned = geodesic_distance(found.rotation.numpy().astype(float), rotation.astype(float))
    return {
        "heads_nme": 100 * float(np.nanmean(error)),
        "heads_3d_mm": 10 * UNIT_CM * float(np.nanmean(shape)),
        "heads_pose_deg": float(np.degrees(turned).mean()),
    }
