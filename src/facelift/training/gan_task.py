"""Training of the small 3D-aware GAN: tri-planes (Chan et al. 2022) of another size, on pictures with cameras."""

from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from facelift.datasets.posed_pictures import PosedPictures, read_posed
from facelift.evaluation.frechet import EncoderFeatures, frechet_distance
from facelift.generators.gan import as_bytes
from facelift.geometry import intrinsics, look_at_rotation, sphere_translation
from facelift.geometry.gan_cameras import front_label, label_of
from facelift.losses.logistic_gan import critic_loss, generator_loss, r1_penalty
from facelift.models.dual_critic import DualCritic, made_small
from facelift.models.stylegan2 import SynthesisConfig
from facelift.models.triplane import Pictures, TriPlaneConfig, TriPlaneGenerator
from facelift.models.volume import RayConfig
from facelift.sources import Source, listed, noted_sources
from facelift.training.gan_config import GanConfig
from facelift.training.gan_loop import Batch, train_gan
from facelift.training.order import indices
from facelift.training.pictures import sheet


def small_generator(config: GanConfig) -> TriPlaneConfig:
    """The generator's sizes: planes and rays for half of `size`, one doubling by superresolution."""
    width, side = config.width, config.size
    if side != 2 ** (side.bit_length() - 1) or side < 16:
        raise ValueError(f"--size: expected a power of two from 16 on, found {side}")
    steps = side.bit_length() - 3  # grids from 4 px to half of `side`
    widths = tuple(max(32, min(width, width * 16 // 2 ** (index + 2))) for index in range(steps))
    behind = tuple(max(16, w // 2) for w in widths) if config.background else ()
    return TriPlaneConfig(
        axes="all",
        z_size=width,
        backbone=SynthesisConfig(widths=widths, channels=3 * config.features, w_size=width),
        hidden=32,
        rays=RayConfig(coarse=config.samples, fine=config.samples),
        raw_size=side // 2,
        upsampler_input=side // 2,
        upsampler=(max(16, width // 4),),
        upsampler_clamp=None,
        background=SynthesisConfig(widths=behind, channels=config.features, w_size=width) if behind else None,
    )


def description(config: TriPlaneConfig) -> dict:
    """The generator's sizes for JSON; `generators.gan` reads them."""
    return asdict(config)


class SmallGanTask:
    """Pictures teach the critic, the critic the generator."""

    def __init__(self, config: GanConfig):
        torch.manual_seed(config.loop.seed)
        self.config, self.sizes = config, small_generator(config)
        threads = config.loop.threads or 1
        found = read_posed(config.pictures, config.size, cache=config.loop.run / "pictures.npz", threads=threads)
        self.real, self.held_out = found.split(config.held_out)
        self.generator = TriPlaneGenerator(self.sizes)
        critic = tuple(min(config.width, 16 * 2**index) for index in range(config.size.bit_length() - 2))
        self.critic = DualCritic(critic)
        self._features = EncoderFeatures(threads=threads)
        self._real_features = self._features(self.held_out.images)
        self.K = torch.as_tensor(intrinsics(1.0), dtype=torch.float32)

    def batch(self, step: int) -> Batch:
        config, seed = self.config, self.config.loop.seed
        size = config.loop.batch
        rng = np.random.default_rng([seed, 2, step])
        real = self._drawn(indices(step, batch=size, count=len(self.real), seed=seed), rng)
        seen = self._drawn(rng.integers(len(self.real), size=size), rng)
        other = np.where(rng.random(size) < config.swap, rng.permutation(size), np.arange(size))
        labels = {"real_c": self._label(real), "seen_c": self._label(seen)}
        return {
            "image": torch.as_tensor(np.ascontiguousarray(real.images)).permute(0, 3, 1, 2).float() / 127.5 - 1,
            **labels,
            "c": labels["seen_c"][other],
            "rotation": torch.as_tensor(seen.rotation),
            "translation": torch.as_tensor(seen.translation),
            "z": torch.as_tensor(rng.standard_normal((size, config.width)), dtype=torch.float32),
            "z2": torch.as_tensor(rng.standard_normal((size, config.width)), dtype=torch.float32),
        }

    def _drawn(self, rows: np.ndarray, rng: np.random.Generator) -> PosedPictures:
        chosen = self.real.take(rows)
        if not self.config.mirror:
            return chosen
        turned, flip = chosen.mirrored(), rng.random(len(rows)) < 0.5
        return PosedPictures(
            np.where(flip[:, None, None, None], turned.images, chosen.images),
            np.where(flip[:, None, None], turned.rotation, chosen.rotation).astype(np.float32),
            np.where(flip[:, None], turned.translation, chosen.translation).astype(np.float32),
            chosen.face,
        )

    def _label(self, pictures: PosedPictures) -> Tensor:
        label = label_of(pictures.rotation, pictures.translation, intrinsics(1.0).astype(np.float32))
        return torch.as_tensor(label, dtype=torch.float32)

    def _made(
        self, generator: nn.Module, z: Tensor, c: Tensor, batch: Batch, *, jitter: bool
    ) -> tuple[Pictures, Tensor]:
        network = cast(TriPlaneGenerator, generator)
        ws = network.styles(z, c)
        planes = network.planes(ws, noise="random" if jitter else "const")
        K = self.K.to(z.device).expand(len(z), -1, -1)
        seen = network.look(ws, planes, batch["rotation"], batch["translation"], K, jitter=jitter)
        return seen, planes

    def critic_losses(self, batch: Batch, *, penalty: bool) -> dict[str, Tensor]:
        with torch.no_grad():
            made, _ = self._made(self.generator, batch["z2"], batch["c"], batch, jitter=True)
        generated = self.critic(made.image, made.raw, batch["seen_c"])
        image = batch["image"].requires_grad_(penalty)
        raw = made_small(image, self.sizes.raw_size).detach().requires_grad_(penalty)
        real = self.critic(image, raw, batch["real_c"])
        losses = {"critic": critic_loss(real, generated), "real": real.mean(), "made": generated.mean()}
        if penalty:
            loop = self.config.loop
            losses["critic"] = losses["critic"] + loop.r1 * loop.r1_every * r1_penalty(real, image, raw)
        return losses

    def generator_losses(self, batch: Batch, *, smooth: bool) -> dict[str, Tensor]:
        made, planes = self._made(self.generator, batch["z"], batch["c"], batch, jitter=True)
        loss = generator_loss(self.critic(made.image, made.raw, batch["seen_c"]))
        if smooth:
            loop = self.config.loop
            points = (torch.rand(len(planes), 500, 3, device=planes.device) - 0.5) * self.sizes.box
            near = points + 0.004 * torch.randn_like(points)
            here, there = (cast(TriPlaneGenerator, self.generator).field(planes, p)[1] for p in (points, near))
            loss = loss + loop.smooth * loop.smooth_every * (here - there).abs().mean()
        return {"generator": loss}

    @torch.no_grad()
    def evaluate(self, generator: nn.Module) -> dict[str, float]:
        """frechet: distance of generated pictures to the held-out ones by cameras of these; frechet_real: that of as
        many training pictures, the least that can be hoped for."""
        count = self.config.evaluated
        rng = np.random.default_rng(self.config.loop.seed)
        seen = self.held_out.take(rng.integers(len(self.held_out), size=count))
        device, made = next(generator.parameters()).device, []
        for first in range(0, count, 32):
            part = seen.take(np.arange(first, min(first + 32, count)))
            z = torch.as_tensor(rng.standard_normal((len(part), self.config.width)), dtype=torch.float32, device=device)
            camera = {"rotation": torch.as_tensor(part.rotation), "translation": torch.as_tensor(part.translation)}
            camera = {name: value.to(device) for name, value in camera.items()}
            made.append(
                as_bytes(self._made(generator, z, self._front(len(part), device), camera, jitter=False)[0].image)
            )
        features = self._features(np.concatenate(made))
        known = self._features(self.real.take(rng.integers(len(self.real), size=count)).images)
        return {
            "frechet": frechet_distance(features, self._real_features),
            "frechet_real": frechet_distance(known, self._real_features),
        }

    def _front(self, count: int, device: torch.device) -> Tensor:
        label = torch.as_tensor(front_label(self.sizes.look_at), dtype=torch.float32, device=device)
        return label.expand(count, -1)

    @torch.no_grad()
    def picture(self, generator: nn.Module) -> np.ndarray:
        """Eight faces from five sides, the last row real."""
        rotation = look_at_rotation(np.array([-50.0, -25.0, 0.0, 25.0, 50.0]), 0.0)
        device, tiles = next(generator.parameters()).device, []
        rng = np.random.default_rng(1)
        camera = {
            "rotation": torch.as_tensor(rotation, dtype=torch.float32, device=device),
            "translation": torch.as_tensor(sphere_translation(rotation), dtype=torch.float32, device=device),
        }
        for _ in range(8):
            z = torch.as_tensor(rng.standard_normal((1, self.config.width)), dtype=torch.float32, device=device)
            made, _ = self._made(generator, z.expand(5, -1), self._front(5, device), camera, jitter=False)
            tiles += list(as_bytes(made.image))
        return sheet(tiles + list(self.held_out.images[:10]), 10)


def train_small_gan(config: GanConfig) -> Path:
    """Trains, or goes on; returns the checkpoint."""
    task = SmallGanTask(config)
    note = config.pictures / "views.json"
    sources = noted_sources(note) if note.is_file() else [Source(f"pictures in {config.pictures.name}", "not recorded")]
    about = {"task": "gan", **asdict(config), "network": description(task.sizes), "sources": listed(sources)}
    return train_gan(task, config.loop, about)
