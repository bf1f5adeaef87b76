"""Linear 3DMMs: vertices are a mean and two sums of offsets, placed in a crop by twelve numbers."""

import json
import os
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from facelift.archives import read_npz
from facelift.atomic import written_whole
from facelift.geometry.arrays import transpose
from facelift.landmarks import IBUG68
from facelift.morphable.mirror import coefficient_mirror, mirror_partners, mirror_pose
from facelift.sources import Source

POSE = 12
"""Numbers of a pose, in front of the coefficients."""
_ARRAYS = ("mean", "shape", "expression", "faces", "landmark_vertices")
_WHITENING = ("whitening_mean", "whitening_std")
_OPTIONAL = ("uv", "mirror_vertices", "mirror_signs")


@dataclass(frozen=True, eq=False)
class Whitening:
    """Mean and standard deviation of each parameter; a network learns (p - mean) / std.

    Raises ValueError for lengths that differ, and for a deviation that is not positive.
    """

    mean: Float[np.ndarray, "n"]
    std: Float[np.ndarray, "n"]

    def __post_init__(self) -> None:
        _require("whitening's mean", self.mean, (len(self.mean),), "f")
        _require("whitening's std", self.std, self.mean.shape, "f")
        if not (self.std > 0).all():
            raise ValueError(f"whitening's std: expected positive numbers, found {self.std.min():.4g}")

    @classmethod
    def of(cls, parameters: Float[np.ndarray, "n p"]) -> "Whitening":
        """Of a sample of parameters. One that never changes, as t_z in our data, gets the deviation 1."""
        mean, std = parameters.astype(np.float64).mean(0), parameters.astype(np.float64).std(0)
        constant = std <= 1e-9 * np.maximum(np.abs(mean), 1)
        return cls(mean.astype(np.float32), np.where(constant, 1, std).astype(np.float32))

    @classmethod
    def none(cls, coefficients: int) -> "Whitening":
        """Leaves everything as it is: poses not known yet, coefficients with unit deviation."""
        size = POSE + coefficients
        return cls(np.zeros(size, np.float32), np.ones(size, np.float32))

    def whiten(self, parameters: Float[np.ndarray, "*b p"]) -> Float[np.ndarray, "*b p"]:
        """What the network learns."""
        return (parameters - self.mean) / self.std

    def dewhiten(self, parameters: Float[np.ndarray, "*b p"]) -> Float[np.ndarray, "*b p"]:
        """Pose and coefficients again."""
        return parameters * self.std + self.mean


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A face as mean + shape coefficients x offsets + expression coefficients x offsets, in units of its own.

    y up, z out of the face, x to the subject's left. Raises ValueError for arrays that do not fit each other.
    """

    mean: Float[np.ndarray, "v 3"]
    shape: Float[np.ndarray, "s v 3"]
    """Offset per unit coefficient."""
    expression: Float[np.ndarray, "e v 3"]
    faces: Int[np.ndarray, "f 3"]
    """Anticlockwise as seen from outside."""
    landmark_vertices: Int[np.ndarray, "68"]
    """iBUG-68."""
    uv: Float[np.ndarray, "v 2"] | None
    """0..1, v up; None where the files have none."""
    whitening: Whitening
    """Of the 12 + s + e parameters."""
    sources: tuple[Source, ...]
    name: str
    mirror_vertices: Int[np.ndarray, "v"] | None = None
    """Each vertex's partner in the mirror image, where the files or the mesh tell."""
    mirror_signs: Int[np.ndarray, "k"] | None = None
    """1 or -1 for each of the s + e coefficients, if each offset is its own mirror image or the negative of it."""

    def __post_init__(self) -> None:
        _require_fit(self._arrays())

    def _arrays(self) -> dict[str, np.ndarray]:
        """All numbers, by their names in files."""
        fields = {name: getattr(self, name) for name in (*_ARRAYS, *_OPTIONAL)}
        whitening = {"whitening_mean": self.whitening.mean, "whitening_std": self.whitening.std}
        return {name: array for name, array in (fields | whitening).items() if array is not None}

    @cached_property
    def basis(self) -> Float[np.ndarray, "k v 3"]:
        """Shape, then expression."""
        return np.concatenate([self.shape, self.expression])

    def vertices(self, shape: Float[np.ndarray, "*b s"], expression: Float[np.ndarray, "*b e"]) -> np.ndarray:
        """(*b, v, 3), by one matrix product."""
        coefficients = np.concatenate([shape, expression], axis=-1).astype(self.basis.dtype)
        offsets = coefficients @ self.basis.reshape(len(self.basis), -1)
        return self.mean + offsets.reshape(*offsets.shape[:-1], -1, 3)

    def landmarks(self, shape: Float[np.ndarray, "*b s"], expression: Float[np.ndarray, "*b e"]) -> np.ndarray:
        """(*b, 68, 3), from their 204 rows alone."""
        return self.landmark_model.vertices(shape, expression)

    @cached_property
    def landmark_model(self) -> "LinearModel":
        """The 68 landmarks as a model of their own, without triangles: all that a network needs."""
        chosen = self.landmark_vertices
        return replace(
            self,
            mean=self.mean[chosen],
            shape=self.shape[:, chosen],
            expression=self.expression[:, chosen],
            faces=np.zeros((0, 3), np.int32),
            landmark_vertices=np.arange(68, dtype=np.int32),
            uv=None if self.uv is None else self.uv[chosen],
            mirror_vertices=IBUG68.mirror,
        )

    def mirror_parameters(self, parameters: Float[np.ndarray, "*b p"], width: float) -> Float[np.ndarray, "*b p"]:
        """Parameters of the mirrored face in the crop of `width` px flipped left to right.

        The pose is exact. Coefficients are exact, a sign each, where the model has `mirror_signs`; elsewhere they are
        the least-squares fit of the mirror image, shape and expression apart (`mirror_error` tells how far it is off).
        """
        pose, _, _ = split_parameters(parameters, len(self.shape), len(self.expression))
        matrix, offset = self._coefficient_mirror
        flipped = mirror_pose(pose, width).reshape(*parameters.shape[:-1], POSE)
        coefficients = parameters[..., POSE:] @ matrix.T + offset
        return np.concatenate([flipped, coefficients], axis=-1).astype(parameters.dtype)

    @cached_property
    def _coefficient_mirror(self) -> tuple[np.ndarray, np.ndarray]:
        """(A, b) for shape and expression together; no shape becomes an expression."""
        s, k = len(self.shape), len(self.basis)
        if self.mirror_signs is not None:
            return np.diag(self.mirror_signs.astype(np.float64)), np.zeros(k)
        matrix, offset = np.zeros((k, k)), np.zeros(k)
        partners = self.partners
        matrix[:s, :s], offset[:s] = coefficient_mirror(self.mean, self.shape, partners)
        matrix[s:, s:], _ = coefficient_mirror(self.mean, self.expression, partners)
        return matrix, offset

    @cached_property
    def partners(self) -> Int[np.ndarray, "v"]:
        """`mirror_vertices`, or where there are none what the mean's geometry says (`mirror_partners`)."""
        if self.mirror_vertices is not None:
            return self.mirror_vertices
        return mirror_partners(self.mean, self.landmark_vertices)

    def save(self, path: str | os.PathLike[str]) -> None:
        """One .npz of plain arrays; appears whole or not at all."""
        notes = {"name": self.name, "sources": [asdict(source) for source in self.sources]}
        with written_whole(path) as partial:
            np.savez(partial, notes=np.array(json.dumps(notes)), **self._arrays())  # type: ignore[arg-type]


