"""Pictures with faces of all sizes and turns, composed for training the face finder, and those held out from it.

Photos of w300_full with their labels; faces of the crop sets and rendered heads, pasted into photos without faces; such
photos alone, with patches pasted in the same way, so that no seam tells a face.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from facelift.boxes import tight_box
from facelift.datasets.augment import distort
from facelift.datasets.heads import HeadCache
from facelift.datasets.packed import PackedSet, decode_jpeg, read_packed
from facelift.datasets.readers.w300_full import W300Full
from facelift.landmarks import SCHEMES

LEAST_SIDE = 8
"""Longer side of a face's box, px, below which it is left to be ignored."""
LEAST_SHARE = 0.6
"""Share of a face's box inside the picture below which the face is left to be ignored."""
_PHOTO_SHARE, _PASTED_SHARE, _FILLED_SHARE = 0.40, 0.38, 0.10
"""Of scenes: labelled photos; faces pasted; one crop that fills the picture. The rest has no face."""
_EYES, _NOSE_TIP, _MOUTH = (slice(36, 42), slice(42, 48)), 30, (48, 54)


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture with all its faces."""

    image: UInt8[np.ndarray, "h w 3"]
    points: Float[np.ndarray, "f 68 2"]
    """iBUG-68, px; NaN where unlabelled."""
    ignored: Float[np.ndarray, "g 4"]
    """Where there may be a face that nobody labelled, or too little of one."""

    @property
    def boxes(self) -> Float[np.ndarray, "f 4"]:
        """Tight boxes of the points."""
        return tight_box(self.points).reshape(-1, 4)


def five_points(points: Float[np.ndarray, "*f 68 2"]) -> Float[np.ndarray, "*f 5 2"]:
    """Eyes' middles, nose tip, mouth corners; NaN where one that it takes is."""
    eyes = [points[..., eye, :].mean(-2) for eye in _EYES]
    return np.stack([*eyes, *(points[..., i, :] for i in (_NOSE_TIP, *_MOUTH))], axis=-2)


def held_out(name: str, every: int) -> bool:
    """Whether a picture is kept from training: one in `every`, by its name alone."""
    return zlib.crc32(name.encode()) % every == 0


