"""M3-LRN, also known as SynergyNet: a face crop -> 3DMM parameters and 68 refined landmarks (Wu et al. 2021)."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from facelift.checkpoints.released_frame import CROP, POINT_SHIFT, POINT_SIGNS, parameters_from_released
from facelift.models.encoders import build_encoder, pooled
from facelift.models.heads import full_precision
from facelift.models.m3lrn_config import POSE, M3LRNConfig
from facelift.models.pointnet import LandmarkRegressor, Refinement

if TYPE_CHECKING:
    from facelift.morphable.linear import LinearModel

DROPOUT = 0.2
RELEASED_STEP = 0.05
"""Factor of the released code's residual."""


ROWS = ("mean", "shape", "expression")
"""What a network holds of its linear model's landmarks, as buffers landmark_*."""


class M3LRNOutput(NamedTuple):
    """The network's output for a batch of crops; p = 12 + shape + expression numbers, pose as a 3x4 matrix by rows."""

    parameters: Float[Tensor, "b p"]
    """Dewhitened; the pose maps model points to px of the crop, y down, z away from the camera."""
    whitened: Float[Tensor, "b p"]
    """In the network's own whitening (and frame: a released network's pose is in its own)."""
    landmarks: Float[Tensor, "b 68 3"]
    """Refined; px of the crop."""
    coarse: Float[Tensor, "b 68 3"]
    """Those of the 3DMM, before refinement; px of the crop."""
    from_landmarks: Float[Tensor, "b p"] | None
    """Whitened parameters regressed from `landmarks`; what the support does not regress is that of `whitened`,
    without gradient. None without support."""


