"""Errors on held-out faces during training."""

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from facelift.datasets.real_faces import CropSample
from facelift.datasets.sample import OCCLUDED, UNKNOWN, VISIBLE
from facelift.datasets.training_sets import Labels
from facelift.evaluation.metrics.landmarks_3d import landmark_error
from facelift.evaluation.metrics.visibility import roc_auc
from facelift.geometry import UNIT_CM, geodesic_distance, intrinsics, project
from facelift.landmarks import wflw98_of_ibug68
from facelift.losses.facelift_loss import LifterOutput
from facelift.models.detector import Points2D

YAW_BINS = ((0, 30), (30, 60), (60, 180))


def visible_nme(
    points: Float[np.ndarray, "n 98 2"], crops: list[CropSample], yaw_deg: Float[np.ndarray, "n"]
) -> dict[str, float]:
    """NME in percent over the visible iBUG-68 points, by sqrt(w h) of the labelled points' box; by yaw bin too."""
    index = wflw98_of_ibug68()
    truth = np.stack([crop.points for crop in crops])[:, index]
    seen = np.stack([crop.state for crop in crops])[:, index] < OCCLUDED
    return nme_by_yaw(points[:, index], truth, seen, yaw_deg)


def nme_by_yaw(
    points: Float[np.ndarray, "n l 2"],
    truth: Float[np.ndarray, "n l 2"],
    seen: Bool[np.ndarray, "n l"],
    yaw_deg: Float[np.ndarray, "n"],
) -> dict[str, float]:
    """nme, in percent over the labelled points that are seen, by sqrt(w h) of all labelled points' box; nme_yaw_A_B of
    the bins of absolute yaw that have faces."""
    seen = seen & np.isfinite(truth).all(-1)
    box = np.nanmax(truth, axis=1) - np.nanmin(truth, axis=1)
    error = np.where(seen, np.linalg.norm(points - truth, axis=-1), 0.0)
    per_face = 100 * error.sum(1) / np.maximum(seen.sum(1), 1) / np.sqrt(box.prod(-1))
    per_face[~seen.any(1)] = np.nan
    metrics = {"nme": float(np.nanmean(per_face))}
    for low, high in YAW_BINS:
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


def definition_metrics(
    found: Points2D, labels: list[Labels], yaw_deg: Float[np.ndarray, "n"], scored: Int[np.ndarray, "k"]
) -> dict[str, float]:
    """Of the `scored` landmarks of one definition: `nme_by_yaw`, and where states are labelled visibility_auc (seen
    against hidden) and state_recall, the mean over the labelled states of the share that is called right."""
    truth = np.stack([one.points for one in labels])[:, scored]
    state = np.stack([one.state for one in labels])[:, scored]
    metrics = nme_by_yaw(found.points.numpy()[:, scored], truth, state < OCCLUDED, yaw_deg)
    known = state != UNKNOWN
    if len(np.unique(state[known])) > 1:
        seen, called = found.visibility().numpy()[:, scored], found.state.argmax(-1).numpy()[:, scored]
        metrics["visibility_auc"] = roc_auc(seen[known].astype(float), state[known] == VISIBLE)
        recalls = [(called[state == value] == value).mean() for value in np.unique(state[known])]
        metrics["state_recall"] = float(np.mean(recalls))
    return metrics


def definition_table(metrics: Path) -> str:
    """Markdown table of the last row of a detector's metrics.csv: training set and definition against metric."""
    with metrics.open(newline="") as file:
        *_, last = csv.DictReader(file)
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for key, value in last.items():
        if key.count(".") == 2 and value:
            source, definition, metric = key.split(".")
            rows.setdefault((source, definition), {})[metric] = value
    columns = ("nme", *(f"nme_yaw_{low}_{high}" for low, high in YAW_BINS), "visibility_auc", "state_recall")
    lines = [
        f"Held-out faces after step {last['step']}; NME in % by sqrt(w h) of the labelled points' box.",
        "",
        "| held out of | definition | " + " | ".join(columns) + " |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for (source, definition), values in rows.items():
        cells = [f"{float(values[name]):.2f}" if name in values else "-" for name in columns]
        lines.append(f"| {source} | {definition} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
