"""SpiralNet++'s decoder (Gong et al. 2019): features -> coarsest mesh -> ever finer meshes -> numbers of each point."""

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facelift.morphable.spirals import spirals

if TYPE_CHECKING:
    from facelift.morphable.vertex_sets import VertexSets

LENGTH = 9
"""Vertices of a spiral."""
DILATION = 2
"""Every second vertex along it, on meshes that have enough."""
STRIDE = 2
"""Halvings between two of the decoder's meshes: each has about four times the vertices of the one before."""
LEAST = 10
"""Vertices that the coarsest mesh has at least."""


def counts_of(count: int) -> list[int]:
    """Vertices of the decoder's meshes, the coarsest first; `VertexSets` has sets of these sizes."""
    from facelift.morphable.vertex_sets import COARSER, COUNTS

    chain = [*COUNTS, *COARSER]
    chosen = [size for size in chain[chain.index(count) :: STRIDE] if size >= LEAST]
    return chosen[::-1]


class SpiralConvolution(nn.Module):
    """A linear map of the features along each vertex's spiral, side by side."""

    spiral: Tensor

    def __init__(self, inputs: int, outputs: int, count: int):
        super().__init__()
        self.register_buffer("spiral", torch.zeros(count, LENGTH, dtype=torch.long))
        self.linear = nn.Linear(LENGTH * inputs, outputs)

    def forward(self, x: Float[Tensor, "b v c"]) -> Float[Tensor, "b v d"]:
        return self.linear(x[:, self.spiral].flatten(2))


class Upsampling(nn.Module):
    """Features of a finer mesh's vertices: weighted means of the corners of the triangles that they lie in."""

    index: Tensor
    weights: Tensor

    def __init__(self, count: int):
        super().__init__()
        self.register_buffer("index", torch.zeros(count, 3, dtype=torch.long))
        self.register_buffer("weights", torch.zeros(count, 3))

    def forward(self, x: Float[Tensor, "b v c"]) -> Float[Tensor, "b w c"]:
        return (x[:, self.index] * self.weights[..., None]).sum(-2)


class SpiralDecoder(nn.Module):
    """Linear map to the coarsest mesh; upsampling, spiral convolution and ELU for each finer one; one more spiral
    convolution to 4 numbers a point. Spirals and upsampling are buffers, so that a checkpoint holds them."""

    def __init__(self, features: int, count: int, *, channels: int, sets: "VertexSets | None" = None):
        super().__init__()
        counts = counts_of(count)
        self.first = nn.Sequential(nn.Linear(features, counts[0] * channels), nn.Unflatten(1, (counts[0], channels)))
        self.up = nn.ModuleList(nn.Sequential(*(Upsampling(size) for size in steps)) for steps in _steps(counts))
        self.convolutions = nn.ModuleList(SpiralConvolution(channels, channels, size) for size in counts[1:])
        self.last = SpiralConvolution(channels, 4, counts[-1])
        nn.init.normal_(self.last.linear.weight, std=0.1 * (LENGTH * channels) ** -0.5)
        nn.init.zeros_(self.last.linear.bias)
        if sets is not None:
            self._take(sets, counts)

    def _take(self, sets: "VertexSets", counts: list[int]) -> None:
        for up in self.up.modules():
            if isinstance(up, Upsampling):
                level = sets.level(len(up.index)) + 1
                if level == len(sets.levels):
                    raise ValueError(
                        f"vertex sets of {sets.head}: expected one below {len(up.index)} points, found none"
                    )
                coarser = sets.levels[level]
                up.index.copy_(torch.as_tensor(coarser.up_index))
                up.weights.copy_(torch.as_tensor(coarser.up_weights))
        for convolution in (*self.convolutions, self.last):
            assert isinstance(convolution, SpiralConvolution)
            size = len(convolution.spiral)
            dilation = DILATION if size >= 2 * LENGTH * DILATION else 1
            rows = spirals(sets.mean[sets.places(size)], sets[size].faces, length=LENGTH, dilation=dilation)
            convolution.spiral.copy_(torch.as_tensor(rows))

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b l 4"]:
        x = nn.functional.elu(self.first(features))
        for up, convolution in zip(self.up, self.convolutions, strict=True):
            x = nn.functional.elu(convolution(up(x)))
        return self.last(x)


def _steps(counts: list[int]) -> list[list[int]]:
    """For each mesh but the coarsest, the sets that its upsampling passes, itself the last."""
    from facelift.morphable.vertex_sets import COARSER, COUNTS

    chain = [*COUNTS, *COARSER][::-1]
    return [chain[chain.index(coarse) + 1 : chain.index(fine) + 1] for coarse, fine in pairwise(counts)]
