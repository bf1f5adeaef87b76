"""Settings of the training commands; importable without torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from facelift.datasets.augment import Augmentation
from facelift.models.dense_config import DenseConfig
from facelift.models.m3lrn_config import M3LRNConfig
from facelift.scale.store import Place


@dataclass(frozen=True)
class LoopConfig:
    """The part of a training that does not depend on what is learned."""

    run: Path
    """Run folder: config, versions, metrics, curves, pictures and the checkpoint. Started again, it resumes."""
    steps: int = 20000
    """Optimiser steps in all."""
    batch: int = 64
    """Samples a step and process."""
    lr: float = 2e-3
    """Highest learning rate; a short warm-up leads to it."""
    warmup: int = 300
    """Steps of linear warm-up."""
    schedule: Literal["cosine", "steps"] = "cosine"
    """After the warm-up: a cosine to zero; or the rate as it is, a tenth of it from 0.6 of the steps on and a hundredth
    from 0.8, as M3-LRN's paper has it (epochs 48 and 64 of 80)."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or stochastic gradient descent with momentum 0.9."""
    weight_decay: float = 0.05
    """Decay of matrices and filters; AdamW's is taken off apart from the gradient."""
    ema: float = 0.998
    """Decay of the averaged weights that are evaluated and exported."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    evaluate_every: int = 500
    """Steps between evaluations, each with metrics, curves and a picture."""
    checkpoint_minutes: float = 3.0
    """Time between checkpoints; one is also written at SIGTERM and at the end."""
    minutes: float | None = None
    """Stop after this long, checkpoint written; the next start goes on."""
    overfit: int | None = None
    """Train on only this many samples, without augmentation, to see whether the loss can reach its floor."""
    seed: int = 0
    """Of initial weights, order and augmentation."""
    precision: str = "32-true"
    """Lightning Fabric's precision: 32-true, bf16-mixed, ..."""
    accelerator: str = "auto"
    """cpu, cuda, auto."""
    devices: int = 1
    """Processes on each machine, one a device; with `cpu`, processes of --loop.threads threads each."""
    nodes: int = 1
    """Machines, each started with the same command (docs/training.md)."""
    threads: int | None = None
    """CPU threads of each process."""
    workers: int = 0
    """Further processes that make the batches of each process; 0: one thread of the process itself."""


@dataclass(frozen=True)
class LossWeights:
    """Factor of each term of the lifter's loss.

    Paper: their plain sum. Here: squared errors count more, because canonical units (36 cm) make them a thousandth
    of the likelihood's gradient, and depth is learned from them alone.
    """

    points_3d: float = 3000.0
    """Squared error of the canonical 3D landmarks (multi-view)."""
    translation: float = 50.0
    """Squared error of the camera's translation (multi-view)."""
    points_2d: float = 1.0
    """Laplacian likelihood of the projected landmarks (multi-view)."""
    rotation: float = 3.0
    """Angle to the camera's rotation, radians (multi-view)."""
    frames_2d: float = 1.0
    """Laplacian likelihood of the projected landmarks that face the camera (multi-frame)."""
    frames_marks: float = 1.0
    """Laplacian likelihood of all human labels under the marks (multi-frame); without photos of the views' points."""
    frames_rotation: float = 1.0
    """Angle to the rotation of a shape fitted to the frame's labels, radians (--fit-frames)."""
    frames_hidden: float = 20.0
    """Distance of unlabelled landmarks to those of that shape, crop widths (--fit-frames)."""
    teacher_points: float = 1.0
    """Laplacian likelihood of the student's points under the teacher's covariance (--teacher)."""
    teacher_marks: float = 1.0
    """The same of the marks (--teacher)."""
    teacher_covariance: float = 0.3
    """Divergence of the covariances of points and marks from the teacher's (--teacher)."""
    teacher_rotation: float = 3.0
    """Angle to the teacher's rotation, radians (--teacher)."""
    teacher_landmarks: float = 20.0
    """Distance of the canonical 3D landmarks to the teacher's (--teacher)."""
    closure: float = 2.0
    """Squared error of how far lids and lips are apart in the picture."""
    glance: float = 0.1
    """Distance of the decoder's first guess to its points."""
    gaze: float = 0.0
    """Cross-entropy of where the landmarks' tokens look, in each decoder block but the last, and their true places; 0
    turns it off. For encoders whose tokens are a square grid."""
    visibility: float = 0.3
    """Cross-entropy of the visibility, which the paper does not predict."""


