"""2D landmark detector: one set of landmark tokens, one head per landmark definition (Ferman & Bharaj 2022)."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from facelift.datasets.sample import VISIBLE
from facelift.landmarks import DEFINITIONS, SCHEMES, conversion
from facelift.losses.laplacian import cholesky_from_raw
from facelift.models.decoder import Decoded, TokenDecoder, frontal_shape
from facelift.models.encoders import build_encoder, map_channels, see, token_count
from facelift.models.heads import Head, full_precision
from facelift.models.lifter import Lifter

_REACH = 0.05
"""Standard deviation, in crop widths, of the weights by which a landmark without a WFLW-98 partner mixes tokens."""


class Points2D(NamedTuple):
    """What the detector says of one definition's landmarks, in crop widths (x right, y down, 0..1)."""

    points: Float[Tensor, "b n 2"]
    cholesky: Float[Tensor, "b n 2 2"]
    """Lower-triangular factor of each point's covariance."""
    state: Float[Tensor, "b n 3"]
    """Logits: seen, hidden by something else, hidden by the head itself."""
    glance: Float[Tensor, "b n 2"]
    """Where the decoder took its closer look at landmarks that are WFLW-98's too, and `points` for all others."""
    gaze: Float[Tensor, "b k 98 t"] | None = None
    """The decoder's, in training and where it is asked for; of definitions in WFLW-98's order."""

    def visibility(self) -> Float[Tensor, "b n"]:
        """Probability that the point is seen."""
        return self.state.softmax(-1)[..., VISIBLE]

    def rows(self, chosen: Int[np.ndarray, "k"]) -> "Points2D":
        """Of some faces of the batch."""
        return Points2D(*(part[chosen] for part in self if part is not None))


class DefinitionHead(nn.Module):
    """Tokens of one definition's landmarks, and what they say: position about a learned mean shape, and covariance.

    A landmark that is a WFLW-98 landmark, or between some, takes its token from those; any other mixes the tokens of
    the landmarks near to it on the mean face. What tells it from them is learned.
    """

    mix: Tensor

    def __init__(self, definition: str, width: int):
        super().__init__()
        scheme = DEFINITIONS[definition]
        self.head = Head(width, 5)
        self.mean = nn.Parameter(torch.full((SCHEMES[scheme].size, 2), 0.5))
        self.place = nn.Parameter(torch.zeros(SCHEMES[scheme].size, width))
        self.register_buffer("mix", _known_mix(scheme))

    @torch.no_grad()
    def start_at(self, mean: Float[Tensor, "n 2"]) -> None:
        """Sets the mean shape (crop widths), and by it the mix of the landmarks that WFLW-98 has no partner for."""
        self.mean.copy_(mean)
        near = torch.softmax(-(torch.cdist(mean, frontal_shape()) / _REACH).square() / 2, dim=-1)
        without = self.mix.sum(-1) == 0
        self.mix[without] = near[without]

    def landmark_tokens(self, tokens: Float[Tensor, "b 98 w"]) -> Float[Tensor, "b n w"]:
        return self.mix @ tokens + self.place

    def glances(self, places: Float[Tensor, "b 98 2"], others: Float[Tensor, "b n 2"]) -> Float[Tensor, "b n 2"]:
        """The places of the landmarks that are WFLW-98's too, and `others` for the rest."""
        same = (self.mix.amax(-1) == 1)[:, None]
        return torch.where(same, self.mix @ places.float(), others)

    def forward(self, tokens: Float[Tensor, "b n w"]) -> tuple[Float[Tensor, "b n 2"], Float[Tensor, "b n 2 2"]]:
        """(points, Cholesky factors) of `landmark_tokens`."""
        raw = self.head(tokens)
        return self.mean + 0.2 * raw[..., :2], 0.02 * cholesky_from_raw(raw[..., 2:])


class LandmarkDetector(nn.Module):
    """Face crop -> landmarks of every definition it was built with; the states are read by one head for all."""

    def __init__(self, *, encoder: str = "mobile", definitions: tuple[str, ...] = ("wflw98", "ibug68")):
        super().__init__()
        for name in definitions:
            if name not in DEFINITIONS:
                raise ValueError(f"landmark definition: expected one of {sorted(DEFINITIONS)}, found {name!r}")
        self.encoder = build_encoder(encoder)
        self.decoder = TokenDecoder(
            tokens=98,
            image_width=self.encoder.width,
            image_tokens=token_count(self.encoder),
            map_channels=map_channels(self.encoder),
        )
        self.heads = nn.ModuleDict({name: DefinitionHead(name, self.decoder.width) for name in definitions})
        self.state = Head(self.decoder.width, 3)

    def start_at(self, means: Mapping[str, Float[Tensor, "k 2"]]) -> None:
        """Sets every definition's mean shape, crop widths."""
        for name, head in self.heads.items():
            assert isinstance(head, DefinitionHead)
            head.start_at(means[name])

    def start_from_lifter(self, lifter: Lifter) -> None:
        """Takes encoder and decoder from a lifter with the same encoder, without its three pose tokens."""
        taken = lifter.decoder.state_dict()
        taken["tokens"] = taken["tokens"][: len(self.decoder.tokens)]
        self.encoder.load_state_dict(lifter.encoder.state_dict())
        self.decoder.load_state_dict(taken)

    def forward(
        self,
        image: Float[Tensor, "b 3 s s"],
        rows: Mapping[str, Int[Tensor, "k"]] | None = None,
        *,
        gaze: bool = False,
    ) -> dict[str, Points2D]:
        """Every definition on every face; of a definition in `rows`, on these faces alone. `gaze`: in training, tell
        where the landmarks' tokens look."""
        found = self.decoder(*see(self.encoder, image), gaze=gaze)
        with full_precision(found.tokens):
            return {name: self._points(name, found, rows) for name in self.heads}

    def _points(self, name: str, found: Decoded, rows: Mapping[str, Int[Tensor, "k"]] | None) -> Points2D:
        head, chosen = self.heads[name], slice(None) if rows is None else rows[name]
        assert isinstance(head, DefinitionHead)
        marks = head.landmark_tokens(found.tokens.float()[chosen])
        points, cholesky = head(marks)
        looked = points.detach() if found.glance is None else head.glances(found.glance[chosen], points.detach())
        gaze = found.gaze[chosen] if found.gaze is not None and DEFINITIONS[name] == "wflw98" else None
        return Points2D(points, cholesky, self.state(marks), looked, gaze)


def _known_mix(scheme: str) -> Float[Tensor, "n 98"]:
    """Weights of WFLW-98's tokens for each landmark; rows of zeros where no partner is known."""
    if scheme == "mediapipe478":
        return torch.zeros(478, 98)
    if scheme == "lapa106":
        return torch.tensor(conversion("lapa106", "wflw98").T, dtype=torch.float32)
    return torch.tensor(conversion("wflw98", scheme), dtype=torch.float32)
