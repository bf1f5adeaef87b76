"""Training of the lifter: half rendered views with lifted 3D labels, half real photos with 2D labels."""

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from facelift.checkpoints.safe_load import fill, read_state
from facelift.datasets.augment import Augmentation, distort, occlude
from facelift.datasets.packed import data_root
from facelift.datasets.real_faces import CropSample, RealFaces, cover_states
from facelift.datasets.sample import SELF_OCCLUDED, UNKNOWN, VISIBLE
from facelift.datasets.views import RenderedView, ViewCache
from facelift.geometry import MIRROR, intrinsics, project
from facelift.landmarks import WFLW98, normals
from facelift.losses.facelift_loss import (
    MultiViewTarget,
    frame_mask,
    multi_frame_terms,
    multi_view_terms,
    single_view_terms,
    weighted_sum,
)
from facelift.losses.visibility import visibility_bce
from facelift.models.lifter import Lifter, LifterOutput
from facelift.training.config import LifterConfig
from facelift.training.dev_metrics import visible_nme
from facelift.training.loop import Batch, train
from facelift.training.order import indices, sample_rng
from facelift.training.pictures import draw_points, sheet

if TYPE_CHECKING:
    from facelift.models.resnet import ResNetEncoder
    from facelift.models.vit import VisionTransformer

log = logging.getLogger(__name__)


