"""Things before a face: glasses, masks, hands, caps, headscarves and scarves, fitted to any head by its landmarks.

Lengths in the code are cm of an average head; what comes out is canonical.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.spatial import cKDTree

from facelift.geometry import UNIT_CM
from facelift.morphable.head import Topology, vertex_normals
from facelift.rendering import materials
from facelift.rendering.raster import HALF, MOSTLY, TWO_SIDED

_CM = 1 / UNIT_CM
_TILE = 64
"""Side of a thing's picture, px."""
_CHANCES = {"glasses": 0.22, "mask": 0.09, "hand": 0.14, "cap": 0.1, "headscarf": 0.03, "scarf": 0.05}
_SHADES = ((0.22, TWO_SIDED), (0.1, MOSTLY), (0.1, HALF))
"""Shares of glasses with black, dark and tinted lenses; the others are clear and have frames alone."""


@dataclass(frozen=True)
class Part:
    """A mesh of one material."""

    vertices: Float[np.ndarray, "v 3"]
    normals: Float[np.ndarray, "v 3"]
    topology: Topology
    alpha: int = TWO_SIDED
    """`alpha_of` of the rasteriser."""
    picture: Float[np.ndarray, "64 64 3"] | None = None
    """Linear colour; None for skin, whose `uv` lie in the head's own texture."""


class Occluders:
    """What one face wears and holds, in the order in which it was put on."""

    def __init__(self, parts: Sequence[Part] = (), *, over_hair: Sequence[Part] = (), hides_hair: bool = False):
        self.parts = [*parts, *over_hair]
        self._over_hair, self.hides_hair = list(over_hair), hides_hair

    def pressed(self, hair: Float[np.ndarray, "h 3"]) -> Float[np.ndarray, "h 3"]:
        """Hair that keeps under the cap."""
        for cap in self._over_hair:
            centre = cap.vertices.mean(0)
            limit, towards = np.linalg.norm(cap.vertices - centre, axis=1), hair - centre
            tree = cKDTree((cap.vertices - centre) / limit[:, None])
            distance = np.linalg.norm(towards, axis=1, keepdims=True)
            angle, nearest = tree.query(towards / distance)
            under = np.where(angle < 0.12, limit[nearest] - 0.5 * _CM, np.inf)[:, None]
            hair = centre + towards * np.minimum(1, under / distance)
        return hair

    def atlas(self) -> tuple[list[Topology], Float[np.ndarray, "h 64 3"]]:
        """Topologies whose uv lie in one picture of all parts, and that picture."""
        pictures = [part.picture for part in self.parts if part.picture is not None]
        atlas = np.concatenate(pictures) if pictures else np.ones((_TILE, _TILE, 3), np.float32)
        topologies, tile = [], 0
        for part in self.parts:
            uv = part.topology.uv
            if part.picture is not None:
                inner = 0.5 + (uv - 0.5) * (1 - 4 / _TILE)
                uv = inner * [1, 1 / len(pictures)] + [0, 1 - (tile + 1) / len(pictures)]
                tile += 1
            topologies.append(replace(part.topology, uv=uv.astype(np.float32)))
        return topologies, np.ascontiguousarray(atlas, np.float32)


def draw(
    rng: np.random.Generator, skin: Float[np.ndarray, "s 3"], marks: Float[np.ndarray, "98 3"], patch: np.ndarray
) -> Occluders:
    """Random things for the head with these skin vertices and landmarks, canonical; none for half of the faces.

    `patch`: texture coordinates of plain skin, for hands.
    """
    chosen = {name for name, chance in _CHANCES.items() if rng.random() < chance}
    head = _Shape(skin[skin[:, 1] > marks[16, 1] - 0.7 * _CM], marks[[0, 32]].mean(0) - [0, 0.1, 0])
    parts, over = [], []
    if "glasses" in chosen:
        parts += glasses(rng, skin, marks)
    if "mask" in chosen:
        parts += mask(rng, head, marks)
    if "headscarf" in chosen:
        parts += headscarf(rng, head, marks)
    elif "cap" in chosen:
        over = cap(rng, skin, marks)
    if "scarf" in chosen:
        parts += scarf(rng, head, marks)
    if "hand" in chosen:
        parts += hand(rng, head, marks, patch, gap_cm=0.8 * ("mask" in chosen))
    return Occluders(parts, over_hair=over, hides_hair="headscarf" in chosen)


