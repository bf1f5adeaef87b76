"""Decoder of landmark tokens: cross-attention to the image, self-attention, MLP (Ferman et al. 2024, Sec. 3).

Beyond the paper: before its last block every landmark's token takes a closer look at the picture around the place where
it takes its landmark to be. Attention over a grid of stride 16 tells lids of 4 px apart only after very long training.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facelift.landmarks import mean_head


class Attention(nn.Module):
    """Multi-head attention of queries to keys and values from another sequence."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: Float[Tensor, "b q w"], context: Float[Tensor, "b k w"]) -> Float[Tensor, "b q w"]:
        query = self._split(self.query(queries))
        key, value = map(self._split, self.key_value(context).chunk(2, dim=-1))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def shares(self, queries: Float[Tensor, "b q w"], context: Float[Tensor, "b k w"]) -> Float[Tensor, "b q k"]:
        """How much of each query's attention every key gets: probabilities, the mean over the heads."""
        query, key = self._split(self.query(queries)), self._split(self.key_value(context).chunk(2, dim=-1)[0])
        return (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1).mean(1)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class DecoderBlock(nn.Module):
    """Tokens attend to the image, then to each other, then pass an MLP; layer norm before each."""

    def __init__(self, width: int, heads: int, mlp_ratio: float):
        super().__init__()
        self.norm_cross, self.norm_self, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.cross = Attention(width, heads)
        self.self_attention = Attention(width, heads)
        hidden = int(width * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Float[Tensor, "b n w"], image: Float[Tensor, "b t w"]) -> Float[Tensor, "b n w"]:
        tokens = tokens + self.cross(self.norm_cross(tokens), image)
        normed = self.norm_self(tokens)
        tokens = tokens + self.self_attention(normed, normed)
        return tokens + self.mlp(self.norm_mlp(tokens))

    def gaze(self, tokens: Float[Tensor, "b n w"], image: Float[Tensor, "b t w"]) -> Float[Tensor, "b n t"]:
        """The shares of the image that the tokens look at when they enter the block."""
        return self.cross.shares(self.norm_cross(tokens), image)


class Decoded(NamedTuple):
    """What the decoder gives."""

    tokens: Float[Tensor, "b n w"]
    glance: Float[Tensor, "b 98 2"] | None
    """Where the 98 landmarks' closer look was taken, crop widths; None without one."""
    gaze: Float[Tensor, "b k 98 t"] | None
    """Of every block but the last, the shares of the image's cells in the attention of each of the 98 landmarks; None
    unless it is asked for, in training, and the image's tokens are a square grid."""