class FinderScenes:
    """What scenes are composed of, without what is held out: a part of the photos of w300_full and of `backgrounds`, by
    name, and the last `dev` faces of the first crop set. AFW's crops are left out: their photos are all in w300_full.
    """

    def __init__(self, root: Path, sets: tuple[str, ...], *, heads: Path | None, dev: int, every: int):
        photos = photos_of(W300Full(root), root)
        self.photos = [photo for photo in photos if not held_out(photo.name, every)]
        self.dev_photos = [photo for photo in photos if held_out(photo.name, every)]
        secret = {photo.name for photo in self.dev_photos}
        _, files = read_packed(root, "backgrounds", {})
        self._backgrounds = [jpeg for name, jpeg in sorted(files.items()) if not held_out(name, every // 2)]
        self.dev_backgrounds = [
            decode_jpeg(jpeg, name) for name, jpeg in sorted(files.items()) if held_out(name, every // 2)
        ]
        self._crops = [PackedSet(root, name) for name in sets]
        self.crops = [
            (s, i)
            for s, crops in enumerate(self._crops)
            for i in range(len(crops) - (dev if s == 0 else 0))
            if str(crops.labels["name"][i]) not in secret and not str(crops.labels["name"][i]).startswith("afw_")
        ]
        self.dev_crops = [(0, i) for i in range(len(self._crops[0]) - dev, len(self._crops[0]))]
        if not self.photos or not self._backgrounds or not self.crops:
            raise ValueError(f"{root}: expected photos, backgrounds and crops beside those held out, found too few")
        self._heads = HeadCache(heads) if heads else None

    def crop(self, key: tuple[int, int]) -> Scene:
        """A crop of a crop set as it is, with its one face."""
        sample = self._crops[key[0]][key[1]]
        return Scene(sample.image, sample.points[None], np.zeros((0, 4)))

    def yaw_deg(self, key: tuple[int, int]) -> float:
        """Rough yaw of a crop's face; NaN where its set has none."""
        yaw = self._crops[key[0]].labels.get("yaw")
        return float("nan") if yaw is None else float(yaw[key[1]])

    def scene(self, rng: np.random.Generator, size: int) -> Scene:
        """A random scene, (size, size) px, its colours distorted."""
        if rng.random() < 0.15:
            scene = _mosaic([self._scene(rng, size // 2) for _ in range(4)])
        else:
            scene = self._scene(rng, size)
        strength = 0.7 if rng.random() < 0.6 else 0.0
        return Scene(distort(rng, scene.image, strength), scene.points, scene.ignored)

    def _scene(self, rng: np.random.Generator, size: int) -> Scene:
        kind = rng.random()
        if kind < _PHOTO_SHARE:
            canvas = _Canvas(self._background(rng, size))
            self._place_photo(rng, canvas)
            pasted = int(rng.integers(1, 3)) if rng.random() < 0.25 else 0
        elif kind < _PHOTO_SHARE + _PASTED_SHARE:
            canvas, pasted = _Canvas(self._background(rng, size)), 1 + int(rng.geometric(0.35))
        elif kind < _PHOTO_SHARE + _PASTED_SHARE + _FILLED_SHARE:
            canvas, pasted = _Canvas(np.full((size, size, 3), 128, np.uint8)), 0
            self._fill(rng, canvas)
        else:
            canvas, pasted = _Canvas(self._background(rng, size)), 0
        for _ in range(min(pasted, 8)):
            self._paste_face(rng, canvas)
        for _ in range(int(rng.integers(0, 4)) if kind > _PHOTO_SHARE and rng.random() < 0.6 else 0):
            self._paste_patch(rng, canvas)
        return canvas.scene()

    def dev_scene(self, index: int, size: int, faces: int = 4) -> tuple[Scene, Float[np.ndarray, "f 2"]]:
        """The `index`-th scene of held-out crops, each in one scene, pasted into a held-out photo without faces; and
        the rough yaw and the in-plane turn of each face, degrees. Faces for which there is no room are left out."""
        rng = np.random.default_rng([index, 5])
        canvas = _Canvas(_square(rng, self.dev_backgrounds[index % len(self.dev_backgrounds)], size))
        angles = []
        for key in self.dev_crops[faces * index : faces * (index + 1)]:
            crop = self.crop(key)
            mask = _mask(rng, crop.image.shape[:2], crop.boxes[0])
            matrix = _paste(rng, canvas, crop, mask, sides=(14, size / 4))
            if matrix is not None:
                angles.append((self.yaw_deg(key), np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))))
        return canvas.scene(), np.array(angles, float).reshape(-1, 2)

    def _background(self, rng: np.random.Generator, size: int) -> np.ndarray:
        return _square(rng, decode_jpeg(self._backgrounds[rng.integers(len(self._backgrounds))], "backgrounds"), size)

    def _place_photo(self, rng: np.random.Generator, canvas: "_Canvas") -> None:
        """A labelled photo over the canvas, turned and scaled so that one of its faces has a random size and place."""
        scene = self.photos[rng.integers(len(self.photos))].scene()
        if rng.random() < 0.5:
            scene = _flipped(scene)
        box = scene.boxes[rng.integers(len(scene.points))]
        longer = (box[2:] - box[:2]).max()
        target = min(_side(rng, 9, 0.95 * canvas.size), 2.5 * longer)
        matrix = _similarity(rng, (box[:2] + box[2:]) / 2, target / longer, _place(rng, canvas.size, target))
        canvas.add(scene, matrix, np.full(scene.image.shape[:2], 255, np.uint8))

    def _fill(self, rng: np.random.Generator, canvas: "_Canvas") -> None:
        """One face crop at the canvas's top left, as the finder gets a picture that is little more than a face."""
        scene = self.crop(self._draw_crop(rng))
        if rng.random() < 0.5:
            scene = _flipped(scene)
        height, width = scene.image.shape[:2]
        scale = rng.uniform(0.35, 1.0) * canvas.size / max(height, width)
        canvas.add(scene, np.array([[scale, 0, 0], [0, scale, 0]]), np.full((height, width), 255, np.uint8))

    def _draw_crop(self, rng: np.random.Generator) -> tuple[int, int]:
        """Turned heads twice as often as they come."""
        while True:
            key = self.crops[rng.integers(len(self.crops))]
            if abs(self.yaw_deg(key)) >= 40 or rng.random() < 0.5:
                return key

    def _paste_face(self, rng: np.random.Generator, canvas: "_Canvas") -> None:
        scene, mask = self._cutout(rng)
        if rng.random() < 0.5:
            scene, mask = _flipped(scene), np.ascontiguousarray(mask[:, ::-1])
        gain = np.exp(rng.normal(0, 0.12, 3) + rng.normal(0, 0.2))
        scene = replace(scene, image=np.clip(scene.image * gain, 0, 255).astype(np.uint8))
        if _paste(rng, canvas, scene, mask, sides=(9, 0.75 * canvas.size)) is not None and rng.random() < 0.2:
            self._cover(rng, canvas)

    def _cutout(self, rng: np.random.Generator) -> tuple[Scene, np.ndarray]:
        """A face and its cover mask: a rendered head, or a crop, whole or in an ellipse about the face."""
        if self._heads is not None and rng.random() < 0.25:
            head = self._heads[int(rng.integers(len(self._heads)))]
            return Scene(head.image, head.points[None], np.zeros((0, 4))), head.covered
        scene = self.crop(self._draw_crop(rng))
        return scene, _mask(rng, scene.image.shape[:2], scene.boxes[0])

    def _paste_patch(self, rng: np.random.Generator, canvas: "_Canvas") -> None:
        """A piece of another photo without a face, cut as faces are."""
        size = 96
        patch = self._background(rng, size)
        middle, half = np.array([size, size]) / 2, size / 3
        mask = _mask(rng, (size, size), np.concatenate([middle - half, middle + half]))
        target = _side(rng, 9, 0.6 * canvas.size)
        matrix = _similarity(rng, middle, target / size, _place(rng, canvas.size, target))
        if canvas.free(matrix, (size, size)):
            canvas.add(Scene(patch, np.zeros((0, 68, 2)), np.zeros((0, 4))), matrix, mask)

    def _cover(self, rng: np.random.Generator, canvas: "_Canvas") -> None:
        """Something opaque over a part of the last face: a piece of a photo, or one colour."""
        box = tight_box(canvas.points[-1])
        side = (box[2:] - box[:2]).max()
        texture = np.full_like(canvas.image, rng.integers(0, 256, 3))
        if rng.random() < 0.6:
            texture = self._background(rng, canvas.size)
        mask = np.zeros(texture.shape[:2], np.uint8)
        middle = tuple(int(v) for v in rng.uniform(box[:2], box[2:]))
        axes = tuple(int(v) + 1 for v in rng.uniform(0.12, 0.35, 2) * side)
        cv2.ellipse(mask, middle, axes, rng.uniform(0, 180), 0, 360, 1, -1)
        canvas.image[mask > 0] = texture[mask > 0]


@dataclass(frozen=True, eq=False)
class LabelledPhoto:
    """One photo of w300_full."""

    name: str
    jpeg: bytes
    points: Float[np.ndarray, "f 68 2"]
    ignored: Float[np.ndarray, "g 4"]

    def scene(self) -> Scene:
        """The decoded photo with its faces."""
        return Scene(decode_jpeg(self.jpeg, self.name), self.points, self.ignored)


def photos_of(faces: W300Full, root: Path) -> list[LabelledPhoto]:
    """The photos of the set, each with all its labelled faces and the places of those that nobody labelled."""
    labels, files = read_packed(root, "w300_full", {})
    photo_of_face, photo_of_extra = labels["face_image_index"], labels["extra_face_image_index"]
    points = np.stack([faces[i].points for i in range(len(faces))])
    extra = labels["extra_face_boxes"].astype(np.float64)
    return [
        LabelledPhoto(str(name), files[str(name)], points[photo_of_face == i], extra[photo_of_extra == i])
        for i, name in enumerate(labels["name"])
    ]


class _Canvas:
    """A square picture under composition."""

    def __init__(self, image: UInt8[np.ndarray, "s s 3"]):
        self.image, self.size = np.ascontiguousarray(image), len(image)
        self.points: list[np.ndarray] = []
        self.ignored: list[np.ndarray] = []

    def add(self, scene: Scene, matrix: Float[np.ndarray, "2 3"], mask: UInt8[np.ndarray, "h w"]) -> None:
        """Blends the scene in where its mask (0..255) lies, and takes its faces over."""
        height, width = scene.image.shape[:2]
        scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))
        image, warp = scene.image, matrix
        if scale < 0.7:  # the mean over what falls into a pixel
            size = (max(2, round(width * scale)), max(2, round(height * scale)))
            image, mask = (cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in (image, mask))
            warp = matrix @ np.diag([width / size[0], height / size[1], 1.0])
        x0, y0, x1, y1 = np.clip(_bounds(matrix, (height, width)), 0, self.size).astype(int)
        if x1 <= x0 or y1 <= y0:
            return
        warp = np.column_stack([warp[:, :2], warp[:, 2] + warp[:, :2] @ [0.5, 0.5] - [0.5 + x0, 0.5 + y0]])
        moved = cv2.warpAffine(image, warp, (x1 - x0, y1 - y0), borderMode=cv2.BORDER_REPLICATE)
        alpha = cv2.warpAffine(mask, warp, (x1 - x0, y1 - y0))[..., None].astype(np.float32) / 255
        window = self.image[y0:y1, x0:x1]
        window[:] = (window + (moved - window.astype(np.float32)) * alpha + 0.5).astype(np.uint8)
        self.points += [points @ matrix[:, :2].T + matrix[:, 2] for points in scene.points]
        self.ignored += [_bounds(matrix, box=box) for box in scene.ignored]

    def free(self, matrix: Float[np.ndarray, "2 3"], hw: tuple[int, int]) -> bool:
        """Whether what is pasted so leaves all faces, and the places to be ignored, uncovered."""
        x0, y0, x1, y1 = _bounds(matrix, hw)
        others = [*(tight_box(points) for points in self.points), *self.ignored]
        return all(box[0] > x1 or box[2] < x0 or box[1] > y1 or box[3] < y0 for box in others)

    def scene(self) -> Scene:
        """The picture, faces of which too little is seen moved to the ignored places."""
        points, ignored = [], list(self.ignored)
        for face in self.points:
            box = tight_box(face)
            sides = box[2:] - box[:2]
            inside = np.clip(box[2:], 0, self.size) - np.clip(box[:2], 0, self.size)
            if sides.max() >= LEAST_SIDE and inside.prod() >= LEAST_SHARE * sides.prod():
                points.append(face)
            else:
                ignored.append(box)
        return Scene(self.image, np.array(points).reshape(-1, 68, 2), np.array(ignored).reshape(-1, 4))


def _square(rng: np.random.Generator, photo: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
    """A random part of the photo, as it is or mirrored."""
    side = round(min(photo.shape[:2]) * rng.uniform(0.4, 1.0))
    y, x = (int(rng.integers(0, extent - side + 1)) for extent in photo.shape[:2])
    part = photo[y : y + side, x : x + side]
    return cv2.resize(part[:, :: int(rng.choice([-1, 1]))], (size, size), interpolation=cv2.INTER_AREA)


def _paste(
    rng: np.random.Generator,
    canvas: _Canvas,
    scene: Scene,
    mask: UInt8[np.ndarray, "h w"],
    *,
    sides: tuple[float, float],
) -> Float[np.ndarray, "2 3"] | None:
    """Blends a picture of one face in where it covers no other, its longer side in the given range, px. Returns the
    map from the picture to the canvas; None where no room was found."""
    box = scene.boxes[0]
    longer = (box[2:] - box[:2]).max()
    target = min(_side(rng, *sides), 2.5 * longer)
    for _ in range(5):
        matrix = _similarity(rng, (box[:2] + box[2:]) / 2, target / longer, _place(rng, canvas.size, target))
        if canvas.free(matrix, scene.image.shape[:2]):
            canvas.add(scene, matrix, mask)
            return matrix
    return None


def _bounds(matrix: np.ndarray, hw: tuple[int, int] = (0, 0), *, box: np.ndarray | None = None) -> np.ndarray:
    """x0 y0 x1 y1 about a picture, or a box in it, after an affine map."""
    x0, y0, x1, y1 = (0, 0, hw[1], hw[0]) if box is None else box
    corners = np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]]) @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([np.floor(corners.min(0)), np.ceil(corners.max(0))])


