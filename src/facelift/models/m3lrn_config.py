"""What of M3-LRN can be switched; importable without torch."""

from dataclasses import dataclass
from typing import Literal

import tyro

Backbone = Literal[
    "mobilenetv2",
    "mobilenetv1",
    "mobilenetv1_05",
    "mobile_global",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnest50",
    "resnest101",
]
"""Encoders, of those in `encoders`, that take pictures of 120 px."""
Input = Literal["point", "image", "shape", "expression"]
INPUTS: tuple[Input, ...] = ("point", "image", "shape", "expression")
Support = Literal["none", "paper", "setting1", "setting2"]
"""Designs of the landmark-to-3DMM regressor: see `pointnet.LandmarkRegressor`."""
POSE = 12
"""Numbers of a pose."""


@dataclass(frozen=True)
class M3LRNConfig:
    """What of M3-LRN is on; the ablations of the paper are choices of these."""

    encoder: Backbone = "mobilenetv2"
    refine: bool = True
    """Refine the 3DMM's landmarks (M2FA)."""
    inputs: tuple[Input, ...] = INPUTS
    """What the refinement sees: the landmarks, the picture's z, and the whitened shape and expression."""
    refinement_width: float = 1.0
    """Width of all layers of the refinement over the paper's: on CPUs those cost a third of the first stage."""
    support: Support = "paper"
    """Landmark-to-3DMM regressor, a support of training alone: the paper's, setting1, setting2, or none."""
    target: Literal["all", "pose", "shape_expression"] = "all"
    """What the support regresses."""
    released: tyro.conf.Suppress[bool] = False
    """The released code's network, exactly, for its checkpoints: BGR, its frame, batch norm and ReLU after last layers
    (no residual is below 0), residual x 0.05."""
    shape_size: tyro.conf.Suppress[int] = 40
    """The linear model's, as that of expressions: a training takes both from its file."""
    expression_size: tyro.conf.Suppress[int] = 10

    def __post_init__(self) -> None:
        if self.refine and not self.inputs:
            raise ValueError(f"inputs: expected some of {', '.join(INPUTS)} for a refinement, found none")
        if not 0.1 <= self.refinement_width <= 4:
            raise ValueError(f"refinement width: expected 0.1 to 4, found {self.refinement_width:g}")

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers of each group of parameters, in order."""
        return {"pose": POSE, "shape": self.shape_size, "expression": self.expression_size}

    @property
    def regressed(self) -> dict[str, int]:
        """Groups of parameters that the support regresses."""
        chosen = {"all": tuple(self.sizes), "pose": ("pose",), "shape_expression": ("shape", "expression")}
        return {name: self.sizes[name] for name in chosen[self.target]}
