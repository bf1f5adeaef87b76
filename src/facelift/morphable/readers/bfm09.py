"""Basel Face Model 2009 with the expressions of FaceWarehouse, in one folder:

    01_MorphableModel.mat                shapeMU (3v, 1), shapePC (3v, 199), shapeEV (199, 1), tl (f, 3) from 1
    Exp_Pca.bin                          int32 n, then float32: mean (3w), n components (n, 3w)
    std_exp.txt                          n deviations of these components, where it is given
    model_info.mat or BFM_exp_idx.mat    the cut of 3DDFA: trimIndex (w, 1) from 1, and keypoints (68) of the cut

The mesh has v = 53490 vertices, the expressions have w = 53215: without the cut they cannot be brought together.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from facelift.datasets.readers.mat_files import read_mat
from facelift.datasets.readers.official_layout import require_file
from facelift.morphable.linear import LinearModel, Whitening
from facelift.morphable.readers.columns import numbers, offsets, outward, points, read_landmarks, triangles
from facelift.sources import BFM09, FACEWAREHOUSE

MODEL, EXPRESSIONS, DEVIATIONS = "01_MorphableModel.mat", "Exp_Pca.bin", "std_exp.txt"
CUTS = ("model_info.mat", "BFM_exp_idx.mat")


def read_bfm09(
    folder: Path, *, shape: int | None = 40, expression: int | None = 10, landmarks: Path | None = None
) -> LinearModel:
    """The first components, one deviation a coefficient; None: all. Micrometres, y up; no texture coordinates.

    Without std_exp.txt expressions are in units of their own. `landmarks`: a text file of 68 vertices of the mesh as it
    is here, for files without keypoints. Raises FileNotFoundError, or ValueError naming file, expected and found.
    """
    folder = Path(folder)
    path = folder / MODEL
    held = read_mat(path, {"shapeMU": (None, 1), "shapePC": (None, None), "shapeEV": (None, 1), "tl": (None, 3)})
    mean = points(held["shapeMU"], path, "shapeMU")
    identities = offsets(held["shapePC"], len(mean), shape, path, "shapePC")
    identities = identities * numbers(held["shapeEV"], len(identities), path, "shapeEV")[:, None, None]
    moved, expressions = read_exp_pca(folder / EXPRESSIONS, expression)
    expressions = expressions * _deviations(folder / DEVIATIONS, len(expressions))[:, None, None]
    kept, keypoints = _cut(folder, len(mean), len(moved))
    own = np.full(len(mean), -1, np.int32)
    own[kept] = np.arange(len(kept))
    corners = own[triangles(held["tl"], path, first=1)]
    mean = mean[kept] + moved
    return LinearModel(
        mean=mean,
        shape=np.ascontiguousarray(identities[:, kept]),
        expression=expressions,
        faces=outward(mean, corners[(corners >= 0).all(1)]),
        landmark_vertices=_landmarks(folder, keypoints, landmarks),
        uv=None,
        whitening=Whitening.none(len(identities) + len(expressions)),
        sources=(BFM09, FACEWAREHOUSE),
        name="bfm09",
    )


def read_exp_pca(path: Path, count: int | None = None) -> tuple[Float[np.ndarray, "w 3"], Float[np.ndarray, "n w 3"]]:
    """(mean, components) of Exp_Pca.bin, the first `count` or all. Raises FileNotFoundError, or ValueError unless the
    file is as long as its number of components says."""
    size = require_file(path, "FaceWarehouse's expressions").stat().st_size
    with path.open("rb") as file:
        n = int.from_bytes(file.read(4), "little")
        if n == 0 or size <= 4 or (size - 4) % (12 * (n + 1)):
            raise ValueError(
                f"{path}: expected a number n and n + 1 rows of three float32 a vertex, found n = {n} in {size} bytes"
            )
        values = np.fromfile(file, "<f4").reshape(n + 1, -1)
    mean = points(values[0], path, "mean")
    return mean, offsets(values[1:].T, len(mean), count, path, "components")


def _deviations(path: Path, count: int) -> Float[np.ndarray, "n"]:
    if not path.is_file():
        return np.ones(count, np.float32)
    try:
        found = np.array([float(word) for word in path.read_text(errors="replace").split()])
    except ValueError as error:
        raise ValueError(f"{path}: expected {count} deviations, found: {error}") from None
    return numbers(found, count, path, "deviations")


def _cut(folder: Path, vertices: int, moved: int) -> tuple[Int[np.ndarray, "m"], np.ndarray | None]:
    """(the vertices that expressions move, the landmarks among them if the file has them)."""
    path = next((folder / name for name in CUTS if (folder / name).is_file()), None)
    if path is None and vertices == moved:
        return np.arange(vertices), None
    if path is None:
        raise FileNotFoundError(
            f"{folder / CUTS[0]}: expected this file or {CUTS[1]}, which tell the {moved} vertices of {EXPRESSIONS} "
            f"among the {vertices} of {MODEL}, found neither"
        )
    held = read_mat(path, {"trimIndex": (None, None), "keypoints": (None, None)}, optional=("keypoints",))
    kept = held["trimIndex"].ravel().astype(np.int64) - 1
    if len(kept) != moved or not (kept.min() >= 0 and kept.max() < vertices):
        raise ValueError(
            f"{path}: expected trimIndex of {moved} vertices 1..{vertices}, found {len(kept)} in "
            f"{kept.min() + 1}..{kept.max() + 1}"
        )
    return kept, held.get("keypoints")


def _landmarks(folder: Path, keypoints: np.ndarray | None, given: Path | None) -> Int[np.ndarray, "68"]:
    if given is not None:
        return read_landmarks(given)
    if keypoints is None or keypoints.size != 68:
        found = "none" if keypoints is None else f"{keypoints.size}"
        raise ValueError(f"{folder}: expected 68 keypoints in {CUTS[0]}, or a file of landmarks, found {found}")
    return keypoints.ravel().astype(np.int32) - 1
