"""Loss of the face finder: which cells answer for which face, and how wrong they are."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facelift.models.finder import STRIDES, Found, cells

SIDES = ((0.0, 44.0), (28.0, 112.0), (80.0, float("inf")))
"""Longer sides, px, of the faces that each grid answers for; the ranges overlap, so no face falls between two."""
RADIUS = 1.5
"""Cells this near to a face's middle, in strides along x and y, answer for it."""


class SceneTruth(NamedTuple):
    """Faces of a batch of pictures, filled up with NaN; px of the input."""

    boxes: Float[Tensor, "b f 4"]
    points: Float[Tensor, "b f 5 2"]
    """NaN where a point is not labelled."""
    ignored: Float[Tensor, "b g 4"]
    """Places where nobody knows whether there is a face."""


def finder_losses(found: Found, truth: SceneTruth, hw: tuple[int, int]) -> dict[str, Tensor]:
    """`score`: quality focal loss (Li et al. 2020, Eq. 4, beta 2) towards the overlap of the cell's box with its face,
    0 elsewhere, summed and divided by the number of answering cells; `box`: 1 - GIoU (Rezatofighi et al. 2019, Eq. 1);
    `points`: smooth L1 in box sides. The latter two are means over answering cells, weighted by the face's overlap."""
    middles, strides, low, high = _grid(hw, found.logits)
    face = assign(truth.boxes, middles, strides, low, high)
    answers = face >= 0
    chosen = face.clamp(min=0)
    boxes = torch.gather(truth.boxes, 1, chosen[..., None].expand(-1, -1, 4))[answers]
    points = torch.gather(truth.points, 1, chosen[..., None, None].expand(-1, -1, 5, 2))[answers]
    overlap, generalised = box_overlaps(found.boxes[answers], boxes)
    target = torch.zeros_like(found.logits)
    target[answers] = overlap.detach().clamp(min=0.05)
    counted = answers | ~_inside_any(middles, truth.ignored)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(found.logits, target, reduction="none")
    focal = entropy * (target - found.logits.sigmoid()).abs().square()  # Eq. 4
    count = answers.sum().clamp(min=1)
    side = (boxes[:, 2:] - boxes[:, :2]).amax(-1)
    error = (found.points[answers] - points.nan_to_num()) / side[:, None, None]
    labelled = points.isfinite().all(-1)
    smooth = torch.nn.functional.smooth_l1_loss(error, torch.zeros_like(error), reduction="none", beta=0.05).mean(-1)
    return {
        "score": (focal * counted).sum() / count,
        "box": (1 - generalised).sum() / count,
        "points": (smooth * labelled).sum() / labelled.sum().clamp(min=1),
    }


def assign(
    boxes: Float[Tensor, "b f 4"],
    middles: Float[Tensor, "n 2"],
    strides: Float[Tensor, "n"],
    low: Float[Tensor, "n"],
    high: Float[Tensor, "n"],
) -> Int[Tensor, "b n"]:
    """Index of the face that each cell answers for, the smallest that it lies near the middle of; -1 for none."""
    side = (boxes[..., 2:] - boxes[..., :2]).amax(-1)[:, None]
    centre = (boxes[..., :2] + boxes[..., 2:])[:, None] / 2
    away = (middles[:, None] - centre).abs().amax(-1)
    near = (away < RADIUS * strides[:, None]) & (side >= low[:, None]) & (side < high[:, None])  # NaN: False
    sides = torch.where(near, side, torch.inf)
    if not boxes.shape[1]:
        return torch.full((len(boxes), len(middles)), -1)
    smallest, index = sides.min(-1)
    return torch.where(smallest.isfinite(), index, -1)


def box_overlaps(a: Float[Tensor, "n 4"], b: Float[Tensor, "n 4"]) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Intersection over union, and its generalised form, of pairs of boxes."""
    area = lambda low, high: (high - low).clamp(min=0).prod(-1)  # noqa: E731
    shared = area(torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:]))
    union = area(a[:, :2], a[:, 2:]) + area(b[:, :2], b[:, 2:]) - shared
    hull = area(torch.minimum(a[:, :2], b[:, :2]), torch.maximum(a[:, 2:], b[:, 2:]))
    overlap = shared / union.clamp(min=1e-6)
    return overlap, overlap - (hull - union) / hull.clamp(min=1e-6)


def _grid(hw: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Middles of all cells, and for each its stride and the range of sides that it answers for."""
    parts = [cells(hw[0] // stride, hw[1] // stride, stride, like) for stride in STRIDES]
    counts = torch.tensor([len(part) for part in parts], device=like.device)
    spread = lambda values: torch.tensor(values, dtype=like.dtype, device=like.device).repeat_interleave(counts)  # noqa: E731
    return torch.cat(parts), spread(STRIDES), spread([low for low, _ in SIDES]), spread([high for _, high in SIDES])


def _inside_any(points: Float[Tensor, "n 2"], boxes: Float[Tensor, "b g 4"]) -> Bool[Tensor, "b n"]:
    """Whether each point lies in one of a picture's boxes; NaN boxes hold none."""
    low, high = boxes[:, None, :, :2], boxes[:, None, :, 2:]
    return ((points[:, None] > low) & (points[:, None] < high)).all(-1).any(-1)
