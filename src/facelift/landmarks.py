"""Landmark schemes: order, regions, mirror pairs, the maps between them, and the template of normals."""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Scheme:
    """A named order of facial landmarks. "Left" in comments is the image's left in a frontal picture."""

    name: str
    size: int
    regions: dict[str, np.ndarray]
    """Region name -> landmark indices; the regions are disjoint and cover the scheme."""
    mirror: np.ndarray
    """(size,) index of each landmark's partner in a horizontally flipped picture."""
    lines: tuple[tuple[int, ...], ...]
    """Polylines for drawing."""


def _mirror(size: int, *pairs: tuple[list[int], list[int]]) -> np.ndarray:
    """Identity with each pair of equally long index lists swapped."""
    mirror = np.arange(size)
    for left, right in pairs:
        mirror[left], mirror[right] = right, left
    return mirror


def _span(first: int, last: int) -> list[int]:
    """first .. last inclusive, downwards if last < first."""
    return list(range(first, last + 1)) if last >= first else list(range(first, last - 1, -1))


def _scheme(name, size, regions, pairs, lines) -> Scheme:
    regions = {region: np.array(indices) for region, indices in regions.items()}
    return Scheme(name, size, regions, _mirror(size, *pairs), tuple(map(tuple, lines)))


WFLW98 = _scheme(
    "wflw98",
    98,
    {
        "contours": _span(0, 32),
        "brows": _span(33, 50),
        "nose": _span(51, 59),
        "eyes": _span(60, 75),
        "mouth": _span(76, 95),
        "pupils": [96, 97],
    },
    [
        (_span(0, 15), _span(32, 17)),
        (_span(33, 37), _span(46, 42)),
        (_span(38, 41), _span(50, 47)),
        (_span(55, 56), _span(59, 58)),
        (_span(60, 64), _span(72, 68)),
        (_span(65, 67), _span(75, 73)),
        (_span(76, 78), _span(82, 80)),
        (_span(83, 84), _span(87, 86)),
        (_span(88, 89), _span(92, 91)),
        ([93], [95]),
        ([96], [97]),
    ],
    [
        _span(0, 32),
        [*_span(33, 41), 33],
        [*_span(42, 50), 42],
        _span(51, 54),
        _span(55, 59),
        [*_span(60, 67), 60],
        [*_span(68, 75), 68],
        [*_span(76, 87), 76],
        [*_span(88, 95), 88],
    ],
)
"""WFLW's 98 points, the output of our networks. 0-32 jaw from the left ear over the chin (16), 33-41 left brow (upper
edge outer to inner, lower edge back), 42-50 right brow (upper edge inner to outer, lower edge back), 51-54 nose bridge
to tip, 55-59 nostrils, 60-67 left eye from the outer corner over the upper lid, 68-75 right eye from the inner corner
over the upper lid, 76-87 outer lip, 88-95 inner lip, 96 and 97 pupils."""
JAW = slice(0, 33)
"""The jaw line of WFLW-98."""

IBUG68 = _scheme(
    "ibug68",
    68,
    {
        "contours": _span(0, 16),
        "brows": _span(17, 26),
        "nose": _span(27, 35),
        "eyes": _span(36, 47),
        "mouth": _span(48, 67),
    },
    [
        (_span(0, 7), _span(16, 9)),
        (_span(17, 21), _span(26, 22)),
        (_span(31, 32), _span(35, 34)),
        (_span(36, 39), _span(45, 42)),
        (_span(40, 41), _span(47, 46)),
        (_span(48, 50), _span(54, 52)),
        (_span(55, 56), _span(59, 58)),
        (_span(60, 61), _span(64, 63)),
        ([65], [67]),
    ],
    [
        _span(0, 16),
        _span(17, 21),
        _span(22, 26),
        _span(27, 30),
        _span(31, 35),
        [*_span(36, 41), 36],
        [*_span(42, 47), 42],
        [*_span(48, 59), 48],
        [*_span(60, 67), 60],
    ],
)
"""iBUG's 68 points of 300-W (MultiPIE order)."""

AFLW21 = _scheme(
    "aflw21",
    21,
    {
        "contours": [12, 16, 20],
        "brows": _span(0, 5),
        "nose": _span(13, 15),
        "eyes": _span(6, 11),
        "mouth": _span(17, 19),
    },
    [
        (_span(0, 2), _span(5, 3)),
        (_span(6, 8), _span(11, 9)),
        ([12], [16]),
        ([13], [15]),
        ([17], [19]),
    ],
    [_span(0, 2), _span(3, 5), _span(6, 8), _span(9, 11), _span(13, 15), _span(17, 19)],
)
"""AFLW's 21 points: brows outer, centre, inner | inner, centre, outer; eyes likewise with the eye's centre; left ear
lobe, nose left, tip, right, right ear lobe; mouth left, centre, right; chin."""

