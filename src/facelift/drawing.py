"""What was found, drawn over the photo: landmarks, their uncertainty, the head's axes."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from facelift.faces.face import Face
from facelift.geometry.camera import project
from facelift.images import Photo
from facelift.landmarks import Scheme

COLOURS = {
    "contours": (80, 200, 255),
    "brows": (255, 190, 60),
    "nose": (255, 120, 170),
    "eyes": (110, 255, 140),
    "mouth": (255, 95, 80),
    "pupils": (255, 255, 255),
}
"""RGB per region."""
_AXES = ((235, 60, 60), (70, 210, 80), (70, 120, 255))
"""RGB of the head's x (subject's left), y (up), z (out of the face)."""
_READABLE, _LARGEST = 280, 2600
"""A picture is enlarged until its smallest face is so wide, as long as its longer side stays below the second, px."""
NINETY_PERCENT = 3.88972 / np.sqrt(3.0)
"""Mahalanobis radius that holds 90 % of the 2D Laplacian of `losses.laplacian`, density exp(-sqrt(3) r) over the
plane: 1 - (1 + x) exp(-x) = 0.9 at x = 3.88972."""
_SHIFT = 4
"""Binary digits after the point of the coordinates that OpenCV draws with."""

GREEN, RED = (40, 200, 60), (230, 40, 40)
"""Labels and predictions, RGB."""


@dataclass(frozen=True)
class Overlay:
    """What is drawn."""

    points: bool = True
    lines: bool = True
    ellipses: bool = True
    """Each holds its point with 90 % probability by the network's Laplacian likelihood."""
    axes: bool = True
    box: bool = True