def _mosaic(four: list[Scene]) -> Scene:
    """Four equal square scenes as one."""
    size = len(four[0].image)
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]])
    image = np.vstack([np.hstack([part.image for part in four[i : i + 2]]) for i in (0, 2)])
    points = np.concatenate([part.points + corner for part, corner in zip(four, corners, strict=True)])
    ignored = np.concatenate([part.ignored + np.tile(corner, 2) for part, corner in zip(four, corners, strict=True)])
    return Scene(image, points, ignored)


def _flipped(scene: Scene) -> Scene:
    """The mirror picture, points renamed."""
    width = scene.image.shape[1]
    points = scene.points[:, SCHEMES["ibug68"].mirror] * [-1, 1] + [width, 0]
    ignored = scene.ignored[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0]
    return Scene(np.ascontiguousarray(scene.image[:, ::-1]), points, ignored)


def _side(rng: np.random.Generator, low: float, high: float) -> float:
    """A face's longer side, px: every octave as often as any other."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _place(rng: np.random.Generator, size: int, side: float) -> np.ndarray:
    """A face's middle: inside the picture, now and then a little over its border."""
    room = max(size / 2 - 0.42 * side, 0.0)
    return size / 2 + rng.uniform(-room, room, 2)


def _similarity(
    rng: np.random.Generator, middle: Float[np.ndarray, "2"], scale: float, place: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "2 3"]:
    """Scales, turns at random, moves `middle` to `place`. Three heads in five are about upright, the others are turned
    by up to 75 degrees."""
    angle = np.radians(rng.normal(0, 12) if rng.random() < 0.6 else rng.uniform(-75, 75))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, place - linear @ middle])


