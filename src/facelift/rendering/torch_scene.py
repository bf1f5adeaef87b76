"""Lit faces kept on a device, and pictures of them from many cameras at once: `shading.py` in PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from facelift.geometry import intrinsics, to_camera
from facelift.rendering import materials
from facelift.rendering.shading import Surface, highlights
from facelift.rendering.torch_raster import FragmentBatch, Triangles, rasterize
from facelift.rendering.torch_textures import GAMMA, Atlas

SUPERSAMPLING = 2


@dataclass(frozen=True)
class _Mesh:
    """Triangles that many faces share."""

    faces: Int[Tensor, "f 3"]
    uv: Float[Tensor, "f 3 2"]
    material: Int[Tensor, "f"]
    alpha: Int[Tensor, "f"]
    """Which of a face's alphas; below 0 as `alpha_of` in `raster.py`."""


@dataclass(frozen=True)
class _Face:
    """What is a face's own. About 3 MB for the open head, its textures included, and 7 MB with a mesh of its own."""

    mesh: _Mesh
    attributes: Float[Tensor, "v 12"]
    """Vertices, normals, diffuse light and shine."""
    flat: Float[Tensor, "m 3"]
    towards: Float[Tensor, "3 3"]
    power: Float[Tensor, "3 3"]
    oiliness: float
    exposure: Float[Tensor, "3"]
    colours: tuple[int, ...]
    """Textures of skin, eye, hair and what is worn."""
    alphas: tuple[int, ...]


@dataclass(frozen=True)
class Pictures:
    """Views, and what their fragments show."""

    image: UInt8[Tensor, "n s s 3"]
    depth: Float[Tensor, "n f f"]
    material: Int[Tensor, "n f f"]
    """-1 where nothing is."""


class FaceBank:
    """Faces by number. Arrays that several faces have in common are kept once."""

    def __init__(self, device: torch.device):
        self.device = device
        self._faces: list[_Face] = []
        self._meshes: dict[int, _Mesh] = {}
        self._colours, self._alphas = Atlas(device, 3), Atlas(device, 1)

    def __len__(self) -> int:
        return len(self._faces)

    def add(
        self,
        surface: Surface,
        alpha_of: Int[np.ndarray, "f"],
        alphas: tuple[np.ndarray, ...],
        exposure: Float[np.ndarray, "3"],
    ) -> int:
        """Copies a face to the device; returns its number."""
        towards, power = highlights(surface.light)
        pictures = (surface.skin, surface.eye, surface.hair, surface.worn)
        put = lambda array: torch.as_tensor(np.asarray(array, np.float32), device=self.device)  # noqa: E731
        self._faces.append(
            _Face(
                self._mesh(surface, alpha_of),
                put(surface.attributes),
                put(surface.flat),
                put(towards),
                put(power),
                float(surface.oiliness),
                put(exposure),
                tuple(self._colours.add(picture) for picture in pictures),
                tuple(self._alphas.add(alpha[..., None]) for alpha in alphas),
            )
        )
        return len(self._faces) - 1

    def _mesh(self, surface: Surface, alpha_of: np.ndarray) -> _Mesh:
        arrays = (surface.faces, surface.uv, surface.material, alpha_of)
        key = hash(tuple(array.tobytes() for array in arrays))
        if key not in self._meshes:
            faces, uv, material, alpha = (torch.as_tensor(array, device=self.device) for array in arrays)
            self._meshes[key] = _Mesh(faces.long(), uv.float(), material.long(), alpha.long())
        return self._meshes[key]

    @torch.no_grad()
    def render(
        self,
        numbers: Sequence[int],
        rotations: Float[Tensor, "n 3 3"],
        translations: Float[Tensor, "n 3"],
        size: int,
        backgrounds: Float[Tensor, "n s s 3"],
    ) -> Pictures:
        """One picture of each face named, by its camera, before its background (linear colour); on the device."""
        scene = _Scene([self._faces[number] for number in numbers])
        fine = size * SUPERSAMPLING
        triangles = scene.triangles(rotations, translations, fine)
        fragments = rasterize(triangles, len(numbers), fine, alphas=self._alphas)
        material = torch.where(fragments.triangle < 0, -1, scene.material[fragments.triangle.clamp_min(0)])
        eye = -(rotations.mT @ translations[..., None])[..., 0]
        colour, covered = scene.shade(fragments, material, eye, self._colours)
        linear = colour * torch.stack([face.exposure for face in scene.faces])[:, None, None]
        toned = torch.where(linear > 0.6, 0.6 + 0.4 * (1 - torch.exp(-(linear - 0.6) / 0.4)), linear)
        image = toned + backgrounds * (1 - covered[..., None])
        encoded = (255 * image.clamp(0, 1) ** (1 / GAMMA) + 0.5).to(torch.uint8)
        return Pictures(encoded, fragments.depth, material)


