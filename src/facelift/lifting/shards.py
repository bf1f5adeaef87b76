"""The file format of lifted pseudo-labels: OUT/lift-00000.npz ... and OUT/lift.json."""

import io
import re
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int16, Int64

from facelift.archives import read_npz
from facelift.lifting.solver import Lifted
from facelift.scale.store import Place, Store, fetched


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
    detected: Float32[np.ndarray, "n"]
    """Share of views in which the detector succeeds (`gate.succeeded`); NaN in shards of older versions."""
    drift: Float32[np.ndarray, "n"]
    """Identity drift, %; NaN where it was not measured: of heads, whose views show one person."""
    again: Bool[np.ndarray, "n"]
    """Whether the face failed for a reason that passes, such as memory that ran out: the next run makes it."""


def shard_name(index: int) -> str:
    """lift-00000.npz and on. Shards of labels are small tables that the next stage reads whole: no tar of samples."""
    return f"lift-{index:05d}.npz"


def make_shard(
    seeds: np.ndarray,
    lifted: Lifted,
    accepted: np.ndarray,
    truth: np.ndarray,
    *,
    detected: np.ndarray,
    drift: np.ndarray | None = None,
    again: np.ndarray | None = None,
) -> Shard:
    """The shard of these faces."""
    return Shard(
        np.asarray(seeds, np.int64),
        lifted.points.astype(np.float32),
        lifted.covariance.astype(np.float32),
        lifted.residual_px.astype(np.float32),
        lifted.views_used.astype(np.int16),
        np.asarray(accepted, bool),
        truth.astype(np.float32),
        np.asarray(detected, np.float32),
        np.full(len(seeds), np.nan, np.float32) if drift is None else drift.astype(np.float32),
        np.zeros(len(seeds), bool) if again is None else np.asarray(again, bool),
    )


def shard_bytes(shard: Shard) -> bytes:
    """The file's content; the same shard gives the same bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **{field.name: getattr(shard, field.name) for field in fields(Shard)})
    return buffer.getvalue()


def load_shard(path: Path) -> Shard:
    """Raises FileNotFoundError, or ValueError for a file that is no shard."""
    added = ("detected", "drift", "again")
    names = [field.name for field in fields(Shard)]
    arrays = read_npz(path, "a shard of `facelift lift`", [name for name in names if name not in added])
    unknown = np.full(len(arrays["seed"]), np.nan, np.float32)
    older = {"detected": unknown, "drift": unknown, "again": np.zeros(len(unknown), bool)}
    return Shard(**{name: (older | arrays)[name] for name in names})


def stored_shard(store: Store, name: str) -> Shard:
    """The shard of this name in a folder, which may be one of an object store. Raises as `load_shard`."""
    with fetched(store.path(name)) as path:
        return load_shard(path)


def shard_names(store: Store) -> list[str]:
    """Of all shards of a folder, in order. Raises FileNotFoundError where there is none."""
    names = [name for name in store.sizes() if re.fullmatch(r"lift-\d+\.npz", name)]
    if not names:
        raise FileNotFoundError(f"{store}: expected shards lift-*.npz written by `facelift lift`, found none")
    return names


def load_shards(folder: Place) -> Shard:
    """All shards of a folder as one. Raises FileNotFoundError where there is none."""
    store = Store(folder)
    parts = [stored_shard(store, name) for name in shard_names(store)]
    return Shard(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Shard)))
