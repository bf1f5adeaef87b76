"""Looks of a head: skin, brows, eyes, hair and clothes, drawn from the open textures."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from facelift.datasets.packed import tar_files
from facelift.generators.clothes import collar_height, dress
from facelift.morphable.open_head import OpenHead
from facelift.rendering import materials

_SKIN_HEIGHT = 512
_OCCLUDING_HAIR = ("bob01", "bob02", "braid01", "short03")
"""Styles whose fringe hides brows or eyes."""
_OCCLUDING_CHANCE = 0.35
"""How often one of them is drawn for once another style is."""
_HAIR_COLOURS = np.array(
    [
        [0.08, 0.06, 0.05],
        [0.25, 0.15, 0.09],
        [0.5, 0.33, 0.18],
        [0.75, 0.6, 0.38],
        [0.45, 0.42, 0.4],
        [0.35, 0.14, 0.07],
    ]
)
_DARK_HAIR = 2
"""The first so many of the colours go with skins of any origin."""
_DARK_HAIR_ONLY = ("african", "asian", "multi")
_COLLAR_CM = (-13.5, -9.5)
"""Lowest and highest collar."""
_IRIS_RADIUS = 50
"""In px of an eye picture of 256 px."""
_LEAST_SHARE = np.array([1.0, 0.5, 0.33])
"""Least share of the channels in a skin's mean linear colour, relative to red."""
GAMMA = 2.2


@dataclass(frozen=True)
class Look:
    """Pictures in linear colour, and the colour of each material."""

    skin: Float[np.ndarray, "h w 3"]
    eye: Float[np.ndarray, "eh ew 3"]
    hair_style: str | None
    hair: Float[np.ndarray, "hh hw 3"]
    hair_alpha: Float[np.ndarray, "hh hw"]
    flat: Float[np.ndarray, "m 3"]
    oiliness: float