@dataclass(frozen=True)
class DetectorConfig:
    """Train the 2D landmark detector: one head per landmark definition, on all training sets at once."""

    loop: LoopConfig
    data: Path | None = None
    """Folder of the packed sets; FACELIFT_DATA if not given."""
    encoder: str = "mobile"
    """small (mobile, 128 px), base (vit_b16, 224 px), resnet50, resnet152."""
    sets: tuple[str, ...] = ("merl_train", "w300_train")
    """Packed sets of photos; none: `--sets` with nothing behind it."""
    labels: Path | None = None
    """Pseudo-labels by `facelift label fill` for what iBUG-68 lacks: lower brow edges and pupils."""
    mesh: Path | None = None
    """MediaPipe's dense points of those photos, by `facelift mesh`: one more definition."""
    wflw: Path | None = None
    """Folder of WFLW as released; its train split is learned from."""
    lapa: Path | None = None
    """Folder of LaPa as released, likewise."""
    views: Path | None = None
    """Folder of cached renders, by `facelift views`."""
    labels_3d: Literal["lifted", "exact"] = "lifted"
    """Which 3D landmarks of the renders are projected."""
    views_definition: Literal["wflw98", "head98"] = "wflw98"
    """What the renders label. A head model's exact landmarks mean other points of jaw and brows than people do: beside
    photos they belong into head98."""
    start: Path | None = None
    """The .onnx file of a lifter whose encoder and decoder this detector starts from."""
    upright: bool = False
    """Turn rendered views upright, then by --augmentation.roll-deg and .large-roll as photos are: the predictor turns
    its crops upright."""
    gaze: float = 0.0
    """Weight of the cross-entropy of where the landmarks' tokens look, in each decoder block but the last, and the
    places of definitions in WFLW-98's order; 0 turns it off. For encoders whose tokens are a square grid."""
    shares: dict[str, float] = field(default_factory=dict)
    """Share of each training set in a batch, by name (those of --sets, wflw_train, lapa_train, views); all or none. By
    default they go with the square root of the number of faces."""
    dev: int = 400
    """Faces of the first packed set held out for the evaluations during training; of any other training set it is a
    tenth, of which at most so many are measured."""
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class FinderConfig:
    """Train the face finder on composed scenes."""

    loop: LoopConfig
    data: Path | None = None
    """Folder of the packed sets, w300_full and backgrounds among them; FACELIFT_DATA if not given."""
    heads: Path | None = None
    """Rendered heads, by `facelift heads`."""
    sets: tuple[str, ...] = ("merl_train", "w300_train")
    """Packed sets of face crops that are pasted into photos."""
    start: Path | None = None
    """Checkpoint of a finder that this one starts from."""
    size: int = 256
    """Side of a scene, px, a multiple of 32."""
    dev: int = 400
    """Faces of the first set held out for the evaluations during training."""
    every: int = 8
    """One photo of w300_full in so many, and twice the share of the photos without faces, is held out, by its name."""


