"""FLAME (Li et al. 2017): its model file and its landmarks.

generic_model.pkl, FLAME2023.pkl or an .npz of the same arrays:
    v_template (v, 3), f (f, 3), shapedirs (v, 3, 300 shape + 100 expression), posedirs (v, 3, 36),
    J_regressor (5, v), weights (v, 5), kintree_table (2, 5)
landmark_embedding.npy (DECA's, 68 points) or flame_static_embedding.pkl (smplx's, 51 without the jaw)
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from facelift.archives import read_npz
from facelift.checkpoints.safe_pickle import read_pickle, read_pickled_array
from facelift.checkpoints.scientific_pickle import NAMES, read_scientific_pickle
from facelift.morphable.skinned import UNLIMITED, Joints, Landmarks, SkinnedModel
from facelift.sources import FLAME

JOINTS = ("neck", "jaw", "left_eye", "right_eye")
"""Behind the root, in the order of the file."""
SHAPES = 300
"""Identity components at the front of `shapedirs`; the rest are expressions."""
_ARRAYS = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
_LIMITS_DEG = np.array(
    [
        [[0, 0], [0, 0], [0, 0]],
        [[-3, 35], [-8, 8], [-4, 4]],
        [[-25, 25], [-35, 35], [0, 0]],
        [[-25, 25], [-35, 35], [0, 0]],
    ]
)
"""x, y, z of each joint's rotation vector. The neck rests: in one picture its turn is the head's."""


def read_flame(
    path: Path | str, *, landmarks: Path | str | None = None, shape: int = 100, expression: int = 100
) -> SkinnedModel:
    """The first components, in metres; joints and pose correctives. Nothing in the file is executed.

    Without `landmarks` the head has none. Raises FileNotFoundError, or ValueError naming file, expected and found.
    """
    path = Path(path)
    held = _arrays(path)
    mean = held["v_template"].astype(np.float32)
    identities, expressions = _components(held["shapedirs"], path, shape, expression)
    table = {} if landmarks is None else {"ibug68": read_embedding(landmarks, held["f"])}
    count = len(identities) + len(expressions)
    try:
        return SkinnedModel(
            mean=mean,
            shape=identities,
            expression=expressions,
            faces=held["f"].astype(np.int32),
            joints=_joints(held, path),
            correctives=np.ascontiguousarray(np.moveaxis(held["posedirs"], -1, 0), np.float32),
            landmarks=table,
            coefficient_mean=np.zeros(count, np.float32),
            coefficient_std=np.ones(count, np.float32),
            limits=np.tile(UNLIMITED, (count, 1)),
            name="flame",
            sources=(FLAME,),
        )
    except ValueError as error:
        raise ValueError(f"{path}: expected FLAME's arrays, found some that do not fit: {error}") from error


def _arrays(path: Path) -> dict[str, np.ndarray]:
    what = f"FLAME with {', '.join(_ARRAYS)}"
    held = read_npz(path, what, _ARRAYS) if path.suffix == ".npz" else read_scientific_pickle(path, what)
    v = len(held["v_template"]) if isinstance(held.get("v_template"), np.ndarray) else 0
    shapes = {
        "v_template": (v, 3), "f": (None, 3), "shapedirs": (v, 3, None), "posedirs": (v, 3, 36),
        "J_regressor": (5, v), "weights": (v, 5), "kintree_table": (2, 5),
    }  # fmt: skip
    for name, wanted in shapes.items():
        found = held.get(name)
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "iuf":
            raise ValueError(f"{path}: expected {what}, found {name} as {type(found).__name__}")
        if found.ndim != len(wanted) or any(w not in (None, n) for w, n in zip(wanted, found.shape, strict=True)):
            shape = tuple("any" if length is None else length for length in wanted)
            raise ValueError(f"{path}: expected {name} of shape {shape}, found {found.shape}")
    return held


def _components(shapedirs: np.ndarray, path: Path, shape: int, expression: int) -> tuple[np.ndarray, np.ndarray]:
    """(s, v, 3), (e, v, 3)."""
    shapes = min(SHAPES, shapedirs.shape[-1])
    if shape > shapes or expression > shapedirs.shape[-1] - shapes:
        raise ValueError(
            f"{path}: expected {shape} shape and {expression} expression components, "
            f"found {shapes} and {shapedirs.shape[-1] - shapes}"
        )
    basis = np.moveaxis(shapedirs, -1, 0).astype(np.float32)
    return basis[:shape].copy(), basis[shapes : shapes + expression].copy()


def _joints(held: dict[str, np.ndarray], path: Path) -> Joints:
    """Without the root, whose turn is the camera's."""
    carrier = held["kintree_table"][0].astype(np.int64)[1:] - 1
    if carrier.tolist() != [-1, 0, 0, 0]:
        raise ValueError(f"{path}: expected a neck that carries jaw and eyes, found kintree_table {carrier.tolist()}")
    return Joints(
        JOINTS,
        carrier.astype(np.int32),
        held["J_regressor"][1:].astype(np.float32),
        held["weights"][:, 1:].astype(np.float32),
        np.radians(_LIMITS_DEG.astype(np.float64)),
    )


def read_embedding(path: Path | str, faces: Integer[np.ndarray, "f 3"]) -> Landmarks:
    """iBUG-68 from a landmark file: DECA's 68 fixed points, or smplx's 51 with zero weights for the jaw, which a fit
    then leaves out.

    Raises FileNotFoundError, or ValueError naming file, expected and found.
    """
    path, what = Path(path), "FLAME's landmark embedding"
    held = read_pickled_array(path, what) if path.suffix == ".npy" else read_pickle(path, what, more=NAMES)
    names = ("full_lmk_faces_idx", "full_lmk_bary_coords"), ("lmk_face_idx", "lmk_b_coords")
    for triangles, weights in names:
        if isinstance(held, dict) and triangles in held and weights in held:
            return _embedded(held[triangles], held[weights], faces, path)
    raise ValueError(f"{path}: expected {what} with {' or '.join(', '.join(pair) for pair in names)}, found neither")


def _embedded(triangles: Any, weights: Any, faces: np.ndarray, path: Path) -> Landmarks:
    index, weights = np.asarray(triangles).ravel(), np.asarray(weights)
    if index.dtype.kind not in "iu" or index.size not in (51, 68) or weights.size != 3 * index.size:
        raise ValueError(f"{path}: expected 51 or 68 triangles with weights, found {index.shape}, {weights.shape}")
    if not 0 <= index.min() <= index.max() < len(faces):
        raise ValueError(f"{path}: expected triangles 0..{len(faces) - 1}, found {index.min()}..{index.max()}")
    jaw = 68 - len(index)
    corners = np.concatenate([np.zeros((jaw, 3), np.int64), faces[index.astype(np.int64)].astype(np.int64)])
    return Landmarks(corners, np.concatenate([np.zeros((jaw, 3)), weights.reshape(-1, 3)]).astype(np.float32))
