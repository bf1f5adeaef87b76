"""EG3D (Chan et al. 2022) and PanoHead (An et al. 2023): styles, feature planes, a field, pictures from any camera.

Parameters are named as in the released weights. The same network at another size is our own small GAN.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from facelift.models.stylegan2 import (
    Backbone,
    FullyConnected,
    Noise,
    Synthesis,
    SynthesisBlock,
    SynthesisConfig,
    ToRGB,
    activated,
)
from facelift.models.volume import (
    AXES,
    Composite,
    RayConfig,
    Rays,
    composite,
    even_depths,
    importance_depths,
    interval_weights,
    ray_ends,
    rays_of,
    sample_planes,
)

ACTIVATIONS = ("sigmoid", "lrelu", "none")
NOTHING = -1e3
"""Raw density of what is cropped."""


@dataclass(frozen=True)
class TriPlaneConfig:
    """Sizes and settings of a generator; the defaults are EG3D's for FFHQ at 512 px."""

    axes: str = "eg3d"
    """Key of `volume.AXES`."""
    z_size: int = 512
    c_size: int = 25
    """Of the mapping's condition: camera to world 4 x 4, row by row, and K in picture widths."""
    mapping_layers: int = 2
    backbone: SynthesisConfig = field(default_factory=SynthesisConfig)
    grid_depth: int = 1
    """Cells across a plane: 1, planes; 3, PanoHead's tri-grids."""
    hidden: int = 64
    """Width of the decoder."""
    rays: RayConfig = field(default_factory=RayConfig)
    box: float = 1.0
    """Side of the cube about the origin that the planes span, canonical units."""
    raw_size: int = 128
    """Side of the rendered picture, px."""
    upsampler_input: int = 128
    """Side to which that picture is brought before superresolution."""
    upsampler: tuple[int, ...] = (256, 128)
    """Channels of superresolution's grids, each twice the side of the one before."""
    upsampler_clamp: float | None = 256.0
    upsampler_noise: Noise = "none"
    background: SynthesisConfig | None = None
    """A picture behind the field, for PanoHead."""
    own_rgb: bool = False
    """Whether the raw picture comes from a layer of its own instead of the first three features."""
    c_scale: float = 1.0
    """Factor of the condition."""
    look_at: tuple[float, float, float] = (0.0, 0.0, 0.2)
    """What the cameras of training looked at, from `rays.radius` away from the origin; the conditioning pose's too."""
    decoder_activation: str = "sigmoid"
    """Of the decoder's features. sigmoid: EG3D's, 0..1, of which the picture is made as 2 x - 1; none: PanoHead's, as
    they are; lrelu: as they are behind a leaky ReLU."""
    crop: float = 0.0
    """No density so near to the box's sides in x and z, canonical units; PanoHead's renderer has 0.1."""

    def __post_init__(self) -> None:
        if self.decoder_activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"decoder_activation: expected one of {known}, found {self.decoder_activation!r}")
        if not 0 <= self.crop < self.box / 2:
            raise ValueError(f"crop: expected 0 to less than half the box of {self.box}, found {self.crop}")

    @property
    def features(self) -> int:
        """Of a cell."""
        return self.backbone.channels // (3 * self.grid_depth)

    @property
    def size(self) -> int:
        """Side of the picture, px."""
        return self.upsampler_input * 2 ** len(self.upsampler)


class Pictures(NamedTuple):
    """Pictures of one call; colours -1..1, beyond by a little."""

    image: Float[Tensor, "b 3 s s"]
    raw: Float[Tensor, "b 3 r r"]
    """Before superresolution."""
    depth: Float[Tensor, "b 1 r r"]
    """Distance along the unit ray."""
    mask: Float[Tensor, "b 1 r r"]
    """Share of a pixel that the field covers."""


