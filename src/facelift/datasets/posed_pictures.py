"""Face pictures with cameras for a 3D-aware GAN: renders of ours, or photos whose cameras the Predictor tells."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from facelift.archives import read_npz
from facelift.atomic import written_whole
from facelift.crops import CropTransform, cut, sized
from facelift.geometry.camera import FOCAL
from facelift.geometry.rotation import MIRROR
from facelift.images import load_photo

log = logging.getLogger(__name__)
_PHOTOS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True)
class PosedPictures:
    """n pictures by cameras x_cam = R x + t with the network's K."""

    images: UInt8[np.ndarray, "n s s 3"]
    rotation: Float[np.ndarray, "n 3 3"]
    translation: Float[np.ndarray, "n 3"]
    face: Int[np.ndarray, "n"]
    """Number of the person or photo."""

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray) -> "PosedPictures":
        """Some of them."""
        return PosedPictures(self.images[rows], self.rotation[rows], self.translation[rows], self.face[rows])

    def mirrored(self) -> "PosedPictures":
        """The mirror faces, by the mirror cameras."""
        rotation, translation = MIRROR @ self.rotation @ MIRROR, self.translation @ MIRROR
        return PosedPictures(self.images[:, :, ::-1], rotation, translation, self.face)

    def split(self, held_out: int) -> tuple["PosedPictures", "PosedPictures"]:
        """(the first faces, the last `held_out`); no face is in both. Raises ValueError for too few faces."""
        faces = np.unique(self.face)
        if not 0 < held_out < len(faces):
            raise ValueError(f"held-out faces: expected 1 to {len(faces) - 1} of {len(faces)}, found {held_out}")
        late = np.isin(self.face, faces[-held_out:])
        return self.take(np.flatnonzero(~late)), self.take(np.flatnonzero(late))


def read_posed(folder: Path, size: int, *, cache: Path | None = None, threads: int | None = None) -> PosedPictures:
    """The pictures of a folder, size x size: a cache of `facelift views`, pictures of `facelift render --pictures`
    with their cameras.json, or photos, of which every face is cut out and its camera predicted.

    `cache`: where the cut faces of photos are kept. Raises FileNotFoundError or ValueError for a folder without.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder of pictures, found none")
    if any(folder.glob("views-*")):
        return _of_views(folder, size)
    if (folder / "cameras.json").is_file():
        return _of_renders(folder, size)
    if cache is not None and cache.is_file():
        held = read_npz(cache, "posed pictures", ("images", "rotation", "translation", "face"))
        if held["images"].shape[1] == size:
            return PosedPictures(held["images"], held["rotation"], held["translation"], held["face"])
    found = _of_photos(folder, size, threads)
    if cache is not None:
        with written_whole(cache) as partial:
            np.savez(partial, **vars(found))
    return found


def _of_views(folder: Path, size: int) -> PosedPictures:
    from facelift.datasets.views import ViewCache

    views = ViewCache(folder, labels="exact")
    images = np.stack([sized(views[index].image, size) for index in range(len(views.face))])
    return PosedPictures(
        images, views.rotation.astype(np.float32), views.translation.astype(np.float32), views.face.astype(np.int64)
    )


def _of_renders(folder: Path, size: int) -> PosedPictures:
    noted = json.loads((folder / "cameras.json").read_text())
    names = sorted(name for name in noted if (folder / name).is_file())
    if not names:
        raise FileNotFoundError(f"{folder}: expected the pictures of cameras.json, found none")
    images = np.stack([sized(load_photo(folder / name).pixels, size) for name in names])
    rotation, translation = (
        np.array([noted[name][key] for name in names], np.float32) for key in ("rotation", "translation")
    )
    _, face = np.unique([name.rpartition("-")[0] for name in names], return_inverse=True)
    return PosedPictures(images, rotation, translation, face.astype(np.int64))


def _of_photos(folder: Path, size: int, threads: int | None) -> PosedPictures:
    from facelift.predictors.predictor import Predictor

    predictor = Predictor(threads=threads)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _PHOTOS)
    rows: list[tuple] = []
    without = unread = 0
    for path in paths:
        try:
            photo = load_photo(path)
        except (ValueError, OSError) as error:
            log.warning("left out: %s", error)
            unread += 1
            continue
        faces = predictor.predict_photo(photo)
        without += not faces
        for face in faces:
            K = face.intrinsics / photo.scale
            rows.append((_cut(photo.pixels, K, size), face.rotation, face.translation, len(rows)))
    log.info("%s: %d faces in %d photos, %d without, %d unread", folder, len(rows), len(paths), without, unread)
    if not rows:
        raise ValueError(f"{folder}: expected photos of faces, found none in {len(paths)} files")
    images, rotation, translation, face_numbers = zip(*rows, strict=True)
    return PosedPictures(
        np.stack(images),
        np.stack(rotation).astype(np.float32),
        np.stack(translation).astype(np.float32),
        np.array(face_numbers, np.int64),
    )


def _cut(image: np.ndarray, K: np.ndarray, size: int) -> np.ndarray:
    """What the network's camera sees: the square of one image width of K about its principal point."""
    scale = size * FOCAL / K[0, 0]
    linear = np.eye(2) * scale
    return cut(image, CropTransform(np.column_stack([linear, size / 2 - linear @ K[:2, 2]]), size, 0.0))
