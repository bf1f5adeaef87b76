"""Views of textured morphable heads: exact cameras, exact landmarks."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from facelift.generators.appearance import GAMMA
from facelift.generators.backgrounds import Backgrounds
from facelift.generators.occluders.occluders import Occluders, draw
from facelift.generators.protocol import View
from facelift.generators.sight import Marks
from facelift.geometry import intrinsics, project, to_camera
from facelift.morphable.head import Head, Topology, landmarks, vertex_normals
from facelift.rendering import lighting, materials, raster
from facelift.rendering.raster import rasterize_alpha
from facelift.rendering.shading import Surface, shade

if TYPE_CHECKING:
    from facelift.generators.appearance import Wardrobe
    from facelift.morphable.procedural_head import PlainWardrobe

_SUPERSAMPLING = 2
_SKIN_LUMINANCE = 0.20
"""Median linear luminance of a well exposed face."""


@dataclass(frozen=True)
class _Face:
    """All of a seed that does not depend on the camera."""

    surface: Surface
    alpha_of: np.ndarray
    alphas: tuple[np.ndarray, np.ndarray]
    marks: Marks
    exposure: Float[np.ndarray, "3"]
    """Factor of each colour channel."""


class MorphableGenerator:
    """Generator over the open head, or over the procedural head without assets.

    `data`: a folder with backgrounds.tar and hdri_128.npz, used where they exist. `occluders`: hair styles that hide
    brows and eyes, glasses, masks, hands, caps, scarves; for training views, not for lifting. They change neither the
    identity nor the expression of a seed. Without `photos` the backgrounds are procedural. Keeps the last few faces.
    """

    def __init__(
        self,
        assets: Path | None = None,
        *,
        data: Path | None = None,
        occluders: bool = False,
        photos: bool = True,
        keep: int = 4,
    ):
        self._source = partial(MorphableGenerator, assets, data=data, occluders=occluders, photos=photos, keep=keep)
        self.name = "open-head" if assets else "procedural-head"
        self.head, self.wardrobe, self.styles = _procedural() if assets is None else _open(Path(assets))
        self.backgrounds = Backgrounds(data if photos else None)
        self._probes = _probes(data)
        self._smooth = lighting.Smoothing(self.head.topology.faces)
        self._occluders, self._keep = occluders, keep
        self._faces: OrderedDict[int, _Face] = OrderedDict()

    def __reduce__(self) -> tuple:
        """Other processes read the files anew: that is faster than sending what was read."""
        return self._source, ()

    def landmarks(self, seed: int) -> Float[np.ndarray, "98 3"]:
        """Exact canonical landmarks, without building what a picture needs."""
        if seed in self._faces:
            return self._faces[seed].marks.points
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
        points = project(face.marks.points, rotation, translation, intrinsics(size))
        around = face.marks.around(rotation, translation, fine)
        triangle = fragments.triangle[around]
        material = np.where(triangle < 0, -1, surface.material[triangle])
        visible, hidden = face.marks.seen(rotation, translation, fine, fragments.depth[around], material)
        encoded = (255 * np.clip(image, 0, 1) ** np.float32(1 / GAMMA) + 0.5).astype(np.uint8)
        return View(encoded, rotation, translation, size, points, visible, hidden, covered)

    def face(self, seed: int) -> _Face:
        """What another renderer needs of a seed; not kept here."""
        return self._build(seed)

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
        look = self.wardrobe.look(rng, occluding_hair=self._occluders)
        head_vertices = self.head.vertices(identity, expression)
        topology, marks = self.head.topology, landmarks(self.head, head_vertices).astype(float)
        worn = self._worn(seed, head_vertices, marks)
        topologies, worn_picture = worn.atlas()
        meshes = [(head_vertices, vertex_normals(head_vertices, topology.faces), topology)]
        codes = [np.where(topology.material == materials.LASHES, 0, raster.OPAQUE)]
        if look.hair_style and not worn.hides_hair:
            hair_vertices, hair_normals, hair = self.styles[look.hair_style].grow(self.head, identity)
            meshes.append((worn.pressed(hair_vertices), hair_normals, hair))
            codes.append(np.ones(len(hair.faces), np.int32))
        for part, part_topology in zip(worn.parts, topologies, strict=True):
            meshes.append((part.vertices, part.normals, part_topology))
            codes.append(np.full(len(part_topology.faces), part.alpha))
        vertices, normals, faces, uv, material = _joined(meshes)
        alpha_of = np.concatenate(codes).astype(np.int32)
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
            worn=worn_picture,
            light=light,
            oiliness=look.oiliness,
        )
        mark_normals = landmarks(self.head, normals[: len(head_vertices)])
        exposure = _exposure(surface) * np.float32(np.exp(rng.normal(0, 0.2)))
        return _Face(surface, alpha_of, alphas, Marks(marks, mark_normals), exposure)

    def _worn(self, seed: int, vertices: Float[np.ndarray, "v 3"], marks: Float[np.ndarray, "98 3"]) -> Occluders:
        """What the face of a seed wears and holds, by random numbers of its own."""
        if not self._occluders:
            return Occluders()
        topology = self.head.topology
        skin = topology.material == materials.SKIN
        forehead = marks[[37, 42]].mean(0) + np.array([0, 0.05, 0])
        corner = np.linalg.norm(vertices[topology.faces[skin]] - forehead, axis=-1).argmin()
        patch = topology.uv[skin].reshape(-1, 2)[corner]
        return draw(
            np.random.default_rng([seed, 2]), vertices[np.unique(topology.faces[skin])].astype(float), marks, patch
        )

    def _light(self, rng: np.random.Generator) -> lighting.Light:
        if len(self._probes) and rng.random() < 0.5:
            chosen = self._probes[rng.integers(len(self._probes))]
            return lighting.probe(chosen.astype(np.float32), rng.uniform(0, 2 * np.pi))
        return lighting.lamps(rng)


def _joined(meshes: list[tuple[np.ndarray, np.ndarray, Topology]]) -> tuple[np.ndarray, ...]:
    """(vertices, normals, faces, uv, material) of several meshes as one."""
    vertices, normals, topologies = zip(*meshes, strict=True)
    start = np.cumsum([0, *(len(v) for v in vertices[:-1])])
    return (
        np.concatenate(vertices),
        np.concatenate(normals),
        np.concatenate([t.faces + s for t, s in zip(topologies, start, strict=True)]).astype(np.int32),
        np.concatenate([t.uv for t in topologies]),
        np.concatenate([t.material for t in topologies]),
    )


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
    front = surface.diffuse[skin[surface.normals[skin, 2] > 0.5]]
    level = front.mean(-1)
    light = np.median(front[level > 0.3 * np.percentile(level, 95)], axis=0)  # not under hair, masks and hands
    height, width = surface.skin.shape[:2]
    albedo = surface.skin[: height * 3 // 4 : 8, : width // 2 : 8].mean((0, 1)) * surface.flat[materials.SKIN]
    level = (light.mean() / 0.6) ** -0.85 * (albedo.mean() / 0.3) ** -0.35
    balance = (light / light.mean()) ** -0.7
    return (_SKIN_LUMINANCE / 0.18 * level * balance).astype(np.float32)


def _tone(linear: np.ndarray) -> np.ndarray:
    """A shoulder above 0.6 instead of clipping."""
    return np.where(linear > 0.6, 0.6 + 0.4 * (1 - np.exp(-(linear - 0.6) / 0.4)), linear)