def draw_faces(
    image: UInt8[np.ndarray, "h w 3"], faces: Sequence[Face], overlay: Overlay | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """A copy of the RGB picture with the faces drawn on it; hidden landmarks (visibility < 0.5) are hollow.

    The faces' pixels must be those of `image`.
    """
    overlay = overlay or Overlay()
    canvas = np.ascontiguousarray(image).copy()
    for face in faces:
        if not np.isfinite(face.points_2d).all():
            continue
        width = _width(face.points_2d)
        if overlay.box:
            _draw_box(canvas, face.box, width)
        if overlay.ellipses:
            _draw_ellipses(canvas, face)
        if overlay.lines:
            _draw_lines(canvas, face.points_2d, face.landmark_scheme)
        if overlay.points:
            _draw_points(canvas, face.points_2d, face.landmark_scheme, face.visibility)
        if overlay.axes:
            _draw_axes(canvas, face, width)
    return canvas


def draw_photo(photo: Photo, faces: Sequence[Face], overlay: Overlay | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """`draw_faces` for faces in px of the photo's original; a small picture is enlarged so that one sees something."""
    sizes = [_width(face.points_2d) / photo.scale for face in faces]
    image, zoom = _readable(photo.pixels, sizes)
    return draw_faces(image, [face.scaled(zoom / photo.scale) for face in faces], overlay)


def draw_points(
    image: UInt8[np.ndarray, "h w 3"],
    points: Float[np.ndarray, "faces n 2"],
    scheme: Scheme,
    confidence: Float[np.ndarray, "faces n"],
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture, enlarged if it is small, with 2D points in its px; those of confidence below 0.5 are hollow.

    Faces with NaN are left out.
    """
    seen = np.isfinite(points).all((1, 2))
    image, zoom = _readable(image, [_width(face) for face in points[seen]])
    canvas = np.ascontiguousarray(image).copy()
    for face, certainty in zip(points[seen] * zoom, confidence[seen], strict=True):
        _draw_lines(canvas, face, scheme)
        _draw_points(canvas, face, scheme, certainty)
    return canvas


def draw_mesh(
    image: UInt8[np.ndarray, "h w 3"],
    points: Float[np.ndarray, "faces n 2"],
    triangles: Int[np.ndarray, "f 3"],
    sigma: Float[np.ndarray, "faces n 2"],
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture, enlarged if it is small, with meshes of 2D points in its px; points go from green to red, which is a
    deviation of a twentieth of the face. Faces with NaN are left out."""
    seen = np.isfinite(points).all((1, 2))
    sizes = [_width(face) for face in points[seen]]
    image, zoom = _readable(image, sizes)
    canvas = np.ascontiguousarray(image).copy()
    for face, deviation, size in zip(points[seen] * zoom, sigma[seen], sizes, strict=True):
        fixed = np.array([_fixed(point) for point in face], np.int32)
        lines = canvas.copy()
        cv2.polylines(lines, [fixed[t] for t in triangles], True, (235, 235, 235), 1, cv2.LINE_AA, _SHIFT)
        canvas = cv2.addWeighted(lines, 0.4, canvas, 0.6, 0)
        share = np.clip(np.linalg.norm(deviation, axis=-1) / (0.05 * size), 0, 1)[:, None]
        radius = round(max(1.2, zoom * size / 250) * 2**_SHIFT)
        for place, colour in zip(fixed, share * np.array(RED) + (1 - share) * np.array(GREEN), strict=True):
            cv2.circle(canvas, tuple(int(v) for v in place), radius, tuple(colour), -1, cv2.LINE_AA, _SHIFT)
    return canvas


def draw_truth(
    image: UInt8[np.ndarray, "h w 3"],
    truth: Float[np.ndarray, "n 2"],
    predicted: Float[np.ndarray, "n 2"],
    scheme: Scheme,
) -> UInt8[np.ndarray, "320 320 3"]:
    """The picture cut about a face: labels green (NaN left out), prediction red, lines between their points."""
    known = np.isfinite(truth).all(-1)
    corners = np.concatenate([truth[known], predicted])
    side = 0.6 * float(np.ptp(corners, axis=0).max())
    middle = (corners.min(0) + corners.max(0)) / 2
    zoom = 160 / side
    to_tile = np.array([[zoom, 0, 160 - zoom * middle[0]], [0, zoom, 160 - zoom * middle[1]]])
    index_map = to_tile.copy()
    index_map[:, 2] += 0.5 * (zoom - 1)  # pixel centres at integer + 0.5 to OpenCV's at integers
    canvas = cv2.warpAffine(np.ascontiguousarray(image), index_map, (320, 320), flags=cv2.INTER_CUBIC)
    labels, found = (points @ to_tile[:, :2].T + to_tile[:, 2] for points in (truth, predicted))
    for line in scheme.lines:
        cv2.polylines(
            canvas, [np.array([_fixed(found[i]) for i in line], np.int32)], False, RED, 1, cv2.LINE_AA, _SHIFT
        )
    for index in np.flatnonzero(known):
        cv2.line(canvas, _fixed(labels[index]), _fixed(found[index]), RED, 1, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, _fixed(labels[index]), 2 << _SHIFT, GREEN, -1, cv2.LINE_AA, _SHIFT)
    return canvas


def _readable(image: np.ndarray, sizes: Sequence[float]) -> tuple[np.ndarray, int]:
    """The picture and the whole factor by which it was enlarged for its smallest face (sizes in px)."""
    wanted = min(_READABLE / max(min(sizes, default=_READABLE), 1.0), _LARGEST / max(image.shape[:2]))
    zoom = int(np.clip(np.ceil(wanted - 0.5), 1, 4))
    size = (image.shape[1] * zoom, image.shape[0] * zoom)
    return (cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) if zoom > 1 else image), zoom


def _width(points: np.ndarray) -> float:
    """Size of the face, px: what thicknesses follow."""
    return float(np.ptp(points, axis=0).max())


def _colours(scheme: Scheme) -> list[tuple[int, int, int]]:
    """Colour of each landmark."""
    colours = [(255, 255, 255)] * scheme.size
    for region, indices in scheme.regions.items():
        for index in indices:
            colours[index] = COLOURS[region]
    return colours


def _fixed(point: Float[np.ndarray, "2"]) -> tuple[int, int]:
    """px with centres at integer + 0.5 -> OpenCV's fixed-point pixel indices."""
    x, y = np.clip((np.asarray(point) - 0.5) * 2**_SHIFT, -(2**28), 2**28)
    return round(float(x)), round(float(y))


def _thickness(width: float, per_face: float) -> int:
    return max(1, round(width * per_face))


def _blend(canvas: np.ndarray, drawn: np.ndarray, share: float) -> None:
    cv2.addWeighted(drawn, share, canvas, 1 - share, 0, dst=canvas)


def _draw_lines(canvas: np.ndarray, points: np.ndarray, scheme: Scheme) -> None:
    drawn, colours, thickness = canvas.copy(), _colours(scheme), _thickness(_width(points), 0.006)
    for line in scheme.lines:
        pixels = np.array([_fixed(points[index]) for index in line], np.int32)
        cv2.polylines(drawn, [pixels], False, colours[line[0]], thickness, cv2.LINE_AA, _SHIFT)
    _blend(canvas, drawn, 0.55)


def _draw_points(canvas: np.ndarray, points: np.ndarray, scheme: Scheme, certainty: np.ndarray) -> None:
    width = _width(points)
    radius = max(1.0, 0.0085 * width)
    for point, colour, seen in zip(points, _colours(scheme), certainty >= 0.5, strict=True):
        centre, r = _fixed(point), round(radius * 2**_SHIFT)
        if seen:
            rim = round((radius + max(0.6, 0.003 * width)) * 2**_SHIFT)
            cv2.circle(canvas, centre, rim, (20, 20, 20), -1, cv2.LINE_AA, _SHIFT)
            cv2.circle(canvas, centre, r, colour, -1, cv2.LINE_AA, _SHIFT)
        else:
            cv2.circle(canvas, centre, r, colour, _thickness(width, 0.003), cv2.LINE_AA, _SHIFT)


def _draw_ellipses(canvas: np.ndarray, face: Face) -> None:
    drawn, colours = canvas.copy(), _colours(face.landmark_scheme)
    for point, covariance, colour in zip(face.points_2d, face.covariances, colours, strict=True):
        if not np.isfinite(covariance).all():
            continue
        axes, angle_deg = ellipse(covariance)
        half = tuple(round(float(a) * 2**_SHIFT) for a in np.minimum(axes, 2.0**14))
        cv2.ellipse(drawn, _fixed(point), half, angle_deg, 0, 360, colour, -1, cv2.LINE_AA, _SHIFT)
    _blend(canvas, drawn, 0.28)


def ellipse(covariance: Float[np.ndarray, "2 2"], *, sigmas: float = NINETY_PERCENT) -> tuple[np.ndarray, float]:
    """Half axes (long, short) px and the angle of the long one in degrees, clockwise from the image's x axis."""
    values, vectors = np.linalg.eigh(covariance)
    x, y = vectors[:, 1]
    return sigmas * np.sqrt(np.clip(values[::-1], 0, None)), float(np.degrees(np.arctan2(y, x)))


def _draw_axes(canvas: np.ndarray, face: Face, width: float) -> None:
    """The head's axes at the middle of the face, as long as half of it."""
    middle = face.landmarks_3d.mean(0)
    middle[2] += 0.5 * np.ptp(face.landmarks_3d[:, 2])
    length = 0.5 * float(np.ptp(face.landmarks_3d[:, :2], axis=0).max())
    ends = np.stack([middle, *(middle + length * np.eye(3))])
    pixels = project(ends, face.rotation, face.translation, face.intrinsics)
    if not np.isfinite(pixels).all():
        return
    order = np.argsort(-(ends[1:] @ face.rotation[2]))  # farthest first
    for axis in order:
        start, end = _fixed(pixels[0]), _fixed(pixels[axis + 1])
        for colour, extra in (((20, 20, 20), 2), (_AXES[axis], 0)):
            cv2.line(canvas, start, end, colour, _thickness(width, 0.012) + extra, cv2.LINE_AA, _SHIFT)


def _draw_box(canvas: np.ndarray, box: Float[np.ndarray, "4"], width: float) -> None:
    """The four corners of the box."""
    x0, y0, x1, y1 = box
    reach = 0.15 * min(x1 - x0, y1 - y0)
    for x, y, dx, dy in ((x0, y0, 1, 1), (x1, y0, -1, 1), (x0, y1, 1, -1), (x1, y1, -1, -1)):
        corner = [(x + dx * reach, y), (x, y), (x, y + dy * reach)]
        points = np.array([_fixed(np.array(p)) for p in corner], np.int32)
        for colour, extra in (((20, 20, 20), 2), ((245, 245, 245), 0)):
            cv2.polylines(canvas, [points], False, colour, _thickness(width, 0.008) + extra, cv2.LINE_AA, _SHIFT)