class Decoder(nn.Module):
    """Mean of the planes' features -> density and features."""

    def __init__(self, inputs: int, hidden: int, *, activation: str = "sigmoid"):
        """`activation`: see `TriPlaneConfig.decoder_activation`."""
        super().__init__()
        self.activation = activation
        self.net = nn.Sequential(FullyConnected(inputs, hidden), nn.Softplus(), FullyConnected(hidden, 1 + inputs))

    def forward(self, sampled: Float[Tensor, "b n 3 c"]) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b n"]]:
        """(features, raw density); a sigmoid's features reach from -0.001 to 1.001."""
        x = self.net(sampled.mean(2))
        features = x[..., 1:]
        if self.activation == "sigmoid":
            features = torch.sigmoid(features) * 1.002 - 0.001
        elif self.activation == "lrelu":
            features = activated(features)
        return features, x[..., 0]


class Superresolution(nn.Module):
    """Features and raw picture -> a picture of 2^n times the side, styled by the last w alone."""

    def __init__(self, config: TriPlaneConfig):
        super().__init__()
        self.side, self.noise = config.upsampler_input, config.upsampler_noise
        self.count = len(config.upsampler)
        before, side = config.features, self.side
        for index, width in enumerate(config.upsampler):
            side *= 2
            block = SynthesisBlock(before, width, config.backbone.w_size, side, 3, clamp=config.upsampler_clamp)
            self.add_module(f"block{index}", block)
            before = width

    def forward(
        self, image: Float[Tensor, "b 3 r r"], features: Float[Tensor, "b c r r"], ws: Float[Tensor, "b n e"]
    ) -> Float[Tensor, "b 3 s s"]:
        style = ws[:, -1:].expand(-1, 3, -1)
        if image.shape[-1] != self.side:
            image, features = resized(image, self.side), resized(features, self.side)
        for index in range(self.count):
            features, image = self.get_submodule(f"block{index}")(features, image, style, self.noise)
        return image


