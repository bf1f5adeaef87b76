"""Heads that a fit moves: a linear model whose vertices also follow a few joints (linear blend skinning).

    s = mean + sum_i shape_i S_i + sum_j expression_j E_j + sum_k (R - 1)_k P_k          at rest, with pose correctives
    v = s + sum_j w_j ((G_j - 1) s + d_j),   G_j x + d_j = x turned about joint j and all joints that carry it

A head without joints is a linear model. FLAME (Li et al. 2017) has a neck, a jaw and two eyes; our open head two eyes.
The root joint is not among the joints: where the head is in front of the camera says the camera.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from facelift.geometry.arrays import constant, namespace
from facelift.geometry.rotation import rotation_from_vector
from facelift.morphable.linear import POSE, LinearModel
from facelift.sources import Source

UNLIMITED = np.array([-np.inf, np.inf])
_FACE_CUTS = {"open-head": "open-face", "procedural": "procedural-face"}
"""Linear models of our heads hold the face alone, whose vertices are not the heads'."""


@dataclass(frozen=True, eq=False)
class Joints:
    """Joints, each after the one that carries it, and what follows them."""

    names: tuple[str, ...]
    parents: Int[np.ndarray, "n"]
    """Index of the joint that carries each; -1: the head itself."""
    regressor: Float[np.ndarray, "j v"]
    """A joint lies at this weighted sum of the vertices at rest without correctives."""
    weights: Float[np.ndarray, "v j"]
    """How much of each joint's turn a vertex takes; what is left to 1 stays with the head."""
    limits_rad: Float[np.ndarray, "j 3 2"]
    """Least and greatest x, y, z of the rotation vector; both 0 for an axis that a fit leaves alone."""

    def __post_init__(self) -> None:
        j = len(self.names)
        for name, wanted in (("parents", (j,)), ("limits_rad", (j, 3, 2))):
            if getattr(self, name).shape != wanted:
                raise ValueError(f"joints' {name}: expected shape {wanted}, found {getattr(self, name).shape}")
        if not all(-1 <= parent < index for index, parent in enumerate(self.parents)):
            raise ValueError(f"joints' parents: expected each before its child, found {self.parents.tolist()}")

    @property
    def free(self) -> Bool[np.ndarray, "j 3"]:
        """Axes that a fit may turn."""
        return self.limits_rad[..., 0] < self.limits_rad[..., 1]


