"""Decoder of landmark tokens: cross-attention to the image, self-attention, MLP (Ferman et al. 2024, Sec. 3)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


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


class TokenDecoder(nn.Module):
    """Learned query tokens -> what each of them found in the image tokens."""

    def __init__(
        self,
        *,
        tokens: int,
        image_width: int,
        image_tokens: int,
        width: int = 128,
        blocks: int = 3,
        heads: int = 4,
        mlp_ratio: float = 2.0,
    ):
        super().__init__()
        self.width = width
        self.tokens = nn.Parameter(0.5 * torch.randn(tokens, width))
        self.position = nn.Parameter(0.02 * torch.randn(image_tokens, width))
        self.embed = nn.Linear(image_width, width)
        self.norm_image = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(DecoderBlock(width, heads, mlp_ratio) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Float[Tensor, "b t w"]) -> Float[Tensor, "b n d"]:
        context = self.norm_image(self.embed(image) + self.position)
        tokens = self.tokens.expand(image.shape[0], -1, -1)  # len() would freeze the batch in an export
        for block in self.blocks:
            tokens = block(tokens, context)
        return self.norm(tokens)
