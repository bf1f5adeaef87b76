"""Vertices of a head's face as dense landmarks: 1,609 of them, and coarser sets of the same (Simic 2022)."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from facelift.archives import read_npz
from facelift.atomic import written_whole
from facelift.morphable.decimation import barycentric, decimate
from facelift.morphable.face_cut import face_cut, face_region
from facelift.morphable.head import Head
from facelift.morphable.mirror import mirror_partners

COUNTS = (1609, 805, 403, 202, 101)
"""Points of the sets that networks learn (Simic 2022)."""
COARSER = (51, 26, 13)
"""Further halvings, from which a decoder starts."""
VERTICES = "vertices.npz"
"""In a run folder: the sets that its points are of."""
_LEVEL = ("vertices", "faces", "landmark_index", "landmark_weights", "up_index", "up_weights")


@dataclass(frozen=True, eq=False)
class VertexSet:
    """One set: a mesh of some of the head's vertices."""

    vertices: Int[np.ndarray, "l"]
    """Indices in the head's mesh."""
    faces: Int[np.ndarray, "f 3"]
    """Of the set's own points."""
    landmark_index: Int[np.ndarray, "68 3"]
    """Each iBUG-68 landmark lies in a triangle of the set, with these corners"""
    landmark_weights: Float[np.ndarray, "68 3"]
    """and these weights, which sum to 1."""
    up_index: Int[np.ndarray, "m 3"]
    """Each point of the next finer set lies in a triangle of this one; none for the finest."""
    up_weights: Float[np.ndarray, "m 3"]

    def __len__(self) -> int:
        return len(self.vertices)


@dataclass(frozen=True, eq=False)
class VertexSets:
    """Nested sets of one head's vertices, the finest first."""

    head: str
    """Name of the mesh that `vertices` count in."""
    levels: tuple[VertexSet, ...]
    mean: Float[np.ndarray, "n 3"]
    """The finest set's points of the neutral mean head, canonical."""
    partners: Int[np.ndarray, "n"]
    """Of each of the finest set's points, the vertex of the head's mesh that is its mirror image."""

    def level(self, count: int) -> int:
        """Place of the set of so many points. Raises ValueError where there is none."""
        counts = [len(level) for level in self.levels]
        if count not in counts:
            raise ValueError(f"vertex sets of {self.head}: expected one of {counts} points, found {count}")
        return counts.index(count)

    def __getitem__(self, count: int) -> VertexSet:
        return self.levels[self.level(count)]

    def places(self, count: int) -> Int[np.ndarray, "l"]:
        """Where a set's points stand among the finest."""
        return np.searchsorted(self.levels[0].vertices, self[count].vertices)

    def save(self, path: Path) -> Path:
        """Writes one .npz file, whole; returns its path."""
        arrays = {f"{name}_{index}": getattr(level, name) for index, level in enumerate(self.levels) for name in _LEVEL}
        with written_whole(path) as partial, partial.open("wb") as stream:
            np.savez(stream, head=self.head, mean=self.mean, partners=self.partners, **arrays)
        return path


def load_vertex_sets(path: str | os.PathLike[str]) -> VertexSets:
    """The sets of a file by `VertexSets.save`. Raises FileNotFoundError, or ValueError for another file."""
    arrays = read_npz(path, "vertex sets", ("head", "mean", "partners"))
    count = max(1, sum(name.startswith("vertices_") for name in arrays))
    levels: list[VertexSet] = []
    for index in range(count):
        level = {name: arrays[f"{name}_{index}"] for name in _LEVEL if f"{name}_{index}" in arrays}
        if reason := _unlike_a_level(level, levels[-1] if levels else None):
            raise ValueError(f"{path}: expected vertex sets, found level {index} {reason}")
        levels.append(VertexSet(**level))
    finest = len(levels[0])
    if arrays["mean"].shape != (finest, 3) or arrays["partners"].shape != (finest,):
        found = f"{arrays['mean'].shape} and {arrays['partners'].shape}"
        raise ValueError(f"{path}: expected mean ({finest}, 3) and partners ({finest},), found {found}")
    return VertexSets(str(arrays["head"]), tuple(levels), arrays["mean"], arrays["partners"])