def no_joints(vertices: int) -> Joints:
    """Of a linear model."""
    empty = np.zeros((0, vertices), np.float32)
    return Joints((), np.zeros(0, np.int32), empty, empty.T.copy(), np.zeros((0, 3, 2)))


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Points of a mesh that have a name in a scheme: each a weighted mean of k vertices."""

    vertices: Int[np.ndarray, "n k"]
    weights: Float[np.ndarray, "n k"]


@dataclass(frozen=True, eq=False)
class SkinnedModel:
    """A head that a fit moves; y up, z out of the face, x to the subject's left, its own unit.

    Raises ValueError for arrays that do not fit each other.
    """

    mean: Float[np.ndarray, "v 3"]
    shape: Float[np.ndarray, "s v 3"]
    expression: Float[np.ndarray, "e v 3"]
    faces: Int[np.ndarray, "f 3"]
    """Anticlockwise as seen from outside."""
    joints: Joints
    correctives: Float[np.ndarray, "_ v 3"] | None
    """Offsets per unit of the nine numbers of R - 1 of each joint, row by row."""
    landmarks: dict[str, Landmarks]
    """By the name of the scheme."""
    coefficient_mean: Float[np.ndarray, "k"]
    """Of shape, then expression."""
    coefficient_std: Float[np.ndarray, "k"]
    """How far coefficients usually go: what a fit's prior takes for one deviation."""
    limits: Float[np.ndarray, "k 2"]
    """Least and greatest coefficients; infinite where there are none."""
    name: str
    sources: tuple[Source, ...]
    expression_names: tuple[str, ...] | None = None
    """ARKit's, where the head has them."""
    uv: Float[np.ndarray, "v 2"] | None = None
    skin: Bool[np.ndarray, "f"] | None = field(default=None)
    """Triangles to draw and to write; None: all."""

    def __post_init__(self) -> None:
        v, s, e, j = len(self.mean), len(self.shape), len(self.expression), len(self.joints.names)
        wanted = {
            "mean": (v, 3),
            "shape": (s, v, 3),
            "expression": (e, v, 3),
            "coefficient_mean": (s + e,),
            "coefficient_std": (s + e,),
            "limits": (s + e, 2),
        }
        for name, shape in wanted.items():
            _require(name, getattr(self, name), shape)
        _require("the joints' regressor", self.joints.regressor, (j, v))
        _require("the joints' weights", self.joints.weights, (v, j))
        if self.correctives is not None:
            _require("correctives", self.correctives, (9 * j, v, 3))
        if self.faces.size and not 0 <= self.faces.min() <= self.faces.max() < v:
            raise ValueError(f"faces: expected vertices 0..{v - 1}, found {self.faces.min()}..{self.faces.max()}")
        for scheme, points in self.landmarks.items():
            if points.vertices.size and not 0 <= points.vertices.min() <= points.vertices.max() < v:
                raise ValueError(f"{scheme}: expected vertices 0..{v - 1}, found others")

    def vertices(
        self, shape: Float[Any, "*b s"], expression: Float[Any, "*b e"], joints: Float[Any, "*b j 3"] | None = None
    ) -> Float[Any, "*b v 3"]:
        """The mesh of arrays or tensors; `joints` are rotation vectors, none turned if not given."""
        xp, v = namespace(shape), len(self.mean)
        flat = lambda basis: constant(basis.reshape(-1, 3 * v), shape)  # noqa: E731
        rest = shape @ flat(self.shape) + expression @ flat(self.expression)
        rest = rest.reshape(*rest.shape[:-1], v, 3) + constant(self.mean, shape)
        if joints is None or not self.joints.names:
            return rest
        places = constant(self.joints.regressor, shape) @ rest
        rotations = rotation_from_vector(joints)
        if self.correctives is not None:
            bend = (rotations - constant(np.eye(3), shape)).reshape(*joints.shape[:-2], 9 * joints.shape[-2]) @ flat(
                self.correctives
            )
            rest = rest + bend.reshape(*bend.shape[:-1], v, 3)
        turn, shift = carried(rotations, places, self.joints.parents)
        weights = constant(self.joints.weights, shape)
        blend = xp.einsum("vj,...jab->...vab", weights, turn - constant(np.eye(3), shape))
        return rest + (blend @ rest[..., None])[..., 0] + weights @ shift

    def landmark_points(self, scheme: str, vertices: Float[Any, "*b v 3"]) -> Float[Any, "*b n 3"]:
        """The landmarks of a mesh. Raises ValueError for a scheme that the head has no table of."""
        table = self.table(scheme)
        return (vertices[..., table.vertices, :] * constant(table.weights[..., None], vertices)).sum(-2)

    def table(self, scheme: str) -> Landmarks:
        """Raises ValueError for a scheme that the head does not know."""
        if scheme not in self.landmarks:
            known = ", ".join(self.landmarks) or "none"
            raise ValueError(f"{self.name}: expected landmarks of {known}, found {scheme}")
        return self.landmarks[scheme]


def _require(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype.kind != "f":
        raise ValueError(f"{name}: expected floats {shape}, found {array.shape} of {array.dtype}")
    if name != "limits" and not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, found {(~np.isfinite(array)).sum()} that are not")


def carried(
    rotations: Float[Any, "*b j 3 3"], places: Float[Any, "*b j 3"], parents: Sequence[int] | np.ndarray
) -> tuple[Float[Any, "*b j 3 3"], Float[Any, "*b j 3"]]:
    """(G, d): joint j moves what follows it by x -> G_j x + d_j, its own turn and those of what carries it."""
    xp = namespace(rotations)
    turns: list[Any] = []
    shifts: list[Any] = []
    for index, parent in enumerate(parents):
        turn, place = rotations[..., index, :, :], places[..., index, :]
        shift = place - (turn @ place[..., None])[..., 0]
        if parent >= 0:
            shift = (turns[parent] @ shift[..., None])[..., 0] + shifts[parent]
            turn = turns[parent] @ turn
        turns.append(turn)
        shifts.append(shift)
    return xp.stack(turns, -3), xp.stack(shifts, -2)


def skinned_linear(model: LinearModel) -> SkinnedModel:
    """A linear face model as a head without joints; its whitening is the prior."""
    count = len(model.shape) + len(model.expression)
    marks = Landmarks(model.landmark_vertices[:, None].astype(np.int64), np.ones((68, 1), np.float32))
    return SkinnedModel(
        mean=model.mean.astype(np.float32),
        shape=model.shape.astype(np.float32),
        expression=model.expression.astype(np.float32),
        faces=model.faces,
        joints=no_joints(len(model.mean)),
        correctives=None,
        landmarks={"ibug68": marks},
        coefficient_mean=model.whitening.mean[POSE:].astype(np.float32),
        coefficient_std=model.whitening.std[POSE:].astype(np.float32),
        limits=np.tile(UNLIMITED, (count, 1)),
        name=_FACE_CUTS.get(model.name, model.name),
        sources=model.sources,
        uv=model.uv,
    )
