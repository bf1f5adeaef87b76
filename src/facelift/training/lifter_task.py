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
from facelift.datasets.augment import Augmentation, distort, occlude, random_roll
from facelift.datasets.pseudo_frames import PseudoFrames
from facelift.datasets.real_faces import CropSample, cover_states
from facelift.datasets.sample import UNKNOWN
from facelift.datasets.turned_views import levelled, mirrored
from facelift.datasets.views import RenderedView, ViewCache, generator_of
from facelift.geometry import MIRROR, intrinsics, project
from facelift.landmarks import JAW, WFLW98, normals, outline_weight
from facelift.losses.closure import closure_loss
from facelift.losses.distillation import distillation_terms
from facelift.losses.facelift_loss import (
    MultiViewTarget,
    facing_camera,
    frame_mask,
    marks_term,
    multi_frame_terms,
    multi_view_terms,
    single_view_terms,
    weighted_sum,
)
from facelift.losses.gaze import gaze_loss
from facelift.losses.points import glance_error
from facelift.losses.visibility import visibility_bce
from facelift.models.lifter import Lifter, LifterOutput
from facelift.sources import listed
from facelift.training.config import LifterConfig
from facelift.training.dev_metrics import head_errors, visible_nme
from facelift.training.inputs import training_sources
from facelift.training.loop import Batch, train, training_device
from facelift.training.order import indices, sample_rng, streamed_indices
from facelift.training.photos import training_photos
from facelift.training.pictures import draw_points, sheet
from facelift.training.teacher import Teacher

if TYPE_CHECKING:
    from facelift.generators.on_device import DeviceRenderer
    from facelift.models.resnet import ResNetEncoder
    from facelift.models.vit import VisionTransformer

log = logging.getLogger(__name__)