def resized(x: Float[Tensor, "b c h w"], side: int) -> Float[Tensor, "b c s s"]:
    """Bilinear, with a filter against aliasing where it shrinks."""
    return interpolate(x, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


class TriPlaneGenerator(nn.Module):
    """Latent in, pictures from any camera out."""

    def __init__(self, config: TriPlaneConfig):
        super().__init__()
        self.config = config
        self.backbone = Backbone(
            config.backbone, z_size=config.z_size, c_size=config.c_size, layers=config.mapping_layers
        )
        self.decoder = Decoder(config.features, config.hidden, activation=config.decoder_activation)
        self.superresolution = Superresolution(config)
        self.background = Synthesis(config.background) if config.background else None
        self.torgb = ToRGB(config.features, 3, config.backbone.w_size) if config.own_rgb else None

    def styles(
        self, z: Float[Tensor, "b z"], c: Float[Tensor, "b c"], *, truncation: float = 1.0
    ) -> Float[Tensor, "b n e"]:
        """Of a latent under a conditioning camera, which is not the one that looks: keep it for all views of a face."""
        return self.backbone.mapping(z, c * self.config.c_scale, truncation=truncation)

    @torch.no_grad()
    def centre(self, c: Float[Tensor, "1 c"], *, count: int = 4096) -> None:
        """Makes the mean style of so many fixed latents the one that truncation draws to."""
        z = torch.randn(count, self.config.z_size, generator=torch.Generator().manual_seed(0))
        styles = self.styles(z.to(c.device), c.expand(count, -1))
        self.backbone.mapping.w_avg.copy_(styles[:, 0].mean(0))

    def planes(self, ws: Float[Tensor, "b n e"], *, noise: Noise = "const") -> Float[Tensor, "b 3 c d h w"]:
        """The field's features."""
        made = self.backbone.synthesis(ws, noise=noise)
        return made.unflatten(1, (3, self.config.features, self.config.grid_depth))

    def field(
        self, planes: Float[Tensor, "b 3 c d h w"], points: Float[Tensor, "b n 3"]
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b n"]]:
        """(features, raw density) at canonical points."""
        return self.decoder(sample_planes(planes, points, AXES[self.config.axes], self.config.box))

    def march(self, planes: Float[Tensor, "b 3 c d h w"], rays: Rays, *, jitter: bool = False) -> Composite:
        """Coarse samples, fine ones where those weigh, and both together. `jitter`: coarse ones lie anywhere in their
        shares, for training."""
        config = self.config.rays
        depths = even_depths(*ray_ends(rays, config), config.coarse)
        if jitter:
            depths = depths + (torch.rand_like(depths) - 0.5) * (config.far - config.near) / config.coarse
        features, density = self._along(planes, rays, depths)
        if not config.fine:
            return composite(depths, features, density)
        with torch.no_grad():
            fine = importance_depths(depths, interval_weights(depths, density), config.fine)
        fine_features, fine_density = self._along(planes, rays, fine)
        depths, order = torch.cat([depths, fine], -1).sort(-1)
        density = torch.cat([density, fine_density], -1).gather(-1, order)
        features = torch.cat([features, fine_features], -2)
        return composite(depths, features.gather(-2, order[..., None].expand_as(features)), density)

    def _along(self, planes: Tensor, rays: Rays, depths: Float[Tensor, "b r n"]) -> tuple[Tensor, Tensor]:
        points = rays.origins[..., None, :] + depths[..., None] * rays.directions[..., None, :]
        features, density = self.field(planes, points.flatten(1, 2))
        if self.config.crop:
            density = density.masked_fill(self._cropped(points.flatten(1, 2)), NOTHING)
        return features.unflatten(1, depths.shape[1:]), density.unflatten(1, depths.shape[1:])

    def _cropped(self, points: Float[Tensor, "b n 3"]) -> Bool[Tensor, "b n"]:
        return (points[..., [0, 2]].abs() > self.config.box / 2 - self.config.crop).any(-1)

    def look(
        self,
        ws: Float[Tensor, "f n e"],
        planes: Float[Tensor, "f 3 c d h w"],
        rotation: Float[Tensor, "b 3 3"],
        translation: Float[Tensor, "b 3"],
        K: Float[Tensor, "b 3 3"],
        *,
        raw_size: int | None = None,
        at_once: int = 4096,
        jitter: bool = False,
    ) -> Pictures:
        """Pictures from OpenCV cameras x_cam = R x + t; K in picture widths. As many cameras for each face, those of
        the first face first. `at_once`: rays of a face in memory together."""
        side, faces = raw_size or self.config.raw_size, len(ws)
        cameras = len(rotation) // faces
        rays = (ray.reshape(faces, -1, 3) for ray in rays_of(rotation, translation, K, side))  # one face's share planes
        parts = [
            self.march(planes, Rays(*part), jitter=jitter)
            for part in zip(*(ray.split(at_once, 1) for ray in rays), strict=True)
        ]
        seen = Composite(*(torch.cat(part, 1) for part in zip(*parts, strict=True)))
        features, mask = _as_picture(seen.features, side), _as_picture(seen.weight[..., None], side)
        if self.config.decoder_activation == "sigmoid":
            features = 2 * features - 1
        if self.background is not None:
            features = features + (1 - mask) * self._behind(ws, side).repeat_interleave(cameras, 0)
        styles = ws.repeat_interleave(cameras, 0)
        raw = features[:, :3] if self.torgb is None else self.torgb(features, styles[:, -1])
        return Pictures(
            self.superresolution(raw, features, styles), raw, _as_picture(seen.depth[..., None], side), mask
        )

    def _behind(self, ws: Float[Tensor, "f n e"], side: int) -> Float[Tensor, "f c s s"]:
        assert self.background is not None
        count = self.background.config.w_count
        behind = ws[:, :count] if ws.shape[1] >= count else torch.cat([ws, ws[:, -1:].expand(-1, count, -1)], 1)
        return resized(self.background(behind[:, :count]), side)

    def forward(
        self,
        z: Float[Tensor, "b z"],
        c: Float[Tensor, "b c"],
        rotation: Float[Tensor, "b 3 3"],
        translation: Float[Tensor, "b 3"],
        K: Float[Tensor, "b 3 3"],
        *,
        truncation: float = 1.0,
    ) -> Pictures:
        """All of it: one picture of each latent."""
        ws = self.styles(z, c, truncation=truncation)
        return self.look(ws, self.planes(ws), rotation, translation, K)


def _as_picture(values: Float[Tensor, "f r c"], side: int) -> Float[Tensor, "b c s s"]:
    return values.reshape(-1, side, side, values.shape[-1]).permute(0, 3, 1, 2)
