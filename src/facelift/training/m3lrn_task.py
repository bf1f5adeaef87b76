"""Training of M3-LRN: faces with known parameters, and real photos with human 2D labels."""

import logging
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from facelift.checkpoints.onnx_weights import YOUNG, start_from_exported
from facelift.checkpoints.safe_load import fill, read_state
from facelift.datasets.augment import Augmentation
from facelift.datasets.face_swap import draw_partners, swap_textures
from facelift.datasets.morphable_faces import MorphableFaces, MorphableSample, MorphableSource
from facelift.datasets.morphable_views import MorphableViews, head_coefficients
from facelift.datasets.real_faces import CropSample
from facelift.datasets.views import ViewCache, generator_of
from facelift.datasets.w300lp_faces import W300LPFaces
from facelift.geometry import geodesic_distance
from facelift.geometry.weak_perspective import scale_and_rotation
from facelift.landmarks import normals, wflw98_of_ibug68
from facelift.losses.facelift_loss import weighted_sum
from facelift.losses.m3lrn_loss import M3LRNTarget, m3lrn_terms
from facelift.models.lifter import Lifter
from facelift.models.m3lrn import M3LRN, ROWS, M3LRNOutput, require_rows
from facelift.models.mobile import GlobalMobileEncoder
from facelift.morphable.linear import POSE, LinearModel, Whitening, load_linear_model, split_parameters
from facelift.onnx_models.lifter import weights_path
from facelift.rendering.uv_textures import UvLayout
from facelift.sources import listed
from facelift.training.config import M3LRNTrainConfig
from facelift.training.dev_metrics import nme_by_yaw, visible_nme
from facelift.training.inputs import training_sources
from facelift.training.lifter_task import frame_weight
from facelift.training.loop import Batch, train
from facelift.training.order import indices, sample_rng
from facelift.training.photos import training_photos
from facelift.training.pictures import draw_points, sheet

log = logging.getLogger(__name__)
IBUG = wflw98_of_ibug68()
CROP = 120
"""Side of the crops, px: the network's."""