def _mask(rng: np.random.Generator, hw: tuple[int, int], box: Float[np.ndarray, "4"]) -> UInt8[np.ndarray, "h w"]:
    """Cover of a crop: all of it with a hard or a soft border, or a soft ellipse about the face."""
    kind = rng.random()
    if kind < 0.15:
        return np.full(hw, 255, np.uint8)
    mask = np.zeros(hw, np.uint8)
    if kind < 0.45:
        border = max(2, round(0.07 * min(hw)))
        mask[border:-border, border:-border] = 255
    else:
        border = max(2, round(0.04 * min(hw)))
        middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
        half = np.maximum(half, 0.7 * half.max()) * rng.uniform(
            1.1, 1.4, 2
        )  # a profile's box is narrower than its head
        cv2.ellipse(mask, tuple(middle.astype(int)), tuple(half.astype(int)), 0, 0, 360, 255, -1)
        mask[[0, -1]] = mask[:, [0, -1]] = 0
    return cv2.blur(mask, (border, border))


def collated(scenes: list[Scene]) -> Iterator[np.ndarray]:
    """Boxes (b, f, 4), five points (b, f, 5, 2) and ignored boxes (b, g, 4), float32, filled up with NaN."""
    for values in ([s.boxes for s in scenes], [five_points(s.points) for s in scenes], [s.ignored for s in scenes]):
        most = max(1, *(len(value) for value in values))
        full = np.full((len(values), most, *values[0].shape[1:]), np.nan, np.float32)
        for row, value in zip(full, values, strict=True):
            row[: len(value)] = value
        yield full
