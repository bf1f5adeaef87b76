"""Normalised mean landmark consistency (NMLC): NME where the mesh vertex that each landmark stands for is learned.

Two data sets may place "the same" landmark differently. NMLC asks only that a landmark stays on one point of the skin:
for each landmark it takes the vertex of the ground-truth mesh that suits the predictions best over the whole set.

    M(K) = 1/(M N) sum_i sum_j |x_ij - v_i,k_j| / z_i        Ferman et al. 2024, Eq. 5
    NMLC = min over K of M(K)                                Eq. 6

x: predictions, v: projected vertices, K = (k_1, ..., k_N): one vertex a landmark for all faces, z = sqrt(h w) of the
face's box. (Paper: its text calls z the box's diagonal; here: its formula. Its DAD-3DHeads and Multiface columns
"full" are the means of the regions weighted 17:10:9:12:20, so they are over the 68 landmarks of ibug68.)

The minimum is over means of distances, and exact. Sums of all (landmark, vertex) pairs run in float32 with a bound on
their rounding; what could be the minimum within that bound is summed again in float64.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from facelift.evaluation.nme import face_nme, mean_error, region_nme
from facelift.geometry import procrustes

BLOCK = 32
"""Faces summed at a time."""
TILE = 2048
"""Vertices summed at a time: a block's distances then stay in the cache."""
HALF_ULP = 2.0**-24
"""Largest relative rounding error of a float32 operation."""


class MeshFace(NamedTuple):
    """One face of a set: predicted landmarks, the truth's vertices in the same frame and unit, and the normaliser z."""

    points: Float[np.ndarray, "n d"]
    """In px (d = 2) or the mesh's unit (d = 3); NaN throughout where the system found no face."""
    vertices: Float[np.ndarray, "v d"]
    scale: float
    counted: Bool[np.ndarray, "n"] | None = None
    """Landmarks that count, such as the visible ones; None for all."""


@dataclass(frozen=True, eq=False)
class Nmlc:
    """The chosen vertices and every error to them; `facelift.evaluation.nme` makes its tables from `errors`."""

    indices: Int[np.ndarray, "n"]
    """Vertex of each landmark; -1 for a landmark that counts in no face found."""
    errors: Float[np.ndarray, "m n"]
    """|x_ij - v_i,k_j| / z_i, a fraction; NaN where the landmark does not count, infinite in faces not found."""

    @property
    def per_face(self) -> Float[np.ndarray, "m"]:
        """Mean over the landmarks that count; NaN where none does, infinite in faces not found."""
        return face_nme(self.errors)

    @property
    def value(self) -> float:
        """NMLC over the faces found: the mean of `per_face`, which the vertices minimise; NaN if none is found."""
        return mean_error(self.per_face).found

    def regions(self, regions: dict[str, np.ndarray]) -> dict[str, float]:
        """NMLC "full" and by region (`Scheme.regions`), over the faces found."""
        return {name: mean_error(part).found for name, part in region_nme(self.errors, regions).items()}


def nmlc(faces: Iterable[MeshFace], *, indices: Int[np.ndarray, "n"] | None = None, threads: int = 2) -> Nmlc:
    """NMLC of a set of faces, or, given `indices`, their errors to vertices that another split has chosen.

    `faces` is gone through twice (once with `indices`), a block in memory at a time: a list, or an object whose
    __iter__ reads the faces anew. A face weighs the same however many of its landmarks count. Equal candidates: the
    lowest vertex. Raises ValueError for a generator, an empty set, and, naming the face, for other shapes than the
    first face's, vertices that are not finite, a normaliser that is not positive and a prediction finite only in part.
    """
    if indices is not None:
        return Nmlc(indices, _errors(faces, np.arange(len(indices)), indices))
    if iter(faces) is faces:
        raise ValueError("NMLC: expected faces that can be gone through twice (a list), found a generator")
    landmarks, vertices = _candidates(faces, threads)
    errors = _errors(faces, landmarks, vertices)
    return _best(landmarks, vertices, errors)


