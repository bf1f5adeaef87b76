"""Training of the 2D detector: several training sets and landmark definitions at once (Ferman & Bharaj 2022)."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from facelift.atomic import written_whole
from facelift.datasets.labelled_crops import LabelledCrop, augmented, plain
from facelift.datasets.packed import data_root
from facelift.datasets.readers.lapa import LaPa
from facelift.datasets.readers.wflw import WFLW
from facelift.datasets.training_sets import PackedPhotos, ReaderPhotos, RenderedViews, TrainingSet
from facelift.landmarks import DEFINITIONS, SCHEMES
from facelift.losses.closure import closure_loss
from facelift.losses.gaze import gaze_loss
from facelift.losses.laplacian import laplacian_loss
from facelift.losses.points import glance_error
from facelift.losses.visibility import state_cross_entropy
from facelift.models.detector import LandmarkDetector, Points2D
from facelift.models.lifter import Lifter
from facelift.sources import listed
from facelift.training.config import DetectorConfig
from facelift.training.dev_metrics import definition_metrics, definition_table
from facelift.training.inputs import training_sources
from facelift.training.loop import Batch, train
from facelift.training.order import indices, sample_rng
from facelift.training.pictures import draw_points, sheet

log = logging.getLogger(__name__)

STATE_WEIGHT = 0.3
"""Factor of the states' cross-entropy."""
CLOSURE_WEIGHT = 1.0
"""Factor of the error of how far lids and lips are apart."""
GLANCE_WEIGHT = 0.1
"""Factor of the distance of the decoder's first guess to its points."""


