"""Dense landmarks: a face crop -> some hundred points of the face's mesh, each with its deviation (Simic 2022)."""

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facelift.crops import MARGIN
from facelift.models.dense_config import DenseConfig
from facelift.models.encoders import build_encoder, token_count
from facelift.models.heads import full_precision
from facelift.models.spiral_decoder import SpiralDecoder

if TYPE_CHECKING:
    from facelift.morphable.vertex_sets import VertexSets

GRID_WIDTH = 32
"""Numbers of each token that the predictor sees in its place."""
START_SIGMA = 0.05
"""Deviation that an untrained network claims, crop widths."""
START_SPREAD = 0.01
"""Deviation of an untrained network's points from the mean face for features of deviation 1, crop widths."""
LEAST_SIGMA = 1e-4
"""Deviation below which none is claimed, crop widths."""


class DenseOutput(NamedTuple):
    """Crop widths, x right and y down."""

    points: Float[Tensor, "b l 2"]
    sigma: Float[Tensor, "b l 2"]
    """Deviation of each coordinate."""


class Features(nn.Module):
    """The encoder's tokens as one vector: their mean, or the first numbers of each one side by side."""

    def __init__(self, config: DenseConfig):
        super().__init__()
        self.encoder = build_encoder(config.encoder)
        self.width, self.reduce = self.encoder.width, None
        if config.features == "grid":
            self.reduce = nn.Sequential(
                nn.LayerNorm(self.encoder.width), nn.Linear(self.encoder.width, GRID_WIDTH), nn.ReLU()
            )
            self.width = GRID_WIDTH * token_count(self.encoder, config.size)

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b f"]:
        tokens = self.encoder(image)
        return tokens.mean(1) if self.reduce is None else self.reduce(tokens).flatten(1)


class DenseLandmarks(nn.Module):
    """Image in [0, 1] -> points and deviations. Holds the places of the landmarks on its own mesh, for sparse labels.

    Paper: coordinates in [-0.5, 0.5] about the crop's middle; here the middle is added, as everywhere in this project.
    """

    mean: Tensor
    landmark_index: Tensor
    landmark_weights: Tensor

    def __init__(self, config: DenseConfig, sets: "VertexSets | None" = None):
        """`sets`: those of the head that is learned; None: zeros of the right sizes, to be filled from a checkpoint.

        Raises ValueError for a number of points that the sets do not have.
        """
        super().__init__()
        self.config = config
        self.features = Features(config)
        self.image_size = config.size
        width, count = self.features.width, config.points
        if config.predictor == "spiral":
            self.predictor: nn.Module = SpiralDecoder(width, count, channels=config.channels, sets=sets)
        else:
            layers = [nn.Linear(width, config.hidden), nn.ReLU()] if config.predictor == "mlp" else []
            inner = config.hidden if layers else width
            last = nn.Linear(inner, 4 * count)
            self.predictor = nn.Sequential(*layers, last, nn.Unflatten(1, (count, 4)))
            nn.init.normal_(last.weight, std=START_SPREAD * inner**-0.5)
            nn.init.zeros_(last.bias)
        level = None if sets is None else sets[count]
        start = torch.zeros(count, 2)
        if sets is not None:
            start = torch.as_tensor(sets.mean[sets.places(count)][:, :2] * [1, -1]).float()
            start = (start - start.mean(0)) / (MARGIN * (start.amax(0) - start.amin(0)).amax())  # as in a face's crop
        self.register_buffer("mean", start)
        self.register_buffer("landmark_index", _array(level, "landmark_index", torch.zeros(68, 3)).long())
        self.register_buffer("landmark_weights", _array(level, "landmark_weights", torch.zeros(68, 3)).float())

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> DenseOutput:
        features = self.features(image)
        with full_precision(features):
            raw = self.predictor(features.float())
        return DenseOutput(0.5 + self.mean + raw[..., :2], self._sigma(raw[..., 2:]))

    def _sigma(self, raw: Tensor) -> Tensor:
        if self.config.loss == "resll_exp":
            return START_SIGMA * raw.exp() + LEAST_SIGMA
        return torch.sigmoid(raw + torch.logit(raw.new_tensor(START_SIGMA))) + LEAST_SIGMA

    def landmarks(self, found: DenseOutput) -> DenseOutput:
        """iBUG-68 of the dense points: weighted means of three of them, and of their deviations."""
        return DenseOutput(*(self._embedded(values) for values in found))

    def _embedded(self, values: Float[Tensor, "b l 2"]) -> Float[Tensor, "b 68 2"]:
        return (values[:, self.landmark_index] * self.landmark_weights[..., None]).sum(-2)


def _array(level: object, name: str, otherwise: Tensor) -> Tensor:
    return otherwise if level is None else torch.as_tensor(getattr(level, name))