@dataclass(frozen=True, eq=False)
class Aligned:
    """The faces with each prediction moved onto its mesh, for NMLC in 3D: `nmlc(Aligned(faces, definition))`.

    Each face's points go through the rotation, translation and (`with_scale`) scale that take them nearest, in least
    squares, to the vertices `definition`, one a landmark: the landmarks' usual vertices on this mesh. The definition
    fixes the alignment alone; NMLC then chooses its vertices. (Were both chosen together, shrinking all landmarks onto
    one vertex would score 0.) The unit is the mesh's, and so must be the unit of z.
    """

    faces: Iterable[MeshFace]
    definition: Int[np.ndarray, "n"]
    with_scale: bool = False

    def __iter__(self) -> Iterator[MeshFace]:
        for face in self.faces:
            yield face if np.isnan(face.points).all() else self._aligned(face)

    def _aligned(self, face: MeshFace) -> MeshFace:
        target = face.vertices[self.definition]
        weights = None if face.counted is None else face.counted.astype(float)
        similarity = procrustes(face.points, target, with_scale=self.with_scale, weights=weights)
        return face._replace(points=similarity.apply(np.asarray(face.points, float)))


def _candidates(faces: Iterable[MeshFace], threads: int) -> tuple[np.ndarray, np.ndarray]:
    """(landmark, vertex) pairs that hold the minimum of every landmark: float32 sums within their rounding bound."""
    stream = _checked(faces)
    pairs = None
    with ThreadPoolExecutor(threads) as pool:
        while block := list(islice(stream, BLOCK)):
            points, vertices, weights = _normalised(block)
            pairs = pairs or _PairSums(points.shape[1], vertices.shape[2])
            pairs.add(points, vertices, weights, pool)
    if pairs is None:
        raise ValueError("NMLC: expected at least one face, found none")
    return pairs.candidates()


class _PairSums:
    """sums[j, k] = sum over faces i of w_ij |x_ij - v_ik|, and what bounds their rounding."""

    def __init__(self, landmarks: int, vertices: int):
        self.sums = np.zeros((landmarks, vertices))
        self.weight = np.zeros(landmarks)
        self.reach = np.zeros(vertices)

    def add(self, points: np.ndarray, vertices: np.ndarray, weights: np.ndarray, pool: ThreadPoolExecutor) -> None:
        """Adds a block, tiles of vertices in parallel."""
        tiles = [slice(start, start + TILE) for start in range(0, len(self.reach), TILE)]
        work = [pool.submit(_add, self.sums[:, tile], points, vertices[..., tile], weights) for tile in tiles]
        for done in work:
            done.result()
        self.weight += weights.sum(1)
        self.reach = np.maximum(self.reach, np.maximum(np.abs(vertices).max((0, 1)), np.abs(points).max()))

    def candidates(self) -> tuple[np.ndarray, np.ndarray]:
        """(landmark, vertex) of the sums that rounding alone may keep from being their landmark's least.

        Coordinates are rounded, then subtracted: 2 u C an axis. Squares, root and the sum over a block: below 64 u of
        the distance. Twice that is taken.
        """
        sums = self.sums.copy()
        sums[self.weight == 0, 1:] = 1  # a landmark that never counts keeps one candidate, not all
        bound = 2 * HALF_ULP * (4 * self.weight[:, None] * self.reach + 64 * sums)
        landmarks, vertices = np.nonzero(sums - bound <= (sums + bound).min(1, keepdims=True))
        return landmarks, vertices