@dataclass(frozen=True)
class LifterConfig:
    """Train the lifter: multi-view renders with lifted 3D labels, and real photos with 2D labels."""

    loop: LoopConfig
    views: Place
    """Folder of cached renders with lifted pseudo-labels, by `facelift views`, or its URL in an object store."""
    stream: int = 0
    """Read the views from so many shards at a time, then from the next ones: for caches larger than the memory. 0 draws
    from all of them."""
    heads: int | None = None
    """Learn from the first so many heads of the cache alone."""
    dev_heads: int = 0
    """Heads at the cache's end that are held out and measured against their exact landmarks (lifted ones in a cache
    without); at least one where no photo is measured."""
    labels_3d: Literal["lifted", "exact"] = "lifted"
    """What the 3D labels of the renders are: lifted from 2D detections, or the generator's own landmarks."""
    upright: bool = False
    """Turn rendered views upright, then by --augmentation.roll-deg and .large-roll as photos are: the predictor turns
    its crops upright."""
    render: bool = False
    """Render new views of the cache's heads while training, on its device (docs/training.md)."""
    assets: Path | None = None
    """Folder of the textured head for --render; FACELIFT_ASSETS if not given."""
    data: Path | None = None
    """Folder of the packed sets; FACELIFT_DATA if not given."""
    encoder: str = "mobile"
    """small (mobile, 128 px), base (vit_b16, 224 px), resnet50, resnet152."""
    sets: tuple[str, ...] = ("merl_train", "w300_train")
    """Packed sets of real photos; none: `--sets` with nothing behind it, all of a batch is rendered then."""
    dev_set: str | None = None
    """Packed set whose last `dev` faces are measured, the first of --sets if not given. One that is not in --sets
    teaches nothing."""
    labels: Path | None = None
    """Pseudo-labels by `facelift label fill` for what iBUG-68 lacks."""
    detector: Path | None = None
    """Checkpoint of a 2D detector whose encoder and decoder the lifter starts from; heads and pose tokens are fresh, or
    those of --start."""
    start: Path | None = None
    """Checkpoint of a lifter that this one starts from, or the .onnx file of one."""
    teacher: Path | None = None
    """Run folder or checkpoint of a lifter, of any encoder, whose answers this one learns from as well."""
    fit_frames: bool = False
    """Fit the lifted shapes to the labels of each real photo, and learn its pose and its hidden landmarks from that.
    Paper: real frames teach by their 2D landmarks alone, which leaves their pose to what renders taught."""
    points_loss: Literal["lll", "l1", "mse"] = "lll"
    """Loss of the projected landmarks: Laplacian log likelihood, or l1, mse, which teach no covariance."""
    beta: float = 0.0
    """Exponent by which uncertain points get back what the likelihood takes from their gradient, 0..1; paper: 0."""
    farl: Path | None = None
    """FaRL's checkpoint for the encoder base."""
    resnet: Path | None = None
    """torchvision's checkpoint for the encoders resnet50 and resnet152."""
    real_share: float = 0.5
    """Share of real photos in a batch; 0: multi-view alone, 1: multi-frame alone."""
    frames: tuple[Place, ...] = ()
    """Folders of frames with 2D pseudo-labels, by `facelift label frames`."""
    frames_share: float = 0.5
    """Share of the real part of a batch that is drawn from --frames."""
    weights: LossWeights = field(default_factory=LossWeights)
    dev: int = 400
    """Faces at the end of the measured set that are held out for the evaluations during training, at least one."""
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if not 0 <= self.real_share <= 1:
            raise ValueError(f"--real-share: expected 0 to 1, found {self.real_share}")
        if self.beta and self.points_loss != "lll":
            raise ValueError(f"--beta: expected --points-loss lll, whose gradient it changes, found {self.points_loss}")


@dataclass(frozen=True)
class M3LRNWeights:
    """Factors of M3-LRN's loss: of whitened parameters, and of landmarks in px of 120 px crops. The paper's, but for
    `coarse`."""

    parameters: float = 0.02
    """3DMM parameters against exact ones (renders)."""
    landmarks: float = 0.03
    """Refined landmarks (renders in 3D, photos where people marked them)."""
    coarse: float = 0.03
    """Those of the 3DMM before refinement, likewise."""
    from_landmarks: float = 0.02
    """3DMM parameters regressed from the refined landmarks (renders)."""
    consistency: float = 0.001
    """Between both estimates of the parameters."""


