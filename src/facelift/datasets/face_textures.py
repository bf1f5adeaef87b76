"""Photos with the textures that fitted meshes take from them: what a texture GAN learns from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from facelift.archives import read_npz
from facelift.atomic import written_whole
from facelift.crops import crop_transform, cut
from facelift.datasets.sample import FaceSample
from facelift.predictors.mesh_predictor import MeshPredictor
from facelift.rendering.uv_textures import UvLayout, uv_texture

WHOLE = 1 / 3
"""Share of the faces, those of which their photos show most, whose textures count as real ones."""


@dataclass(frozen=True, eq=False)
class FaceTextures:
    """Textures by `uv_texture`, completed where the photo shows nothing."""

    images: UInt8[np.ndarray, "n s s 3"]
    """Crops, as the network sees faces."""
    textures: UInt8[np.ndarray, "n t t 3"]
    seen: Bool[np.ndarray, "n t t"]

    def whole(self, count: int) -> Int[np.ndarray, "m"]:
        """Of the first `count` faces the third that is seen best, from about the front; at least one."""
        shares = self.seen[:count].mean((1, 2))
        return np.sort(np.argsort(-shares, kind="stable")[: max(1, round(WHOLE * count))])

    def template(self, chosen: Int[np.ndarray, "m"]) -> Float[np.ndarray, "t t 3"]:
        """Mean texture of these faces, 0..1."""
        return (self.textures[chosen].mean(0) / 255).astype(np.float32)


def collect_textures(
    samples: Sequence[FaceSample], predictor: MeshPredictor, *, size: int, cache: Path | None = None
) -> FaceTextures:
    """Crop and texture of each labelled face, its mesh found by the predictor in the crop of its box.

    The file `cache` keeps them for these faces and this network. Raises ValueError for a model without texture
    coordinates.
    """
    network = predictor.network
    if "uv" not in network.mesh:
        raise ValueError(f"{network.path}: expected a mesh with texture coordinates, found none")
    names = "\n".join(sample.name for sample in samples).encode()
    digest = hashlib.sha256(network.path.read_bytes() + names + str(size).encode()).hexdigest()
    keys = [field.name for field in fields(FaceTextures)]
    if cache is not None and cache.exists():
        kept = read_npz(cache, "textures of faces", ("digest", *keys))
        if str(kept["digest"]) == digest:
            return FaceTextures(*(kept[name] for name in keys))
    layout = UvLayout(network.mesh["faces"], network.mesh["uv"], size)
    rows = [_row(sample, predictor, layout) for sample in samples]
    images, textures, seen = (np.stack(column) for column in zip(*rows, strict=True))
    found = FaceTextures(images, textures, seen)
    if cache is not None:
        with written_whole(cache) as partial, partial.open("wb") as stream:
            np.savez(stream, digest=digest, **{name: getattr(found, name) for name in keys})
    return found


def _row(sample: FaceSample, predictor: MeshPredictor, layout: UvLayout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(crop, texture, seen texels)."""
    image = sample.image
    network = predictor.network
    crop = cut(image, crop_transform(sample.box, size=network.input_size, scale=network.crop_scale))
    (face,) = predictor.predict(image, sample.box[None], vertices=True)
    assert face.vertices is not None  # asked for
    return (crop, *uv_texture(image, face.vertices, layout))