LAPA106 = _scheme(
    "lapa106",
    106,
    {
        "contours": _span(0, 32),
        "brows": _span(33, 50),
        "nose": _span(51, 65),
        "eyes": [*_span(66, 73), *_span(75, 82)],
        "mouth": _span(84, 103),
        "pupils": [74, 83, 104, 105],
    },
    [
        (_span(0, 15), _span(32, 17)),
        (_span(33, 37), _span(46, 42)),
        (_span(38, 41), _span(50, 47)),
        (_span(55, 59), _span(65, 61)),
        (_span(66, 70), _span(79, 75)),
        (_span(71, 73), _span(82, 80)),
        ([74], [83]),
        (_span(84, 86), _span(90, 88)),
        (_span(91, 92), _span(95, 94)),
        (_span(96, 97), _span(100, 99)),
        ([101], [103]),
        ([104], [105]),
    ],
    [
        _span(0, 32),
        [*_span(33, 41), 33],
        [*_span(42, 50), 42],
        _span(51, 54),
        _span(55, 65),
        [*_span(66, 73), 66],
        [*_span(75, 82), 75],
        [*_span(84, 95), 84],
        [*_span(96, 103), 96],
    ],
)
"""LaPa's 106 points: WFLW-98's, and six more of the nose's outline (55-57, 63-65) and the centres of the eye openings
(74, 83). 104 and 105 are the pupils. Not the order of other sets of 106 points."""


def _mediapipe478() -> Scheme:
    with resources.files("facelift").joinpath("data/mediapipe478_mirror.npz").open("rb") as file:
        mirror = np.load(file)["mirror"].astype(int)
    outline, irises = np.array(MESH_OUTLINE), np.arange(468, 478)
    surface = np.setdiff1d(np.arange(478), np.concatenate([outline, irises]))
    regions = {"contours": outline, "surface": surface, "pupils": irises}
    return Scheme("mediapipe478", 478, regions, mirror, (tuple(MESH_OUTLINE),))


# fmt: off
MESH_OUTLINE = [127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152,
                377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356]
"""Vertices of MediaPipe's face mesh along the jaw from ear to ear, image left to right."""
# fmt: on

MEDIAPIPE478 = _mediapipe478()
"""MediaPipe's face mesh with irises (468 and 473 the pupils). The mirror pairs are those of the mean mesh of 252
photos, where the farthest partner lies within 0.1 % of the face."""

SCHEMES: dict[str, Scheme] = {scheme.name: scheme for scheme in (WFLW98, IBUG68, AFLW21, LAPA106, MEDIAPIPE478)}

DEFINITIONS: dict[str, str] = {
    "wflw98": "wflw98",
    "wflw98_outline": "wflw98",
    "head98": "wflw98",
    "merl68": "ibug68",
    "ibug68": "ibug68",
    "lapa106": "lapa106",
    "mediapipe478": "mediapipe478",
}
"""What the 2D detector can tell apart: definition -> order of its landmarks. Two data sets may number the same points
and mean others. wflw98 is the one that is lifted, its jaw fixed points of the head; wflw98_outline WFLW's own labels
and ibug68 those of 300-W, whose jaw is the outline in the picture; merl68 MERL-RAV's, which have no coordinate where
the head hides them; head98 the exact landmarks of a head model."""

# Which WFLW-98 landmark each iBUG-68 landmark is. Brows: iBUG's five lie on the brow's ridge, the nearest of WFLW's
# two edges is the upper one. Lids: WFLW has three points a lid, iBUG the outer two of them.
_WFLW98_OF_IBUG68 = [
    *range(0, 33, 2),
    *range(33, 38),
    *range(42, 47),
    *range(51, 60),
    *(60, 61, 63, 64, 65, 67),
    *(68, 69, 71, 72, 73, 75),
    *range(76, 96),
]

# Which LaPa-106 landmark each WFLW-98 landmark is.
_LAPA106_OF_WFLW98 = [*range(55), *range(58, 63), *range(66, 74), *range(75, 83), *range(84, 104), 104, 105]