@dataclass(frozen=True)
class M3LRNTrainConfig:
    """Train M3-LRN: renders with exact 3DMM parameters or 300W-LP, and real photos with human 2D labels."""

    loop: LoopConfig
    model: Path
    """Linear model of the rendered heads, or of 300W-LP (tddfa), by `facelift morphable`."""
    views: Path | None = None
    """Folder of cached renders with exact landmarks, by `facelift views`."""
    w300lp: Path | None = None
    """Folder of 300W-LP as released, instead of renders."""
    network: M3LRNConfig = field(default_factory=M3LRNConfig)
    dev_heads: int = 0
    """Heads at the cache's end, or photos of 300W-LP, that are held out and measured; at least one where no other photo
    is."""
    assets: Path | None = None
    """Folder of the textured head; FACELIFT_ASSETS if not given."""
    data: Path | None = None
    """Folder of the packed sets; FACELIFT_DATA if not given."""
    sets: tuple[str, ...] = ("merl_train", "w300_train")
    """Packed sets of real photos; none: `--sets` with nothing behind it, all of a batch has known parameters then."""
    dev_set: str | None = None
    """Packed set whose last `dev` faces are measured, the first of --sets if not given. One that is not in --sets
    teaches nothing."""
    dev: int = 400
    """Faces at the end of the measured set that are held out for the evaluations during training, at least one."""
    real_share: float = 0.5
    """Share of real photos in a batch."""
    face_swap: float = 0.3
    """Share of the renders that get the texture of another face of the batch."""
    start: Path | None = None
    """Checkpoint of an M3-LRN that this one starts from."""
    encoder_start: str | None = None
    """Exported lifter, its name or .onnx file, whose encoder `--network.encoder mobile_global` starts from."""
    weights: M3LRNWeights = field(default_factory=M3LRNWeights)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name in ("real_share", "face_swap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"--{name.replace('_', '-')}: expected 0 to 1, found {getattr(self, name)}")
        if self.network.released:
            raise ValueError(
                "--network.released: expected off in a training, it serves the export of released checkpoints"
            )
        if bool(self.views) == bool(self.w300lp):
            raise ValueError(f"expected one of --views and --w300lp, found {'both' if self.views else 'neither'}")
        if self.encoder_start and self.network.encoder != "mobile_global":
            raise ValueError(f"--encoder-start: expected --network.encoder mobile_global, found {self.network.encoder}")


@dataclass(frozen=True)
class DenseWeights:
    """Factors of the dense landmarks' loss."""

    points: float = 1.0
    """Likelihood of the dense points (renders, DAD-3DHeads)."""
    landmarks: float = 1.0
    """Likelihood of iBUG-68 on the mesh of points, where people marked them (photos)."""
    edges: float = 0.0
    """Vertex-edge loss on the mesh of points, crop widths (renders, DAD-3DHeads)."""


@dataclass(frozen=True)
class DenseTrainConfig:
    """Train dense landmarks: renders or DAD-3DHeads with exact points, and real photos with 68 human landmarks.

    The thesis has --loop.lr 1e-4 --loop.batch 32 --loop.weight-decay 0, and 100 epochs.
    """

    loop: LoopConfig
    views: Path | None = None
    """Folder of cached renders, by `facelift views`."""
    dad3dheads: Path | None = None
    """Instead of --views: folder of DAD-3DHeads as released; learns from its train split, is measured on val."""
    vertices: Path | None = None
    """Vertex sets by `facelift vertices`; those of the rendered head if not given. DAD-3DHeads needs FLAME's."""
    network: DenseConfig = field(default_factory=DenseConfig)
    dev_heads: int = 20
    """Heads at the cache's end that are held out and measured."""
    heads: int | None = None
    """Learn from the first so many heads of the cache alone."""
    assets: Path | None = None
    """Folder of the textured head; FACELIFT_ASSETS if not given."""
    data: Path | None = None
    """Folder of the packed sets; FACELIFT_DATA if not given."""
    sets: tuple[str, ...] = ("merl_train", "w300_train")
    """Packed sets of real photos; none: `--sets` with nothing behind it."""
    dev_set: str | None = None
    """Packed set whose last `dev` faces are measured, the first of --sets if not given. One that is not in --sets
    teaches nothing."""
    dev: int = 400
    """Faces at the end of the measured set that are held out for the evaluations during training, at least one."""
    real_share: float = 0.25
    """Share of real photos in a batch."""
    flips: tuple[float, float] = (0.5, 0.5)
    """Chances of a flip left to right, and upside down (Simic 2022); 0.5 0 for faces that are upright anyway. Photos
    are flipped left to right half of the time in any case."""
    start: Path | None = None
    """Run folder or checkpoint of dense landmarks that these start from; or the .onnx file of a lifter with the same
    encoder, whose encoder they take."""
    torchvision: Path | None = None
    """torchvision's checkpoint for resnet50, convnext_t, swin_t or mobilenetv3."""
    weights: DenseWeights = field(default_factory=DenseWeights)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if (self.views is None) == (self.dad3dheads is None):
            found = "neither" if self.views is None else "both"
            raise ValueError(f"dense landmarks: expected either --views or --dad3dheads, found {found}")
        if self.dad3dheads and self.vertices is None:
            raise ValueError(
                "--dad3dheads: expected --vertices with vertex sets of FLAME (facelift vertices), found none"
            )
        for name in ("real_share", "flips"):
            values = getattr(self, name)
            if not all(0 <= value <= 1 for value in (values if isinstance(values, tuple) else (values,))):
                raise ValueError(f"--{name.replace('_', '-')}: expected 0 to 1, found {values}")
