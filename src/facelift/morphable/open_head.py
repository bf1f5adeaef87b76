"""The open head: ICT-FaceKit's light model (MIT) as packed in head.npz."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from facelift.geometry import ORIGIN_CM, UNIT_CM
from facelift.morphable.expressions import ExpressionSampler
from facelift.morphable.head import Topology
from facelift.morphable.wflw98 import landmark_table
from facelift.rendering import materials

_MOUTH_SOCKET = 11248
"""First vertex of the original mesh that belongs to the inside of mouth and eye sockets, not to the skin."""
_LID_GAP_CM = 0.03
_UPPER_LASH_CM, _LOWER_LASH_CM = 0.75, 0.4
"""Where lashes end; the mesh's reach further."""
_LID_PAIRS = {"R": ((37, 41), (38, 40)), "L": ((43, 47), (44, 46))}
"""iBUG-68 points that meet when an eye closes: (upper, lower)."""
_CLOSED_CM = 0.02
"""Overlap of closed lids."""
_IRIS_TEXTURE_SCALE = 122 / 0.13 / 640
"""The pictures of the eye are 640 px wide with an iris of 122 px radius; in the mesh's uv the radius is 0.13."""


@dataclass(frozen=True)
class _Lid:
    """The blink of one eye. The file's own leaves some identities' eyes open and lets others' lids pass each other."""

    name: int
    """Index of the blink among the expressions."""
    pairs: Int[np.ndarray, "2 2"]
    """Vertices that meet: (upper, lower), towards the image's left and right."""
    closing_cm: Float[np.ndarray, "2"]
    """By how much the file's blink brings the pairs together."""
    moved: Int[np.ndarray, "m"]
    """Vertices that the blink moves, by so much:"""
    blink_cm: Float[np.ndarray, "m 3"]
    share: Float[np.ndarray, "m 2"]
    """How much of either pair's amount a vertex takes, by its place between them."""

    def close(self, vertices: Float[np.ndarray, "v 3"], blink: float) -> None:
        """Narrows the eye's opening to 1 - `blink` of what it is, in place."""
        upper, lower = vertices[self.pairs, 1].T
        amount = min(blink, 1.0) * np.clip((upper - lower + _CLOSED_CM) / self.closing_cm, 0, None)
        vertices[self.moved] += (self.share @ amount)[:, None].astype(np.float32) * self.blink_cm


