"""The file format of lifted pseudo-labels: OUT/lift-00000.npz ... and OUT/lift.json."""

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int16, Int64

from facelift.atomic import written_whole
from facelift.lifting.solver import Lifted


@dataclass(frozen=True)
class Shard:
    """Pseudo-labels of n faces; canonical frame and units. Landmarks without a solution, and pupils, are NaN."""

    seed: Int64[np.ndarray, "n"]
    points: Float32[np.ndarray, "n 98 3"]
    covariance: Float32[np.ndarray, "n 98 3 3"]
    residual_px: Float32[np.ndarray, "n 98"]
    """At 256 px."""
    views_used: Int16[np.ndarray, "n 98"]
    accepted: Bool[np.ndarray, "n"]
    truth: Float32[np.ndarray, "n 98 3"]
    """Exact landmarks, for measuring only; NaN where the generator does not know them."""


def shard_path(folder: Path, index: int) -> Path:
    """OUT/lift-00000.npz and on."""
    return Path(folder) / f"lift-{index:05d}.npz"


def make_shard(seeds: np.ndarray, lifted: Lifted, accepted: np.ndarray, truth: np.ndarray) -> Shard:
    """The shard of these faces."""
    return Shard(
        np.asarray(seeds, np.int64),
        lifted.points.astype(np.float32),
        lifted.covariance.astype(np.float32),
        lifted.residual_px.astype(np.float32),
        lifted.views_used.astype(np.int16),
        np.asarray(accepted, bool),
        truth.astype(np.float32),
    )


def save_shard(shard: Shard, path: Path) -> None:
    """A kill at any moment leaves the whole file or none."""
    with written_whole(path) as partial:
        np.savez(partial, **{field.name: getattr(shard, field.name) for field in fields(Shard)})


def load_shard(path: Path) -> Shard:
    """Raises ValueError for a file that is no shard."""
    try:
        with np.load(path) as file:
            return Shard(**{field.name: file[field.name] for field in fields(Shard)})
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected a shard of `facelift lift`, found another file: {error}") from error


def load_shards(folder: Path) -> Shard:
    """All shards of a folder as one. Raises FileNotFoundError where there is none."""
    paths = sorted(Path(folder).glob("lift-[0-9]*[0-9].npz"))
    if not paths:
        raise FileNotFoundError(f"{folder}: expected shards lift-*.npz written by `facelift lift`, found none")
    parts = [load_shard(path) for path in paths]
    return Shard(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Shard)))
