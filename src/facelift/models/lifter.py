"""The lifter: a face crop -> 3D landmarks, head pose, 2.5D points with covariance, visibility (Ferman et al. 2024)."""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facelift.checkpoints.safe_load import fill
from facelift.geometry import intrinsics, project, rotation_from_6d, sphere_translation
from facelift.losses.laplacian import cholesky_from_raw
from facelift.models.decoder import TokenDecoder
from facelift.models.encoders import build_encoder, map_channels, see, token_count
from facelift.models.heads import Head, full_precision

FRONTAL_6D = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
"""6D form of a camera straight in front: what a fresh rotation head predicts."""
OFFSET_SCALE, T_XY_SCALE, T_Z_SCALE, SIGMA_SCALE, MARK_SCALE = 0.05, 0.1, 0.5, 0.02, 0.05
"""Units of the heads' outputs, so that all of them work at the scale of one: canonical units and crop widths."""


class LifterOutput(NamedTuple):
    """The lifter's output for a batch of crops."""

    landmarks: Float[Tensor, "b 98 3"]
    """Canonical head frame."""
    rotation: Float[Tensor, "b 3 3"]
    """cam_from_canonical."""
    translation: Float[Tensor, "b 3"]
    points: Float[Tensor, "b 98 2"]
    """Projection by the fixed intrinsics, crop widths."""
    cholesky: Float[Tensor, "b 98 2 2"]
    """Lower-triangular factor of the covariance of `points`, crop widths."""
    visibility: Float[Tensor, "b 98"]
    """Logit that the landmark is seen."""
    marks: Float[Tensor, "b 98 2"]
    """Where people mark the landmarks in the picture: the jaw on the visible outline. Crop widths."""
    marks_cholesky: Float[Tensor, "b 98 2 2"]
    """Lower-triangular factor of the covariance of `marks`, crop widths."""
    glance: Float[Tensor, "b 98 2"]
    """Where the decoder took its closer look, crop widths; `points` where the encoder has no maps for one."""
    gaze: Float[Tensor, "b k 98 t"] | None = None
    """The decoder's, in training and where it is asked for."""

    def rows(self, chosen: slice) -> "LifterOutput":
        """Of some faces of the batch."""
        return LifterOutput(*(part[chosen] for part in self if part is not None))


class Lifter(nn.Module):
    """Encoder, token decoder and heads; 3D = template + offset, t = t_sphere(R) + dt, 2.5D = projection.

    Beyond the paper: `marks` = projection + residual. People mark the jaw of a turned head on its outline, which
    is no fixed place of the skull; without a head of their own they would bend the 3D jaw towards the camera.
    """

    template: Tensor
    frontal: Tensor
    K: Tensor

    def __init__(self, *, encoder: str = "mobile", template: Float[Tensor, "98 3"] | None = None):
        super().__init__()
        self.encoder = build_encoder(encoder)
        self.decoder = TokenDecoder(
            tokens=98 + 3,
            image_width=self.encoder.width,
            image_tokens=token_count(self.encoder),
            map_channels=map_channels(self.encoder),
        )
        width = self.decoder.width
        self.offset, self.spread, self.marks = Head(width, 3), Head(width, 4), Head(width, 5)
        self.rotation, self.t_xy, self.t_z = Head(width, 6), Head(width, 2), Head(width, 1)
        self.register_buffer("template", torch.zeros(98, 3) if template is None else template.float().clone())
        self.register_buffer("frontal", torch.tensor(FRONTAL_6D), persistent=False)
        self.register_buffer("K", torch.tensor(intrinsics(1.0), dtype=torch.float32), persistent=False)

    def forward(self, image: Float[Tensor, "b 3 s s"], *, gaze: bool = False) -> LifterOutput:
        """`gaze`: in training, tell where the landmarks' tokens look."""
        tokens, glance, gazes = self.decoder(*see(self.encoder, image), gaze=gaze)
        with full_precision(tokens):
            return self._read(tokens.float(), glance)._replace(gaze=gazes)

    def _read(self, tokens: Float[Tensor, "b 101 w"], glance: Tensor | None) -> LifterOutput:
        marks, turn, shift, depth = tokens[:, :98], tokens[:, 98], tokens[:, 99], tokens[:, 100]
        landmarks = self.template + OFFSET_SCALE * self.offset(marks)
        rotation = rotation_from_6d(self.frontal + self.rotation(turn))
        residual = torch.cat([T_XY_SCALE * self.t_xy(shift), T_Z_SCALE * self.t_z(depth)], dim=-1)
        translation = sphere_translation(rotation) + residual
        spread, marked = self.spread(marks), self.marks(marks)
        points = project(landmarks, rotation, translation, self.K)
        return LifterOutput(
            landmarks,
            rotation,
            translation,
            points,
            SIGMA_SCALE * cholesky_from_raw(spread[..., :3]),
            spread[..., 3],
            points.detach() + MARK_SCALE * marked[..., :2],
            SIGMA_SCALE * cholesky_from_raw(marked[..., 2:]),
            points.detach() if glance is None else glance.float(),
        )

    def start_from_detector(self, state: dict[str, Tensor], *, path: Path | str) -> None:
        """Takes encoder and decoder from a trained 2D detector; the three pose tokens stay as they are.

        Raises ValueError that names the file if it is no detector with this encoder.
        """
        own = self.state_dict()
        taken = {name: value for name, value in state.items() if name.startswith(("encoder.", "decoder."))}
        if "decoder.tokens" in taken:
            marks = taken["decoder.tokens"]
            taken["decoder.tokens"] = torch.cat([marks, own["decoder.tokens"][len(marks) :]])
        rest = {name: value for name, value in own.items() if not name.startswith(("encoder.", "decoder."))}
        fill(self, rest | taken, path=path)
