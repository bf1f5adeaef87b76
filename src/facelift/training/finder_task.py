"""Training of the face finder on composed scenes."""

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from facelift.checkpoints.safe_load import fill, read_state
from facelift.datasets.finder_scenes import FinderScenes, Scene, collated
from facelift.datasets.packed import data_root
from facelift.evaluation.metrics.finding import Matches, match, recall, threshold_at
from facelift.finders.network import faces_of_cells, padded
from facelift.finders.protocol import FoundFaces
from facelift.losses.facelift_loss import weighted_sum
from facelift.losses.finding import SceneTruth, finder_losses
from facelift.models.finder import FaceFinderNetwork
from facelift.training.config import FinderConfig
from facelift.training.loop import Batch, train
from facelift.training.order import sample_rng
from facelift.training.pictures import sheet

_FACTORS = {"score": 1.0, "box": 2.0, "points": 4.0}
_FALSE_PER_PICTURE = 0.1


class FinderTask:
    """Every scene is new: drawn from seed, step and place in the batch."""

    def __init__(self, config: FinderConfig, data: Path):
        torch.manual_seed(config.loop.seed)
        self.config = config
        self.scenes = FinderScenes(data, config.sets, heads=config.heads, dev=config.dev, every=config.every)
        self.model = FaceFinderNetwork()
        if config.start:
            fill(self.model, read_state(config.start, inside="averaged"), path=config.start)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        loop = self.config.loop
        if loop.overfit:
            step = 0
        rngs = [sample_rng(step, seed=loop.seed, rank=rank, index=i) for i in range(loop.overfit or loop.batch)]
        scenes = [self.scenes.scene(rng, self.config.size) for rng in rngs]
        boxes, points, ignored = (torch.as_tensor(part) for part in collated(scenes))
        image = torch.as_tensor(np.stack([scene.image for scene in scenes])).permute(0, 3, 1, 2)
        return {"image": image, "boxes": boxes, "points": points, "ignored": ignored}

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        found = model(batch["image"].float() / 255)
        truth = SceneTruth(batch["boxes"], batch["points"], batch["ignored"])
        losses = finder_losses(found, truth, (self.config.size, self.config.size))
        return {**losses, "loss": weighted_sum(losses, _FACTORS)}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Recall at one false box in ten pictures, on held-out photos and crops, and what the box misses by."""
        photos = [photo.scene() for photo in self.scenes.dev_photos]
        crops = [self.scenes.crop(key) for key in self.scenes.dev_crops]
        matches = [_matches(model, scene) for scene in photos]
        empty = [_matches(model, Scene(image, _NO_FACE, _NO_BOX)) for image in self.scenes.dev_backgrounds]
        threshold = threshold_at(matches + empty, _FALSE_PER_PICTURE)
        turned = np.array([abs(self.scenes.yaw_deg(key)) for key in self.scenes.dev_crops]) >= 60
        in_photos = np.concatenate([part.found for part in matches])
        in_crops = np.concatenate([_matches(model, scene).found for scene in crops])
        sides = np.concatenate([(scene.boxes[:, 2:] - scene.boxes[:, :2]).max(1) for scene in photos])
        return {
            "recall_photos": recall(in_photos, threshold),
            "recall_small": recall(in_photos[sides < 30], threshold),
            "recall_crops": recall(in_crops, threshold),
            "recall_profiles": recall(in_crops[turned], threshold),
            "threshold": threshold,
        }

    def picture(self, model: nn.Module) -> np.ndarray:
        scenes = [self.scenes.scene(sample_rng(0, seed=-1 % 2**32, rank=0, index=i), 256) for i in range(24)]
        return sheet([_drawn(scene.image, look(model, scene.image, min_score=0.3)) for scene in scenes], 6)


_NO_FACE, _NO_BOX = np.zeros((0, 68, 2)), np.zeros((0, 4))


def look(model: nn.Module, image: np.ndarray, *, min_score: float) -> FoundFaces:
    """The faces that the network sees in the picture as it is."""
    tensor = torch.as_tensor(padded(image)).permute(2, 0, 1)[None].float() / 255
    found = model(tensor.to(next(model.parameters()).device))
    scores, boxes, points = (value[0].cpu().numpy() for value in (found.logits.sigmoid(), found.boxes, found.points))
    return faces_of_cells(scores, boxes, points, min_score=min_score)


def _matches(model: nn.Module, scene: Scene) -> Matches:
    return match(look(model, scene.image, min_score=0.05), scene.boxes, scene.ignored)


def _drawn(image: np.ndarray, found: FoundFaces) -> np.ndarray:
    canvas = image.copy()
    for box, score in zip(found.boxes.round().astype(int), found.scores, strict=True):
        colour = (0, 255, 80) if score >= 0.5 else (255, 200, 0)
        cv2.rectangle(canvas, tuple(box[:2]), tuple(box[2:]), colour, 1)
    return canvas


def train_finder(config: FinderConfig) -> Path:
    """Trains, or goes on; returns the checkpoint."""
    task = FinderTask(config, data_root(config.data))
    return train(task, config.loop, {"task": "finder", **asdict(config)})
