"""Training of the 2D detector on human labels."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from facelift.datasets.packed import data_root
from facelift.datasets.real_faces import CropSample, RealFaces
from facelift.landmarks import conversion
from facelift.losses.facelift_loss import weighted_sum
from facelift.losses.laplacian import laplacian_loss
from facelift.losses.visibility import visibility_bce
from facelift.models.detector import LandmarkDetector
from facelift.sources import listed
from facelift.training.config import DetectorConfig
from facelift.training.dev_metrics import visible_nme
from facelift.training.inputs import training_sources
from facelift.training.loop import Batch, train
from facelift.training.order import indices, sample_rng
from facelift.training.pictures import draw_points, sheet


class DetectorTask:
    """Laplacian log likelihood on each definition's points, and the visibility of labelled states."""

    def __init__(self, config: DetectorConfig, data: Path):
        torch.manual_seed(config.loop.seed)
        self.config = config
        if config.dev < 1:
            raise ValueError(f"--dev: expected at least one face to evaluate on, found {config.dev}")
        self.faces = RealFaces(data, config.sets, labels=config.labels, dev=config.dev)
        self.keys = self.faces.train[: config.loop.overfit] if config.loop.overfit else self.faces.train
        self.model = LandmarkDetector(encoder=config.encoder)
        self.size = self.model.encoder.image_size
        self._start_at_mean_shape()

    def _start_at_mean_shape(self) -> None:
        keys = self.keys[:: max(1, len(self.keys) // 500)]
        points = np.stack([self.faces.crop(key, self.size).points for key in keys])
        labelled = np.isfinite(points)
        mean = np.where(labelled, points, 0.0).sum(0) / np.maximum(labelled.sum(0), 1)
        mean[~labelled.any(0)] = 0.5
        self.model.start_at(torch.as_tensor(mean, dtype=torch.float32))

    def sample(self, key: tuple[int, int], rng: np.random.Generator) -> CropSample:
        if self.config.loop.overfit:
            return self.faces.crop(key, self.size)
        return self.faces.augmented(key, self.size, rng, self.config.augmentation)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        loop = self.config.loop
        chosen = indices(step, batch=loop.batch, count=len(self.keys), seed=loop.seed, rank=rank, world=world)
        rngs = [sample_rng(step, seed=loop.seed, rank=rank, index=i) for i in range(loop.batch)]
        return collate([self.sample(self.keys[key], rng) for key, rng in zip(chosen, rngs, strict=True)])

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        predictions = model(batch["image"].float() / 255)
        target, state = batch["points"], batch["state"]
        losses = {}
        for name, predicted in predictions.items():
            chosen = torch.as_tensor(conversion("wflw98", name).argmax(1))
            points = target[:, chosen]
            mask = torch.isfinite(points).all(-1)
            losses[name] = laplacian_loss(predicted.points, points, predicted.cholesky, weight=mask.float())
            losses[f"{name}_visibility"] = visibility_bce(predicted.visibility, state[:, chosen])
        factors = {name: 0.3 if name.endswith("_visibility") else 1.0 for name in losses}
        return {**losses, "loss": weighted_sum(losses, factors)}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        crops = [self.faces.crop(key, self.size) for key in self.faces.dev]
        points = predict_points(model, crops)
        yaw = np.array([self.faces.yaw_deg(key) for key in self.faces.dev])
        return visible_nme(points, crops, yaw)

    def picture(self, model: nn.Module) -> np.ndarray:
        keys = self.faces.dev[:: max(1, len(self.faces.dev) // 24)][:24]
        crops = [self.faces.crop(key, self.size) for key in keys]
        points = predict_points(model, crops)
        return sheet([draw_points(c.image, p, (0, 255, 80)) for c, p in zip(crops, points, strict=True)], 6)


def collate(samples: list[CropSample]) -> Batch:
    """uint8 images (b, 3, s, s) with channels last in memory, points (b, 98, 2) with NaN, states (b, 98)."""
    return {
        "image": torch.as_tensor(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2),
        "points": torch.as_tensor(np.stack([sample.points for sample in samples]), dtype=torch.float32),
        "state": torch.as_tensor(np.stack([sample.state for sample in samples])),
    }


def predict_points(model: nn.Module, crops: list[CropSample], batch: int = 100) -> np.ndarray:
    """WFLW-98 points (n, 98, 2) in crop widths."""
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(crops), batch):
        image = collate(crops[start : start + batch])["image"].to(device)
        parts.append(model(image.float() / 255)["wflw98"].points.cpu().numpy())
    return np.concatenate(parts)


def train_detector(config: DetectorConfig) -> Path:
    """Trains, or goes on; returns the checkpoint."""
    task = DetectorTask(config, data_root(config.data))
    description = {"task": "detector", **asdict(config), "sources": listed(training_sources(config))}
    return train(task, config.loop, description)
