"""Settings of the trainings against a critic; importable without torch."""

from dataclasses import dataclass, field
from pathlib import Path

from facelift.training.config import LoopConfig


@dataclass(frozen=True)
class TextureWeights:
    """Factors of the texture GAN's loss."""

    seen: float = 10.0
    """Distance to the photo's own colours, where it shows the face."""
    adversarial: float = 0.1
    """What the critic says of generated textures, for the generator."""
    critic: float = 1.0
    """What the critic says of real and of generated ones, for the critic."""


@dataclass(frozen=True)
class TextureConfig:
    """Train the texture GAN: a face's texture from its photo, the hidden parts too."""

    loop: LoopConfig
    model: Path
    """An M3-LRN exported with its mesh, which fits the photos."""
    data: Path | None = None
    """Folder of the packed sets; FACELIFT_DATA if not given."""
    sets: tuple[str, ...] = ("w300_train",)
    """Packed sets of photos."""
    faces: int = 4000
    """Learn from the first so many faces."""
    dev: int = 100
    """Faces at the end of the first set that are held out."""
    size: int = 128
    """Side of the textures, a multiple of 32."""
    weights: TextureWeights = field(default_factory=TextureWeights)


@dataclass(frozen=True)
class GanLoopConfig:
    """How a GAN trains: two networks in turn, each with its own Adam."""

    run: Path
    """Run folder: config, versions, metrics, curves, pictures and the checkpoint. Started again, it resumes."""
    steps: int = 60000
    """Steps in all, each one of the critic and one of the generator."""
    batch: int = 8
    """Pictures a step."""
    generator_lr: float = 2e-3
    critic_lr: float = 2e-3
    ema: float = 0.999
    """Decay of the averaged generator, which is evaluated and kept."""
    r1: float = 1.0
    """Weight of the critic's gradient penalty."""
    r1_every: int = 16
    """Steps between penalties, each so much heavier."""
    smooth: float = 0.25
    """Weight of the field's smoothness: how far densities 0.004 apart differ."""
    smooth_every: int = 4
    evaluate_every: int = 2000
    """Steps between evaluations, each with metrics, curves and a sheet of samples."""
    checkpoint_minutes: float = 5.0
    """Time between checkpoints; one is also written at SIGTERM and at the end."""
    minutes: float | None = None
    """Stop after this long, checkpoint written; the next start goes on."""
    seed: int = 0
    accelerator: str = "auto"
    """cpu, cuda, auto."""
    threads: int | None = None
    """CPU threads."""


@dataclass(frozen=True)
class GanConfig:
    """Train a small 3D-aware GAN on pictures of faces with cameras: tri-planes, 64 px. A proof of the chain GAN ->
    views -> detection -> lifting, not of picture quality."""

    loop: GanLoopConfig
    pictures: Path
    """Folder of pictures: a cache of `facelift views` (best with --sphere), of `facelift render --pictures`, or of
    photos, whose cameras the shipped network predicts."""
    size: int = 64
    """Side of the pictures, px: a power of two."""
    held_out: int = 64
    """Last so many faces that are only measured against."""
    mirror: bool = True
    """Mirror faces with mirror cameras are pictures too."""
    width: int = 128
    """Channels of the coarsest grids, of z and of w."""
    features: int = 16
    """Of a plane's cell."""
    samples: int = 12
    """Coarse samples along a ray; as many fine ones."""
    background: bool = True
    """A flat picture behind the field, so that the field need not hold it."""
    swap: float = 0.8
    """Share of faces whose conditioning camera is another one's, so that faces do not depend on where they are seen
    from."""
    evaluated: int = 512
    """Generated pictures in an evaluation."""
