"""A triangle mesh with what colours it, ready to be written."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8


@dataclass(frozen=True, eq=False)
class ColouredMesh:
    """A mesh with a texture, with colours of its vertices, with both or neither.

    Viewers, and the glTF format, take y as up and look at a face from +z: `y_up` turns the image frame into that.
    Raises ValueError for no vertices, numbers that are not finite, indices outside of the mesh, a texture without uv,
    and uv or colours of another number of vertices.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    """Corners anticlockwise seen from outside."""
    uv: Float[np.ndarray, "_ 2"] | None = None
    """One a vertex, 0..1, v up."""
    texture: UInt8[np.ndarray, "h w 3"] | None = None
    """sRGB."""
    colours: UInt8[np.ndarray, "_ 3"] | None = None
    """One a vertex, sRGB."""

    def __post_init__(self) -> None:
        count = len(self.vertices)
        if not count:
            raise ValueError("mesh: expected vertices, found none")
        for name, values in (("vertices", self.vertices), ("uv", self.uv)):
            if values is not None and not np.isfinite(values).all():
                raise ValueError(
                    f"mesh: expected finite {name}, found {int((~np.isfinite(values)).sum())} other numbers"
                )
        if self.faces.size and not 0 <= self.faces.min() <= self.faces.max() < count:
            found = f"{self.faces.min()}..{self.faces.max()}"
            raise ValueError(f"mesh: expected faces of vertices 0..{count - 1}, found {found}")
        if self.texture is not None and self.uv is None:
            raise ValueError("mesh: expected uv with a texture, found none")
        for name, values in (("uv", self.uv), ("colours", self.colours)):
            if values is not None and len(values) != count:
                raise ValueError(f"mesh: expected {name} of {count} vertices, found {len(values)}")


def y_up(vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    """Image frame (y down, z away from the camera) -> y up, z towards who looks: half a turn about x, which leaves the
    fronts of the triangles where they were."""
    return vertices * np.array([1, -1, -1], vertices.dtype)
