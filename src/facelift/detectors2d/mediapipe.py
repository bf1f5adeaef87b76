"""MediaPipe's face mesh (Kartynnik et al. 2019; attention mesh, Grishchenko et al. 2020) as a detector of its own 478
points, or of WFLW-98 or iBUG-68: which of its vertices each landmark is.

The vertices of brows, nose, eyes and mouth, and the place of the jaw points, were chosen against the human labels of
300-W (2,009 photos, mean distance over the outer-eye distance): eyes and mouth agree to 2-3.5 %, brows 5-6 %, jaw
5-7 %.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from facelift.crops import crop_transform, cut
from facelift.detectors2d.protocol import Detections
from facelift.landmarks import MESH_OUTLINE, SCHEMES, conversion
from facelift.mediapipe_graphs import face_mesh

# Length along MESH_OUTLINE on the mean face (both halves equal).
# fmt: off
_OUTLINE_HALF = [0.0, 0.0464, 0.0914, 0.1403, 0.1952, 0.2493, 0.2995, 0.3468, 0.3846, 0.4230, 0.4594, 0.5]
# fmt: on

# WFLW-98 index -> vertices whose mean it is.
_VERTICES: dict[int, tuple[int, ...]] = {
    **{33: (70,), 34: (63,), 35: (105, 66), 36: (66, 107), 37: (107, 55), 38: (55,), 39: (65,), 40: (52,), 41: (53,)},
    **{42: (336, 285), 43: (296, 336), 44: (334, 296), 45: (293,), 46: (300,)},
    **{47: (283,), 48: (282,), 49: (295,), 50: (285,)},
    **{51: (168,), 52: (197,), 53: (195, 5), 54: (4,)},
    **{55: (75,), 56: (97,), 57: (2, 164), 58: (326,), 59: (305,)},
    **{60: (33, 7), 61: (160, 159), 62: (159, 158), 63: (158,), 64: (133, 155), 65: (153,), 66: (145,), 67: (144,)},
    **{68: (362, 382), 69: (385,), 70: (385, 386), 71: (386, 387), 72: (263, 249), 73: (373,), 74: (374,), 75: (380,)},
    **{76: (61,), 77: (39, 40), 78: (37,), 79: (0, 11), 80: (267,), 81: (269, 270), 82: (291,)},
    **{83: (321, 405), 84: (314,), 85: (17,), 86: (84,), 87: (91, 181)},
    **{88: (78,), 89: (82,), 90: (13,), 91: (312,), 92: (308,), 93: (317,), 94: (14,), 95: (87,)},
    **{96: (468,), 97: (473,)},
}

_CROP_SIZE = 256
_CROP_SCALE = 1.5
"""Side of the crop over the longer side of the box: of 1.5, 2 and 2.5 the one at which most faces are found (95 % of
AFLW's, of all poses)."""


def wflw98_weights() -> Float[np.ndarray, "98 478"]:
    """Matrix that maps the 478 vertices to WFLW-98; rows sum to 1.

    The 33 jaw points divide the mesh's outline evenly by its length on the mean face, so each is a fixed point of the
    mesh whatever the view.
    """
    weights = np.zeros((98, 478))
    half = np.array(_OUTLINE_HALF)
    length = np.concatenate([half, 1 - half[-2::-1]])
    for row, place in enumerate(np.arange(33) / 32):
        after = min(int(np.searchsorted(length, place, side="right")), len(length) - 1)
        share = (place - length[after - 1]) / (length[after] - length[after - 1])
        weights[row, MESH_OUTLINE[after - 1]] += 1 - share
        weights[row, MESH_OUTLINE[after]] += share
    for row, vertices in _VERTICES.items():
        weights[row, list(vertices)] = 1 / len(vertices)
    return weights


def ibug68_of_mesh() -> Float[np.ndarray, "68 478"]:
    """Matrix that maps the 478 vertices to iBUG-68."""
    return conversion("wflw98", "ibug68") @ wflw98_weights()


class MediaPipeDetector:
    """Detector2D over MediaPipe's face mesh, each picture taken for itself (no tracking).

    It finds faces up to about 70 degrees of yaw. Not safe to share between threads. Close it, or use it in a `with`.
    """

    def __init__(self, scheme: str = "wflw98", *, min_score: float = 0.2):
        dense = scheme == "mediapipe478"
        self._map = np.eye(478) if dense else conversion("wflw98", scheme) @ wflw98_weights()
        self.scheme = SCHEMES[scheme]
        self._graph = face_mesh(min_score=min_score)

    def detect(self, images: Sequence[UInt8[np.ndarray, "h w 3"]], boxes: Float[np.ndarray, "n 4"]) -> Detections:
        """Points in px of each image. Confidence: the face detector's score, lower where the surface turns away from
        the camera and beyond 60 degrees of yaw."""
        boxes = np.asarray(boxes, np.float64)
        if len(images) != len(boxes):
            raise ValueError(f"expected one box per image, found {len(images)} images and {len(boxes)} boxes")
        count = len(images)
        points = np.full((count, self.scheme.size, 2), np.nan)
        confidence = np.zeros((count, self.scheme.size))
        for index, (image, box) in enumerate(zip(images, boxes, strict=True)):
            face = self._one(image, box)
            if face is not None:
                points[index], confidence[index] = face
        return Detections(points, confidence, np.isfinite(points).all((1, 2)), None)

    def _one(self, image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        transform = crop_transform(box, size=_CROP_SIZE, scale=_CROP_SCALE)
        result = self._graph.process({"image": cut(image, transform)})
        meshes = [_vertices(mesh) for mesh in result.multi_face_landmarks or []]
        target = transform.to_crop(box.reshape(2, 2)).reshape(4)
        overlaps = [_overlap(_bounds((self._map @ mesh)[:, :2]), target) for mesh in meshes]
        if not overlaps or max(overlaps) < 0.3:
            return None
        mesh = meshes[int(np.argmax(overlaps))]
        points = transform.to_image((self._map @ mesh)[:, :2])
        return points, _score(result.face_detections, mesh) * self._facing(mesh)

    def _facing(self, mesh: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "n"]:
        """0.05 .. 1 per landmark: by the angle between the camera and the direction out of the head, lower in profile.

        Outwards is away from the middle between the ears.
        """
        outward = self._map @ mesh - (mesh[234] + mesh[454]) / 2
        towards = -outward[:, 2] / np.linalg.norm(outward, axis=1)
        ear_to_ear = mesh[454] - mesh[234]
        yaw_deg = np.degrees(np.arctan2(abs(ear_to_ear[2]), np.hypot(*ear_to_ear[:2])))
        near_profile = 1 / (1 + np.exp((yaw_deg - 65) / 5))
        return np.clip((towards + 0.35) / 0.6, 0.05, 1) * near_profile

    def close(self) -> None:
        """Frees the graph."""
        self._graph.close()

    def __enter__(self) -> "MediaPipeDetector":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _vertices(mesh: Any) -> Float[np.ndarray, "478 3"]:
    """x, y, z in px of the crop; z has the scale of x and grows away from the camera."""
    return np.array([(v.x, v.y, v.z) for v in mesh.landmark]) * _CROP_SIZE


def _score(detections: Any, mesh: np.ndarray) -> float:
    """Score of the detection nearest to the mesh."""
    centre = mesh[:468, :2].mean(0) / _CROP_SIZE
    found = []
    for detection in detections or []:
        box = detection.location_data.relative_bounding_box
        middle = (box.xmin + box.width / 2, box.ymin + box.height / 2)
        found.append((np.hypot(*(centre - middle)), detection.score[0]))
    return float(min(found)[1]) if found else 0.0


def _bounds(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points.min(0), points.max(0)])


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.clip(sides, 0, None)))
    return shared / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)
