"""Swin-T encoder (Liu et al. 2021), with torchvision's parameter names."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from facelift.models.convnext import Permute
from facelift.models.resnet import MEAN, STD
from facelift.models.stochastic_depth import StochasticDepth, rising

WINDOW = 7
"""Side of the windows that attend within themselves, cells."""


class WindowAttention(nn.Module):
    """Self-attention within windows, with a learned bias for each relative place; every other block's windows are
    shifted by half a window. Maps are (b, h, w, c); what does not fill a window is padded with zeros."""

    relative_position_index: Tensor

    def __init__(self, width: int, heads: int, *, shift: int):
        super().__init__()
        self.heads, self.shift = heads, shift
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        place = torch.stack(torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")).flatten(1)
        apart = place[:, :, None] - place[:, None] + WINDOW - 1
        self.register_buffer("relative_position_index", (apart[0] * (2 * WINDOW - 1) + apart[1]).flatten())

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        height, width = x.shape[1:3]
        x = pad(x, (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
        rows, columns = x.shape[1:3]
        shift = self.shift if rows > WINDOW else 0, self.shift if columns > WINDOW else 0  # one window needs no shift
        rolled = torch.roll(x, (-shift[0], -shift[1]), (1, 2)) if any(shift) else x
        apart = _apart(rows, columns, shift).to(x) if any(shift) else None
        attended = _merged(self._attend(_windows(rolled), apart), rows, columns)
        attended = torch.roll(attended, shift, (1, 2)) if any(shift) else attended
        return attended[:, :height, :width]

    def _attend(self, x: Float[Tensor, "b n p c"], apart: Tensor | None) -> Float[Tensor, "b n p c"]:
        """`apart` (n, p, p): what is added to scores of cells that only the shift made neighbours."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)  # each (b, n, heads, p, d)
        cells = WINDOW * WINDOW
        bias = self.relative_position_bias_table[self.relative_position_index].view(cells, cells, -1).permute(2, 0, 1)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + bias
        scores = scores if apart is None else scores + apart[:, None]
        return self.proj((scores.softmax(-1) @ v).transpose(2, 3).flatten(3))


def _windows(x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b n p c"]:
    """The cells of each window, windows row by row."""
    split = x.unflatten(2, (-1, WINDOW)).unflatten(1, (-1, WINDOW))
    return split.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _merged(x: Float[Tensor, "b n p c"], rows: int, columns: int) -> Float[Tensor, "b h w c"]:
    """The map again of which `_windows` made windows."""
    split = x.unflatten(2, (WINDOW, WINDOW)).unflatten(1, (rows // WINDOW, columns // WINDOW))
    return split.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _apart(rows: int, columns: int, shift: tuple[int, int]) -> Float[Tensor, "n p p"]:
    """-100 for two cells of a window that lie in different parts of the rolled map, else 0."""
    along = [_part(size, step) for size, step in ((rows, shift[0]), (columns, shift[1]))]
    part = (3 * along[0][:, None] + along[1]).float()[None, :, :, None]
    inside = _windows(part)[0, :, :, 0]
    return -100.0 * (inside[:, None] != inside[:, :, None]).float()


def _part(size: int, shift: int) -> Tensor:
    """Before the last window, in it before the rolled rest, the rest: 0, 1, 2."""
    index = torch.arange(size)
    return (index >= size - WINDOW).long() + ((index >= size - shift) if shift else torch.zeros_like(index))


class SwinBlock(nn.Module):
    """Layer norm and window attention, layer norm and MLP, each added to its input."""

    def __init__(self, width: int, heads: int, drop: float, *, shift: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, shift=shift)
        self.drop = StochasticDepth(drop)
        self.norm2 = nn.LayerNorm(width)
        inner = nn.Linear(width, 4 * width), nn.GELU(), nn.Identity(), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(*inner)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        x = x + self.drop(self.attn(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))


class PatchMerging(nn.Module):
    """Four neighbouring cells become one of twice the width; an odd side is padded."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b i j d"]:
        x = pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        cells = x[:, ::2, ::2], x[:, 1::2, ::2], x[:, ::2, 1::2], x[:, 1::2, 1::2]
        return self.reduction(self.norm(torch.cat(cells, -1)))


class SwinEncoder(nn.Module):
    """Image in [0, 1] -> one token per cell of the last feature map (stride 32), row by row."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        *,
        width: int = 96,
        image_size: int = 224,
        stochastic_depth: float = 0.2,
    ):
        super().__init__()
        self.image_size, self.width = image_size, width * 2 ** (len(depths) - 1)
        layers: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, width, 4, 4), Permute(0, 2, 3, 1), nn.LayerNorm(width))]
        for stage, (count, drops) in enumerate(zip(heads, rising(depths, stochastic_depth), strict=True)):
            layers += [PatchMerging(width * 2 ** (stage - 1))] if stage else []
            blocks = (
                SwinBlock(width * 2**stage, count, drop, shift=index % 2 * (WINDOW // 2))
                for index, drop in enumerate(drops)
            )
            layers.append(nn.Sequential(*blocks))
        self.features = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(self.width)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b t d"]:
        return self.norm(self.features((image - self.mean) / self.std)).flatten(1, 2)


def swin_t(*, image_size: int = 224) -> SwinEncoder:
    """Swin-T, width 768; freshly initialised (`checkpoints.torchvision` loads published weights)."""
    return SwinEncoder((2, 2, 6, 2), (3, 6, 12, 24), image_size=image_size)