class LifterTask:
    """The paper's two losses on the two halves of a batch, and visibility from labelled states."""

    def __init__(self, config: LifterConfig, data: Path):
        torch.manual_seed(config.loop.seed)
        self.config = config
        if config.dev < 1:
            raise ValueError(f"--dev: expected at least one face to evaluate on, found {config.dev}")
        self.faces = RealFaces(data, config.sets, labels=config.labels, dev=config.dev)
        self.views = ViewCache(config.views)
        limit = config.loop.overfit
        self.real, self.rendered = self.faces.train[:limit], np.arange(len(self.views))[:limit]
        self.model = Lifter(encoder=config.encoder, template=torch.as_tensor(template(self.views.landmarks)))
        self.size = self.model.encoder.image_size
        if self.views.size != self.size:
            expected, found = (f"{side} px" for side in (self.size, self.views.size))
            raise ValueError(f"{config.views}: expected views of {expected} for {config.encoder}, found {found}")
        self.normals = torch.tensor(normals(), dtype=torch.float32)
        if config.detector:
            self.model.start_from_detector(read_state(config.detector, inside="averaged"), path=config.detector)
        if config.start:
            fill(self.model, read_state(config.start, inside="averaged"), path=config.start)
        if config.fit_frames:
            share = self.faces.fit_poses(self.views.landmarks)
            log.info("%.1f %% of %d real photos have a fitted pose", 100 * share, len(self.faces.train))
        if config.farl:
            from facelift.checkpoints.farl import load_farl

            if config.encoder != "vit_b16":
                raise ValueError(f"--farl: expected --encoder vit_b16, found {config.encoder}")
            load_farl(cast("VisionTransformer", self.model.encoder), config.farl)
        if config.resnet:
            from facelift.checkpoints.torchvision import load_torchvision

            if not config.encoder.startswith("resnet"):
                raise ValueError(f"--resnet: expected --encoder resnet50 or resnet152, found {config.encoder}")
            load_torchvision(cast("ResNetEncoder", self.model.encoder), config.resnet)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        loop = self.config.loop
        real = round(loop.batch * self.config.real_share)
        place = {"seed": loop.seed, "rank": rank, "world": world}
        chosen_real = indices(step, batch=real, count=len(self.real), **place)
        chosen_views = indices(step, batch=loop.batch - real, count=len(self.rendered), **place)
        rngs = [sample_rng(step, seed=loop.seed, rank=rank, index=i) for i in range(loop.batch)]
        frames = [self._real(self.real[key], rng) for key, rng in zip(chosen_real, rngs, strict=False)]
        views = [self._view(int(self.rendered[i]), rng) for i, rng in zip(chosen_views, rngs[real:], strict=True)]
        drawn = [self._view_sample(view, rng) for view, rng in zip(views, rngs[real:], strict=True)]
        return {
            **collate(frames + drawn),
            **{name: _stack(views, name) for name in ("landmarks", "rotation", "translation")},
            **{f"frame_{name}": _stack(frames, name) for name in ("rotation", "hidden")},
        }

    def _real(self, key: tuple[int, int], rng: np.random.Generator) -> CropSample:
        if self.config.loop.overfit:
            return self.faces.crop(key, self.size)
        return self.faces.augmented(key, self.size, rng, self.config.augmentation)

    def _view(self, index: int, rng: np.random.Generator) -> RenderedView:
        view = self.views[index]
        return mirrored(view) if not self.config.loop.overfit and rng.random() < 0.5 else view

    def _view_sample(self, view: RenderedView, rng: np.random.Generator) -> CropSample:
        """The view as a crop sample: picture distorted, points projected, hidden by normals or by a pasted patch."""
        augmentation = self.config.augmentation
        points = project(view.landmarks.astype(float), view.rotation, view.translation, intrinsics(1.0))
        facing = -(normals() @ view.rotation[2]) > 0
        state = np.where(facing, VISIBLE, SELF_OCCLUDED).astype(np.int8)
        image = view.image
        if rng.random() < augmentation.occluder:
            other = self.faces.sets[0][int(rng.integers(len(self.faces.sets[0])))].image
            image, cover = occlude(rng, image, other)
            state = cover_states(state, points * len(image), cover)
        return CropSample(distort(rng, image, augmentation.colour), points, state)

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        predicted = model(batch["image"].float() / 255)
        rendered = len(batch["landmarks"])
        real = len(batch["image"]) - rendered
        target, state = batch["points"], batch["state"]
        frames, views = (
            LifterOutput(*(part[:real] for part in predicted)),
            LifterOutput(*(part[real:] for part in predicted)),
        )
        known = torch.isfinite(batch["landmarks"]).all(-1).float()
        truth = MultiViewTarget(batch["landmarks"], target[real:], batch["rotation"], batch["translation"], known)
        terms = multi_frame_terms(
            frames,
            target[:real],
            frame_weight(frames.rotation, target[:real], state[:real], self.normals.to(target.device)),
            beta=self.config.beta,
        )
        if self.config.fit_frames:
            terms |= single_view_terms(frames, batch["frame_rotation"], batch["frame_hidden"])
        terms |= multi_view_terms(views, truth, beta=self.config.beta)
        terms["visibility"] = visibility_bce(predicted.visibility, state)
        return {**terms, "loss": weighted_sum(terms, asdict(self.config.weights))}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        crops = [self.faces.crop(key, self.size) for key in self.faces.dev]
        yaw = np.array([self.faces.yaw_deg(key) for key in self.faces.dev])
        return visible_nme(predict(model, crops), crops, yaw)

    def picture(self, model: nn.Module) -> np.ndarray:
        keys = self.faces.dev[:: max(1, len(self.faces.dev) // 18)][:18]
        crops = [self.faces.crop(key, self.size) for key in keys]
        rng = np.random.default_rng(0)
        views = [self.views[int(i)] for i in np.linspace(0, len(self.views) - 1, 6)]
        crops += [self._view_sample(view, rng) for view in views]
        points = predict(model, crops)
        return sheet([draw_points(c.image, p, (0, 255, 80)) for c, p in zip(crops, points, strict=True)], 6)


def frame_weight(
    rotation: Float[Tensor, "b 3 3"], points: Float[Tensor, "b n 2"], state: Tensor, normals: Float[Tensor, "n 3"]
) -> Float[Tensor, "b n"]:
    """Labelled points that a person called visible or placed behind an occluder, and of the rest those that face the
    camera by the predicted pose.

    Paper: the mask alone, its labels come from a detector that guesses hidden points. Here: human states go first,
    because a labelled state is surer than a predicted normal.
    """
    return (torch.isfinite(points).all(-1) & (frame_mask(rotation, normals) | (state != UNKNOWN))).float()


def collate(samples: list[CropSample]) -> Batch:
    """uint8 images (b, 3, s, s) with channels last in memory, points (b, 98, 2) with NaN, states (b, 98)."""
    return {
        "image": torch.as_tensor(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2),
        "points": torch.as_tensor(np.stack([sample.points for sample in samples]), dtype=torch.float32),
        "state": torch.as_tensor(np.stack([sample.state for sample in samples])),
    }


def _stack(samples: list[Any], name: str) -> Tensor:
    return torch.as_tensor(np.stack([getattr(sample, name) for sample in samples]), dtype=torch.float32)


def predict(model: nn.Module, crops: list[CropSample], batch: int = 100) -> Float[np.ndarray, "n 98 2"]:
    """Projected landmarks in crop widths."""
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(crops), batch):
        image = collate(crops[start : start + batch])["image"].to(device)
        parts.append(model(image.float() / 255).points.cpu().numpy())
    return np.concatenate(parts)


def mirrored(view: RenderedView) -> RenderedView:
    """The view in a mirror: x of head and camera negated, landmarks renamed. Exact, as the camera is symmetric."""
    return RenderedView(
        np.ascontiguousarray(view.image[:, ::-1]),
        view.landmarks[WFLW98.mirror] @ MIRROR,
        MIRROR @ view.rotation @ MIRROR,
        MIRROR @ view.translation,
    )


def template(landmarks: Float[np.ndarray, "n 98 3"]) -> Float[np.ndarray, "98 3"]:
    """Mean of the 3D pseudo-labels, made symmetric; pupils, which have none, at the middle of the eye's outline."""
    known = np.isfinite(landmarks).all(-1, keepdims=True)
    mean = np.where(known, landmarks, 0).sum(0) / np.maximum(known.sum(0), 1)
    mean[96], mean[97] = mean[60:68].mean(0), mean[68:76].mean(0)
    return (mean + mean[WFLW98.mirror] @ MIRROR) / 2


def train_lifter(config: LifterConfig) -> Path:
    """Trains, or goes on; returns the checkpoint."""
    if config.loop.overfit:  # rendered views go through it too
        config = replace(config, augmentation=Augmentation(colour=0, occluder=0))
    task = LifterTask(config, data_root(config.data))
    return train(task, config.loop, {"task": "lifter", **asdict(config)})