class M3LRNTask:
    """Parameters and landmarks of renders (or of 300W-LP), landmarks of photos where people marked them."""

    def __init__(self, config: M3LRNTrainConfig, data: Path | None):
        torch.manual_seed(config.loop.seed)
        linear = load_linear_model(config.model)
        network = replace(config.network, shape_size=len(linear.shape), expression_size=len(linear.expression))
        self.config = config = replace(config, network=network)
        self.faces, self.measured = training_photos(config, data)
        source = _source(config, linear)
        _check_heads(config, int(source.identity.max()) + 1)
        held_out = source.identity > source.identity.max() - config.dev_heads
        self.known = MorphableFaces(source, linear, size=CROP)
        limit = config.loop.overfit
        self.taught = np.flatnonzero(~held_out)[:limit]
        self.held_out = np.flatnonzero(held_out)
        self.real = self.faces.train[:limit] if self.faces and config.real_share else []
        taught = source.parameters[~held_out]
        mirrored = linear.mirror_parameters(taught, CROP)
        self.linear = replace(linear, whitening=Whitening.of(np.concatenate([taught, mirrored])))
        self.model = M3LRN(config.network, self.linear)
        self.layout = UvLayout(linear.faces, linear.uv, CROP) if linear.uv is not None else None
        self.normals = torch.tensor(normals(), dtype=torch.float32)
        if config.encoder_start:
            self._start_encoder(config.encoder_start)
        if config.start:
            state = read_state(config.start, inside="averaged")
            require_rows(linear, *(state.get(f"landmark_{name}") for name in ROWS))
            fill(self.model, state, path=config.start)

    def _start_encoder(self, exported: str) -> None:
        """The encoder of a lifter that was exported."""
        lifter = Lifter(encoder="mobile")
        images = [self.batch(step)["image"].float() / 255 for step in range(4)]
        side = lifter.encoder.image_size
        seen = interpolate(torch.cat(images), (side, side), mode="bilinear", align_corners=False)
        start_from_exported(lifter, weights_path(exported), seen, fresh=YOUNG)
        assert isinstance(self.model.encoder, GlobalMobileEncoder)  # the configuration says so
        self.model.encoder.grid_encoder.load_state_dict(lifter.encoder.state_dict())

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        loop = self.config.loop
        real = round(loop.batch * self.config.real_share) if self.real else 0
        place = {"seed": loop.seed, "rank": rank, "world": world}
        photos = indices(step, batch=real, count=max(1, len(self.real)), **place)
        views = indices(step, batch=loop.batch - real, count=len(self.taught), **place)
        rngs = [sample_rng(step, seed=loop.seed, rank=rank, index=i) for i in range(loop.batch)]
        frames = [self._photo(self.real[key], rng) for key, rng in zip(photos, rngs, strict=False)]
        drawn = [self._known(int(self.taught[row]), rng) for row, rng in zip(views, rngs[real:], strict=True)]
        drawn = self._swapped(drawn, rngs[real:])
        unknown = np.full((real, self.known.source.parameters.shape[1]), np.nan)
        parameters = np.concatenate([unknown, *(sample.parameters[None] for sample in drawn)])
        images = [frame.image for frame in frames] + [sample.image for sample in drawn]
        return {
            "image": torch.as_tensor(np.stack(images)).permute(0, 3, 1, 2),
            "parameters": _tensor(parameters),
            "landmarks": _tensor([sample.landmarks for sample in drawn], (68, 3)),
            "points": _tensor([frame.points for frame in frames], (98, 2)),
            "state": torch.as_tensor(np.array([frame.state for frame in frames], np.int8).reshape(-1, 98)),
        }

    def _photo(self, key: tuple[int, int], rng: np.random.Generator) -> CropSample:
        assert self.faces is not None  # `key` is one of its faces
        if self.config.loop.overfit:
            return self.faces.crop(key, CROP)
        return self.faces.augmented(key, CROP, rng, self.config.augmentation)

    def _known(self, index: int, rng: np.random.Generator) -> MorphableSample:
        if self.config.loop.overfit:
            return self.known.source[index]
        return self.known.augmented(index, rng, self.config.augmentation)

    def _swapped(self, samples: list[MorphableSample], rngs: list[np.random.Generator]) -> list[MorphableSample]:
        """The samples, some with the texture of another one: pictures change, landmarks and parameters stay."""
        if self.layout is None or not self.config.face_swap or self.config.loop.overfit or not samples:
            return samples
        partners = draw_partners(rngs[0], len(samples), self.config.face_swap)
        if (partners == np.arange(len(samples))).all():
            return samples
        meshes = [self.known.mesh(sample) for sample in samples]
        images = swap_textures([sample.image for sample in samples], meshes, partners, self.layout)
        return [replace(sample, image=image) for sample, image in zip(samples, images, strict=True)]

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The terms of `losses.m3lrn_loss`; photos have no parameters, and no depth."""
        found = model(batch["image"].float() / 255)
        real = len(batch["points"])
        flat = batch["points"][:, IBUG] * CROP
        landmarks = torch.cat([torch.cat([flat, torch.full_like(flat[..., :1], torch.nan)], -1), batch["landmarks"]])
        rotation = rotation_of_pose(found.parameters[:real, :POSE]).detach()
        weight = landmarks.new_ones(landmarks.shape[:2])
        if real:
            trusted = frame_weight(rotation, batch["points"], batch["state"], self.normals.to(landmarks.device))
            weight[:real] = trusted[:, IBUG]
        sizes = tuple(self.config.network.sizes.values())
        whitened = (batch["parameters"] - self.model.mean) / self.model.std  # the network's: a start brings its own
        terms = m3lrn_terms(found, M3LRNTarget(whitened, landmarks, weight), groups=sizes)
        return {**terms, "loss": weighted_sum(terms, asdict(self.config.weights))}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Errors of the refined landmarks on held-out photos, and as heads_* on held-out heads; coarse_*: those of the
        3DMM before refinement."""
        metrics: dict[str, float] = {}
        if self.measured:
            crops = [self.measured.crop(key, CROP) for key in self.measured.dev]
            yaw = np.array([self.measured.yaw_deg(key) for key in self.measured.dev])
            found = predict(model, [crop.image for crop in crops])
            metrics |= visible_nme(_as_wflw98(found.landmarks), crops, yaw)
            metrics["coarse_nme"] = visible_nme(_as_wflw98(found.coarse), crops, yaw)["nme"]
        if len(self.held_out):
            metrics |= self._head_errors(model)
        return metrics

    def _head_errors(self, model: nn.Module) -> dict[str, float]:
        samples = [self.known.source[int(row)] for row in self.held_out]
        found = predict(model, [sample.image for sample in samples])
        truth = np.stack([sample.landmarks for sample in samples])
        seen, nowhere = np.ones(truth.shape[:2], bool), np.full(len(truth), np.nan)
        errors = {
            name: nme_by_yaw(points[..., :2].numpy(), truth[..., :2], seen, nowhere)["nme"]
            for name, points in {"heads_nme": found.landmarks, "heads_coarse_nme": found.coarse}.items()
        }
        depth = found.landmarks[..., 2].numpy() - truth[..., 2]
        own, wanted = (
            scale_and_rotation(split_parameters(parameters, *self._counts())[0])[1]
            for parameters in (found.parameters.numpy().astype(float), self.known.source.parameters[self.held_out])
        )
        return errors | {
            "heads_depth_px": float(np.abs(depth - depth.mean(1, keepdims=True)).mean()),
            "heads_pose_deg": float(np.degrees(geodesic_distance(own, wanted)).mean()),
        }

    def _counts(self) -> tuple[int, int]:
        return len(self.linear.shape), len(self.linear.expression)

    def picture(self, model: nn.Module) -> np.ndarray:
        keys = self.measured.dev[:: max(1, len(self.measured.dev) // 12)][:12] if self.measured else []
        images = [self.measured.crop(key, CROP).image for key in keys] if self.measured else []
        rows = np.linspace(0, len(self.known.source) - 1, 24 - len(images)).astype(int)
        images += [self.known.source[int(row)].image for row in rows]
        found = predict(model, images).landmarks[..., :2].numpy() / CROP
        return sheet([draw_points(i, p, (0, 255, 80)) for i, p in zip(images, found, strict=True)], 6)


def _source(config: M3LRNTrainConfig, linear: LinearModel) -> MorphableSource:
    """The faces whose parameters are known."""
    if config.w300lp:
        return W300LPFaces(config.w300lp, linear, size=CROP, cache=config.loop.run / "w300lp.npz")
    assert config.views is not None  # the configuration says so
    views = ViewCache(config.views, labels="exact")
    generator = generator_of(config.views, config.assets, config.data)
    coefficients = head_coefficients(views, generator, linear, config.loop.run / "heads.npz")
    return MorphableViews(views, linear, coefficients, size=CROP)


def _check_heads(config: M3LRNTrainConfig, count: int) -> None:
    """Raises ValueError unless some heads teach, and some are measured where no photo is."""
    least = 0 if config.sets or config.dev_set else 1
    if not least <= config.dev_heads < count:
        source = config.views or config.w300lp
        raise ValueError(
            f"--dev-heads: expected {least} or more, and fewer than the {count} heads of {source}, "
            f"found {config.dev_heads}"
        )


def rotation_of_pose(pose: Float[Tensor, "b 12"]) -> Float[Tensor, "b 3 3"]:
    """R of [sR | t] by Gram-Schmidt from the rows of x and y, whatever the third row says; differentiable."""
    rows = pose.unflatten(-1, (3, 4))[..., :3]
    x = normalize(rows[:, 0], dim=-1)
    y = normalize(rows[:, 1] - (rows[:, 1] * x).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=1)


def predict(model: nn.Module, images: list[np.ndarray], batch: int = 100) -> M3LRNOutput:
    """The network's output for 120 px crops, on the CPU."""
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(images), batch):
        image = torch.as_tensor(np.stack(images[start : start + batch])).permute(0, 3, 1, 2).to(device)
        found = model(image.float() / 255, support=False)
        parts.append([value.float().cpu() for value in found[:4]])
    parameters, whitened, landmarks, coarse = (torch.cat(values) for values in zip(*parts, strict=True))
    return M3LRNOutput(parameters, whitened, landmarks, coarse, None)


def _as_wflw98(landmarks: Float[Tensor, "n 68 3"]) -> Float[np.ndarray, "n 98 2"]:
    """iBUG's points in WFLW-98's places, in crop widths; the others NaN."""
    points = np.full((len(landmarks), 98, 2), np.nan)
    points[:, IBUG] = landmarks[..., :2].numpy() / CROP
    return points


def _tensor(values: object, shape: tuple[int, ...] | None = None) -> Tensor:
    array = np.array(values, np.float32)
    return torch.as_tensor(array if shape is None else array.reshape(-1, *shape))


def train_m3lrn(config: M3LRNTrainConfig) -> Path:
    """Trains, or goes on; returns the checkpoint."""
    if config.loop.overfit:
        config = replace(config, augmentation=Augmentation(colour=0, occluder=0))
    task = M3LRNTask(config, config.data)
    description = {"task": "m3lrn", **asdict(task.config), "sources": listed(training_sources(config))}
    return train(task, config.loop, description)
