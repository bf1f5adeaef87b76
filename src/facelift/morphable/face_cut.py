"""Which part of a head a linear model describes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from facelift.landmarks import IBUG68, wflw98_of_ibug68
from facelift.morphable.head import Head, landmarks
from facelift.morphable.mirror import mirror_partners, symmetric_landmarks
from facelift.morphable.open_head import OpenHead
from facelift.morphable.procedural_head import ProceduralHead
from facelift.rendering import materials

_NARROW_FACE = 6706
"""Vertices of the original mesh below this are brows to chin, cheek to cheek."""
_ABOVE_NECK = 0.455
"""Of the skin around that, v in the texture of what is forehead and ears; what lies lower is neck."""
_EYE_SQUARE, _EYE_MIDDLE = 0.18, 0.1
"""Side and middle of the corner of the texture that each eye gets; the neck's place, which is free."""
_FRONT_DEG = 100.0
"""Azimuth up to which the procedural head has a face."""


@dataclass(frozen=True, eq=False)
class FaceCut:
    """Vertices of a head's mesh, and how they hang together. The cut is its own mirror image."""

    vertices: Int[np.ndarray, "v"]
    """Indices in the head's mesh."""
    faces: Int[np.ndarray, "f 3"]
    """Of the cut's own vertices."""
    landmark_vertices: Int[np.ndarray, "68"]
    """iBUG-68, likewise."""
    uv: Float[np.ndarray, "v 2"]
    """0..1, v up."""
    partners: Int[np.ndarray, "v"]
    """Each vertex's mirror image."""
    still: Bool[np.ndarray, "v"]
    """What expressions do not move: eyeballs, which turn in the head but not in the linear model."""

    def neutral_and_moved(
        self, head: Head, identity: Float[np.ndarray, "k"], expression: Float[np.ndarray, "e"]
    ) -> tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, "v 3"]]:
        """The face of an identity, and the same with the expression; canonical."""
        neutral = head.vertices(identity, np.zeros_like(expression))[self.vertices]
        moved = head.vertices(identity, expression)[self.vertices]
        return neutral, np.where(self.still[:, None], neutral, moved)


def face_cut(head: Head) -> FaceCut:
    """The face of one of our heads. Raises ValueError for another."""
    if isinstance(head, OpenHead):
        return open_face(head)
    if isinstance(head, ProceduralHead):
        return procedural_face(head)
    raise ValueError(f"head: expected the open or the procedural head, found {type(head).__name__}")


def face_region(head: Head, cut: FaceCut) -> Bool[np.ndarray, "v"]:
    """Which of the cut's vertices are its face alone: of the open head cheek to cheek and forehead to chin, without
    ears and eyeballs."""
    if not isinstance(head, OpenHead):
        return ~cut.still
    return ~cut.still & (head.files["original_vertex"][cut.vertices] < _NARROW_FACE)


def open_face(head: OpenHead) -> FaceCut:
    """The open head's face from ear to ear and up to the hair, without neck, and the front halves of its eyeballs,
    which close the eyes; the mouth is open. The face keeps the place it has in the head's textures; each eye gets a
    corner below."""
    corners, uv = head.topology.faces, head.files["uv"][head.files["face_uv"].astype(int)]
    narrow = (head.files["original_vertex"][corners] < _NARROW_FACE).all(1)
    skin = (head.files["face_material"] == 0) & (narrow | (uv[..., 1].min(1) > _ABOVE_NECK))
    eyes = _eye_fronts(head)
    vertices = np.concatenate([np.unique(corners[skin]), np.unique(corners[eyes])])
    still = np.arange(len(vertices)) >= len(np.unique(corners[skin]))
    place = np.full((len(head.mean_cm), 2), np.nan)
    place[corners[skin]] = uv[skin]  # corners that meet in a vertex have the same place
    _place_eyes(place, head, np.unique(corners[eyes]))
    partners = mirror_partners(head.mean_cm[vertices])
    return FaceCut(
        vertices=vertices,
        faces=_renumbered(corners[skin | eyes], vertices),
        landmark_vertices=_marks(landmarks(head, head.mean_cm), head.mean_cm[vertices], partners),
        uv=place[vertices].astype(np.float32),
        partners=partners,
        still=still,
    )


def procedural_face(head: ProceduralHead) -> FaceCut:
    """The procedural head without its back; the texture's place is the whole head's."""
    mean = head.vertices(np.zeros(5), np.zeros(3))
    corners, azimuth = head.topology.faces, np.abs(np.degrees((head.topology.uv[..., 0] - 1) * np.pi))
    front = (azimuth < _FRONT_DEG).all(1)
    vertices = np.unique(corners[front])
    place = np.zeros((len(mean), 2))
    place[corners[front]] = head.topology.uv[front] / [2, 1]
    partners = mirror_partners(mean[vertices])
    return FaceCut(
        vertices=vertices,
        faces=_renumbered(corners[front], vertices),
        landmark_vertices=_marks(landmarks(head, mean), mean[vertices], partners),
        uv=place[vertices].astype(np.float32),
        partners=partners,
        still=np.zeros(len(vertices), bool),
    )


def _renumbered(corners: Int[np.ndarray, "f 3"], vertices: Int[np.ndarray, "v"]) -> Int[np.ndarray, "f 3"]:
    """Triangles of the chosen vertices, by their places among them."""
    own = np.full(vertices.max() + 1, -1, np.int32)
    own[vertices] = np.arange(len(vertices))
    return own[corners]


def _marks(
    wanted: Float[np.ndarray, "98 3"], mean: Float[np.ndarray, "v 3"], partners: Int[np.ndarray, "v"]
) -> Int[np.ndarray, "68"]:
    """The vertex nearest to each landmark of the mean face; those of the middle are their own partners, those of the
    right half are partners of the left.

    All landmarks but the brows' are vertices of the open head; those of its brows lie within half an edge of one.
    """
    middle = IBUG68.mirror == np.arange(68)
    line = partners == np.arange(len(partners))
    distance = np.linalg.norm(mean - wanted[wflw98_of_ibug68(), None], axis=-1)
    distance[np.ix_(middle, ~line)] = np.inf
    return symmetric_landmarks(distance.argmin(1), partners).astype(np.int32)


def _eye_fronts(head: OpenHead) -> Bool[np.ndarray, "f"]:
    """Triangles of the front halves of the eyeballs."""
    corners = head.topology.faces
    eyes = head.topology.material == materials.EYE
    depth = head.mean_cm[corners[eyes], 2]
    eyes[eyes] = (depth > (depth.min() + depth.max()) / 2).all(1)
    return eyes


def _place_eyes(place: np.ndarray, head: OpenHead, vertices: np.ndarray) -> None:
    """Puts each eye, seen from the front, into its corner of the texture, in place."""
    for sign, middle in ((-1, _EYE_MIDDLE), (1, 1 - _EYE_MIDDLE)):
        own = vertices[np.sign(head.mean_cm[vertices, 0]) == sign]
        flat = head.mean_cm[own, :2]
        centre, size = (flat.min(0) + flat.max(0)) / 2, np.ptp(flat, axis=0).max()
        place[own] = (flat - centre) / size * _EYE_SQUARE + [middle, _EYE_MIDDLE]