class Wardrobe:
    """All textures of a textures.tar, decoded when first needed. Raises FileNotFoundError without the file."""

    def __init__(self, assets: Path, head: OpenHead, hair_styles: list[str]):
        path = Path(assets) / "textures.tar"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected the open head's textures, found no file")
        self._files = tar_files(path)
        self._decoded: dict[tuple[str, int], np.ndarray] = {}
        self._skins = self._names("skins/")
        self._photo_skins = self._names("skins_photo/")
        self._brows, self._irises = self._names("brows/"), self._names("irises/")
        self._hair_styles = hair_styles
        self._collar = collar_height(head, _SKIN_HEIGHT)
        self.lash_alpha = lash_alpha()

    def _names(self, folder: str) -> list[str]:
        return sorted(name for name in self._files if name.startswith(folder))

    def _picture(self, name: str, height: int) -> np.ndarray:
        """Pixels 0..1 at a height, channels as in the file."""
        if (name, height) not in self._decoded:
            file = Image.open(io.BytesIO(self._files[name]))
            scale = height / file.height
            picture = file.resize((round(file.width * scale), height), Image.Resampling.BOX)
            self._decoded[name, height] = np.asarray(picture)
        return self._decoded[name, height].astype(np.float32) / 255

    def look(self, rng: np.random.Generator, *, occluding_hair: bool) -> Look:
        """A random look; half of the skins come from photographs."""
        skins = self._pool(rng)
        colours = _HAIR_COLOURS[: _DARK_HAIR if any(part in skins[0] for part in _DARK_HAIR_ONLY) else None]
        hair_colour = colours[rng.integers(len(colours))] * rng.uniform(0.7, 1.3)
        occluding = _OCCLUDING_CHANCE if occluding_hair else 0.0
        chance = np.array([1.0, *(occluding if s in _OCCLUDING_HAIR else 1.0 for s in self._hair_styles)])
        style = [None, *self._hair_styles][rng.choice(len(chance), p=chance / chance.sum())]
        hair = self._picture(f"hair/{style}.png", 512) if style else np.ones((2, 2, 4), np.float32)
        flat = np.ones((len(materials.TABLE), 3), np.float32)
        flat[materials.SKIN] = np.exp(rng.standard_normal(3) * 0.03 + rng.standard_normal() * 0.1)
        flat[materials.HAND] = 0.88 * flat[materials.SKIN]
        flat[materials.GUMS], flat[materials.TEETH] = (0.42, 0.13, 0.12), np.array([0.72, 0.66, 0.55])
        flat[materials.SOCKET], flat[materials.LASHES] = (0.25, 0.06, 0.05), 0.012
        flat[materials.EYE] = 0.5  # in the lids' shade, which shadow maps of this size do not see
        flat[materials.HAIR] = hair_colour**GAMMA
        brown = rng.random() < (0.9 if len(colours) == _DARK_HAIR else 0.3)
        cloth = _muted(rng.random(3).astype(np.float32), rng.uniform(0, 0.6)) * rng.uniform(0.3, 1)
        skin = self._skin(rng, skins, hair_colour)
        return Look(
            skin=dress(skin, self._collar, rng.uniform(*_COLLAR_CM), cloth**GAMMA),
            eye=self._eye(rng, brown=brown),
            hair_style=style,
            hair=_strands(hair),
            hair_alpha=np.ascontiguousarray(hair[..., 3]),
            flat=flat,
            oiliness=float(rng.uniform(0.1, 0.6)),
        )

    def _pool(self, rng: np.random.Generator) -> list[str]:
        """Two skins to mix; half of the looks have skins from photographs."""
        pool = self._photo_skins if rng.random() < 0.5 else self._skins
        return [pool[i] for i in rng.integers(0, len(pool), 2)]

    def _skin(self, rng: np.random.Generator, skins: list[str], hair_colour: np.ndarray) -> np.ndarray:
        """Linear colour of a mix of two skins. Skins from photographs bring brows, the others get painted ones."""
        share = np.float32(rng.choice([0, rng.random()]))
        first, second = (self._picture(name, _SKIN_HEIGHT)[..., :3] for name in skins)
        skin = first * (1 - share) + second * share
        brow = self._picture(self._brows[rng.integers(len(self._brows))], _SKIN_HEIGHT)
        brow = (brow[..., -1] if brow.ndim == 3 else brow) * np.float32(rng.uniform(0.6, 1))
        if skins[0] not in self._photo_skins:
            face = skin[:, : brow.shape[1]]
            face[:] = face * (1 - brow[..., None]) + (hair_colour * 0.6).astype(np.float32) * brow[..., None]
        return _natural(skin**GAMMA)

    def _eye(self, rng: np.random.Generator, *, brown: bool) -> np.ndarray:
        """Linear colour of an eyeball with the iris in the middle; `brown` repaints the iris."""
        eye = _muted(self._picture(self._irises[rng.integers(len(self._irises))], 256)[..., :3], 0.5) ** GAMMA
        axis = np.arange(256) - 127.5
        inside = np.clip((_IRIS_RADIUS - np.hypot(axis[:, None], axis)) / 3, 0, 1)[..., None].astype(np.float32)
        colour = np.array([0.55, 0.3, 0.17], np.float32) * np.float32(rng.uniform(0.3, 1.0)) if brown else 0.6
        iris = eye.mean(-1, keepdims=True) * colour if brown else eye * colour
        return np.ascontiguousarray(eye * (1 - inside) * np.float32(0.85) + iris * inside)


def _natural(skin: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """Skin no redder than skin is: green and blue raised until their mean is a fair share of red's. Some of the
    painted textures are a saturated red-brown."""
    mean = skin[::4, : skin.shape[1] // 2 : 4].mean((0, 1))
    factor = np.maximum(_LEAST_SHARE * mean[0] / mean, 1)
    return (skin * (factor * mean.mean() / (factor * mean).mean()).astype(np.float32)).astype(np.float32)


def _strands(hair: Float[np.ndarray, "h w 4"]) -> Float[np.ndarray, "h w 3"]:
    """Brightness of a hair texture about a mean of one over what is opaque, its contrast halved."""
    grey = (hair[..., :3] ** GAMMA).mean(-1)
    opaque = hair[..., 3] > 0.3
    level = np.sqrt(grey / max(float(grey[opaque].mean()), 1e-3)) if opaque.any() else np.ones_like(grey)
    return np.repeat(np.clip(level, 0.2, 2.0)[..., None], 3, axis=-1).astype(np.float32)


def _muted(colour: np.ndarray, saturation: float) -> np.ndarray:
    grey = colour.mean(-1, keepdims=True)
    return np.ascontiguousarray(grey + (colour - grey) * saturation).clip(0, 1)


def lash_alpha() -> Float[np.ndarray, "64 512"]:
    """Strands that taper away from the lid (v = 0)."""
    rng = np.random.default_rng(5)
    strands = np.zeros(512, np.float32)
    strands[rng.integers(0, 512, 110)] = rng.uniform(0.5, 1, 110)
    from_lid = np.linspace(1, 0, 64, dtype=np.float32)[:, None]  # first row: tip
    return np.ascontiguousarray((strands > from_lid * 0.9) * 0.75 * (1 - from_lid)).astype(np.float32)
