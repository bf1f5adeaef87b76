"""Views of a 3D-aware GAN's faces: a latent of each seed, any camera, the conditioning pose fixed."""

from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.backends import cudnn

from facelift.checkpoints.triplane import load_generator
from facelift.crops import sized
from facelift.generators.protocol import View, checked_focal
from facelift.geometry import intrinsics
from facelift.geometry.gan_cameras import front_label, with_focal
from facelift.models.triplane import TriPlaneConfig


class GanGenerator:
    """Generator over EG3D, PanoHead, or a run of `facelift train-gan`. Truth is not known: it has no landmarks.

    `truncation` draws faces to the mean one. `focal`: the focal length of its pictures over the one that they are asked
    for, as `facelift check-generator` measures it; they are asked for so much less. `device`: of the network; a GPU
    where there is one. The world frame is the checkpoint's own, EG3D's, which is ours. Keeps the planes of the last few
    faces. Raises as `load_generator`, and ValueError for a focal length that is not positive.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        truncation: float = 0.7,
        focal: float = 1.0,
        device: torch.device | str | None = None,
        keep: int = 2,
    ):
        checked_focal(focal)
        self._source = partial(GanGenerator, path, truncation=truncation, focal=focal, device=device, keep=keep)
        self.name, self.truncation = Path(path).stem if Path(path).is_file() else Path(path).name, truncation
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = load_generator(path).to(self.device)
        self._keep = keep
        self._faces: OrderedDict[int, tuple[Tensor, Tensor]] = OrderedDict()
        config = self.network.config
        self.condition = self._put(front_label(config.look_at, config.rays.radius))[None]
        self._K = self._put(with_focal(intrinsics(1.0), 1 / focal))

    def __reduce__(self) -> tuple:
        """Other processes read the file anew."""
        return self._source, ()

    def landmarks(self, seed: int) -> None:
        """Not known."""
        return None

    def latent(self, seed: int) -> Float[Tensor, "1 z"]:
        """z of a seed."""
        numbers = np.random.default_rng([seed, 0]).standard_normal((1, self.network.config.z_size))
        return torch.as_tensor(numbers, dtype=torch.float32)

    @torch.no_grad()
    def render(
        self,
        seed: int,
        rotations: Float[np.ndarray, "n 3 3"],
        translations: Float[np.ndarray, "n 3"],
        size: int = 256,
        *,
        background: int | None = None,
    ) -> list[View]:
        """One face from n cameras, brought to `size`; `background` changes nothing: the scene is the face's own."""
        ws, planes = self._face(seed)
        views = []
        at_once, rays = _at_once(self.network.config, self.device)
        for first in range(0, len(rotations), at_once):
            R, t = (np.asarray(part[first : first + at_once]) for part in (rotations, translations))
            with cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
                K = self._K.expand(len(R), -1, -1)
                seen = self.network.look(ws, planes, self._put(R), self._put(t), K, at_once=rays)
            pictures = zip(as_bytes(seen.image), seen.mask[:, 0].clamp(0, 1).cpu().numpy(), R, t, strict=True)
            views += [
                View(sized(image, size), rotation, translation, size, None, None, coverage=sized(mask, size))
                for image, mask, rotation, translation in pictures
            ]
        return views

    def _put(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self.device)

    def _face(self, seed: int) -> tuple[Tensor, Tensor]:
        if seed not in self._faces:
            ws = self.network.styles(self.latent(seed).to(self.device), self.condition, truncation=self.truncation)
            self._faces[seed] = ws, self.network.planes(ws)
            while len(self._faces) > self._keep:
                self._faces.popitem(last=False)
        self._faces.move_to_end(seed)
        return self._faces[seed]


def as_bytes(image: Float[Tensor, "b 3 s s"]) -> np.ndarray:
    """Colours -1..1 as RGB bytes (b, s, s, 3)."""
    return ((image.clamp(-1, 1) + 1) * 127.5 + 0.5).byte().permute(0, 2, 3, 1).cpu().numpy()


def _at_once(config: TriPlaneConfig, device: torch.device) -> tuple[int, int]:
    """(cameras, rays) of one face in memory together: the widest grid of superresolution takes 256 MiB on a CPU, where
    more are no faster, and 1 GiB on a GPU; the samples of the rays a few times as much at most."""
    gpu = device.type == "cuda"
    widest = max((w * (config.upsampler_input << i + 1) ** 2 for i, w in enumerate(config.upsampler)), default=1)
    return max(1, (1 << (28 if gpu else 26)) // widest), 1 << (15 if gpu else 12)
