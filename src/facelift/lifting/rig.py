"""The fixed rig of cameras from which every generated face is seen (Ferman et al. 2024, 41 views)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, UInt8

from facelift.geometry import look_at_rotation, sphere_translation


@dataclass(frozen=True, eq=False)
class Rig:
    """Cameras on the sphere, each named by where it stands."""

    azimuth_deg: Float[np.ndarray, "views"]
    """> 0: towards the subject's left."""
    elevation_deg: Float[np.ndarray, "views"]
    """> 0: above."""

    def __len__(self) -> int:
        return len(self.azimuth_deg)

    @cached_property
    def rotations(self) -> Float[np.ndarray, "views 3 3"]:
        """cam_from_world."""
        return look_at_rotation(self.azimuth_deg, self.elevation_deg)

    @cached_property
    def translations(self) -> Float[np.ndarray, "views 3"]:
        """cam_from_world, canonical units."""
        return sphere_translation(self.rotations)

    def take(self, indices: np.ndarray) -> "Rig":
        """The rig of these cameras alone."""
        return Rig(self.azimuth_deg[indices], self.elevation_deg[indices])


# Nested, so that a smaller rig's detections are among the larger one's. Each entry: azimuths at one elevation, each for
# both sides, above and below. Paper: 41 views in the same range, listed nowhere; here:
# 31 of them within 45 degrees of azimuth, where 2D detectors are at their best.
_STAGES: tuple[tuple[int, tuple[tuple[int, tuple[int, ...]], ...]], ...] = (
    (5, ((0, (0, 35)), (30, (0,)))),
    (9, ((0, (16, 60)),)),
    (21, ((0, (45,)), (15, (0, 30)), (30, (25,)))),
    (41, ((0, (8, 25, 75, 90)), (15, (15, 45, 65)))),
)
RIG_SIZES: tuple[int, ...] = tuple(size for size, _ in _STAGES)
"""Sizes of the named rigs, each a part of the next."""


def rig(size: int = 41) -> Rig:
    """The fixed rig of 5, 9, 21 or 41 views; the smaller ones are its first views.

    Azimuth -90..90, elevation -30..30, symmetric in both, densest around the frontal view, which comes first.
    Raises ValueError for another size.
    """
    if size not in RIG_SIZES:
        raise ValueError(f"rig: expected one of {RIG_SIZES} views, found {size}")
    places: list[tuple[float, float]] = []
    for _, rows in _STAGES:
        for elevation, azimuths in rows:
            places += [
                (float(a), float(e))
                for e in sorted({elevation, -elevation}, reverse=True)
                for azimuth in azimuths
                for a in sorted({-azimuth, azimuth})
            ]
    azimuth_deg, elevation_deg = np.array(places[:size]).T
    return Rig(azimuth_deg, elevation_deg)


def rig_picture(size_px: tuple[int, int] = (1100, 460)) -> UInt8[np.ndarray, "h w 3"]:
    """Drawing of the rigs: every camera's azimuth and elevation, and the rig seen from above. Needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size_px[0] / 100, size_px[1] / 100), dpi=100, layout="constrained")
    plane, above = figure.subplots(1, 2, width_ratios=(2.2, 1))
    full = rig()
    for first, last, colour in zip(
        (0, *RIG_SIZES), RIG_SIZES, ("#d1495b", "#edae49", "#00798c", "#5c677d"), strict=False
    ):
        part = full.take(np.arange(first, last))
        label = f"rig of {last}" if first == 0 else f"added in the rig of {last}"
        plane.scatter(part.azimuth_deg, part.elevation_deg, s=55, color=colour, label=label, zorder=3)
        eye = -np.einsum("vji,vj->vi", part.rotations, part.translations)
        above.scatter(eye[:, 0], eye[:, 2], s=30, color=colour, zorder=3)
    plane.set(xlabel="azimuth [deg], > 0 towards the subject's left", ylabel="elevation [deg], > 0 above")
    plane.set(xticks=range(-90, 91, 15), yticks=range(-30, 31, 15), ylim=(-38, 52))
    plane.legend(loc="upper center", ncols=4, fontsize=8, frameon=False)
    above.annotate("", (0, 0.75), (0, 0.1), arrowprops={"arrowstyle": "->", "color": "black"})
    above.text(0, -0.1, "head,\nfacing up here", ha="center", va="top", fontsize=8)
    above.set(xlabel="x (subject's left)", ylabel="z (out of the face)", title="seen from above", aspect="equal")
    above.set(xlim=(-3, 3), ylim=(-0.9, 3))
    for axes in (plane, above):
        axes.grid(alpha=0.3)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].copy()