class CloseLook(nn.Module):
    """Adds to each landmark's token what fine feature maps show around a first guess of its place.

    The guess, a glance, gets no gradient from what is read there: `losses.points.glance_error` teaches it the final
    points. A fresh look changes next to nothing.
    """

    steps: Tensor

    def __init__(self, *, width: int, channels: Sequence[int]):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.place = nn.Linear(width, 2)
        self.mean = nn.Parameter(frontal_shape())
        nn.init.normal_(self.place.weight, std=1e-3)
        nn.init.zeros_(self.place.bias)
        self.read = nn.Linear(9 * sum(channels), width)
        self.write = nn.Linear(width, width)
        nn.init.normal_(self.write.weight, std=1e-3)
        nn.init.zeros_(self.write.bias)
        self.register_buffer("steps", torch.tensor([-1, 0, 1, 2]), persistent=False)

    def forward(
        self, tokens: Float[Tensor, "b n w"], maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> tuple[Float[Tensor, "b n w"], Float[Tensor, "b n 2"]]:
        """(tokens, glance in crop widths)."""
        glance = self.mean + 0.2 * self.place(self.norm(tokens))
        patches = torch.cat([self._around(glance.detach(), one) for one in maps], dim=-1)
        return tokens + self.write(nn.functional.gelu(self.read(patches))), glance

    def _around(self, places: Float[Tensor, "b n 2"], features: Float[Tensor, "b c s s"]) -> Float[Tensor, "b n k"]:
        """The 3 x 3 neighbours of each place, a cell of the map apart, bilinear; the edge is repeated. k = 9 c.

        By the 4 x 4 cells around it: grid_sample gives the same, but takes ONNX Runtime a third of the network's time.
        """
        side, cells = features.shape[-1], features.flatten(2).transpose(1, 2)
        at = places * side - 0.5
        low = at.floor()
        x, y = ((low.long()[..., None] + self.steps).clamp(0, side - 1)).unbind(2)
        first = torch.arange(places.shape[0], device=places.device)[:, None, None, None] * side**2
        patch = cells.flatten(0, 1)[first + y[..., None] * side + x[..., None, :]]
        part_x, part_y = (at - low).to(patch.dtype)[..., None, None, None].unbind(2)
        rows = patch[:, :, :3] + part_y * (patch[:, :, 1:] - patch[:, :, :3])
        return (rows[:, :, :, :3] + part_x * (rows[:, :, :, 1:] - rows[:, :, :, :3])).flatten(2)


class TokenDecoder(nn.Module):
    """Learned query tokens -> what each of them found in the picture."""

    def __init__(
        self,
        *,
        tokens: int,
        image_width: int,
        image_tokens: int,
        map_channels: Sequence[int] = (),
        width: int = 128,
        blocks: int = 3,
        heads: int = 4,
        mlp_ratio: float = 2.0,
    ):
        """`map_channels`: of the feature maps for a closer look, which the first 98 tokens take; none: without it."""
        super().__init__()
        self.width = width
        self.tokens = nn.Parameter(0.5 * torch.randn(tokens, width))
        self.position = nn.Parameter(0.02 * torch.randn(image_tokens, width))
        self.blocks = nn.ModuleList(DecoderBlock(width, heads, mlp_ratio) for _ in range(blocks))
        self._look_about_the_mean_face(heads)
        self.embed = nn.Linear(image_width, width)
        self.norm_image = nn.LayerNorm(width)
        self.norm = nn.LayerNorm(width)
        self.look = CloseLook(width=width, channels=map_channels) if map_channels else None

    @torch.no_grad()
    def _look_about_the_mean_face(self, heads: int) -> None:
        """Starts the first 98 tokens with a gaze at where the mean face has their landmarks, if the image's tokens are
        a square grid: places are coded by waves, alike in tokens and grid, and queries and keys compare the codes.

        A token that attends to all of the picture alike learns nothing of its landmark until it happens to find it
        (docs/training.md has the difference).
        """
        side, size = self._grid_side(), self.width // heads
        if not side or size % 4:
            return
        middles = (torch.arange(side) + 0.5) / side
        cells = torch.stack(torch.meshgrid(middles, middles, indexing="xy"), dim=-1).flatten(0, 1)
        self.position.add_(waves(cells, size).repeat(1, heads))
        self.tokens[:98] = waves(frontal_shape(), size).repeat(1, heads) + 0.2 * self.tokens[:98]
        for block in self.blocks:
            assert isinstance(block, DecoderBlock)
            for matrix in (block.cross.query.weight, block.cross.key_value.weight[: self.width]):
                matrix.mul_(0.3).add_(1.3 * torch.eye(self.width))

    def _grid_side(self) -> int:
        """Side of the square grid that the image's tokens are, 0 where they are none."""
        side = math.isqrt(len(self.position))
        return side if side * side == len(self.position) else 0

    def forward(self, image: Float[Tensor, "b t w"], maps: Sequence[Tensor] = (), *, gaze: bool = False) -> Decoded:
        """`gaze`: in training, tell where the landmarks' tokens look."""
        context = self.norm_image(self.embed(image) + self.position)
        tokens, glance = self.tokens.expand(image.shape[0], -1, -1), None  # len() would freeze the batch in an export
        gazes = []
        for block in self.blocks[:-1]:
            assert isinstance(block, DecoderBlock)
            if gaze and self.training and self._grid_side():
                gazes.append(block.gaze(tokens[:, :98], context))
            tokens = block(tokens, context)
        if self.look is not None:
            closer, glance = self.look(tokens[:, :98], maps)
            tokens = torch.cat([closer, tokens[:, 98:]], dim=1)
        tokens = self.norm(self.blocks[-1](tokens, context))
        return Decoded(tokens, glance, torch.stack(gazes, dim=1) if gazes else None)


def waves(places: Float[Tensor, "n 2"], size: int) -> Float[Tensor, "n s"]:
    """Sines and cosines of both coordinates (crop widths), of wave lengths from 4 down to a quarter of a crop."""
    lengths = 4 * 0.0625 ** (torch.arange(size // 4) / max(1, size // 4 - 1))
    turns = 2 * math.pi * (places[:, :, None] / lengths).flatten(1)
    return torch.cat([turns.sin(), turns.cos()], dim=-1)


def frontal_shape() -> Float[Tensor, "98 2"]:
    """WFLW-98 on the mean head from the front, as large in the crop as a face is; crop widths."""
    flat = torch.tensor(mean_head()[:, :2] * [1, -1], dtype=torch.float32)
    low, high = flat.amin(0), flat.amax(0)
    return 0.5 + (flat - (low + high) / 2) / (1.5 * (high - low).max())
