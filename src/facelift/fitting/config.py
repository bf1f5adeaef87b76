"""How a fit is done."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FitConfig:
    """Options of a fit. A residual counts in deviations: px over `noise` times the size of the face, sqrt(w h) of its
    points' box, times the point's weight."""

    rigid_iterations: int = 20
    """At most so many steps of the pose alone, first."""
    iterations: int = 20
    """At most so many steps of everything."""
    noise: float = 0.01
    """Deviation of a point of weight 1, as a share of the face's size."""
    shape_prior: float = 1.0
    """Weight of the squared shape coefficients, in deviations."""
    expression_prior: float = 1.0
    """Weight of the squared expression coefficients, in deviations."""
    joint_std_deg: float = 10.0
    """Deviation of joint angles from zero."""
    kernel: Literal["none", "huber", "cauchy"] = "none"
    """What outliers count: squares, or less."""
    kernel_scale: float = 3.0
    """Deviations from which a residual counts less."""
    focal: bool = False
    """Fit the focal length too."""
    smooth: float = 0.0
    """Of joint fits: weight of the squared change of expression and joints (in deviations) and of the pose (in
    hundredths of a rad and of the distance) from frame to frame."""
    independent_frames: int = 4
    """Of joint fits: landmarks err alike in all frames of a person, so the shape's prior grows with the frames, and
    they count as no more than so many."""
    rigid_points: int = 256
    """The first stage looks at no more points than these, evenly chosen."""
    min_points: int = 6
    """A face with fewer points of `min_weight` is not fitted."""
    min_weight: float = 0.01
    """Points of less weight still pull by it, but tell neither that a face is there nor its size."""
    tolerance: float = 1e-5
    """A face is done when a step promises less than this share of its cost; 0: never."""

    def check(self) -> None:
        """Raises ValueError for numbers out of range."""
        positive = ("noise", "joint_std_deg", "kernel_scale", "rigid_points", "min_points", "independent_frames")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a positive number, found {getattr(self, name)}")
        for name in (
            "rigid_iterations",
            "iterations",
            "shape_prior",
            "expression_prior",
            "smooth",
            "tolerance",
            "min_weight",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: expected 0 or more, found {getattr(self, name)}")
