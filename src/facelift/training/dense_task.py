"""Training of dense landmarks: renders with exact points, and real photos with 68 human landmarks."""

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from facelift.checkpoints.safe_load import fill, read_state
from facelift.checkpoints.torchvision import load_torchvision
from facelift.datasets.augment import Augmentation
from facelift.datasets.dense_dad import DenseDAD
from facelift.datasets.dense_views import DenseSample, DenseViews, head_points
from facelift.datasets.readers.dad3dheads import DAD3DHeads
from facelift.datasets.real_faces import CropSample, flip
from facelift.datasets.views import ViewCache, generator_of
from facelift.evaluation.metrics.heads import mean_landmark_error
from facelift.landmarks import normals, wflw98_of_ibug68
from facelift.losses.dense_likelihood import NLL, residual_nll
from facelift.losses.facelift_loss import weighted_sum
from facelift.losses.masked_mean import masked_mean, without_unlabelled
from facelift.losses.vertex_edges import vertex_edge_loss
from facelift.models.dense import DenseLandmarks, DenseOutput
from facelift.models.dense_config import DenseConfig
from facelift.models.flow import RealNVP
from facelift.morphable.decimation import edges
from facelift.morphable.vertex_sets import VERTICES, VertexSets, head_vertex_sets, load_vertex_sets
from facelift.sources import listed
from facelift.training.config import DenseTrainConfig
from facelift.training.dev_metrics import visible_nme
from facelift.training.inputs import training_sources
from facelift.training.lifter_task import frame_weight
from facelift.training.loop import Batch, train
from facelift.training.order import indices, sample_rng
from facelift.training.photos import training_photos
from facelift.training.pictures import draw_points, sheet

log = logging.getLogger(__name__)
IBUG = wflw98_of_ibug68()
STATED_PX = 256
"""MLME is given in px of pictures of this side, whatever the network's."""


@runtime_checkable
class DenseSamples(Protocol):
    """Pictures with dense landmarks."""

    def plain(self, index: int) -> DenseSample: ...
    def augmented(
        self, index: int, rng: np.random.Generator, augmentation: Augmentation, flips: tuple[float, float]
    ) -> DenseSample: ...


class DenseLearner(nn.Module):
    """The network and, of residual likelihoods, the flow, which only training needs."""

    edges: Tensor

    def __init__(self, config: DenseConfig, sets: VertexSets):
        super().__init__()
        self.network = DenseLandmarks(config, sets)
        self.flow = RealNVP() if config.loss.startswith("resll") else None
        pairs = torch.as_tensor(edges(sets[config.points].faces)).long()
        self.register_buffer("edges", pairs, persistent=False)

    def forward(
        self,
        image: Float[Tensor, "b 3 s s"],
        points: Float[Tensor, "d l 2"],
        landmarks: Float[Tensor, "r 68 2"],
        weight: Float[Tensor, "r 68"],
    ) -> dict[str, Tensor]:
        """The terms of a batch of r photos with weighted landmarks and then d pictures with points; crop widths."""
        found, real = self.network(image), len(landmarks)
        photos, heads = DenseOutput(*(v[:real] for v in found)), DenseOutput(*(v[real:] for v in found))
        terms = {}
        if len(points):
            terms["points"] = self._likelihood(heads, points, points.isfinite().all(-1).float())
            terms["edges"] = vertex_edge_loss(heads.points, points, self.edges)
        if real:
            terms["landmarks"] = self._likelihood(self.network.landmarks(photos), landmarks, weight)
        return terms

    def _likelihood(self, found: DenseOutput, target: Tensor, weight: Tensor) -> Tensor:
        residual, config = without_unlabelled(found.points, target, weight), self.network.config
        if self.flow is None:
            kind = "gaussian" if config.loss == "ngll" else "laplacian"
            return masked_mean(NLL[kind](residual, found.sigma), weight)
        return masked_mean(residual_nll(residual, found.sigma, self.flow, config.base), weight)