class LifterTask:
    """The paper's two losses on the two halves of a batch; visibility from labelled states, how far lids and lips are
    apart, and the decoder's first guess on both."""

    def __init__(self, config: LifterConfig, data: Path | None):
        torch.manual_seed(config.loop.seed)
        self.config = config
        self.faces, self.measured = training_photos(config, data, config.labels)
        self.views = ViewCache(config.views, labels=config.labels_3d)
        self.frames = PseudoFrames(config.frames) if config.frames else None
        taught, held_out = _heads(config, self.views)
        limit = config.loop.overfit
        self.real = self.faces.train[:limit] if self.faces and config.real_share else []
        self.rendered = np.flatnonzero(np.isin(self.views.face, taught))[:limit]
        self.held_out = np.flatnonzero(np.isin(self.views.face, held_out))
        shapes = self.views.landmarks[taught]
        self.model = Lifter(encoder=config.encoder, template=torch.as_tensor(template(shapes)))
        self.size = self.model.encoder.image_size
        if self.views.size != self.size:
            expected, found = (f"{side} px" for side in (self.size, self.views.size))
            raise ValueError(f"{config.views}: expected views of {expected} for {config.encoder}, found {found}")
        self.renderer = _renderer(config) if config.render else None
        self.normals = torch.tensor(normals(), dtype=torch.float32)
        if config.fit_frames:
            if not self.faces or not self.real:
                raise ValueError("--fit-frames: expected real photos to fit, found --sets empty or --real-share 0")
            share = self.faces.fit_poses(shapes, config.loop.run / "fits.npz")
            log.info("%.1f %% of %d real photos have a fitted pose", 100 * share, len(self.faces.train))
        if config.start and config.start.suffix == ".onnx":
            from facelift.checkpoints.onnx_weights import YOUNG, start_from_exported

            images = [self.batch(step)["image"].float() / 255 for step in range(4)]
            start_from_exported(self.model, config.start, torch.cat(images), fresh=YOUNG)
        elif config.start:
            fill(self.model, read_state(config.start, inside="averaged"), path=config.start)
        if config.detector:
            self.model.start_from_detector(read_state(config.detector, inside="averaged"), path=config.detector)
        bf16 = config.loop.precision == "bf16-mixed"
        self.teacher = Teacher(config.teacher, bf16=bf16) if config.teacher else None
        if config.farl:
            from facelift.checkpoints.farl import load_farl

            if config.encoder not in ("base", "vit_b16"):
                raise ValueError(f"--farl: expected --encoder base, found {config.encoder}")
            load_farl(cast("VisionTransformer", self.model.encoder), config.farl)
        if config.resnet:
            from facelift.checkpoints.torchvision import load_torchvision

            if not config.encoder.startswith("resnet"):
                raise ValueError(f"--resnet: expected --encoder resnet50 or resnet152, found {config.encoder}")
            load_torchvision(cast("ResNetEncoder", self.model.encoder), config.resnet)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        loop = self.config.loop
        real = round(loop.batch * self.config.real_share) if self.real or self.frames else 0
        labelled = self._labelled(real)
        place = {"seed": loop.seed, "rank": rank, "world": world}
        chosen_real = indices(step, batch=labelled, count=len(self.real), **place)
        chosen_views = self._chosen_views(step, loop.batch - real, place)
        rngs = [sample_rng(step, seed=loop.seed, rank=rank, index=i) for i in range(loop.batch)]
        frames = [self._real(self.real[key], rng) for key, rng in zip(chosen_real, rngs, strict=False)]
        if self.frames:
            videos = indices(step, batch=real - labelled, count=len(self.frames.sequences[: loop.overfit]), **place)
            frames += [self._frame(self.frames, int(v), rng) for v, rng in zip(videos, rngs[labelled:], strict=False)]
        views = self._views(self.rendered[chosen_views], rngs[real:])
        drawn = [self._view_sample(view, rng) for view, rng in zip(views, rngs[real:], strict=True)]
        return {
            **collate(frames + drawn),
            "landmarks": _stack(views, "landmarks", (98, 3)),
            "rotation": _stack(views, "rotation", (3, 3)),
            "translation": _stack(views, "translation", (3,)),
            "frame_rotation": _stack(frames, "rotation", (3, 3)),
            "frame_hidden": _stack(frames, "hidden", (98, 2)),
            "frame_weight": _stack(frames, "weight", (98,)),
        }

    def _chosen_views(self, step: int, batch: int, place: dict[str, int]) -> np.ndarray:
        """Rows of `rendered`, from all shards or from a few at a time."""
        window = self.config.stream
        if window:
            return streamed_indices(step, self.views.shard[self.rendered], window, batch=batch, **place)
        return indices(step, batch=batch, count=len(self.rendered), **place)

    def _labelled(self, real: int) -> int:
        """How many of a batch's real faces are photos that people labelled; the others are pseudo-labelled frames."""
        if not self.frames:
            return real
        return round(real * (1 - self.config.frames_share)) if self.real else 0

    def _real(self, key: tuple[int, int], rng: np.random.Generator) -> CropSample:
        assert self.faces is not None  # `key` is one of its faces
        if self.config.loop.overfit:
            return self.faces.crop(key, self.size)
        return self.faces.augmented(key, self.size, rng, self.config.augmentation)

    def _frame(self, frames: PseudoFrames, video: int, rng: np.random.Generator) -> CropSample:
        """A random frame of a video."""
        if self.config.loop.overfit:
            return frames.crop(frames.sequences[video][0], self.size)
        return frames.augmented(int(rng.choice(frames.sequences[video])), self.size, rng, self.config.augmentation)

    def _views(self, rows: np.ndarray, rngs: list[np.random.Generator]) -> list[RenderedView]:
        """Views of the cache, or new ones of their heads; half of them in a mirror, and turned as photos are."""
        if self.renderer and len(rows):
            heads = self.views.face[rows]
            views = self.renderer.draw(self.views.seeds[heads], self.views.landmarks[heads], rngs, self.size)
        else:
            views = [self.views[int(row)] for row in rows]
        if self.config.loop.overfit:
            return [self._as_measured(view) for view in views]
        views = [mirrored(view) if rng.random() < 0.5 else view for view, rng in zip(views, rngs, strict=True)]
        if not self.config.upright:
            return views
        turns = [random_roll(rng, self.config.augmentation) for rng in rngs]
        return [levelled(view, roll) for view, roll in zip(views, turns, strict=True)]

    def _as_measured(self, view: RenderedView) -> RenderedView:
        """The view as it is, or upright."""
        return levelled(view) if self.config.upright else view

    def _view_sample(self, view: RenderedView, rng: np.random.Generator) -> CropSample:
        """The view as a crop sample: picture distorted, points projected, hidden by the template's normals, by what
        the renderer saw, or by a pasted patch."""
        augmentation = self.config.augmentation
        points = project(view.landmarks.astype(float), view.rotation, view.translation, intrinsics(1.0))
        image, state = view.image, view.state()
        if rng.random() < augmentation.occluder:
            image, cover = occlude(rng, image, self._patch(rng))
            state = cover_states(state, points * len(image), cover)
        return CropSample(distort(rng, image, augmentation.colour), points, state)

    def _patch(self, rng: np.random.Generator) -> np.ndarray:
        """A picture to cover a view with: a real photo, or another view where photos teach nothing."""
        if self.faces and self.real:
            return self.faces.sets[0][int(rng.integers(len(self.faces.sets[0])))].image
        return self.views[int(self.rendered[rng.integers(len(self.rendered))])].image

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The terms of the halves that the batch has."""
        predicted = model(batch["image"].float() / 255, gaze=self.config.weights.gaze > 0)
        rendered = len(batch["landmarks"])
        real = len(batch["image"]) - rendered
        target, state = batch["points"], batch["state"]
        frames, views = predicted.rows(slice(real)), predicted.rows(slice(real, None))
        kind, beta = self.config.points_loss, self.config.beta
        terms: dict[str, Tensor] = {}
        taught = target.new_ones(target.shape[:2])
        placed = taught.clone()
        if real:
            sure = batch["frame_weight"]
            weight = sure * frame_weight(frames.rotation, target[:real], state[:real], self.normals.to(target.device))
            terms |= multi_frame_terms(frames, target[:real], weight, points_loss=kind, beta=beta)
            terms |= marks_term(frames, target[:real], sure, points_loss=kind, beta=beta)
            taught[:real], placed[:real] = sure, weight
        if real and self.config.fit_frames:
            terms |= single_view_terms(frames, batch["frame_rotation"], batch["frame_hidden"])
        if rendered:
            known = torch.isfinite(batch["landmarks"]).all(-1).float()
            truth = MultiViewTarget(batch["landmarks"], target[real:], batch["rotation"], batch["translation"], known)
            terms |= multi_view_terms(views, truth, points_loss=kind, beta=beta)
            if not real:  # no photo says where people mark the jaw: without this the marks' head would learn nothing
                terms |= marks_term(views, target[real:], known, points_loss=kind, beta=beta)
        if self.teacher:
            terms |= distillation_terms(predicted, self.teacher(batch["image"].float() / 255))
        terms["closure"] = closure_loss(predicted.points, target, taught)
        terms["glance"] = glance_error(predicted.glance, predicted.points)
        if predicted.gaze is not None:
            terms["gaze"] = gaze_loss(predicted.gaze, target, weight=placed)
        terms["visibility"] = visibility_bce(predicted.visibility, state)
        return {**terms, "loss": weighted_sum(terms, asdict(self.config.weights))}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Errors on held-out photos, and as heads_* on held-out heads: what there is of both."""
        metrics: dict[str, float] = {}
        if self.measured:
            crops = [self.measured.crop(key, self.size) for key in self.measured.dev]
            yaw = np.array([self.measured.yaw_deg(key) for key in self.measured.dev])
            found = predict(model, crops)
            metrics |= visible_nme(found.marks.numpy(), crops, yaw)
            metrics["nme_projected"] = visible_nme(found.points.numpy(), crops, yaw)["nme"]
        if len(self.held_out):
            cache, rows = self.views, self.held_out
            landmarks = cache.landmarks if cache.exact is None else cache.exact
            shown = [self._as_measured(cache[int(row)]) for row in rows]
            found = predict(model, [_plain(view) for view in shown])
            rotation = np.stack([view.rotation for view in shown])
            translation = np.stack([view.translation for view in shown])
            metrics |= head_errors(found, landmarks[cache.face[rows]], rotation, translation)
        return metrics

    def picture(self, model: nn.Module) -> np.ndarray:
        keys = self.measured.dev[:: max(1, len(self.measured.dev) // 18)][:18] if self.measured else []
        crops = [self.measured.crop(key, self.size) for key in keys] if self.measured else []
        rng = np.random.default_rng(0)
        views = [self._as_measured(self.views[int(i)]) for i in np.linspace(0, len(self.views) - 1, 24 - len(crops))]
        crops += [self._view_sample(view, rng) for view in views]
        points = predict(model, crops).points.numpy()
        return sheet([draw_points(c.image, p, (0, 255, 80)) for c, p in zip(crops, points, strict=True)], 6)


def frame_weight(
    rotation: Float[Tensor, "b 3 3"], points: Float[Tensor, "b n 2"], state: Tensor, normals: Float[Tensor, "n 3"]
) -> Float[Tensor, "b n"]:
    """How far each label teaches the projection of the 3D landmarks.

    The jaw's by `outline_weight`, in the predicted pose. Of the others, points that a person called visible or placed
    behind an occluder count, and of the rest those that face the camera by the predicted pose. Paper: the mask alone
    for all, its labels come from a detector that guesses hidden points. Here: human states go first, because a
    labelled state is surer than a predicted normal; but a visible jaw is the outline's, not the bone's.
    """
    trusted = (frame_mask(rotation, normals) | (state != UNKNOWN)).float()
    trusted[:, JAW] = outline_weight(facing_camera(rotation.detach(), normals[JAW]))
    return trusted * torch.isfinite(points).all(-1)


def collate(samples: list[CropSample]) -> Batch:
    """uint8 images (b, 3, s, s) with channels last in memory, points (b, 98, 2) with NaN, states (b, 98)."""
    return {
        "image": torch.as_tensor(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2),
        "points": torch.as_tensor(np.stack([sample.points for sample in samples]), dtype=torch.float32),
        "state": torch.as_tensor(np.stack([sample.state for sample in samples])),
    }


def _heads(config: LifterConfig, views: ViewCache) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the heads that teach, and of those that are held out."""
    count = len(views.landmarks)
    rest = count - config.dev_heads
    if config.dev_heads < (0 if config.sets or config.dev_set else 1):
        raise ValueError(f"--dev-heads: expected at least 1 where no photo is measured, found {config.dev_heads}")
    taught = rest if config.heads is None else config.heads
    if not 1 <= taught <= rest:
        found = f"{count} heads in {config.views}, {config.dev_heads} of them held out"
        raise ValueError(f"--heads: expected 1 or more, and as many in the cache, found {taught} of {found}")
    return np.arange(taught), np.arange(rest, count)


def _stack(samples: list[Any], name: str, shape: tuple[int, ...]) -> Tensor:
    """(n, *shape), also without samples."""
    values = np.array([getattr(sample, name) for sample in samples], np.float32)
    return torch.as_tensor(values.reshape(-1, *shape))


def _plain(view: RenderedView) -> CropSample:
    """The view as it is, for evaluation, which reads its picture alone."""
    return CropSample(view.image, np.full((98, 2), np.nan), np.full(98, UNKNOWN, np.int8))


def predict(model: nn.Module, crops: list[CropSample], batch: int = 100) -> LifterOutput:
    """The network's answers on the CPU."""
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(crops), batch):
        image = collate(crops[start : start + batch])["image"].to(device)
        parts.append([value.float().cpu() for value in model(image.float() / 255) if value is not None])
    return LifterOutput(*(torch.cat(values) for values in zip(*parts, strict=True)))


def template(landmarks: Float[np.ndarray, "n 98 3"]) -> Float[np.ndarray, "98 3"]:
    """Mean of the 3D pseudo-labels, made symmetric; pupils, which have none, at the middle of the eye's outline."""
    known = np.isfinite(landmarks).all(-1, keepdims=True)
    mean = np.where(known, landmarks, 0).sum(0) / np.maximum(known.sum(0), 1)
    mean[96], mean[97] = mean[60:68].mean(0), mean[68:76].mean(0)
    return (mean + mean[WFLW98.mirror] @ MIRROR) / 2


def _renderer(config: LifterConfig) -> "DeviceRenderer":
    """Raises ValueError where other processes would have to render."""
    from facelift.generators.on_device import DeviceRenderer

    if config.loop.workers or config.loop.overfit:
        raise ValueError("--render: expected no --loop.workers and no --loop.overfit: it draws in the training itself")
    return DeviceRenderer(generator_of(config.views, config.assets, config.data), training_device(config.loop))


def train_lifter(config: LifterConfig) -> Path:
    """Trains, or goes on; returns the checkpoint."""
    if config.loop.overfit:  # rendered views go through it too
        config = replace(config, augmentation=Augmentation(colour=0, occluder=0))
    task = LifterTask(config, config.data)
    description = {"task": "lifter", **asdict(config), "sources": listed(training_sources(config))}
    return train(task, config.loop, description)
