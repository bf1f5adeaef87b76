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

from facelift.evaluation.metrics.nme import face_nme, mean_error, region_nme
from facelift.geometry import procrustes

BLOCK = 32
"""Faces summed at a time."""
TILE = 2048
"""Vertices summed at a time: a block's distances then stay in the cache."""
HALF_ULP = 2.0**-24
"""Largest relative rounding error of a float32 operation."""
FARTHEST = 1e6
"""Normalisers that a face may be across, prediction and mesh together; float32 could not tell its vertices apart."""


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
    """The chosen vertices and every error to them; `facelift.evaluation.metrics.nme` makes its tables from `errors`."""

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
    lowest vertex. Raises ValueError for a generator, an empty set, indices that the mesh has not, and, naming the face,
    for shapes that do not fit, vertices that are not finite, a normaliser that is not positive, a prediction finite
    only in part and one further than `FARTHEST` from its mesh.
    """
    if indices is not None:
        errors = _errors(faces, np.arange(len(indices)), indices)
        if not len(errors):
            raise ValueError("NMLC: expected at least one face, found none")
        return Nmlc(indices, errors)
    if iter(faces) is faces:
        raise ValueError("NMLC: expected faces that can be gone through twice (a list), found a generator")
    landmarks, vertices, count = _candidates(faces, threads)
    errors = _errors(faces, landmarks, vertices)
    if len(errors) != count:
        raise ValueError(f"NMLC: expected the same {count} faces when gone through again, found {len(errors)}")
    return _best(landmarks, vertices, errors)


@dataclass(frozen=True, eq=False)
class Aligned:
    """The faces with each prediction moved onto its mesh, for NMLC in 3D: `nmlc(Aligned(faces, definition))`.

    Each face's points go through the rotation, translation and (`with_scale`) scale that take them nearest, in least
    squares, to the vertices `definition`, one a landmark: the landmarks' usual vertices on this mesh. The definition
    fixes the alignment alone; NMLC then chooses its vertices. (Were both chosen together, shrinking all landmarks onto
    one vertex would score 0.) The unit is the mesh's, and so must be the unit of z. Only landmarks that count shape the
    alignment. Going through it raises ValueError, naming the face, as `nmlc` does, for a definition that does not fit
    and for fewer than three landmarks that count.
    """

    faces: Iterable[MeshFace]
    definition: Int[np.ndarray, "n"]
    with_scale: bool = False

    def __iter__(self) -> Iterator[MeshFace]:
        for number, face in enumerate(_checked(self.faces)):
            if len(self.definition) != len(face.points) or not _within(self.definition, len(face.vertices), lowest=0):
                raise ValueError(
                    f"face {number}: expected a definition of {len(face.points)} of {len(face.vertices)} vertices, "
                    f"found {len(self.definition)} from {self.definition.min()} to {self.definition.max()}"
                )
            counted = _counts(face)
            if 0 < counted.sum() < 3:
                raise ValueError(f"face {number}: expected 3 landmarks that count to align by, found {counted.sum()}")
            yield self._aligned(face, counted) if counted.any() else face

    def _aligned(self, face: MeshFace, counted: np.ndarray) -> MeshFace:
        source, target = face.points[counted], face.vertices[self.definition[counted]]
        similarity = procrustes(source, target, with_scale=self.with_scale)
        return face._replace(points=similarity.apply(face.points))


def _candidates(faces: Iterable[MeshFace], threads: int) -> tuple[np.ndarray, np.ndarray, int]:
    """(landmark, vertex) pairs that hold the minimum of every landmark, by float32 sums; and the number of faces."""
    stream = _checked(faces)
    pairs, count = None, 0
    with ThreadPoolExecutor(threads) as pool:
        while block := list(islice(stream, BLOCK)):
            points, vertices, weights = _normalised(block)
            pairs = pairs or _PairSums(points.shape[1], vertices.shape[2])
            pairs.add(points, vertices, weights, pool)
            count += len(block)
    if pairs is None:
        raise ValueError("NMLC: expected at least one face, found none")
    return *pairs.candidates(), count


class _PairSums:
    """sums[j, k] = sum over faces i of w_ij |x_ij - v_ik|, and what bounds their rounding."""

    def __init__(self, landmarks: int, vertices: int):
        self.sums = np.zeros((landmarks, vertices))
        self.counts = np.zeros(landmarks, bool)
        self.reach = np.zeros(vertices)

    def add(self, points: np.ndarray, vertices: np.ndarray, weights: np.ndarray, pool: ThreadPoolExecutor) -> None:
        """Adds a block, tiles of vertices in parallel."""
        tiles = [slice(start, start + TILE) for start in range(0, len(self.reach), TILE)]
        work = [pool.submit(_add, self.sums[:, tile], points, vertices[..., tile], weights) for tile in tiles]
        for done in work:
            done.result()
        self.counts |= (weights > 0).any(1)
        farthest = np.maximum(np.abs(vertices).max(0), np.abs(points).max((0, 1))[:, None])
        self.reach += weights.max(0) @ farthest

    def candidates(self) -> tuple[np.ndarray, np.ndarray]:
        """(landmark, vertex) of the sums that rounding alone may keep from being their landmark's least.

        Coordinates up to C are rounded, then subtracted: 2 u C an axis, so below 4 u sum_i w_i C_ik together. Squares,
        root and the sum over a block: below 64 u of the distance. Twice that is taken.
        """
        sums = self.sums.copy()
        bound = 2 * HALF_ULP * (4 * self.reach + 64 * sums)
        sums[~self.counts, 1:] = np.inf  # a landmark that never counts keeps one candidate, not all
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
    for face in _checked(faces):
        if len(face.points) != landmarks.max() + 1 or not _within(vertices, len(face.vertices), lowest=-1):
            raise ValueError(
                f"NMLC: expected {len(face.points)} indices of {len(face.vertices)} vertices, or -1, "
                f"found {landmarks.max() + 1} from {vertices.min()} to {vertices.max()}"
            )
        distance = np.linalg.norm(face.points[landmarks] - face.vertices[vertices], axis=-1) / face.scale
        counted = (vertices >= 0) & (True if face.counted is None else face.counted[landmarks])
        rows.append(np.where(counted, np.where(_counts(face).any() | ~counted, distance, np.inf), np.nan))
    return np.array(rows).reshape(len(rows), len(landmarks))


def _best(landmarks: np.ndarray, vertices: np.ndarray, errors: np.ndarray) -> Nmlc:
    """Per landmark the candidate with the least sum over faces of w_ij e_ij; the lowest vertex of equal ones."""
    first = np.flatnonzero(np.diff(landmarks, prepend=-1))  # one candidate a landmark: they share which faces count
    scored = np.isfinite(errors)
    count = scored[:, first].sum(1, keepdims=True)
    cost = (np.where(scored, errors, 0) / np.maximum(count, 1)).sum(0)  # no BLAS: equal columns, equal sums
    order = np.lexsort((vertices, cost, landmarks))
    chosen = order[first]
    never = ~scored[:, chosen].any(0)
    return Nmlc(np.where(never, -1, vertices[chosen]), errors[:, chosen])


def _counts(face: MeshFace) -> np.ndarray:
    """(n,) landmarks of a found face that count."""
    finite = np.isfinite(face.points).all(-1)
    return finite if face.counted is None else finite & face.counted


def _checked(faces: Iterable[MeshFace]) -> Iterator[MeshFace]:
    """The faces in float64. Raises ValueError that names the first face with a `_fault`."""
    first = None
    for number, given in enumerate(faces):
        face = given._replace(points=np.asarray(given.points, float), vertices=np.asarray(given.vertices, float))
        first = first or face
        fault = _fault(face, first)
        if fault:
            raise ValueError(f"face {number}: expected {fault}")
        yield face


def _fault(face: MeshFace, first: MeshFace) -> str | None:
    """What was expected of a face and what was found, if there is anything wrong with it."""
    points, vertices, scale, counted = face
    shapes, shapes_of_first = (points.shape, vertices.shape), (first.points.shape, first.vertices.shape)
    if shapes != shapes_of_first:
        return f"landmarks and vertices of shapes {shapes_of_first}, found {shapes}"
    if points.ndim != 2 or vertices.ndim != 2 or points.shape[1] != vertices.shape[1]:
        return f"rows of landmarks and of vertices with as many coordinates, found shapes {shapes}"
    if counted is not None and counted.shape != points.shape[:1]:
        return f"a flag whether it counts for each of {len(points)} landmarks, found shape {counted.shape}"
    if not np.isfinite(vertices).all():
        return "finite vertices, found NaN or infinity"
    if not (np.isfinite(scale) and scale > 0):
        return f"a positive normaliser, found {scale}"
    finite = np.isfinite(points).all(-1)
    missing = ~finite if counted is None else ~finite & counted
    if finite.any() and missing.any():
        return f"finite predictions, found none at landmark {missing.argmax()}"
    across = max(np.abs(part - vertices[0]).max(initial=0) for part in (points[_counts(face)], vertices)) / scale
    return f"a face within {FARTHEST:g} normalisers, found {across:.3g}" if across > FARTHEST else None


def _within(indices: np.ndarray, size: int, *, lowest: int) -> bool:
    return bool(lowest <= indices.min() and indices.max() < size)
