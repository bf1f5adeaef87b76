"""What M3-LRN does with landmarks: it refines them (M2FA), and regresses the 3DMM from them (Wu et al. 2021, Sec. 3).

Both look at a set of points through an MLP shared by all of them, and a maximum over them (PointNet, Qi et al. 2017).
"""

from collections.abc import Mapping
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facelift.models.m3lrn_config import Support

CHANNELS = (64, 64, 64, 128, 1024)
"""Of the layers that see each landmark alone; the last is holistic: its maximum over all landmarks is used."""
HIDDEN = (512, 256, 128)
"""Of the refinement's layers behind them."""
LOCAL = 1
"""Index of the layer whose output is a landmark's own feature in the refinement."""


def _layer(inputs: int, outputs: int, *, bias: bool) -> nn.Sequential:
    """The same linear map of every point, batch norm, ReLU."""
    return nn.Sequential(nn.Conv1d(inputs, outputs, 1, bias=bias), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))


class PointFeatures(nn.Module):
    """(b, n, 3) points -> the outputs (b, c, n) of all five layers, c of `channels`.

    `released`: with the biases of the released code, which the batch norm behind them takes out again.
    """

    def __init__(self, *, channels: tuple[int, ...] = CHANNELS, released: bool = False):
        super().__init__()
        self.layers = nn.ModuleList(_layer(a, b, bias=released) for a, b in pairwise((3, *channels)))

    def forward(self, points: Float[Tensor, "b n 3"]) -> list[Tensor]:
        found, x = [], points.transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return found


class Refinement(nn.Module):
    """M2FA: every landmark's feature beside the holistic one and what else is known of the face -> a residual.

    The residual of a fresh module is 0: training starts at the 3DMM's landmarks. Without `point`, what is known is
    the same for all landmarks, and so is the residual. `released`: the released code's, where batch norm and ReLU
    follow the last layer, too, so that no residual is negative.
    """

    def __init__(self, *, context: int, point: bool = True, width: float = 1.0, released: bool = False):
        """`context`: how many numbers come beside the points; `width`: of all layers over the paper's."""
        super().__init__()
        channels = tuple(round(width * count) for count in CHANNELS)
        self.points = PointFeatures(channels=channels, released=released) if point else None
        seen = (channels[LOCAL] + channels[-1] if point else 0) + context
        sizes = (seen, *(round(width * count) for count in HIDDEN))
        self.mlp = nn.Sequential(*(_layer(a, b, bias=released) for a, b in pairwise(sizes)))
        self.out: nn.Module = _layer(sizes[-1], 3, bias=True) if released else _linear(sizes[-1], 3, std=0)

    def forward(self, points: Float[Tensor, "b n 3"], context: Float[Tensor, "b k"]) -> Float[Tensor, "b m 3"]:
        """m is n, or 1 without `point`."""
        local: Tensor | None = None
        if self.points is not None:
            features = self.points(points)
            local = features[LOCAL]
            context = torch.cat([features[-1].amax(-1), context], dim=-1)
        first = self.mlp[0]
        assert isinstance(first, nn.Sequential) and isinstance(first[0], nn.Conv1d)
        x = first[1:](_beside(first[0], local, context))
        return self.out(self.mlp[1:](x)).transpose(1, 2)


class LandmarkRegressor(nn.Module):
    """Landmark-to-3DMM: 68 points -> whitened parameters by name (pose, shape, expression, or some of them).

    `support` is what the heads see:
        paper: the holistic feature, the maximum over the landmarks of the last of the five layers.
        setting1 [?]: the holistic feature beside the picture's z.
        setting2 [?]: the maxima over the landmarks of all five layers side by side.
    The paper compares two settings of this module (NME 3.49 and 3.41) that no source at hand describes: these two are
    our reading. Its full method has 3.41, too, so that setting 2 may be the method itself.
    `released`: the released code's, where batch norm and ReLU follow the heads, so that no parameter is negative.
    """

    def __init__(self, *, sizes: Mapping[str, int], image: int, support: Support = "paper", released: bool = False):
        """`sizes`: how many numbers each head gives; `image`: length of z."""
        super().__init__()
        self.support = support
        self.points = PointFeatures(released=released)
        holistic = CHANNELS[-1]
        width = {"paper": holistic, "setting1": holistic + image, "setting2": sum(CHANNELS)}[support]
        self.heads = nn.ModuleDict(
            {
                name: _layer(width, size, bias=True) if released else _linear(width, size, std=0.01)
                for name, size in sizes.items()
            }
        )

    def forward(self, points: Float[Tensor, "b n 3"], z: Float[Tensor, "b w"]) -> dict[str, Tensor]:
        maxima = [features.amax(-1) for features in self.points(points)]
        seen = {"paper": maxima[-1:], "setting1": [maxima[-1], z], "setting2": maxima}[self.support]
        x = torch.cat(seen, dim=-1)[..., None]
        return {name: head(x)[..., 0] for name, head in self.heads.items()}


def _beside(
    linear: nn.Conv1d, local: Float[Tensor, "b c n"] | None, whole: Float[Tensor, "b k"]
) -> Float[Tensor, "b d m"]:
    """`linear` of every point's own feature with `whole` beside it. `whole`, nearly all of it, is mapped once and added
    to all points: the same sums for a fraction of the work."""
    own = 0 if local is None else local.shape[1]
    weight = linear.weight
    of_whole = nn.functional.linear(whole, weight[:, own:, 0], linear.bias)[..., None]
    return of_whole if local is None else of_whole + nn.functional.conv1d(local, weight[:, :own])


def _linear(inputs: int, outputs: int, *, std: float) -> nn.Conv1d:
    """A last layer without norm or ReLU, its weights drawn from N(0, std^2)."""
    layer = nn.Conv1d(inputs, outputs, 1)
    nn.init.normal_(layer.weight, std=std)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