class _Shape:
    """A head as a distance from a point inside it, in every direction."""

    def __init__(self, points: Float[np.ndarray, "n 3"], centre: Float[np.ndarray, "3"]):
        self.centre = centre
        self._distance = np.linalg.norm(points - centre, axis=1)
        self._tree = cKDTree((points - centre) / self._distance[:, None])

    def radius(self, directions: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
        return self._distance[self._tree.query(directions, k=6)[1]].max(-1)

    def outside(self, points: Float[np.ndarray, "*n 3"], gap: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n 3"]:
        """The points, those nearer than `gap` to the surface pushed out to it."""
        towards = points - self.centre
        distance = np.linalg.norm(towards, axis=-1, keepdims=True)
        wanted = (self.radius(towards / distance) + gap)[..., None]
        return self.centre + towards * np.maximum(1, wanted / distance)

    def shell(self, directions: Float[np.ndarray, "r c 3"], gap: float, *, taut: int = 1) -> Float[np.ndarray, "r c 3"]:
        """A sheet over the surface that spans hollows of up to `taut` cells of the grid."""
        radius = self.radius(directions)
        for axis in (0, 1):
            radius = gaussian_filter1d(maximum_filter1d(radius, 2 * taut + 1, axis), max(taut / 1.5, 0.7), axis)
        radius = np.maximum(radius, self.radius(directions)) + gap
        return self.centre + directions * radius[..., None]


def _grid(points: Float[np.ndarray, "r c 3"], material: int, picture=None, *, inside, alpha: int = TWO_SIDED) -> Part:
    """A sheet; its normals look away from `inside` (one point, or one a vertex)."""
    rows, columns = points.shape[:2]
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1, 1)
    faces = (corner[:, None] + np.array([[0, columns, 1], [1, columns, columns + 1]])).reshape(-1, 3).astype(np.int32)
    uv = np.stack(np.meshgrid(np.linspace(0, 1, columns), np.linspace(1, 0, rows)), -1).reshape(-1, 2)
    return _part(points.reshape(-1, 3), faces, uv, material, picture, inside=inside, alpha=alpha)


def _part(vertices, faces: Int[np.ndarray, "f 3"], uv, material: int, picture, *, inside, alpha: int) -> Part:
    normals = vertex_normals(vertices, faces)
    seam, first = np.unique(vertices.round(6), axis=0, return_inverse=True)  # vertices of one place share their normal
    total = np.zeros(seam.shape)
    np.add.at(total, first.ravel(), normals)
    normals = total[first.ravel()] / np.maximum(np.linalg.norm(total, axis=1)[first.ravel(), None], 1e-9)
    if (normals * (vertices - inside)).sum() < 0:
        normals = -normals
    topology = Topology(faces, uv[faces].astype(np.float32), np.full(len(faces), material, np.int32))
    return Part(vertices, normals.astype(np.float32), topology, alpha, picture)


def _tube(path, radii, material: int, picture=None, *, up, sections: int = 12) -> Part:
    """A tube about a path with half axes (across `up`, along it) at each of its points; round ends where they are 0."""
    radii = np.broadcast_to(np.asarray(radii, float).reshape(-1, np.size(radii) // len(radii)), (len(path), 2))
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = np.cross(along, up)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    upright = np.cross(across, along)
    angle = np.linspace(0, 2 * np.pi, sections + 1)
    ring = radii[:, None, :1] * np.cos(angle)[:, None] * across[:, None]
    ring = ring + radii[:, None, 1:] * np.sin(angle)[:, None] * upright[:, None]
    return _grid(path[:, None] + ring, material, picture, inside=np.repeat(path, sections + 1, axis=0), alpha=TWO_SIDED)


def _cloth(rng: np.random.Generator, colour=None) -> Float[np.ndarray, "64 64 3"]:
    """Plain, striped or chequered cloth of a random colour."""
    colour = rng.random(3) * rng.uniform(0.1, 0.9) if colour is None else np.asarray(colour)
    picture = np.tile(colour, (_TILE, _TILE, 1))
    if rng.random() < 0.3:
        other, wave = rng.random(3) * 0.8, rng.uniform(0.15, 1.5)
        stripes = np.sin(np.arange(_TILE) * wave) > rng.uniform(-0.5, 0.8)
        chosen = stripes[:, None] | (stripes if rng.random() < 0.4 else np.zeros(_TILE, bool))
        picture[chosen] = other
    return (picture * rng.uniform(0.85, 1.1, (_TILE, _TILE, 1))).clip(0.01, 0.95).astype(np.float32)


def _plain(colour) -> Float[np.ndarray, "64 64 3"]:
    return np.broadcast_to(np.asarray(colour, np.float32), (_TILE, _TILE, 3)).copy()


def glasses(rng: np.random.Generator, skin: np.ndarray, marks: np.ndarray) -> list[Part]:
    """Two rims, a bridge, temples to the ears, and lenses where they are dark."""
    eyes = np.stack([marks[60:68].mean(0), marks[68:76].mean(0)])
    wide, high = rng.uniform(2.3, 3.1) * _CM, rng.uniform(1.5, 2.6) * _CM
    round_, thick = rng.uniform(2, 4.5), rng.uniform(0.07, 0.28) * _CM
    drop = rng.uniform(-0.2, 0.9) * _CM
    curve = rng.uniform(0.3, 1.0)
    angle = np.linspace(0, 2 * np.pi, 37)
    cosine, sine = np.cos(angle), np.sin(angle)
    outline = np.stack([np.sign(cosine) * abs(cosine) ** (2 / round_), np.sign(sine) * abs(sine) ** (2 / round_)], -1)
    gap = max(abs(eyes[:, 0]).mean() + rng.uniform(-0.1, 0.3) * _CM, wide + 0.9 * _CM)
    centres = np.array([[-gap, eyes[:, 1].mean() - drop], [gap, eyes[:, 1].mean() - drop]])
    off = np.abs(np.abs(skin[:, :2]) - [gap, centres[0, 1]])
    behind = skin[(off[:, 0] < wide) & (off[:, 1] < high) & (skin[:, 2] > 0.5 * eyes[0, 2])]
    depth = (behind[:, 2] + curve * behind[:, 0] ** 2).max() + rng.uniform(0.15, 0.7) * _CM

    def at(points: np.ndarray) -> np.ndarray:
        return np.column_stack([points, depth - curve * points[:, 0] ** 2])

    colour = rng.choice([0.01, 0.03, 0.3]) * rng.uniform(0.5, 1.5, 3) if rng.random() < 0.8 else rng.random(3)
    frame = _plain(colour)
    parts, forward, chance = [], np.array([0.0, 0.0, 1.0]), rng.random()
    rims = [at(centre + outline * [wide, high]) for centre in centres]
    lens = next((alpha for share, alpha in _SHADES if (chance := chance - share) < 0), None)
    if lens is None or rng.random() < 0.8:
        parts += [_tube(rim, [(thick / 2, thick / 2)], materials.FRAME, frame, up=forward, sections=6) for rim in rims]
    bridge_x = np.linspace(-(gap - wide), gap - wide, 9)
    bridge = at(np.column_stack([bridge_x, centres[0, 1] + 0.3 * high + 0.25 * _CM * np.cos(bridge_x / gap * 3)]))
    bridge[:, 2] = np.maximum(bridge[:, 2], marks[51, 2] + 0.3 * _CM)
    parts.append(_tube(bridge, [(thick / 2, thick / 2)], materials.FRAME, frame, up=forward, sections=6))
    for side, rim in zip((-1, 1), rims, strict=True):
        parts.append(_temple(skin, marks, side, rim, thick, frame))
    if lens is not None:
        tint = _plain(rng.uniform(0.005, 0.04, 3))
        parts += [_lens(rim, tint, lens) for rim in rims]
    return parts


def _temple(skin: np.ndarray, marks: np.ndarray, side: int, rim: np.ndarray, thick: float, frame) -> Part:
    """From the outer edge of a rim past the temple to where the ear begins."""
    hinge = rim[np.argmax(side * rim[:, 0])] + [0, 0.25 * _CM, 0]
    ear = marks[0 if side < 0 else 32] + [0, 0.8 * _CM, -2.2 * _CM]
    path = hinge + np.linspace(0, 1, 12)[:, None] * (ear - hinge)
    near = cKDTree(skin[:, 1:])
    for point in path:
        around = skin[near.query_ball_point(point[1:], 0.5 * _CM)]
        point[0] = side * max(side * point[0], (side * around[:, 0]).max(initial=0) + 0.12 * _CM)
    path[:, 0] = side * np.maximum(side * path[:, 0], side * gaussian_filter1d(path[:, 0], 1.5))
    tail = path[-1] + [[-0.3 * side * _CM, -0.1 * _CM, -1.2 * _CM], [-0.8 * side * _CM, -1.2 * _CM, -2.4 * _CM]]
    path = np.concatenate([rim[[np.argmax(side * rim[:, 0])]], path, tail])
    return _tube(
        path, [(thick / 2, 0.35 * thick + 0.06 * _CM)], materials.FRAME, frame, up=np.array([0.0, 1, 0]), sections=6
    )


def _lens(rim: np.ndarray, tint: np.ndarray, alpha: int) -> Part:
    centre = rim[:-1].mean(0) + np.array([0, 0, 0.15 * _CM])
    rings = centre + np.linspace(0.02, 1, 5)[:, None, None] * (rim - centre)
    return _grid(rings, materials.LENS, tint, inside=centre - [0, 0, 1], alpha=alpha)


def _towards(azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    across = np.cos(elevation)
    return np.stack([across * np.sin(azimuth), np.sin(elevation), across * np.cos(azimuth)], -1)


def mask(rng: np.random.Generator, head: _Shape, marks: np.ndarray) -> list[Part]:
    """Cloth from the bridge of the nose to under the chin, with pleats or a ridge, and straps to the ears."""
    below_nose = rng.random() < 0.12
    nose = marks[57] - [0, 0.3 * _CM, 0] if below_nose else marks[51] + rng.uniform(0.1, 0.85) * (marks[53] - marks[51])
    top, bottom = (
        np.arcsin((p - head.centre)[1] / np.linalg.norm(p - head.centre))
        for p in (nose, marks[16] - [0, rng.uniform(0.3, 1.5) * _CM, 2 * _CM])
    )
    reach = np.radians(rng.uniform(52, 72))
    side_top, side_bottom = top - np.radians(rng.uniform(8, 18)), bottom + np.radians(rng.uniform(10, 22))
    azimuth, row = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(0, 1, 29))
    edge = np.abs(azimuth) ** rng.uniform(1.0, 1.8)
    upper, lower = top + edge * (side_top - top), bottom + edge * (side_bottom - bottom)
    directions = _towards(azimuth * reach, upper + row * (lower - upper))
    points = head.shell(directions, 0.2 * _CM, taut=int(rng.integers(3, 7)))
    middle = np.sin(np.pi * row) * (1 - azimuth**2)
    if rng.random() < 0.6:
        bulge = rng.uniform(0, 0.5) * middle - 0.2 * ((row * 4) % 1) * middle  # pleats
    else:
        bulge = rng.uniform(0.5, 2.0) * middle * (1 - np.abs(azimuth))  # ridge
    points = points + directions * (bulge * _CM)[..., None]
    colours = ([0.35, 0.6, 0.8], [0.8, 0.8, 0.8], [0.02, 0.02, 0.02], [0.3, 0.65, 0.55], None)
    cloth = _cloth(rng, colours[rng.integers(len(colours))])
    parts = [_grid(points, materials.CLOTH, cloth, inside=head.centre)]
    white = _plain([0.7, 0.7, 0.7])
    for column, ear in ((0, marks[0]), (-1, marks[32])):
        for corner, lift in ((points[1, column], 0.5), (points[-2, column], -0.5)):
            end = ear + np.array([0, lift * _CM, -2.5 * _CM])
            path = head.outside(corner + np.linspace(0, 1, 14)[:, None] * (end - corner), np.full(14, 0.1 * _CM))
            parts.append(
                _tube(path, [(0.1 * _CM, 0.1 * _CM)], materials.CLOTH, white, up=np.array([0.0, 1, 0]), sections=5)
            )
    return parts


def cap(rng: np.random.Generator, skin: np.ndarray, marks: np.ndarray) -> list[Part]:
    """A cap with a peak, before or behind, or a woollen hat."""
    brow = marks[[35, 44]].mean(0)
    head = _Shape(skin[skin[:, 1] > marks[57, 1]], np.array([0, brow[1] + 1 * _CM, marks[0, 2] - 2.5 * _CM]))
    woollen = rng.random() < 0.4
    front = np.radians(rng.uniform(4, 14) if woollen else rng.uniform(10, 20))
    back = np.radians(rng.uniform(-35, -12))
    azimuth, row = np.meshgrid(np.linspace(-np.pi, np.pi, 65), np.linspace(0, 1, 25))
    rim = back + (front - back) * (0.5 + 0.5 * np.cos(azimuth))
    elevation = np.pi / 2 - 0.02 - row * (np.pi / 2 - 0.02 - rim)
    directions = _towards(azimuth, elevation)
    points = head.shell(directions, rng.uniform(0.5, 1.3) * _CM, taut=2)
    points[:, [0, -1]] = points[:, [0, -1]].mean(1, keepdims=True)
    top = np.sin(elevation) ** 4 * (rng.uniform(0, 2.5) if woollen else rng.uniform(0, 0.8))
    fold = 0.45 * (row > 0.75) if woollen else np.zeros_like(row)
    points = points + directions * ((top + fold) * _CM)[..., None]
    cloth = _cloth(rng)
    parts = [_grid(points, materials.CLOTH, cloth, inside=head.centre)]
    if not woollen:
        parts.append(_peak(rng, points[-1], azimuth[-1], cloth, turned=rng.random() < 0.15))
    return parts


def _peak(rng: np.random.Generator, rim: np.ndarray, azimuth: np.ndarray, cloth: np.ndarray, *, turned: bool) -> Part:
    """A bent sheet that goes on from the rim."""
    half = np.radians(rng.uniform(48, 62))
    across = np.linspace(-1, 1, 33)
    towards = (-1 if turned else 1) * np.array([0, rng.uniform(-0.35, 0.1), 1])
    place = np.pi - half * across if turned else half * across
    start = np.stack([np.interp(place, azimuth, rim[:, k], period=2 * np.pi) for k in range(3)], -1)
    length = rng.uniform(5, 7.5) * _CM * np.sqrt(np.clip(1 - across**2, 0, 1))
    share = np.linspace(0, 1, 9)
    sheet = start + share[:, None, None] * length[:, None] * towards
    bend = rng.uniform(0.2, 1.6) * _CM * across**2
    sheet[..., 1] -= share[:, None] * bend
    return _grid(sheet, materials.CLOTH, cloth, inside=sheet.mean((0, 1)) - [0, 1, 0])


def headscarf(rng: np.random.Generator, head: _Shape, marks: np.ndarray) -> list[Part]:
    """Cloth about the whole head but an oval of the face, and about the neck."""
    crown = marks[[34, 37, 42, 45]] + [0, rng.uniform(1.5, 4.5) * _CM, -1 * _CM]
    rim = np.concatenate([marks[:33], crown]) - head.centre
    turn, spread = np.arctan2(rim[:, 0], rim[:, 1]), np.arctan2(np.hypot(rim[:, 0], rim[:, 1]), rim[:, 2])
    around, row = np.meshgrid(np.linspace(-np.pi, np.pi, 65), np.linspace(0, 1, 25) ** 1.5)
    order = np.argsort(turn)
    inner = gaussian_filter1d(np.interp(around[0], turn[order], spread[order], period=2 * np.pi), 2, mode="wrap")
    inner = np.minimum(inner, np.pi / 2 - 0.1) * rng.uniform(0.76, 1.0)
    angle = inner + row * (np.pi - 0.02 - inner)
    directions = np.stack([np.sin(angle) * np.sin(around), np.sin(angle) * np.cos(around), np.cos(angle)], -1)
    points = head.shell(directions, rng.uniform(0.4, 1.0) * _CM, taut=2)
    points[:, [0, -1]] = points[:, [0, -1]].mean(1, keepdims=True)
    cloth = _cloth(rng)
    return [_grid(points, materials.CLOTH, cloth, inside=head.centre), _ring(rng, head, marks, cloth, -4.5)]


def scarf(rng: np.random.Generator, head: _Shape, marks: np.ndarray) -> list[Part]:
    """A thick ring about the neck, up to the chin or over it."""
    return [_ring(rng, head, marks, _cloth(rng), rng.uniform(-4, 2.5))]


def _ring(rng: np.random.Generator, head: _Shape, marks: np.ndarray, cloth: np.ndarray, height_cm: float) -> Part:
    azimuth = np.linspace(-np.pi, np.pi, 49)
    middle = marks[16] + [0, height_cm * _CM, 0]
    tilt = rng.uniform(0, 0.25)
    half = np.array([rng.uniform(6.5, 8.5), 7.0]) * _CM
    path = np.stack([half[0] * np.sin(azimuth), tilt * half[1] * (1 - np.cos(azimuth)), half[1] * np.cos(azimuth)], -1)
    path += [0, middle[1], middle[2] - half[1] - 0.5 * _CM]
    thick, tall = rng.uniform(1.5, 2.5) * _CM, rng.uniform(2.5, 4) * _CM
    path = gaussian_filter1d(head.outside(path, np.full(len(path), 0.5 * thick)), 2, axis=0, mode="wrap")
    path[-1] = path[0]
    folds = 1 + 0.12 * np.sin(azimuth * rng.integers(5, 11))[:, None]
    return _tube(path, np.array([[thick, tall]]) * folds, materials.CLOTH, cloth, up=np.array([0.0, 1, 0]), sections=16)


_FINGERS = (  # base x, base y, length, radius, splay in degrees; cm
    (3.0, 3.6, 7.2, 0.85, -5.0),
    (1.0, 4.2, 8.0, 0.88, -1.0),
    (-1.0, 3.8, 7.4, 0.82, 3.0),
    (-2.8, 2.8, 5.8, 0.7, 9.0),
)
_PALM = np.array(  # y, half width, half thickness; cm
    [[-6.0, 2.6, 1.9], [-4.5, 2.9, 1.8], [-2.5, 3.7, 1.7], [0.0, 4.1, 1.5], [2.5, 4.1, 1.25], [4.0, 3.9, 1.1],
     [5.0, 3.3, 0.8], [5.6, 2.2, 0.5], [5.9, 0.0, 0.0]]
)  # fmt: skip
_ARM = np.array([[-5.0, 2.6, 1.9], [-8.0, 2.7, 2.1], [-14.0, 3.3, 2.9], [-34.0, 4.2, 4.0]])


def hand(
    rng: np.random.Generator, head: _Shape, marks: np.ndarray, patch: np.ndarray, *, gap_cm: float = 0.0
) -> list[Part]:
    """A hand and forearm before cheek, mouth, eye, chin or brow, that rests on the face or is held before it."""
    targets = ([4, 55, 76], [28, 59, 82], [79, 85], [66], [74], [16], [37, 42], [54])
    target = marks[targets[rng.integers(len(targets))]].mean(0)
    outward = target - head.centre
    outward /= np.linalg.norm(outward)
    turn = np.radians(rng.normal(0, 50) + (180 if rng.random() < 0.08 else 0))
    fingers = np.array([np.sin(turn), np.cos(turn), 0.0])
    fingers -= (fingers @ outward) * outward
    fingers /= np.linalg.norm(fingers)
    across = np.cross(fingers, outward) * (1 if rng.random() < 0.5 else -1)
    size = rng.uniform(0.82, 1.05) * _CM
    away = outward * (rng.uniform(1, 7) * _CM if rng.random() < 0.35 else 0.0)
    origin = target - fingers * rng.uniform(-2, 9) * size + away
    curl, spread = rng.uniform(0, 1) ** 2 * 70, rng.uniform(0.5, 2.5)

    elbow = np.array([rng.uniform(-0.4, 0.4), -1.0 if np.cos(turn) > -0.2 else 1.0, 0.4])

    def placed(local: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Local (across, along the fingers, out of the back) in cm -> outside the head by the radius. Arms bend on
        their way to the elbow."""
        points = origin + (local * size) @ np.stack([across, fingers, outward])
        share = np.clip((-5 - local[:, 1:2]) / 29, 0, 1)
        points = points + share**1.5 * 22 * size * (elbow + fingers)
        return head.outside(points, 0.85 * radius * size + gap_cm * _CM)

    def limb(local: np.ndarray, radii: np.ndarray, material: int = materials.HAND, picture=None) -> Part:
        part = _tube(placed(local, radii[:, 1]), radii * size, material, picture, up=outward, sections=14)
        if picture is not None:
            return part
        spot = patch + (part.topology.uv - 0.5) * 0.05
        return replace(part, topology=replace(part.topology, uv=spot.astype(np.float32)))

    along = lambda rows, count: np.stack(  # noqa: E731
        [np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(rows)), rows[:, k]) for k in range(3)], -1
    )
    rows = along(_PALM, 22)
    parts = [limb(_straight(rows[:, 0]), rows[:, 1:])]
    rows = along(_ARM, 16)
    arm = _straight(rows[:, 0]) + np.outer(-5 - rows[:, 0], [0, 0, rng.uniform(0, 0.5)])
    parts.append(limb(arm, rows[:, 1:]))
    sleeve = slice(int(rng.integers(3, 15)), None)
    parts.append(limb(arm[sleeve], rows[sleeve, 1:] + 0.6, materials.CLOTH, _cloth(rng)))
    for x, y, length, radius, splay in _FINGERS:
        path = _finger(length, curl * rng.uniform(0.7, 1.3), np.radians(splay * spread))
        parts.append(limb(path + np.array([x, y - 1.5, 0]), _tapered(radius, len(path))))
    path = _finger(6.5, rng.uniform(0, 30), np.radians(-rng.uniform(15, 55)))
    parts.append(limb(path + np.array([2.6, -3.0, -0.2]), _tapered(1.05, len(path))))
    return parts


def _straight(y: np.ndarray) -> np.ndarray:
    return np.column_stack([0 * y, y, 0 * y])


def _finger(length: float, curl_deg: float, splay: float) -> Float[np.ndarray, "n 3"]:
    """Joints' path from inside the palm, bent towards the face at each of three joints, cm."""
    share = np.linspace(0, 1, 24)
    bent = np.radians(curl_deg) * sum(1 / (1 + np.exp(-(share - joint) / 0.025)) for joint in (0.2, 0.55, 0.8))
    step = np.stack([-np.sin(splay) * np.cos(bent), np.cos(splay) * np.cos(bent), -np.sin(bent)], -1)
    return np.cumsum(step, axis=0) * (length + 1.5) / len(share)


def _tapered(radius: float, count: int) -> Float[np.ndarray, "n 2"]:
    share = np.linspace(0, 1, count)
    knuckle = 0.05 * sum(np.exp(-(((share - joint) / 0.05) ** 2)) for joint in (0.55, 0.8))
    end = np.clip(np.maximum(share - 0.9, 0.1 - share), 0, None) / 0.1  # round at the tip and inside the palm
    tip = np.sqrt(np.clip(1 - end**2, 0, 1))
    return np.repeat((radius * (1.05 - 0.25 * share + knuckle) * tip)[:, None], 2, axis=1)