class DetectorTask:
    """Laplacian log likelihood on each definition's points, cross-entropy of the labelled states, how far lids and lips
    are apart in WFLW-98's orders, and the decoder's first guess."""

    def __init__(self, config: DetectorConfig, data: Path | None):
        torch.manual_seed(config.loop.seed)
        self.config = config
        self.sets = training_sets(config, data)
        self.counts = samples_of(config.loop.batch, shares(self.sets, config.shares))
        overfit = samples_of(config.loop.overfit, shares(self.sets, config.shares)) if config.loop.overfit else None
        self.train = [one.train[: overfit[i] if overfit else None] for i, one in enumerate(self.sets)]
        self.definitions = tuple(dict.fromkeys(name for one in self.sets for name in one.definitions))
        self.model = LandmarkDetector(encoder=config.encoder, definitions=self.definitions)
        self.size = self.model.encoder.image_size
        self.model.start_at({name: torch.as_tensor(mean) for name, mean in self._mean_shapes().items()})
        if config.start:
            from facelift.checkpoints.onnx_weights import YOUNG, start_from_exported

            lifter = Lifter(encoder=config.encoder)
            images = [self.batch(step)["image"].float() / 255 for step in range(4)]
            start_from_exported(lifter, config.start, torch.cat(images), fresh=YOUNG)
            self.model.start_from_lifter(lifter)

    def _mean_shapes(self) -> dict[str, Float[np.ndarray, "k 2"]]:
        """Mean of some labels of each definition, crop widths; the middle for a landmark without any."""
        found: dict[str, list[np.ndarray]] = {name: [] for name in self.definitions}
        for one, keys in zip(self.sets, self.train, strict=True):
            for key in spread(keys, 200):
                for name, labels in plain(one[int(key)], 16).labels.items():
                    found[name].append(labels.points)
        return {name: _mean(points, SCHEMES[DEFINITIONS[name]].size) for name, points in found.items()}

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        loop = self.config.loop
        crops: list[LabelledCrop] = []
        for one, keys, count in zip(self.sets, self.train, self.counts, strict=True):
            place = {"seed": loop.seed, "rank": rank, "world": world}
            for key in keys[indices(step, batch=count, count=len(keys), **place)]:
                rng = sample_rng(step, seed=loop.seed, rank=rank, index=len(crops))
                crops.append(self._crop(one, int(key), rng))
        return collate_labels(crops, self.definitions)

    def _crop(self, one: TrainingSet, key: int, rng: np.random.Generator) -> LabelledCrop:
        if self.config.loop.overfit:
            return plain(one[key], self.size)
        return augmented(one, key, self.size, rng, self.config.augmentation)

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Of each definition on its own samples; their total lets every sample count alike."""
        rows = {name: batch[f"rows.{name}"] for name in self.definitions}
        losses: dict[str, Tensor] = {}
        total = batch["image"].new_zeros((), dtype=torch.float32)
        for name, predicted in model(batch["image"].float() / 255, rows, gaze=self.config.gaze > 0).items():
            target = batch[f"points.{name}"]
            labelled = torch.isfinite(target).all(-1).float()
            losses[name] = laplacian_loss(predicted.points, target, predicted.cholesky, weight=labelled)
            losses[f"{name}_state"] = state_cross_entropy(predicted.state, batch[f"state.{name}"])
            share = len(rows[name]) / len(batch["image"])
            extra = STATE_WEIGHT * losses[f"{name}_state"]
            if len(rows[name]):
                extra = extra + GLANCE_WEIGHT * glance_error(predicted.glance, predicted.points)
            if DEFINITIONS[name] == "wflw98":
                losses[f"{name}_closure"] = closure_loss(predicted.points, target)
                extra = extra + CLOSURE_WEIGHT * losses[f"{name}_closure"]
            if predicted.gaze is not None:
                losses[f"{name}_gaze"] = gaze_loss(predicted.gaze, target)
                extra = extra + self.config.gaze * losses[f"{name}_gaze"]
            total = total + share * (losses[name] + extra)
        return {**losses, "loss": total}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Metrics of every definition on what each training set holds out, named SET.DEFINITION.METRIC."""
        metrics: dict[str, float] = {}
        for one in self.sets:
            chosen = spread(one.dev, max(self.config.dev, 1))
            crops = [plain(one[int(key)], self.size) for key in chosen]
            found = predict_definitions(model, [crop.image for crop in crops])
            for name in one.definitions:
                own = np.array([index for index, crop in enumerate(crops) if name in crop.labels], int)
                if not len(own):
                    continue
                labels = [crops[index].labels[name] for index in own]
                predicted = found[name].rows(own)
                values = definition_metrics(predicted, labels, one.yaw_deg[chosen[own]], one.scored(name))
                metrics |= {f"{one.name}.{name}.{key}": value for key, value in values.items()}
        return metrics

    def picture(self, model: nn.Module) -> np.ndarray:
        """Held-out faces of every training set, each with a definition that it labels."""
        tiles = []
        for one in self.sets:
            crops = [plain(one[int(key)], self.size) for key in spread(one.dev, 24 // len(self.sets))]
            found = predict_definitions(model, [crop.image for crop in crops])[one.definitions[-1]]
            tiles += [draw_points(c.image, p.numpy(), (0, 255, 80)) for c, p in zip(crops, found.points, strict=True)]
        return sheet(tiles, 6)


def training_sets(config: DetectorConfig, data: Path | None) -> list[TrainingSet]:
    """What the config learns from. Raises ValueError without any, and what the readers raise."""
    sets: list[TrainingSet] = []
    for index, name in enumerate(config.sets):
        if index == 0 and config.dev < 1:
            raise ValueError(f"--dev: expected at least one face to evaluate on, found {config.dev}")
        assert data is not None  # asked for by train_detector
        dev = None if index else config.dev
        sets.append(PackedPhotos(data, name, labels=config.labels, mesh=config.mesh, dev=dev))
    if config.wflw:
        sets.append(ReaderPhotos(WFLW(config.wflw, "train"), "wflw98_outline"))
    if config.lapa:
        sets.append(ReaderPhotos(LaPa(config.lapa, "train"), "lapa106"))
    if config.views:
        sets.append(RenderedViews(config.views, config.views_definition, config.labels_3d, upright=config.upright))
    if not sets:
        raise ValueError("training sets: expected at least one of --sets, --wflw, --lapa, --views, found none")
    for one in sets:
        if not len(one.train):
            raise ValueError(f"{one.name}: expected more than the {len(one.dev)} faces held out, found no more")
    return sets


def shares(sets: Sequence[TrainingSet], stated: Mapping[str, float]) -> Float[np.ndarray, "k"]:
    """Each set's share of a batch, summing to 1. Raises ValueError unless all are stated, above 0, or none."""
    names = [one.name for one in sets]
    if stated and (sorted(stated) != sorted(names) or min(stated.values()) <= 0):
        raise ValueError(f"--shares: expected a share above 0 of each of {', '.join(names)}, found {dict(stated)}")
    sizes = {one.name: len(one.train) ** 0.5 for one in sets}
    weights = np.array([(stated or sizes)[name] for name in names])
    return weights / weights.sum()


def samples_of(batch: int, share: Float[np.ndarray, "k"]) -> list[int]:
    """Whole numbers of samples that sum to `batch`, nearest to the shares, each at least 1."""
    if batch < len(share):
        raise ValueError(f"batch: expected at least a sample of each of {len(share)} training sets, found {batch}")
    spare = share * (batch - len(share))
    counts = 1 + np.floor(spare).astype(int)
    left = batch - counts.sum()
    counts[np.argsort(np.floor(spare) - spare, kind="stable")[:left]] += 1
    return counts.tolist()


def spread(keys: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the keys, evenly spread."""
    return keys[np.linspace(0, len(keys) - 1, min(count, len(keys))).round().astype(int)]


def collate_labels(crops: Sequence[LabelledCrop], definitions: Sequence[str]) -> Batch:
    """uint8 images (b, 3, s, s) with channels last in memory; of each definition the rows that are labelled by it, and
    their points (r, n, 2) with NaN and states (r, n)."""
    batch = {"image": torch.as_tensor(np.stack([crop.image for crop in crops])).permute(0, 3, 1, 2)}
    for name in definitions:
        size = SCHEMES[DEFINITIONS[name]].size
        rows = [row for row, crop in enumerate(crops) if name in crop.labels]
        points = np.array([crops[row].labels[name].points for row in rows], np.float32).reshape(-1, size, 2)
        state = np.array([crops[row].labels[name].state for row in rows], np.int8).reshape(-1, size)
        batch[f"rows.{name}"] = torch.tensor(rows, dtype=torch.long)
        batch[f"points.{name}"], batch[f"state.{name}"] = torch.as_tensor(points), torch.as_tensor(state)
    return batch


def predict_definitions(model: nn.Module, images: list[np.ndarray], batch: int = 100) -> dict[str, Points2D]:
    """What the detector says of the crops, on the CPU."""
    device = next(model.parameters()).device
    parts: list[dict[str, Points2D]] = []
    for start in range(0, len(images), batch):
        image = torch.as_tensor(np.stack(images[start : start + batch])).permute(0, 3, 1, 2).to(device)
        parts.append(model(image.float() / 255))
    return {
        name: Points2D(
            *(torch.cat(values).cpu() for values in zip(*(_stated(part[name]) for part in parts), strict=True))
        )
        for name in parts[0]
    }


def _stated(found: Points2D) -> list[Tensor]:
    """Its fields but those that there are in training alone."""
    return [value for value in found if value is not None]


def _mean(points: list[np.ndarray], size: int) -> Float[np.ndarray, "k 2"]:
    stacked = np.array(points).reshape(-1, size, 2)
    labelled = np.isfinite(stacked)
    mean = np.where(labelled, stacked, 0.0).sum(0) / np.maximum(labelled.sum(0), 1)
    mean[~labelled.any(0)] = 0.5
    return mean.astype(np.float32)


def train_detector(config: DetectorConfig) -> Path:
    """Trains, or goes on; leaves RUN/definitions.md, the errors on held-out faces; returns the checkpoint."""
    task = DetectorTask(config, data_root(config.data) if config.sets else None)
    sources = listed(training_sources(config))
    description = {"task": "detector", "definitions": task.definitions, **asdict(config), "sources": sources}
    checkpoint = train(task, config.loop, description)
    table = definition_table(config.loop.run / "metrics.csv")
    with written_whole(config.loop.run / "definitions.md") as partial:
        partial.write_text(table, encoding="utf-8")
    log.info("%s", table)
    return checkpoint