class DenseTask:
    """Likelihood of dense points and of the landmarks on their mesh, and the vertex-edge loss."""

    def __init__(self, config: DenseTrainConfig, data: Path | None):
        torch.manual_seed(config.loop.seed)
        self.config, self.size = config, config.network.size
        self.faces, self.measured = training_photos(config, data)
        self.samples, self.rendered, self.held_out = self._heads()
        limit = config.loop.overfit
        self.rendered = self.rendered[:limit]
        self.real = self.faces.train[:limit] if self.faces and config.real_share else []
        self.model = DenseLearner(config.network, self.sets)
        self.normals = torch.tensor(normals(), dtype=torch.float32)
        if config.torchvision:
            load_torchvision(self.model.network.features.encoder, config.torchvision)
        if config.start:
            self._start(config.start)

    def _heads(self) -> tuple[DenseSamples, np.ndarray, np.ndarray]:
        """Pictures with dense points, the indices of those that teach, and of those that are measured."""
        config, kept = self.config, self.config.loop.run / VERTICES
        if config.dad3dheads:
            assert config.vertices is not None  # checked by the config
            self.sets = load_vertex_sets(config.vertices)
            self.sets.save(kept)
            splits = (DAD3DHeads(config.dad3dheads, split) for split in ("train", "val"))
            photos, dev_photos = (DenseDAD(one, self.sets, config.network.points, size=self.size) for one in splits)
            self.dev_samples: DenseSamples = dev_photos
            return photos, np.arange(len(photos)), np.arange(len(dev_photos))
        assert config.views is not None  # likewise
        views = ViewCache(config.views, labels="exact")
        generator = generator_of(config.views, config.assets, config.data)
        self.sets = self._sets_of(generator, kept)
        _check_heads(config, len(views.seeds))
        heads = head_points(views, generator, self.sets, config.network.points, config.loop.run / "heads.npz")
        if self.faces and config.real_share:
            self.faces.fit_poses(views.landmarks, config.loop.run / "poses.npz")
        self.dev_samples = samples = DenseViews(views, heads, size=self.size)
        first = len(views.seeds) - config.dev_heads
        rendered = np.flatnonzero(views.face < min(first, config.heads or first))
        return samples, rendered, np.flatnonzero(views.face >= first)

    def _sets_of(self, generator, kept: Path) -> VertexSets:
        """Given ones, those of an earlier start, or new ones of the head; in the run folder afterwards."""
        if self.config.vertices is None and kept.exists():
            return load_vertex_sets(kept)
        sets = (
            load_vertex_sets(self.config.vertices)
            if self.config.vertices
            else head_vertex_sets(generator.head, generator.name)
        )
        if sets.head != generator.name:
            raise ValueError(f"--vertices: expected vertex sets of the {generator.name} of --views, found {sets.head}")
        sets.save(kept)
        return sets

    def _start(self, path: Path) -> None:
        if path.suffix != ".onnx":
            checkpoint = path / "checkpoint.pt" if path.is_dir() else path
            fill(self.model, read_state(checkpoint, inside="averaged"), path=checkpoint)
            return
        from facelift.checkpoints.onnx_weights import YOUNG, start_from_exported
        from facelift.models.lifter import Lifter

        lifter = Lifter(encoder=self.config.network.encoder)
        size = lifter.encoder.image_size
        images = torch.cat([self.batch(step)["image"].float() / 255 for step in range(4)])
        start_from_exported(lifter, path, nn.functional.interpolate(images, (size, size)), fresh=YOUNG)
        self.model.network.features.encoder.load_state_dict(lifter.encoder.state_dict())

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        loop = self.config.loop
        real = round(loop.batch * self.config.real_share) if self.real else 0
        place = {"seed": loop.seed, "rank": rank, "world": world}
        keys = indices(step, batch=real, count=max(1, len(self.real)), **place)
        rows = indices(step, batch=loop.batch - real, count=len(self.rendered), **place)
        rngs = [sample_rng(step, seed=loop.seed, rank=rank, index=i) for i in range(loop.batch)]
        photos = [self._photo(self.real[key], rng) for key, rng in zip(keys, rngs, strict=False)]
        heads = [self._head(int(self.rendered[row]), rng) for row, rng in zip(rows, rngs[real:], strict=True)]
        images = [photo.image for photo in photos] + [head.image for head in heads]
        return {
            "image": torch.as_tensor(np.stack(images)).permute(0, 3, 1, 2),
            "points": _tensor([head.points for head in heads], (self.config.network.points, 2)),
            "landmarks": _tensor([photo.points[IBUG] for photo in photos], (68, 2)),
            "weight": self._trust(photos),
        }

    def _photo(self, key: tuple[int, int], rng: np.random.Generator) -> CropSample:
        assert self.faces is not None  # `key` is one of its faces
        if self.config.loop.overfit:
            return self.faces.crop(key, self.size)
        sample = self.faces.augmented(key, self.size, rng, self.config.augmentation)
        if rng.random() >= self.config.flips[1]:
            return sample
        mirrored = flip(sample.image, self.size * sample.points, sample.state)  # and turned by 180 degrees: upside down
        turned = np.ascontiguousarray(mirrored[0][::-1, ::-1])
        rotation = np.diag([1.0, -1, 1]) @ sample.rotation @ np.diag([-1.0, 1, 1])
        return replace(sample, image=turned, points=1 - mirrored[1] / self.size, state=mirrored[2], rotation=rotation)

    def _trust(self, photos: list[CropSample]) -> Float[Tensor, "r 68"]:
        """How far each label teaches: as in the lifter, in the pose of a shape fitted to the labels; the jaw of a photo
        without a fit not at all."""
        if not photos:
            return torch.zeros(0, 68)
        rotation = _tensor([photo.rotation for photo in photos])
        state = torch.as_tensor(np.stack([photo.state for photo in photos]))
        weight = frame_weight(rotation, _tensor([photo.points for photo in photos]), state, self.normals)
        return weight.nan_to_num(0.0)[:, IBUG]

    def _head(self, index: int, rng: np.random.Generator) -> DenseSample:
        if self.config.loop.overfit:
            return self.samples.plain(index)
        return self.samples.augmented(index, rng, self.config.augmentation, self.config.flips)

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The terms of `DenseLearner`, and their weighted sum."""
        terms = model(batch["image"].float() / 255, batch["points"], batch["landmarks"], batch["weight"])
        return {**terms, "loss": weighted_sum(terms, asdict(self.config.weights))}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """heads_mlme_px (of 256) and the mean deviation claimed, on held-out pictures with dense points; the NME of the
        landmarks on the mesh on held-out photos."""
        metrics: dict[str, float] = {}
        if self.measured:
            crops = [self.measured.crop(key, self.size) for key in self.measured.dev]
            yaw = np.array([self.measured.yaw_deg(key) for key in self.measured.dev])
            found = predict_dense(model, [crop.image for crop in crops])
            points = np.full((len(crops), 98, 2), np.nan)
            points[:, IBUG] = _network(model).landmarks(found).points.numpy()
            metrics |= visible_nme(points, crops, yaw)
        if len(self.held_out):
            samples = [self.dev_samples.plain(int(index)) for index in self.held_out]
            found = predict_dense(model, [sample.image for sample in samples])
            truth = np.stack([sample.points for sample in samples])
            error = mean_landmark_error(STATED_PX * found.points.numpy(), STATED_PX * truth)
            metrics["heads_mlme_px"] = float(np.nanmean(error))
            metrics["heads_sigma_px"] = STATED_PX * found.sigma.mean().item()
        return metrics

    def picture(self, model: nn.Module) -> np.ndarray:
        """Held-out photos, held-out heads, and a batch as it is learned from with its truth in red."""
        keys = self.measured.dev[:: max(1, len(self.measured.dev) // 8)][:8] if self.measured else []
        images = [self.measured.crop(key, self.size).image for key in keys] if self.measured else []
        rows = self.held_out[np.linspace(0, len(self.held_out) - 1, 16 - len(images)).astype(int)]
        images += [self.dev_samples.plain(int(row)).image for row in rows]
        found = predict_dense(model, images).points.numpy()
        tiles = [draw_points(i, p, (0, 255, 80)) for i, p in zip(images, found, strict=True)]
        learned = self.batch(0)
        truth = list(learned["landmarks"].numpy()) + list(learned["points"].numpy())
        taught = learned["image"].permute(0, 2, 3, 1).numpy()
        chosen = np.linspace(0, len(truth) - 1, 8).astype(int)
        tiles += [draw_points(np.ascontiguousarray(taught[i]), truth[i], (255, 60, 60)) for i in chosen]
        return sheet([tile[:256, :256] for tile in tiles], 8)


def _check_heads(config: DenseTrainConfig, count: int) -> None:
    """Raises ValueError unless some heads teach, and some are measured where no photo is."""
    least = 0 if config.sets or config.dev_set else 1
    if not least <= config.dev_heads < count:
        raise ValueError(
            f"--dev-heads: expected {least} or more, and fewer than the {count} heads of {config.views}, "
            f"found {config.dev_heads}"
        )


def predict_dense(model: nn.Module, images: list[np.ndarray]) -> DenseOutput:
    """What a learner's network says of crops of its size, on the CPU."""
    return predict_network(_network(model), images)