def _unlike_a_level(arrays: dict[str, np.ndarray], finer: VertexSet | None) -> str:
    """What is wrong with the arrays of a level; empty if nothing is."""
    if missing := [name for name in _LEVEL if name not in arrays]:
        return f"without {', '.join(missing)}"
    points, above = arrays["vertices"].size, 0 if finer is None else len(finer)
    rows = {"vertices": (points,), "faces": (len(arrays["faces"]), 3), "landmark_index": (68, 3)}
    rows |= {"landmark_weights": (68, 3), "up_index": (above, 3), "up_weights": (above, 3)}
    for name, shape in rows.items():
        array, whole = arrays[name], not name.endswith("weights")
        if array.shape != shape or array.dtype.kind not in ("iu" if whole else "f"):
            return f"with {name} {array.shape} of {array.dtype}, not {shape} of {'integers' if whole else 'floats'}"
        limit = np.inf if name == "vertices" else points
        if whole and array.size and not 0 <= array.min() <= array.max() < limit:
            return f"with {name} of {array.min()} to {array.max()}, not of its {points} points"
    if finer is not None and not np.isin(arrays["vertices"], finer.vertices).all():
        return "with vertices that the finer level lacks"
    return ""


def build_vertex_sets(
    poses: Float[np.ndarray, "k v 3"],
    faces: Int[np.ndarray, "f 3"],
    landmarks: Float[np.ndarray, "k 68 3"],
    *,
    region: Bool[np.ndarray, "v"] | None = None,
    head: str,
    counts: tuple[int, ...] = COUNTS + COARSER,
) -> VertexSets:
    """Sets of any symmetric head mesh; each is decimated from the one before.

    `poses`: its vertices, y up, +z out of the face; first the neutral mean, which is decimated, then any number of
    other faces, which tell lips and lids apart. `landmarks`: iBUG-68 on each. `region`: the vertices that may be
    points, all by default; triangles count that lie in it whole. Raises ValueError for a region of fewer vertices than
    the first count.
    """
    mean = poses[0]
    own = np.arange(len(mean)) if region is None else np.flatnonzero(region)
    partners = np.full(len(mean), -1)
    partners[own] = own[mirror_partners(mean[own])]
    kept = faces if region is None else faces[region[faces].all(1)]
    levels: list[VertexSet] = []
    for count in counts:
        chosen, triangles = decimate(mean, kept, count)
        up = np.zeros((0, 3), np.int32), np.zeros((0, 3), np.float32)
        if levels:
            up = barycentric(poses[:, levels[-1].vertices], poses[:, chosen], triangles)
        levels.append(VertexSet(chosen, triangles, *barycentric(landmarks, poses[:, chosen], triangles), *up))
        kept = chosen[triangles]
    finest = levels[0].vertices
    return VertexSets(head, tuple(levels), mean[finest].astype(np.float32), partners[finest])


def head_vertex_sets(head: Head, name: str, *, faces: int = 24) -> VertexSets:
    """The sets of one of our heads: points of its face, cheek to cheek and forehead to chin. Raises as `face_cut`.

    `faces`: random ones beside the mean.
    """
    cut, rng = face_cut(head), np.random.default_rng(0)
    drawn = [head.sample(rng) for _ in range(faces)]
    neutral = tuple(np.zeros_like(part) for part in drawn[0])
    poses = np.stack([head.vertices(*one) for one in (neutral, *drawn)])
    region = np.zeros(poses.shape[1], bool)
    region[cut.vertices[face_region(head, cut)]] = True
    marks = poses[:, cut.vertices[cut.landmark_vertices]]
    return build_vertex_sets(poses, cut.vertices[cut.faces], marks, region=region, head=name)