def _normalised(block: list[MeshFace]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (d, n, b), vertices (d, b, v) in float32, about each face's middle and in units of z; weights (n, b)."""
    points, vertices, weights = [], [], []
    for face in block:
        counted = _counts(face)
        middle = face.points[counted].mean(0) if counted.any() else np.zeros(face.points.shape[1])
        points.append(np.where(counted[:, None], (face.points - middle) / face.scale, 0))
        vertices.append((face.vertices - middle) / face.scale)
        weights.append(counted / max(counted.sum(), 1))
    return (
        np.stack(points, axis=1, dtype=np.float32, casting="same_kind").transpose(2, 0, 1),
        np.ascontiguousarray(np.stack(vertices, dtype=np.float32, casting="same_kind").transpose(2, 0, 1)),
        np.stack(weights, axis=1, dtype=np.float32, casting="same_kind"),
    )


def _add(sums: np.ndarray, points: np.ndarray, vertices: np.ndarray, weights: np.ndarray) -> None:
    """sums[j, k] += sum over the block's faces i of w_ij |x_ij - v_ik|."""
    tile = np.ascontiguousarray(vertices)
    squared, difference = np.empty_like(tile[0]), np.empty_like(tile[0])
    for j in range(len(sums)):
        np.subtract(tile[0], points[0, j, :, None], out=squared)
        np.multiply(squared, squared, out=squared)
        for axis in range(1, len(tile)):
            np.subtract(tile[axis], points[axis, j, :, None], out=difference)
            np.multiply(difference, difference, out=difference)
            np.add(squared, difference, out=squared)
        np.sqrt(squared, out=squared)
        sums[j] += weights[j] @ squared


def _errors(faces: Iterable[MeshFace], landmarks: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """(m, pairs) errors of landmark to vertex in float64; NaN where not counted or the vertex is -1."""
    rows: list[np.ndarray] = []
    for number, face in enumerate(_checked(faces)):
        if not rows and (len(face.points) != landmarks.max() + 1 or vertices.max() >= len(face.vertices)):
            raise ValueError(
                f"face {number}: expected {landmarks.max() + 1} landmarks and a vertex {vertices.max()}, "
                f"found {len(face.points)} landmarks and {len(face.vertices)} vertices"
            )
        distance = np.linalg.norm(face.points[landmarks] - face.vertices[vertices], axis=-1) / face.scale
        counted = (vertices >= 0) & (True if face.counted is None else face.counted[landmarks])
        rows.append(np.where(counted, np.where(_counts(face).any() | ~counted, distance, np.inf), np.nan))
    if not rows:
        raise ValueError("NMLC: expected at least one face, found none")
    return np.stack(rows)


def _best(landmarks: np.ndarray, vertices: np.ndarray, errors: np.ndarray) -> Nmlc:
    """Per landmark the candidate with the least sum over faces of w_ij e_ij; the lowest vertex of equal ones."""
    first = np.flatnonzero(np.diff(landmarks, prepend=-1))  # one candidate a landmark: they share which faces count
    scored = np.isfinite(errors)
    count = scored[:, first].sum(1, keepdims=True)
    cost = np.where(scored, errors, 0).T @ (1 / np.maximum(count[:, 0], 1))
    order = np.lexsort((vertices, cost, landmarks))
    chosen = order[first]
    never = ~scored[:, chosen].any(0)
    return Nmlc(np.where(never, -1, vertices[chosen]), errors[:, chosen])


def _counts(face: MeshFace) -> np.ndarray:
    """(n,) landmarks of a found face that count."""
    finite = np.isfinite(face.points).all(-1)
    return finite if face.counted is None else finite & face.counted


def _checked(faces: Iterable[MeshFace]) -> Iterator[MeshFace]:
    shape = None
    for number, given in enumerate(faces):
        face = given._replace(points=np.asarray(given.points, float), vertices=np.asarray(given.vertices, float))
        shape = shape or (face.points.shape, face.vertices.shape)
        if (face.points.shape, face.vertices.shape) != shape:
            raise ValueError(
                f"face {number}: expected landmarks and vertices of shapes {shape}, "
                f"found {face.points.shape}, {face.vertices.shape}"
            )
        if not np.isfinite(face.vertices).all():
            raise ValueError(f"face {number}: expected finite vertices, found NaN or infinity")
        if not (np.isfinite(face.scale) and face.scale > 0):
            raise ValueError(f"face {number}: expected a positive normaliser, found {face.scale}")
        finite = np.isfinite(face.points).all(-1)
        missing = ~finite if face.counted is None else ~finite & face.counted
        if finite.any() and missing.any():
            raise ValueError(f"face {number}: expected finite predictions, found none at landmark {missing.argmax()}")
        yield face