@torch.no_grad()
def predict_network(network: DenseLandmarks, images: list[np.ndarray], batch: int = 64) -> DenseOutput:
    """What the network says of crops of its size, on the CPU."""
    device = next(network.parameters()).device
    parts = []
    for first in range(0, len(images), batch):
        image = torch.as_tensor(np.stack(images[first : first + batch])).permute(0, 3, 1, 2).to(device)
        parts.append([value.float().cpu() for value in network(image.float() / 255)])
    return DenseOutput(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _network(model: nn.Module) -> DenseLandmarks:
    assert isinstance(model.network, DenseLandmarks)  # of a DenseLearner
    return model.network


def _tensor(values: object, shape: tuple[int, ...] | None = None) -> Tensor:
    array = np.array(values, np.float32)
    return torch.as_tensor(array if shape is None else array.reshape(-1, *shape))


def train_dense(config: DenseTrainConfig) -> Path:
    """Trains, or goes on; returns the checkpoint."""
    if config.loop.overfit:
        config = replace(config, augmentation=Augmentation(colour=0, occluder=0))
    task = DenseTask(config, config.data)
    description = {
        "task": "dense",
        **asdict(config),
        "head": task.sets.head,
        "sources": listed(training_sources(config)),
    }
    return train(task, config.loop, description)