class _Scene:
    """The meshes of a batch of faces in one list."""

    def __init__(self, faces: list[_Face]):
        self.faces, device = faces, faces[0].attributes.device
        counts = [len(face.attributes) for face in faces]
        starts = np.cumsum([0, *counts[:-1]])
        sizes = torch.tensor([len(face.mesh.faces) for face in faces], device=device)
        self.view = torch.repeat_interleave(torch.arange(len(faces), device=device), sizes)
        self.number = torch.cat([torch.arange(len(face.mesh.faces), device=device) for face in faces])
        self.vertex = torch.cat([face.mesh.faces + int(start) for face, start in zip(faces, starts, strict=True)])
        self.uv = torch.cat([face.mesh.uv for face in faces])
        self.material = torch.cat([face.mesh.material for face in faces])
        alpha = torch.cat([face.mesh.alpha for face in faces])
        alphas = torch.tensor([face.alphas for face in faces], device=device)
        self.alpha = torch.where(alpha < 0, alpha, alphas[self.view, alpha.clamp_min(0)])

    def triangles(self, rotations: Tensor, translations: Tensor, size: int) -> Triangles:
        """All triangles in the pixels of their cameras, in the cameras' precision."""
        parts = []
        scale = intrinsics(size)
        for face, rotation, translation in zip(self.faces, rotations, translations, strict=True):
            camera = to_camera(face.attributes[:, :3].to(rotation.dtype), rotation, translation)
            flat = camera[:, :2] / camera[:, 2:] * float(scale[0, 0]) + float(scale[0, 2])
            parts.append(torch.cat([flat, camera[:, 2:]], dim=-1))
        return Triangles(torch.cat(parts)[self.vertex], self.view, self.number, self.uv, self.alpha)

    def shade(
        self, fragments: FragmentBatch, material: Int[Tensor, "n f f"], eye: Float[Tensor, "n 3"], atlas: Atlas
    ) -> tuple[Float[Tensor, "n s s 3"], Float[Tensor, "n s s"]]:
        """(linear colour times coverage, coverage): as `shading.shade` with `SUPERSAMPLING` fragments a side."""
        weight = _sample_weight(_blocks(material))
        chosen = weight.reshape(-1).nonzero()[:, 0]
        owner = _blocks(fragments.triangle).reshape(-1)[chosen]
        bary = _blocks(fragments.barycentric).reshape(-1, 2)[chosen].float()
        colours = eye.new_zeros((weight.numel(), 3), dtype=torch.float32)
        colours[chosen] = self._colour(owner, bary, eye.float(), atlas) * weight.reshape(-1)[chosen, None]
        return colours.view(*weight.shape, 3).sum(-2), weight.sum(-1)

    def _colour(self, owner: Tensor, bary: Tensor, eye: Tensor, atlas: Atlas) -> Float[Tensor, "k 3"]:
        """Texture x colour of the material x diffuse light, and the shine of three lights."""
        view, material = self.view[owner], self.material[owner]
        weight = torch.cat([bary, 1 - bary.sum(-1, keepdim=True)], dim=-1)[..., None]
        values = torch.cat([face.attributes for face in self.faces])[self.vertex[owner]]
        place, normal, diffuse, seen = (weight * values).sum(1).split(3, dim=-1)
        flat = torch.stack([face.flat for face in self.faces])[view, material]
        colour = flat * self._texture(view, material, (weight * self.uv[owner]).sum(1), atlas) * diffuse
        return colour + self._shine(view, material, normal, eye[view] - place, seen)

    def _texture(self, view: Tensor, material: Tensor, uv: Tensor, atlas: Atlas) -> Tensor:
        """Colour of the texture, 1 where the material has none."""
        skin, worn = _skin(material), material >= materials.CLOTH
        eye, hair = material == materials.EYE, material == materials.HAIR
        which = eye + 2 * hair + 3 * worn
        numbers = torch.tensor([face.colours for face in self.faces], device=view.device)[view, which]
        uv = torch.where(eye[:, None], uv.clamp(0, 0.999), uv)
        return torch.where((skin | eye | hair | worn)[:, None], atlas.bilinear(numbers, uv, skin), 1.0)

    def _shine(self, view: Tensor, material: Tensor, normal: Tensor, sight: Tensor, seen: Tensor) -> Tensor:
        """Blinn-Phong highlights with Schlick's Fresnel term."""
        table = torch.as_tensor(materials.TABLE, device=view.device)[material]
        oil = torch.tensor([face.oiliness for face in self.faces], device=view.device)[view]
        strength, exponent = torch.where(_skin(material), oil, 1.0) * table[:, 0], table[:, 1, None]
        towards, power = (torch.stack([getattr(face, name) for face in self.faces]) for name in ("towards", "power"))
        sight, normal = _unit(sight)[:, None], _unit(normal)[:, None]
        half = _unit(sight + towards[view])
        facing = (normal * half).sum(-1)
        grazing = 1 - (sight * half).sum(-1).clamp(0, 1)
        fresnel = 0.04 + 0.96 * grazing**5  # Schlick 1994, Eq. 24
        lit = (facing > 0) & (exponent * (facing - 1) >= -7)  # else below 0.001
        glow = torch.where(lit, facing.clamp_min(1e-6) ** exponent, 0.0) * 6 * strength[:, None] * fresnel * seen
        return (glow[..., None] * power[view]).sum(1)


def _skin(material: Tensor) -> Tensor:
    return (material == materials.SKIN) | (material == materials.HAND)


def _sample_weight(material: Int[Tensor, "n s s k"]) -> Float[Tensor, "n s s k"]:
    """Inside one material two fragments of a diagonal count, elsewhere all four."""
    hit = material >= 0
    plain = (hit & (material == material[..., :1])).all(-1, keepdim=True)
    diagonal = torch.tensor([0.5, 0.0, 0.0, 0.5], device=material.device)
    return torch.where(plain, diagonal, 0.25) * hit


def _blocks(values: Tensor) -> Tensor:
    """(n, 2 s, 2 s, ...) -> (n, s, s, 4, ...): the fragments of a pixel."""
    side = values.shape[1] // SUPERSAMPLING
    parts = values.unflatten(2, (side, SUPERSAMPLING)).unflatten(1, (side, SUPERSAMPLING))
    return parts.transpose(2, 3).flatten(3, 4)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / (vectors.square().sum(-1, keepdim=True) + 1e-12).sqrt()
