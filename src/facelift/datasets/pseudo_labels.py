"""Labels for what iBUG-68 lacks: lower brow edges and pupils, from a face mesh fitted to the human labels."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from facelift.atomic import written_whole
from facelift.boxes import tight_box
from facelift.datasets.densify import wflw98_from_ibug68
from facelift.datasets.packed import PackedSet, data_root
from facelift.datasets.sample import OCCLUDED, FaceSample
from facelift.geometry import procrustes
from facelift.landmarks import wflw98_of_ibug68

log = logging.getLogger(__name__)

SIDES = (
    (np.array([*range(33, 38), *range(60, 68)]), np.array([*range(38, 42), 96])),
    (np.array([*range(42, 47), *range(68, 76)]), np.array([*range(47, 51), 97])),
)
"""Of each side: the labelled points of brow and eye, and the points to be filled in."""


@dataclass(frozen=True)
class FillConfig:
    """Fill in lower brow edges and pupils of human-labelled photos by MediaPipe's face mesh."""

    out: Path
    """The .npz to write."""
    data: Path | None = None
    """Folder of the packed sets; FACELIFT_DATA if not given."""
    sets: tuple[str, ...] = ("merl_train", "w300_train")
    """Packed sets to label."""
    largest_error: float = 0.03
    """Root mean square distance of mesh and human labels of the same brow and eye, after a similarity, in face sizes;
    a side above it gets no label."""


def fill(config: FillConfig) -> Path:
    """Writes set, name and WFLW-98 points (NaN but where filled in) of every photo; returns the path."""
    from facelift.detectors2d.mediapipe import MediaPipeDetector

    root = data_root(config.data)
    rows: list[tuple[str, str, np.ndarray]] = []
    with MediaPipeDetector() as detector:
        for name in config.sets:
            packed = PackedSet(root, name)
            for index in range(len(packed)):
                sample = packed[index]
                box = tight_box(sample.points)
                mesh = detector.detect([sample.image], box[None]).points[0]
                rows.append((name, sample.name, fill_in(sample, mesh, config.largest_error)))
    points = np.stack([row[2] for row in rows]).astype(np.float32)
    share = np.isfinite(points[:, [38, 47], 0]).any(1).mean()
    log.info("%d photos, %.1f %% with a filled-in side", len(rows), 100 * share)
    with written_whole(config.out.with_suffix(".npz")) as partial:
        np.savez_compressed(partial, set=[row[0] for row in rows], name=[row[1] for row in rows], points=points)
    return config.out.with_suffix(".npz")


def fill_in(sample: FaceSample, mesh: Float[np.ndarray, "98 2"], largest_error: float) -> Float[np.ndarray, "98 2"]:
    """The mesh's lower brow and pupil, moved by the similarity that takes its brow and eye to the human labels.

    NaN for a side that is not wholly seen, or whose shapes disagree by more than `largest_error`.
    """
    filled = np.full((98, 2), np.nan)
    human, hidden = wflw98_from_ibug68(sample.points), np.zeros(98, bool)
    hidden[wflw98_of_ibug68()] = sample.state >= OCCLUDED
    box = tight_box(sample.points)
    size = np.sqrt(np.prod(box[2:] - box[:2]))
    for given, wanted in SIDES:
        if not np.isfinite(mesh[given]).all() or not np.isfinite(human[given]).all() or hidden[given].any():
            continue
        fit = procrustes(mesh[given], human[given], with_scale=True)
        error = np.sqrt(((fit.apply(mesh[given]) - human[given]) ** 2).sum(-1).mean()) / size
        if error <= largest_error:
            filled[wanted] = fit.apply(mesh[wanted])
    return filled
