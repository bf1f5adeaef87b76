"""What every source of views offers: a seed is a face, seen from any camera, always the same."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8

HEADS = 2
"""Version of what a seed is: changes where the heads of the same seeds do, so that their labels and views are not
mixed with older ones. 1: before blinks closed every eye; 2: with hard blinks, mixed and one-sided expressions."""

HEAD_KINDS = ("morphable", "procedural")
"""Generators, by their names on the command line, that are no networks and whose landmarks are known."""


@dataclass(frozen=True)
class View:
    """A picture with its exact camera."""

    image: UInt8[np.ndarray, "s s 3"]
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]
    size: int
    points: Float[np.ndarray, "98 2"] | None
    """Exact projections of the WFLW-98 landmarks, px; None where truth is not known."""
    visible: Bool[np.ndarray, "98"] | None
    """Whether a landmark faces the camera with nothing before it."""
    covered: Bool[np.ndarray, "98"] | None = None
    """Whether a landmark faces the camera, but with hair, glasses, a hand or the like before it."""
    coverage: Float[np.ndarray, "s s"] | None = None
    """Share of each pixel that the head covers, 0..1; None where not known."""


@runtime_checkable
class Generator(Protocol):
    """Same seed, same face, same picture; whatever the camera."""

    name: str

    def landmarks(self, seed: int) -> Float[np.ndarray, "98 3"] | None:
        """Exact canonical landmarks; None where truth is not known."""

    def render(
        self,
        seed: int,
        rotations: Float[np.ndarray, "n 3 3"],
        translations: Float[np.ndarray, "n 3"],
        size: int = 256,
        *,
        background: int | None = None,
    ) -> list[View]:
        """One face from n cameras. `background` is the seed of the scene behind it; the face's own if not given."""


def checked_focal(focal: float) -> None:
    """Raises ValueError for a factor of the focal length that is not positive."""
    if not focal > 0:
        raise ValueError(f"focal: expected a factor above 0, found {focal}")
