"""2D landmark detector: one set of landmark tokens, one head per landmark definition (Ferman & Bharaj 2022)."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from facelift.landmarks import SCHEMES, conversion
from facelift.losses.laplacian import cholesky_from_raw
from facelift.models.decoder import TokenDecoder
from facelift.models.encoders import build_encoder, token_count
from facelift.models.heads import Head, full_precision


class Points2D(NamedTuple):
    """What the detector says of one definition's landmarks, in crop widths (x right, y down, 0..1)."""

    points: Float[Tensor, "b n 2"]
    cholesky: Float[Tensor, "b n 2 2"]
    """Lower-triangular factor of each point's covariance."""
    visibility: Float[Tensor, "b n"]
    """Logit that the point is seen, not hidden."""


class DefinitionHead(nn.Module):
    """Reads the tokens of one definition: position about a learned mean shape, covariance, visibility."""

    from_tokens: Tensor

    def __init__(self, scheme: str, width: int):
        super().__init__()
        self.head = Head(width, 6)
        self.mean = nn.Parameter(torch.full((SCHEMES[scheme].size, 2), 0.5))
        to_scheme = np.eye(98) if scheme == "wflw98" else conversion("wflw98", scheme)
        self.register_buffer("from_tokens", torch.tensor(to_scheme, dtype=torch.float32), persistent=False)

    def forward(self, tokens: Float[Tensor, "b 98 w"]) -> Points2D:
        raw = self.head(self.from_tokens @ tokens)
        points = self.mean + 0.2 * raw[..., :2]
        return Points2D(points, 0.02 * cholesky_from_raw(raw[..., 2:5]), raw[..., 5])


class LandmarkDetector(nn.Module):
    """Face crop -> landmarks of every definition it was built with."""

    def __init__(self, *, encoder: str = "mobile", definitions: tuple[str, ...] = ("wflw98", "ibug68")):
        super().__init__()
        self.encoder = build_encoder(encoder)
        self.decoder = TokenDecoder(tokens=98, image_width=self.encoder.width, image_tokens=token_count(self.encoder))
        self.heads = nn.ModuleDict({name: DefinitionHead(name, self.decoder.width) for name in definitions})

    @torch.no_grad()
    def start_at(self, mean: Float[Tensor, "98 2"]) -> None:
        """Sets every definition's mean shape, crop widths."""
        for head in self.heads.values():
            assert isinstance(head, DefinitionHead)
            head.mean.copy_(head.from_tokens @ mean)

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> dict[str, Points2D]:
        tokens = self.decoder(self.encoder(image))
        with full_precision(tokens):
            return {name: head(tokens.float()) for name, head in self.heads.items()}