class M3LRN(nn.Module):
    """Picture -> z -> 3DMM -> 68 landmarks -> refined landmarks -> 3DMM again, for training.

    The landmarks enter the point networks as (x, y) / 60 - 1, z / 60. Released code: as px; here: centred and scaled,
    because the norm behind the first layer makes both equal, but for rounding. Residuals are px.
    """

    landmark_mean: Tensor
    landmark_shape: Tensor
    landmark_expression: Tensor
    mean: Tensor
    std: Tensor
    point_scale: Tensor
    point_shift: Tensor
    residual_scale: Tensor

    def __init__(self, config: M3LRNConfig | None = None, model: "LinearModel | None" = None):
        """`model`: its 68 landmark rows and whitening are taken, as buffers; None: zeros, to be filled from a file.

        Raises ValueError for a model with other numbers of coefficients than the configuration's.
        """
        super().__init__()
        self.config = config = config or M3LRNConfig()
        self.image_size = CROP
        self.encoder = build_encoder(config.encoder)
        self.dropout = nn.Dropout(DROPOUT)
        width = self.encoder.width
        self.heads = nn.ModuleDict({name: _head(width, size) for name, size in config.sizes.items()})
        context = {"image": width, "shape": config.shape_size, "expression": config.expression_size}
        self.refinement = self.support = None
        if config.refine:
            beside = sum(size for name, size in context.items() if name in config.inputs)
            self.refinement = Refinement(
                context=beside,
                point="point" in config.inputs,
                width=config.refinement_width,
                released=config.released,
            )
        if config.support != "none":
            self.support = LandmarkRegressor(
                sizes=config.regressed, image=width, support=config.support, released=config.released
            )
        self._register_rows(model)
        self._register_units()

    def _register_rows(self, model: "LinearModel | None") -> None:
        shapes, expressions = self.config.shape_size, self.config.expression_size
        total = POSE + shapes + expressions
        self.register_buffer("landmark_mean", torch.zeros(68, 3))
        self.register_buffer("landmark_shape", torch.zeros(shapes, 68, 3))
        self.register_buffer("landmark_expression", torch.zeros(expressions, 68, 3))
        self.register_buffer("mean", torch.zeros(total))
        self.register_buffer("std", torch.ones(total))
        if model is None:
            return
        if (len(model.shape), len(model.expression)) != (shapes, expressions):
            raise ValueError(
                f"linear model: expected {shapes} shape and {expressions} expression coefficients, "
                f"found {len(model.shape)} and {len(model.expression)}"
            )
        rows = model.landmark_vertices
        self.landmark_mean.copy_(torch.as_tensor(model.mean[rows]))
        self.landmark_shape.copy_(torch.as_tensor(model.shape[:, rows]))
        self.landmark_expression.copy_(torch.as_tensor(model.expression[:, rows]))
        self.mean.copy_(torch.as_tensor(model.whitening.mean))
        self.std.copy_(torch.as_tensor(model.whitening.std))

    def _register_units(self) -> None:
        """What the point networks see = point_scale x landmarks + point_shift; px = residual_scale x residual."""
        scale, shift, step = torch.full((3,), 2 / CROP), torch.tensor([-1.0, -1.0, 0.0]), torch.ones(3)
        if self.config.released:
            scale, shift = torch.tensor(POINT_SIGNS), torch.tensor(POINT_SHIFT)
            step = RELEASED_STEP * scale
        self.register_buffer("point_scale", scale, persistent=False)
        self.register_buffer("point_shift", shift, persistent=False)
        self.register_buffer("residual_scale", step, persistent=False)

    def forward(self, image: Float[Tensor, "b 3 s s"], *, support: bool = True) -> M3LRNOutput:
        """`image`: RGB in [0, 1], 120 px; a released network turns it to BGR itself. `support`: run the
        landmark-to-3DMM regressor, which is of no use outside of training."""
        z = pooled(self.encoder, image.flip(1) if self.config.released else image)
        with full_precision(z):
            return self._read(z.float(), support=support)

    def _read(self, z: Float[Tensor, "b w"], *, support: bool) -> M3LRNOutput:
        groups = {name: head(self.dropout(z)) for name, head in self.heads.items()}
        whitened = torch.cat(list(groups.values()), dim=-1)
        parameters = self.dewhiten(whitened)
        coarse = self.landmarks(parameters)
        refined = coarse if self.refinement is None else coarse + self._residual(coarse, z, groups)
        regressed = None
        if self.support is not None and support:
            found = self.support(self._seen(refined), z)
            regressed = torch.cat([found.get(name, own.detach()) for name, own in groups.items()], dim=-1)
        return M3LRNOutput(parameters, whitened, refined, coarse, regressed)

    def dewhiten(self, whitened: Float[Tensor, "b p"]) -> Float[Tensor, "b p"]:
        """Parameters in our frame; a released network's whitened ones are in its own."""
        parameters = self.mean + self.std * whitened
        return parameters_from_released(parameters) if self.config.released else parameters

    def landmarks(self, parameters: Float[Tensor, "b p"]) -> Float[Tensor, "b 68 3"]:
        """The 3DMM's landmarks of dewhitened parameters in our frame: sR v + t."""
        pose, shape, expression = parameters.split(list(self.config.sizes.values()), dim=-1)
        moved = shape @ self.landmark_shape.flatten(1) + expression @ self.landmark_expression.flatten(1)
        points = self.landmark_mean + moved.unflatten(-1, (68, 3))
        rows = pose.unflatten(-1, (3, 4))
        return points @ rows[..., :3].mT + rows[..., None, :, 3]

    def _residual(self, coarse: Tensor, z: Tensor, groups: dict[str, Tensor]) -> Float[Tensor, "b m 3"]:
        known = {"image": z, "shape": groups["shape"], "expression": groups["expression"]}
        beside = [value for name, value in known.items() if name in self.config.inputs]
        context = torch.cat(beside, dim=-1) if beside else z[:, :0]
        assert self.refinement is not None
        return self.residual_scale * self.refinement(self._seen(coarse), context)

    def _seen(self, landmarks: Float[Tensor, "b 68 3"]) -> Float[Tensor, "b 68 3"]:
        """Landmarks in the unit of the point networks."""
        return self.point_scale * landmarks + self.point_shift


def require_rows(model: "LinearModel", *found: Tensor | None) -> None:
    """Raises ValueError unless a network's landmark rows, in the order of `ROWS`, are those of this linear model."""
    for name, own in zip(ROWS, found, strict=True):
        given = getattr(model.landmark_model, name)
        same = own is not None and tuple(own.shape) == given.shape
        if not same or not np.allclose(own, given, rtol=1e-4, atol=1e-6):  # type: ignore[arg-type]
            raise ValueError(f"{model.name}: expected the linear model that the network learned, found another {name}")


def _head(width: int, size: int) -> nn.Linear:
    """A head that starts near the mean parameters."""
    head = nn.Linear(width, size)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return head
