"""A small head built by code, so that everything works and is tested without any file of assets."""

import cv2
import numpy as np
from jaxtyping import Float

from facelift.generators.appearance import GAMMA, Look, lash_alpha
from facelift.landmarks import WFLW98, mean_head
from facelift.morphable.head import Topology
from facelift.rendering import materials

_ROWS, _COLUMNS = 96, 160
_RADII = np.array([0.215, 0.33, 0.27])
"""Half axes of the skull, canonical units."""
_CENTRE = np.array([0.0, 0.03, 0.04])


class ProceduralHead:
    """An ellipsoid pulled through the mean head's landmarks; five identity and three expression modes.

    Identity (standard normal): width, height, nose, jaw width, chin. Expression (0..1): jaw drop, blink, smile.
    """

    names = ("jawOpen", "eyeBlink", "mouthSmile")

    def __init__(self) -> None:
        self._mean, self.topology = _mesh()
        marks = mean_head()
        distance = np.linalg.norm(self._mean[None] - marks[:, None], axis=-1)
        self.landmark_vertices = distance.argmin(1)[:, None]
        self.landmark_weights = np.ones((98, 1))
        self._modes = _modes(self._mean, marks)

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Identity ~ N(0, 1); each expression off half of the time."""
        return rng.standard_normal(5), rng.random(3) * (rng.random(3) < 0.5)

    def vertices(self, identity: np.ndarray, expression: np.ndarray) -> Float[np.ndarray, "v 3"]:
        """The mesh, canonical."""
        coefficients = np.concatenate([identity, expression])
        return (self._mean + np.tensordot(coefficients, self._modes, 1)).astype(np.float32)


def _mesh() -> tuple[np.ndarray, Topology]:
    """Vertices of a grid over azimuth and height, the seam at the back; texture u in 0..2, v up."""
    azimuth = np.linspace(-np.pi, np.pi, _COLUMNS + 1)
    polar = np.linspace(0.02, np.pi - 0.02, _ROWS + 1)
    grid_polar, grid_azimuth = np.meshgrid(polar, azimuth, indexing="ij")
    direction = np.stack(
        [np.sin(grid_polar) * np.sin(grid_azimuth), np.cos(grid_polar), np.sin(grid_polar) * np.cos(grid_azimuth)], -1
    ).reshape(-1, 3)
    vertices = _CENTRE + direction * _radius(direction)[:, None]
    uv = np.stack([grid_azimuth / np.pi + 1, 1 - grid_polar / np.pi], -1).reshape(-1, 2)
    corner = np.arange(_ROWS)[:, None] * (_COLUMNS + 1) + np.arange(_COLUMNS)
    a, b, c, d = corner, corner + 1, corner + _COLUMNS + 1, corner + _COLUMNS + 2
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    faces = faces.astype(np.int32)
    material = np.full(len(faces), materials.SKIN, np.int32)
    return vertices, Topology(faces, uv[faces].astype(np.float32), material)


def _radius(direction: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """The ellipsoid's radius, moved towards the landmarks' where they are near (Shepard's interpolation)."""
    ellipsoid = lambda d: 1 / np.linalg.norm(d / _RADII, axis=-1)  # noqa: E731
    marks = mean_head() - _CENTRE
    length = np.linalg.norm(marks, axis=-1)
    towards = marks / length[:, None]
    angle = np.arccos(np.clip(direction @ towards.T, -1, 1))
    weight = np.exp(-((angle / 0.12) ** 2)) + 1e-9
    share = np.clip(weight.max(1, keepdims=True), 0, 1)[:, 0]
    moved = (weight * (length - ellipsoid(towards))).sum(1) / weight.sum(1)
    return ellipsoid(direction) + share * moved


def _modes(vertices: np.ndarray, marks: np.ndarray) -> Float[np.ndarray, "8 v 3"]:
    """Offsets of every vertex per unit of each coefficient."""
    x, y, z = vertices.T
    zero = np.zeros_like(x)

    def near(indices: list[int], width: float) -> np.ndarray:
        distance = np.linalg.norm(vertices[:, None] - marks[indices], axis=-1).min(1)
        return np.exp(-((distance / width) ** 2))

    lower = 1 / (1 + np.exp((y - marks[90, 1]) / 0.006)) * np.exp(-((x / 0.16) ** 2)) * (z > 0.05)
    lids_up, lids_down = near([61, 62, 63, 69, 70, 71], 0.012), near([65, 66, 67, 73, 74, 75], 0.012)
    gap = marks[[62, 70], 1].mean() - marks[[66, 74], 1].mean()
    corners = near([76, 88], 0.03) - near([82, 92], 0.03)
    return np.stack(
        [
            np.stack([0.05 * x, zero, zero], -1),
            np.stack([zero, 0.04 * y, zero], -1),
            np.stack([zero, zero, 0.012 * near([54, 57], 0.04)], -1),
            np.stack([0.06 * x / (1 + np.exp((y - marks[54, 1]) / 0.03)), zero, zero], -1),
            np.stack([zero, -0.012 * near([16], 0.06), 0.004 * near([16], 0.06)], -1),
            np.stack([zero, -0.07 * lower, -0.015 * lower], -1),
            np.stack([zero, -0.6 * gap * lids_up + 0.4 * gap * lids_down, zero], -1),
            np.stack([-0.02 * corners, 0.015 * np.abs(corners), -0.005 * np.abs(corners)], -1),
        ]
    )


class PlainWardrobe:
    """Painted looks: skin of any tone, with eyes, brows and lips."""

    lash_alpha = lash_alpha()

    def look(self, rng: np.random.Generator, *, occluding_hair: bool) -> Look:
        """A random look; there is no hair to occlude anything, but a dark cap of it."""
        tone = np.array([0.85, 0.66, 0.55]) * rng.uniform(0.35, 1.0) * np.exp(rng.normal(0, 0.05, 3))
        hair = np.array([0.2, 0.14, 0.1]) * rng.uniform(0.4, 2.0)
        skin = _paint(tone, hair, np.array([0.35, 0.25, 0.2]) * rng.uniform(0.3, 1.5)) ** GAMMA
        flat = np.ones((len(materials.TABLE), 3), np.float32)
        blank = np.ones((2, 2, 3), np.float32)
        alpha = np.ones((2, 2), np.float32)
        return Look(skin.astype(np.float32), blank, None, blank, alpha, flat, float(rng.uniform(0.1, 0.6)))


def _paint(tone: np.ndarray, hair: np.ndarray, iris: np.ndarray, height: int = 512) -> np.ndarray:
    """The head's texture, twice as wide as high: azimuth across, height down."""
    marks = mean_head() - _CENTRE
    azimuth = np.arctan2(marks[:, 0], marks[:, 2])
    polar = np.arccos(marks[:, 1] / np.linalg.norm(marks, axis=-1))
    places = np.stack([(azimuth / np.pi + 1) * height, polar / np.pi * height], -1)
    picture = np.tile(tone.astype(np.float32), (height, 2 * height, 1))

    def fill(indices: list[int], colour: np.ndarray) -> None:
        shape = np.round(places[indices] * 16).astype(np.int32)
        cv2.fillPoly(picture, [shape], [float(v) for v in colour], cv2.LINE_AA, 4)

    picture[: int(0.23 * height)] = hair
    picture[: int(0.55 * height), : int(0.55 * height)] = hair
    picture[: int(0.55 * height), -int(0.55 * height) :] = hair
    fill(list(range(33, 42)), hair * 0.7)
    fill(list(range(42, 51)), hair * 0.7)
    fill(list(range(76, 88)), tone * [0.95, 0.55, 0.55])
    fill(list(range(88, 96)), tone * [0.3, 0.1, 0.1])
    for first, pupil in ((60, 96), (68, 97)):
        fill(list(range(first, first + 8)), np.array([0.9, 0.9, 0.88]))
        centre = tuple(int(v) for v in places[WFLW98.regions["pupils"][pupil - 96]].round())
        cv2.circle(picture, centre, 5, [float(v) for v in iris], -1, cv2.LINE_AA)
        cv2.circle(picture, centre, 2, (0.02, 0.02, 0.02), -1, cv2.LINE_AA)
    for nostril in (56, 58):
        cv2.circle(picture, tuple(int(v) for v in places[nostril].round()), 3, [float(v) for v in tone * 0.35], -1)
    return np.clip(picture, 0, 1)
