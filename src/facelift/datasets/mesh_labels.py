"""`facelift mesh`: MediaPipe's dense points of human-labelled photos, one more definition for the 2D detector."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from facelift.atomic import written_whole
from facelift.boxes import tight_box
from facelift.datasets.packed import PackedSet, data_root
from facelift.datasets.sample import OCCLUDED, FaceSample

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MeshConfig:
    """Run MediaPipe's face mesh once over human-labelled photos, and keep its 478 points where they fit the labels."""

    out: Path
    """The .npz to write."""
    data: Path | None = None
    """Folder of the packed sets; FACELIFT_DATA if not given."""
    sets: tuple[str, ...] = ("merl_train", "w300_train")
    """Packed sets."""
    largest_error: float = 0.06
    """Mean distance between the mesh and the human labels that are seen, in sqrt(w h) of the labels' box; a photo above
    it gets no mesh."""


def mesh(config: MeshConfig) -> Path:
    """Writes set, name and mesh (n, 478, 2; px of the stored photo, NaN without) of every photo; returns the path.

    Half precision: 0.03 px of a photo 128 px wide.
    """
    from facelift.detectors2d.mediapipe import MediaPipeDetector, ibug68_of_mesh

    root, to_ibug68 = data_root(config.data), ibug68_of_mesh()
    rows: list[tuple[str, str, np.ndarray]] = []
    with MediaPipeDetector("mediapipe478") as detector:
        for name in config.sets:
            packed = PackedSet(root, name)
            for index in range(len(packed)):
                sample = packed[index]
                found = detector.detect([sample.image], tight_box(sample.points)[None]).points[0]
                fits = label_error(to_ibug68 @ found, sample) <= config.largest_error
                rows.append((name, sample.name, found if fits else np.full_like(found, np.nan)))
    points = np.stack([row[2] for row in rows]).astype(np.float16)
    log.info("%d photos, %.1f %% with a mesh", len(rows), 100 * np.isfinite(points[:, 0, 0]).mean())
    with written_whole(config.out.with_suffix(".npz")) as partial:
        np.savez_compressed(partial, set=[row[0] for row in rows], name=[row[1] for row in rows], mesh=points)
    return config.out.with_suffix(".npz")


def label_error(points: Float[np.ndarray, "68 2"], sample: FaceSample) -> float:
    """Mean distance to the labels that are seen, in sqrt(w h) of the labels' box; NaN where points or labels are."""
    box = tight_box(sample.points)
    distance = np.linalg.norm(points - sample.points, axis=-1)[sample.state < OCCLUDED]
    return float(distance.mean() / np.sqrt(np.prod(box[2:] - box[:2]))) if len(distance) else float("nan")
