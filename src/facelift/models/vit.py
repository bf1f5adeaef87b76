"""Vision transformer in the form of OpenAI's CLIP (Radford et al. 2021), which FaRL's weights have.

Parameters carry the names of those checkpoints. Not the ViT of Dosovitskiy et al. 2021: a layer norm before
the blocks, no bias in the patch embedding, QuickGELU.
"""

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's and FaRL's training images, RGB in [0, 1]."""


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x): CLIP was trained with it; the exact GELU gives wrong tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class SelfAttention(nn.Module):
    """Multi-head self-attention with one stacked projection of queries, keys and values."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Float[Tensor, "b t w"]) -> Float[Tensor, "b t w"]:
        stacked = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = stacked.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class ResidualBlock(nn.Module):
    """Attention, then an MLP of four times the width, each after a layer norm."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = SelfAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=QuickGELU(), c_proj=nn.Linear(4 * width, width))
        )
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "b t w"]) -> Float[Tensor, "b t w"]:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """The stack of blocks, under the name that checkpoints give it."""

    def __init__(self, width: int, layers: int, heads: int):
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualBlock(width, heads) for _ in range(layers))

    def forward(self, x: Float[Tensor, "b t w"]) -> Float[Tensor, "b t w"]:
        for block in self.resblocks:
            x = block(x)
        return x


class VisionTransformer(nn.Module):
    """Image in [0, 1] -> one token a patch, row by row, after the last layer norm; no class token.

    With `projection` the tokens pass CLIP's map into the space shared with text.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch: int = 16,
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        projection: int | None = None,
    ):
        super().__init__()
        if image_size % patch:
            raise ValueError(f"image_size: expected a multiple of the patch {patch}, found {image_size}")
        self.image_size, self.width, self.grid = image_size, projection or width, image_size // patch
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn(self.grid**2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, heads)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, projection)) if projection else None
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b t w"]:
        tokens = self.ln_post(self.all_tokens(image)[:, 1:])
        return tokens if self.proj is None else tokens @ self.proj

    def all_tokens(self, image: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b t w"]:
        """Output of the last block, before the layer norm; the class token comes first."""
        patches = self.conv1((image - self.mean) / self.std).flatten(2).transpose(1, 2)
        classes = self.class_embedding.expand(image.shape[0], 1, -1)  # len() would freeze the batch
        tokens = torch.cat([classes, patches], dim=1) + self.positional_embedding
        return self.transformer(self.ln_pre(tokens))


def vit_b16(*, image_size: int = 224) -> VisionTransformer:
    """ViT-B/16, the encoder of FaceLift; freshly initialised (`checkpoints.farl` loads FaRL's weights)."""
    return VisionTransformer(image_size=image_size)


def resize_position_embedding(embedding: Float[Tensor, "source w"], grid: int) -> Float[Tensor, "target w"]:
    """Position embedding of a square grid brought to `grid` x `grid` patches by bicubic interpolation.

    The class token's row, the first, stays as it is; an embedding of that size already comes back unchanged.
    """
    source = round((len(embedding) - 1) ** 0.5)
    if source**2 + 1 != len(embedding):
        raise ValueError(f"position embedding: expected 1 + n^2 rows, found {len(embedding)}")
    if source == grid:
        return embedding
    image = embedding[1:].T.unflatten(-1, (source, source))[None]
    resized = functional.interpolate(image, size=(grid, grid), mode="bicubic", antialias=True)
    return torch.cat([embedding[:1], resized[0].flatten(1).T])
