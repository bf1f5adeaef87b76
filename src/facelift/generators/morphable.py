"""Views of textured morphable heads: exact cameras, exact landmarks."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int, Int8

from facelift.datasets.sample import OCCLUDED, SELF_OCCLUDED, VISIBLE
from facelift.generators.appearance import GAMMA
from facelift.generators.backgrounds import Backgrounds
from facelift.generators.protocol import View
from facelift.geometry import intrinsics, project, to_camera
from facelift.landmarks import WFLW98
from facelift.morphable.head import Head, landmarks, vertex_normals
from facelift.rendering import lighting, materials
from facelift.rendering.raster import Fragments, rasterize_alpha
from facelift.rendering.shading import Surface, shade

if TYPE_CHECKING:
    from facelift.generators.appearance import Wardrobe
    from facelift.morphable.procedural_head import PlainWardrobe

_SUPERSAMPLING = 2
_VISIBLE_TOLERANCE = 0.012
"""Depth by which a visible landmark may lie behind the nearest surface, canonical units (4 mm)."""
_LASH_LENGTH = 0.035
"""The same behind lashes."""
_LEAST_FACING = np.full(98, -0.05)
_LEAST_FACING[WFLW98.regions["eyes"]] = _LEAST_FACING[88:96] = -1.1
"""Least cosine of normal and view of a visible landmark. The edges of lids and inner lips are folds, whose normals
point anywhere: depth alone decides."""
_SKIN_LUMINANCE = 0.20
"""Median linear luminance of a well exposed face."""


@dataclass(frozen=True)
class _Face:
    """All of a seed that does not depend on the camera."""

    surface: Surface
    alpha_of: np.ndarray
    alphas: tuple[np.ndarray, np.ndarray]
    landmarks: Float[np.ndarray, "98 3"]
    landmark_normals: Float[np.ndarray, "98 3"]
    exposure: Float[np.ndarray, "3"]
    """Factor of each colour channel."""


class MorphableGenerator:
    """Generator over the open head, or over the procedural head without assets.

    `data`: a folder with backgrounds.tar and hdri_128.npz, used where they exist. `occluding_hair`: styles that hide
    brows and eyes; for training views, not for lifting. Without `photos` the backgrounds are procedural. Keeps the last
    few faces.
    """

    def __init__(
        self,
        assets: Path | None = None,
        *,
        data: Path | None = None,
        occluding_hair: bool = False,
        photos: bool = True,
        keep: int = 4,
    ):
        self._source = partial(
            MorphableGenerator, assets, data=data, occluding_hair=occluding_hair, photos=photos, keep=keep
        )
        self.name = "open-head" if assets else "procedural-head"
        self.head, self.wardrobe, self.styles = _procedural() if assets is None else _open(Path(assets))
        self.backgrounds = Backgrounds(data if photos else None)
        self._probes = _probes(data)
        self._smooth = lighting.Smoothing(self.head.topology.faces)
        self._occluding_hair, self._keep = occluding_hair, keep
        self._faces: OrderedDict[int, _Face] = OrderedDict()

    def __reduce__(self) -> tuple:
        """Other processes read the files anew: that is faster than sending what was read."""
        return self._source, ()

    def landmarks(self, seed: int) -> Float[np.ndarray, "98 3"]:
        """Exact canonical landmarks, without building what a picture needs."""
        if seed in self._faces:
            return self._faces[seed].landmarks
        return landmarks(self.head, self.head.vertices(*self.head.sample(np.random.default_rng([seed, 0])))).astype(
            float
        )

    def render(
        self,
        seed: int,
        rotations: Float[np.ndarray, "n 3 3"],
        translations: Float[np.ndarray, "n 3"],
        size: int = 256,
        *,
        background: int | None = None,
    ) -> list[View]:
        """One face from n cameras; see `Generator`."""
        face = self._face(seed)
        scene = self.backgrounds(seed if background is None else background, size)
        return [self._view(face, r, t, size, scene) for r, t in zip(rotations, translations, strict=True)]

    def _view(self, face: _Face, rotation: np.ndarray, translation: np.ndarray, size: int, scene: np.ndarray) -> View:
        surface, fine = face.surface, size * _SUPERSAMPLING
        pixels = _pixels(surface.vertices, rotation, translation, fine)
        fragments = rasterize_alpha(pixels, surface.faces, surface.uv, face.alpha_of, face.alphas, fine)
        colour, covered = shade(surface, fragments, -rotation.T @ translation, samples=_SUPERSAMPLING)
        image = _tone(colour * face.exposure) + scene * (1 - covered[..., None])
        points = project(face.landmarks, rotation, translation, intrinsics(size))
        visible = _visible(face, rotation, translation, fragments, points * _SUPERSAMPLING)
        encoded = (255 * np.clip(image, 0, 1) ** np.float32(1 / GAMMA) + 0.5).astype(np.uint8)
        state = landmark_states(visible, surface.material, fragments, points * _SUPERSAMPLING)
        return View(encoded, rotation, translation, size, points, visible, state=state)

    def _face(self, seed: int) -> _Face:
        if seed not in self._faces:
            self._faces[seed] = self._build(seed)
            while len(self._faces) > self._keep:
                self._faces.popitem(last=False)
        self._faces.move_to_end(seed)
        return self._faces[seed]

    def _build(self, seed: int) -> _Face:
        identity, expression = self.head.sample(np.random.default_rng([seed, 0]))
        rng = np.random.default_rng([seed, 1])
        look = self.wardrobe.look(rng, occluding_hair=self._occluding_hair)
        head_vertices = self.head.vertices(identity, expression)
        topology, vertices = self.head.topology, head_vertices
        faces, uv, material = topology.faces, topology.uv, topology.material
        normals = vertex_normals(vertices, faces)
        if look.hair_style:
            hair_vertices, hair_normals, hair = self.styles[look.hair_style].grow(self.head, identity)
            faces = np.concatenate([faces, hair.faces + len(vertices)]).astype(np.int32)
            uv, material = np.concatenate([uv, hair.uv]), np.concatenate([material, hair.material])
            vertices, normals = np.concatenate([vertices, hair_vertices]), np.concatenate([normals, hair_normals])
        alpha_of = np.full(len(faces), -1, np.int32)
        alpha_of[material == materials.LASHES], alpha_of[material == materials.HAIR] = 0, 1
        alphas = (self.wardrobe.lash_alpha, look.hair_alpha)
        light = self._light(rng)
        seen = lighting.sky_visibility(vertices, faces, uv, alpha_of, alphas)
        diffuse = lighting.irradiance(normals, seen, light)
        shine = np.ascontiguousarray(seen[:, light.strongest])
        for values in (diffuse, shine):
            values[: self._smooth.size] = self._smooth(values[: self._smooth.size])
        surface = Surface(
            vertices=vertices.astype(np.float32),
            normals=normals.astype(np.float32),
            diffuse=diffuse,
            shine=shine,
            faces=faces,
            uv=uv.astype(np.float32),
            material=material.astype(np.int32),
            flat=look.flat,
            skin=look.skin.astype(np.float32),
            eye=look.eye.astype(np.float32),
            hair=look.hair,
            light=light,
            oiliness=look.oiliness,
        )
        marks = landmarks(self.head, head_vertices).astype(float)
        mark_normals = landmarks(self.head, normals[: len(head_vertices)])
        exposure = _exposure(surface) * np.float32(np.exp(rng.normal(0, 0.2)))
        return _Face(surface, alpha_of, alphas, marks, mark_normals, exposure)

    def _light(self, rng: np.random.Generator) -> lighting.Light:
        if len(self._probes) and rng.random() < 0.5:
            chosen = self._probes[rng.integers(len(self._probes))]
            return lighting.probe(chosen.astype(np.float32), rng.uniform(0, 2 * np.pi))
        return lighting.lamps(rng)


def _open(assets: Path) -> tuple[Head, "Wardrobe | PlainWardrobe", dict]:
    from facelift.generators.appearance import Wardrobe
    from facelift.generators.hair import hair_styles
    from facelift.morphable.open_head import OpenHead

    head = OpenHead(assets)
    styles = hair_styles(head.files)
    return head, Wardrobe(assets, head, sorted(styles)), styles


def _procedural() -> tuple[Head, "Wardrobe | PlainWardrobe", dict]:
    from facelift.morphable.procedural_head import PlainWardrobe, ProceduralHead

    return ProceduralHead(), PlainWardrobe(), {}


def _probes(data: Path | None) -> np.ndarray:
    path = Path(data) / "hdri_128.npz" if data else None
    if path is None or not path.is_file():
        return np.zeros((0, 2, 4, 3), np.float16)
    with np.load(path) as file:
        return file["hdri"]


def _pixels(vertices: np.ndarray, rotation: np.ndarray, translation: np.ndarray, size: int) -> np.ndarray:
    """x, y in px and depth of every vertex."""
    camera = to_camera(vertices.astype(np.float64), rotation, translation)
    scale = intrinsics(size)
    flat = camera[:, :2] / camera[:, 2:] * scale[0, 0] + scale[:2, 2]
    return np.column_stack([flat, camera[:, 2]]).astype(np.float32)


def _exposure(surface: Surface) -> Float[np.ndarray, "3"]:
    """What an automatic camera would do, metered on the front of the face: most of the light's level, half of the
    skin's, and most of the light's colour are taken out."""
    skin = np.unique(surface.faces[surface.material == materials.SKIN])
    light = np.median(surface.diffuse[skin[surface.normals[skin, 2] > 0.5]], axis=0)
    height, width = surface.skin.shape[:2]
    albedo = surface.skin[: height * 3 // 4 : 8, : width // 2 : 8].mean((0, 1)) * surface.flat[materials.SKIN]
    level = (light.mean() / 0.6) ** -0.85 * (albedo.mean() / 0.3) ** -0.35
    balance = (light / light.mean()) ** -0.7
    return (_SKIN_LUMINANCE / 0.18 * level * balance).astype(np.float32)


def _tone(linear: np.ndarray) -> np.ndarray:
    """A shoulder above 0.6 instead of clipping."""
    return np.where(linear > 0.6, 0.6 + 0.4 * (1 - np.exp(-(linear - 0.6) / 0.4)), linear)


def _visible(
    face: _Face, rotation: np.ndarray, translation: np.ndarray, fragments: Fragments, points: np.ndarray
) -> np.ndarray:
    """Facing the camera, inside the picture, and no more than a tolerance behind what is seen there."""
    camera = to_camera(face.landmarks, rotation, translation)
    towards = -(face.landmark_normals @ rotation.T * camera).sum(-1)
    column, row = np.floor(points).astype(int).T
    size = len(fragments.depth)
    inside = (column >= 1) & (row >= 1) & (column < size - 1) & (row < size - 1)
    column, row = np.clip(column, 1, size - 2), np.clip(row, 1, size - 2)
    step = np.arange(-1, 2)
    around = (row[:, None, None] + step[:, None], column[:, None, None] + step)
    depth, triangle = fragments.depth[around], fragments.triangle[around]
    empty, lash = triangle < 0, face.surface.material[triangle] == materials.LASHES
    tolerance = np.where(lash, _LASH_LENGTH, _VISIBLE_TOLERANCE)
    seen = (~empty & (camera[:, 2, None, None] < depth + tolerance)).any((1, 2))
    seen[96:] &= face.surface.material[triangle[96:, 1, 1]] == materials.EYE  # lids lie closer than the tolerance
    return (towards > _LEAST_FACING * np.linalg.norm(camera, axis=-1)) & inside & seen


def landmark_states(
    visible: Bool[np.ndarray, "n"],
    material: Int[np.ndarray, "m"],
    fragments: Fragments,
    points: Float[np.ndarray, "n 2"],
) -> Int8[np.ndarray, "n"]:
    """Visibility states: of the hidden landmarks, those with hair before them are hidden by something else. `points`
    are px of the fragments; `material` is that of each triangle."""
    size = len(fragments.depth)
    column, row = np.clip(np.floor(points).astype(int), 0, size - 1).T
    triangle = fragments.triangle[row, column]
    hair = (triangle >= 0) & (material[triangle] == materials.HAIR)
    return np.where(visible, VISIBLE, np.where(hair, OCCLUDED, SELF_OCCLUDED)).astype(np.int8)