# AFLW-21 as means of iBUG-68 landmarks. AFLW's ear lobes have no partner: the jaw's ends stand for them.
_IBUG68_OF_AFLW21 = [
    *([17], [19], [21], [22], [24], [26]),
    *([36], [36, 37, 38, 39, 40, 41], [39], [42], [42, 43, 44, 45, 46, 47], [45]),
    *([0], [31], [30], [35], [16]),
    *([48], [62, 66], [54], [8]),
]


def _averages(groups: list[list[int]], size: int) -> np.ndarray:
    matrix = np.zeros((len(groups), size))
    for row, group in zip(matrix, groups, strict=True):
        row[group] = 1 / len(group)
    return matrix


@cache
def conversion(source: str, target: str) -> Float[np.ndarray, "n_target n_source"]:
    """Matrix that maps points of one scheme to another: `points_target = matrix @ points_source`.

    Rows sum to 1; read-only. Raises ValueError for an unknown scheme, or where the source lacks what the target needs.
    """
    matrix = _conversion(source, target)
    matrix.flags.writeable = False
    return matrix


def _conversion(source: str, target: str) -> np.ndarray:
    for name in (source, target):
        if name not in SCHEMES:
            raise ValueError(f"landmark scheme: expected one of {sorted(SCHEMES)}, found {name!r}")
    if source == target:
        return np.eye(SCHEMES[source].size)
    if (source, target) == ("wflw98", "ibug68"):
        return np.eye(98)[_WFLW98_OF_IBUG68]
    if (source, target) == ("lapa106", "wflw98"):
        return np.eye(106)[_LAPA106_OF_WFLW98]
    if (source, target) == ("ibug68", "aflw21"):
        return _averages(_IBUG68_OF_AFLW21, 68)
    if (source, target) == ("wflw98", "aflw21"):
        return conversion("ibug68", "aflw21") @ conversion("wflw98", "ibug68")
    if source == "lapa106":
        return conversion("wflw98", target) @ conversion("lapa106", "wflw98")
    raise ValueError(f"landmarks of {source} do not determine those of {target}")


def wflw98_of_ibug68() -> np.ndarray:
    """(68,) the WFLW-98 index of each iBUG-68 landmark."""
    return np.array(_WFLW98_OF_IBUG68)


@cache
def normals() -> Float[np.ndarray, "98 3"]:
    """Outward unit normals of the mean head at the WFLW-98 landmarks, canonical frame; read-only."""
    return _mean_head("normals")


def outline_weight(facing: Any) -> Any:
    """How far a jaw label in a photo is one of the jaw's bone: from 1 where the jaw faces the camera (cosine of its
    normal and the view, above 0.5) to 0 where it has turned away (below -0.2) and people mark the outline instead.

    Of an array or a tensor.
    """
    return ((facing + 0.2) / 0.7).clip(0, 1)


@cache
def mean_head() -> Float[np.ndarray, "98 3"]:
    """The WFLW-98 landmarks of the mean head, canonical frame; read-only."""
    return _mean_head("points")


def _mean_head(name: str) -> np.ndarray:
    with resources.files("facelift").joinpath("data/wflw98_normals.npz").open("rb") as file:
        array = np.load(file)[name].astype(np.float64)
    array.flags.writeable = False
    return array


EYE_OUTLINES = {
    "wflw98": np.array([[60, 61, 63, 64, 65, 67], [68, 69, 71, 72, 73, 75]]),
    "ibug68": np.arange(36, 48).reshape(2, 6),
}
"""Scheme -> per eye: corner, two points of the upper lid, corner, two points of the lower lid, in this order around."""


def eye_opening(points: Float[np.ndarray, "*b n d"], scheme: str = "wflw98") -> Float[np.ndarray, "*b 2"]:
    """Lids' distance over the eye's width, of the eye that is left in a frontal picture and of the other one.

    (|p2 - p6| + |p3 - p5|) / (2 |p1 - p4|), p1..p6 around the eye from a corner on (the eye aspect ratio of Soukupova
    and Cech 2016, Eq. 1): about 0.3 for open eyes, near 0 for closed ones. 3D points give it without foreshortening.
    Raises ValueError for a scheme without lids.
    """
    if scheme not in EYE_OUTLINES:
        raise ValueError(f"eye opening: expected a scheme among {', '.join(EYE_OUTLINES)}, found {scheme!r}")
    p1, p2, p3, p4, p5, p6 = np.moveaxis(points[..., EYE_OUTLINES[scheme], :], -2, 0)
    lids = np.linalg.norm(p2 - p6, axis=-1) + np.linalg.norm(p3 - p5, axis=-1)
    return lids / (2 * np.linalg.norm(p1 - p4, axis=-1))