def load_linear_model(path: str | os.PathLike[str]) -> LinearModel:
    """What `LinearModel.save` wrote.

    Raises FileNotFoundError, or ValueError naming the file, what was expected and what was found.
    """
    arrays = read_npz(path, "a linear face model", (*_ARRAYS, *_WHITENING, "notes"))
    try:
        _require_fit(arrays)
        notes = json.loads(str(arrays["notes"]))
        return LinearModel(
            **{name: arrays[name] for name in _ARRAYS},
            uv=arrays.get("uv"),
            whitening=Whitening(*(arrays[name] for name in _WHITENING)),
            sources=tuple(Source(**source) for source in notes["sources"]),
            name=str(notes["name"]),
            mirror_vertices=arrays.get("mirror_vertices"),
            mirror_signs=arrays.get("mirror_signs"),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: expected a linear face model, found one that does not fit: {error}") from error


def split_parameters(parameters: Float[Any, "*b p"], s: int, e: int) -> tuple[Any, Any, Any]:
    """(pose (*b, 3, 4), shape (*b, s), expression (*b, e)) of an array or a tensor.

    Raises ValueError unless there are 12 + s + e numbers.
    """
    if parameters.shape[-1] != POSE + s + e:
        raise ValueError(f"parameters: expected {POSE} + {s} + {e} numbers, found {parameters.shape[-1]}")
    pose = parameters[..., :POSE].reshape(*parameters.shape[:-1], 3, 4)
    return pose, parameters[..., POSE : POSE + s], parameters[..., POSE + s :]


def place(points: Float[Any, "*b n 3"], pose: Float[Any, "*b 3 4"]) -> Float[Any, "*b n 3"]:
    """sR v + t of arrays or tensors: x, y in px of the crop, y down; z in px away from the camera."""
    return points @ transpose(pose[..., :3]) + pose[..., None, :, 3]


def mirror_error(model: LinearModel, faces: int = 8) -> float:
    """Root mean square distance, in model units, between mirrored meshes and those of the mirrored coefficients, over
    random faces of the whitening's distribution. 0 but for rounding where mirroring is exact."""
    rng, s, size = np.random.default_rng(0), len(model.shape), len(model.whitening.mean)
    drawn = model.whitening.dewhiten(rng.standard_normal((faces, size)))
    flipped = model.mirror_parameters(drawn, 0.0)
    wanted = model.vertices(drawn[:, POSE : POSE + s], drawn[:, POSE + s :])[:, model.partners] * [-1, 1, 1]
    found = model.vertices(flipped[:, POSE : POSE + s], flipped[:, POSE + s :])
    return float(np.sqrt(((found - wanted) ** 2).sum(-1).mean()))


def _require_fit(arrays: dict[str, np.ndarray]) -> None:
    """ValueError where the arrays of a model, by their names in files, do not fit each other."""
    v, s, e, f = (len(arrays[name]) for name in ("mean", "shape", "expression", "faces"))
    _require("mean", arrays["mean"], (v, 3), "f")
    _require("shape", arrays["shape"], (s, v, 3), "f")
    _require("expression", arrays["expression"], (e, v, 3), "f")
    _require("faces", arrays["faces"], (f, 3), "iu", below=v)
    _require("landmark_vertices", arrays["landmark_vertices"], (68,), "iu", below=v)
    for name in _WHITENING:
        _require(name, arrays[name], (POSE + s + e,), "f")
    if "uv" in arrays:
        _require("uv", arrays["uv"], (v, 2), "f")
    if "mirror_vertices" in arrays:
        _require("mirror_vertices", arrays["mirror_vertices"], (v,), "iu", below=v)
    if "mirror_signs" in arrays:
        _require("mirror_signs", arrays["mirror_signs"], (s + e,), "i")
        _require_symmetry(arrays["mirror_signs"], arrays.get("mirror_vertices"), arrays["landmark_vertices"])


def _require_symmetry(signs: np.ndarray, partners: np.ndarray | None, landmarks: np.ndarray) -> None:
    """ValueError where signs for the coefficients would not give mirrored landmarks."""
    if partners is None or not np.isin(signs, (-1, 1)).all():
        raise ValueError("mirror_signs: expected 1 and -1 beside mirror_vertices, found others or none beside")
    if (partners[landmarks] != landmarks[IBUG68.mirror]).any():
        raise ValueError("landmark_vertices: expected partners of mirror_vertices, found others")


def _require(name: str, array: np.ndarray, shape: tuple[int, ...], kinds: str, *, below: int | None = None) -> None:
    """ValueError unless the array has the shape, finite numbers of these kinds, and indices 0 .. below - 1."""
    if array.shape != shape or array.dtype.kind not in kinds:
        kind = "integers" if "i" in kinds else "floats"
        raise ValueError(f"{name}: expected {kind} {shape}, found {array.shape} of {array.dtype}")
    if "f" in kinds and not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, found {(~np.isfinite(array)).sum()} that are not")
    if below is not None and array.size and not (array.min() >= 0 and array.max() < below):
        raise ValueError(f"{name}: expected vertices 0..{below - 1}, found {array.min()}..{array.max()}")
