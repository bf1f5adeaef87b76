"""Training of the texture GAN (Wu et al. 2021, supplement G): LSGAN on textures that fitted meshes take from photos."""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from facelift.datasets.face_textures import collect_textures
from facelift.datasets.packed import data_root
from facelift.datasets.real_faces import RealFaces
from facelift.losses.facelift_loss import weighted_sum
from facelift.losses.least_squares_gan import critic_loss, generator_loss
from facelift.losses.seen_texels import seen_texels_loss
from facelift.models.uv_gan import TextureCritic, TextureGenerator
from facelift.predictors.mesh_predictor import MeshPredictor
from facelift.sources import exported_sources, listed, packed_source
from facelift.training.gan_config import TextureConfig
from facelift.training.loop import Batch, train
from facelift.training.order import indices, sample_rng
from facelift.training.pictures import sheet


class GanOutput(NamedTuple):
    """One look of both networks at a batch."""

    texture: Float[Tensor, "b 3 s s"]
    """Generated."""
    judged: Float[Tensor, "b 1 p p"]
    """The critic's scores of it, with gradient to the generator alone."""
    generated: Float[Tensor, "b 1 p p"]
    """The same, with gradient to the critic alone."""
    real: Float[Tensor, "c 1 p p"]
    """The critic's scores of real textures."""


class TextureGan(nn.Module):
    """Generator and critic as one network: both learn from one sum of losses, neither from the other's part."""

    template: Tensor

    def __init__(self, template: Float[Tensor, "3 s s"]):
        super().__init__()
        self.generator, self.critic = TextureGenerator(), TextureCritic()
        self.register_buffer("template", template)

    def generate(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 s s"]:
        """The face's texture."""
        return self.generator(image, self.template.expand(image.shape[0], -1, -1, -1))  # len() would freeze the batch

    def forward(self, image: Float[Tensor, "b 3 h w"], real: Float[Tensor, "c 3 s s"]) -> GanOutput:
        texture = self.generate(image)
        frozen = {name: value.detach() for name, value in self.critic.named_parameters()}
        judged = functional_call(self.critic, frozen, (texture,))
        return GanOutput(texture, judged, self.critic(texture.detach()), self.critic(real))


class TextureTask:
    """What photos show of a face teaches its texture; textures of faces seen from the front are what is real."""

    def __init__(self, config: TextureConfig, data: Path | None):
        torch.manual_seed(config.loop.seed)
        self.config = config
        faces = RealFaces(data_root(data), config.sets, dev=config.dev)
        keys = [*faces.train[: config.faces], *faces.dev]
        samples = [faces.sets[number][index] for number, index in keys]
        predictor = MeshPredictor(config.model, threads=config.loop.threads)
        cache = config.loop.run / "textures.npz"
        self.found = collect_textures(samples, predictor, size=config.size, cache=cache)
        taught = len(keys) - len(faces.dev)
        self.taught, self.dev = np.arange(taught)[: config.loop.overfit], np.arange(taught, len(keys))
        self.whole = self.found.whole(taught)
        template = torch.as_tensor(self.found.template(self.whole)).permute(2, 0, 1)
        self.model = TextureGan(template.contiguous())

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        loop = self.config.loop
        place = {"batch": loop.batch, "seed": loop.seed, "rank": rank, "world": world}
        chosen = self.taught[indices(step, count=len(self.taught), **place)]
        real = self.whole[indices(step, count=len(self.whole), **place | {"seed": loop.seed + 1})]
        rng = sample_rng(step, seed=loop.seed, rank=rank, index=0)
        real_textures = np.stack([self.found.textures[i][:, :: rng.choice([-1, 1])] for i in real])
        return {
            "image": _pictures(self.found.images[chosen]),
            "texture": _pictures(self.found.textures[chosen]),
            "seen": torch.as_tensor(self.found.seen[chosen]),
            "real": _pictures(real_textures),
        }

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The least-squares GAN's two sides, and the distance where the photo shows the face."""
        image, texture, real = (batch[name].float() / 255 for name in ("image", "texture", "real"))
        found = model(image, real)
        terms = {
            "seen": seen_texels_loss(found.texture, texture, batch["seen"]),
            "adversarial": generator_loss(found.judged),
            "critic": critic_loss(found.real, found.generated),
        }
        return {**terms, "loss": weighted_sum(terms, asdict(self.config.weights))}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """seen_error: mean absolute difference on seen texels of held-out faces, in 255ths; template_error: the
        template's, which knows nothing of the face."""
        texture = _pictures(self.found.textures[self.dev]).float() / 255
        seen = torch.as_tensor(self.found.seen[self.dev])
        mean = self.model.template.cpu().expand(len(texture), -1, -1, -1)
        errors = {"seen_error": self._generated(model, self.dev), "template_error": mean}
        return {name: 255 * float(seen_texels_loss(value, texture, seen)) for name, value in errors.items()}

    def _generated(self, model: nn.Module, rows: np.ndarray) -> Tensor:
        gan, device = cast(TextureGan, model), next(model.parameters()).device
        parts = np.array_split(rows, max(1, len(rows) // 50))
        images = (_pictures(self.found.images[part]).to(device).float() / 255 for part in parts)
        return torch.cat([gan.generate(image).cpu() for image in images])

    def picture(self, model: nn.Module) -> np.ndarray:
        """Photo, its own texture, the generated one."""
        rows = self.dev[:: max(1, len(self.dev) // 8)][:8]
        made = self._generated(model, rows).clamp(0, 1).permute(0, 2, 3, 1).numpy()
        size = self.config.size
        tiles = []
        for row, texture in zip(rows, made, strict=True):
            image = self.found.images[row]
            canvas = np.zeros((size, size, 3), np.uint8)
            canvas[: min(size, len(image)), : min(size, len(image))] = image[:size, :size]
            tiles += [canvas, self.found.textures[row], np.rint(255 * texture).astype(np.uint8)]
        return sheet(tiles, 6)


def _pictures(values: np.ndarray) -> Tensor:
    """(n, 3, h, w) bytes of (n, h, w, 3)."""
    return torch.as_tensor(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))


def train_texture(config: TextureConfig) -> Path:
    """Trains, or goes on; returns the checkpoint."""
    task = TextureTask(config, config.data)
    sources = [*map(packed_source, config.sets), *exported_sources(str(config.model))]
    return train(task, config.loop, {"task": "texture", **asdict(config), "sources": listed(sources)})