class OpenHead:
    """Identity (100 coefficients, standard normal), expression (57, 0..1). Raises FileNotFoundError without assets."""

    def __init__(self, assets: Path):
        path = Path(assets) / "head.npz"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected the open head's geometry, found no file")
        with np.load(path) as file:
            data = {name: file[name] for name in file.files}
        self.mean_cm = data["vertices_cm"].astype(np.float32)
        self._identity = data["identity_basis"].reshape(len(data["identity_basis"]), -1)
        self._expression = data["expression_basis"].astype(np.float32).reshape(len(data["expression_basis"]), -1)
        self.names = [str(name) for name in data["expression_names"]]
        self.expressions = ExpressionSampler(self.names)
        self.topology = self._topology(data)
        self._eyes = self._eye_parts()
        self._lids = [self._lid(side, data["landmarks68_vertices"]) for side in "LR"]
        painted = data["face_material"] == 0
        self.landmark_vertices, self.landmark_weights = landmark_table(
            data["landmarks68_vertices"], self._pupils(), self.topology.faces[painted], self.topology.uv[painted]
        )
        self.files = data

    def _topology(self, data: dict[str, np.ndarray]) -> Topology:
        faces = data["faces"].astype(np.int32)
        uv = data["uv"][data["face_uv"].astype(int)].astype(np.float32)
        part = data["face_material"].astype(int)
        names = [str(name) for name in data["material_names"]]
        of = {
            "M_Face": materials.SKIN,
            "M_BackHead": materials.SKIN,
            "M_GumsTongue": materials.GUMS,
            "M_Teeth": materials.TEETH,
            "M_ScleraLeft": materials.EYE,
            "M_ScleraRight": materials.EYE,
            "M_EyeLashes": materials.LASHES,
        }
        material = np.array([of.get(name, materials.SKIN) for name in names], np.int32)[part]
        skin = material == materials.SKIN
        material[skin & (data["original_vertex"][faces[:, 0]] >= _MOUTH_SOCKET)] = materials.SOCKET
        eye = material == materials.EYE
        uv[eye] = 0.5 + (uv[eye] - 0.5) * _IRIS_TEXTURE_SCALE
        lash = material == materials.LASHES
        lash_vertices = np.unique(faces[lash])
        distance = np.zeros(len(self.mean_cm))
        skin_vertices = np.unique(faces[part == 0])
        distance[lash_vertices] = cKDTree(self.mean_cm[skin_vertices]).query(self.mean_cm[lash_vertices])[0]
        upper = self.mean_cm[:, 1] > 3.4
        length = np.where(upper, _UPPER_LASH_CM, _LOWER_LASH_CM)
        uv[lash, :, 1] = np.clip((distance / length)[faces[lash]], 0, 0.999)  # v: how far from the lid, for the taper
        return Topology(faces, np.ascontiguousarray(uv), material)

    def _eye_parts(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """(side, eyeball vertices, skin vertices about the eye); the subject's left eye has x > 0."""
        faces, material = self.topology.faces, self.topology.material
        ball = np.unique(faces[material == materials.EYE])
        skin = np.unique(faces[material == materials.SKIN])
        parts = []
        for side, sign in (("L", 1), ("R", -1)):
            own = ball[np.sign(self.mean_cm[ball, 0]) == sign]
            centre = (self.mean_cm[own].min(0) + self.mean_cm[own].max(0)) / 2
            near = skin[np.linalg.norm(self.mean_cm[skin] - centre, axis=1) < 2.3]
            parts.append((side, own, near))
        return parts

    def _lid(self, side: str, landmarks68: np.ndarray) -> "_Lid":
        """The blink of one eye, apart from the other expressions."""
        name = self.names.index(f"eyeBlink_{side}")
        blink = self._expression[name].reshape(-1, 3)
        moved = np.flatnonzero(np.abs(blink).max(1) > 1e-4)
        pairs = landmarks68[np.array(_LID_PAIRS[side])].astype(int)
        first, second = self.mean_cm[pairs, 0].mean(1)
        share = np.clip((self.mean_cm[moved, 0] - first) / (second - first), -0.5, 1.5)
        closing = blink[pairs[:, 1], 1] - blink[pairs[:, 0], 1]
        return _Lid(name, pairs, closing, moved, blink[moved], np.column_stack([1 - share, share]))

    def _pupils(self) -> np.ndarray:
        """(2,) the eyeballs' vertices in the middle of the pupil: image-left eye (the subject's right) first."""
        corners = np.flatnonzero(np.repeat(self.topology.material == materials.EYE, 3))
        uv, vertex = self.topology.uv.reshape(-1, 2)[corners], self.topology.faces.ravel()[corners]
        off_axis = np.linalg.norm(uv - 0.5, axis=-1)
        right = self.mean_cm[vertex, 0] < 0
        return np.array([vertex[np.argmin(np.where(side, off_axis, np.inf))] for side in (right, ~right)])

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Identity ~ N(0, 0.9^2), expression by `ExpressionSampler`."""
        return 0.9 * rng.standard_normal(len(self._identity)), self.expressions.sample(rng)

    def vertices_cm(self, identity: np.ndarray, expression: np.ndarray) -> Float[np.ndarray, "v 3"]:
        """The mesh in the file's frame, eyes turned to the gaze and lids lifted off the eyeballs. A blink of one
        closes the eye of any identity, whatever the rest of its expression."""
        offset = identity.astype(np.float32) @ self._identity.astype(np.float32)
        others = expression.astype(np.float32)
        others[[lid.name for lid in self._lids]] = 0
        offset += others @ self._expression
        vertices = self.mean_cm + offset.reshape(-1, 3)
        for lid in self._lids:
            lid.close(vertices, float(expression[lid.name]))
        for side, ball, skin in self._eyes:
            centre = (vertices[ball].min(0) + vertices[ball].max(0)) / 2
            turn = _gaze_rotation(*self.expressions.gaze_rad(expression, side))
            vertices[ball] = (vertices[ball] - centre) @ turn.T + centre
            _lift_lids(vertices, ball, skin, centre)
        return vertices

    def vertices(self, identity: np.ndarray, expression: np.ndarray) -> Float[np.ndarray, "v 3"]:
        """The mesh, canonical."""
        return to_canonical(self.vertices_cm(identity, expression))


def to_canonical(vertices_cm: np.ndarray) -> np.ndarray:
    """The file's frame in cm -> canonical."""
    return ((vertices_cm - np.asarray(ORIGIN_CM)) / UNIT_CM).astype(np.float32)


def _gaze_rotation(left: float, up: float) -> np.ndarray:
    """Turns +z to the subject's left (+x), then up (+y)."""
    cl, sl, cu, su = np.cos(left), np.sin(left), np.cos(up), np.sin(up)
    yaw = np.array([[cl, 0, sl], [0, 1, 0], [-sl, 0, cl]])
    pitch = np.array([[1, 0, 0], [0, cu, su], [0, -su, cu]])
    return (yaw @ pitch).astype(np.float32)


def _lift_lids(vertices: np.ndarray, ball: np.ndarray, skin: np.ndarray, centre: np.ndarray) -> None:
    """Pushes skin inside the eyeball out to its surface: random identities and blinks would let it through."""
    surface = vertices[ball] - centre
    radius = np.linalg.norm(surface, axis=1)
    tree = cKDTree(surface / radius[:, None])
    towards = vertices[skin] - centre
    distance = np.linalg.norm(towards, axis=1)
    direction = towards / distance[:, None]
    wanted = radius[tree.query(direction, k=3)[1]].max(1) + _LID_GAP_CM
    inside = (distance < wanted) & (distance > 0.8 * wanted) & (direction[:, 2] > 0.25)
    vertices[skin[inside]] = centre + direction[inside] * wanted[inside, None]
