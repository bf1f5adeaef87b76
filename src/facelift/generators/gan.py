"""Views of a 3D-aware GAN's faces: a latent of each seed, any camera, the conditioning pose fixed."""

from collections import OrderedDict
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from facelift.checkpoints.triplane import load_generator
from facelift.generators.protocol import View
from facelift.geometry import intrinsics
from facelift.geometry.gan_cameras import front_label


class GanGenerator:
    """Generator over EG3D, PanoHead, or a run of `facelift train-gan`. Truth is not known: it has no landmarks.

    `truncation` draws faces to the mean one. The world frame is the checkpoint's own, EG3D's, which is ours. Keeps the
    planes of the last few faces. Raises as `load_generator`.
    """

    def __init__(self, path: Path | str, *, truncation: float = 0.7, keep: int = 2):
        self._source = partial(GanGenerator, path, truncation=truncation, keep=keep)
        self.name, self.truncation = Path(path).stem if Path(path).is_file() else Path(path).name, truncation
        self.network = load_generator(path)
        self._keep = keep
        self._faces: OrderedDict[int, tuple[Tensor, Tensor]] = OrderedDict()
        config = self.network.config
        self.condition = torch.as_tensor(front_label(config.look_at, config.rays.radius), dtype=torch.float32)[None]

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
        K = torch.as_tensor(intrinsics(1.0), dtype=torch.float32)[None]
        views = []
        for rotation, translation in zip(rotations, translations, strict=True):
            R, t = (torch.as_tensor(part, dtype=torch.float32)[None] for part in (rotation, translation))
            seen = self.network.look(ws, planes, R, t, K)
            mask = sized(seen.mask[0, 0].numpy(), size)
            image = sized(as_bytes(seen.image)[0], size)
            views.append(View(image, rotation, translation, size, None, None, coverage=mask))
        return views

    def _face(self, seed: int) -> tuple[Tensor, Tensor]:
        if seed not in self._faces:
            ws = self.network.styles(self.latent(seed), self.condition, truncation=self.truncation)
            self._faces[seed] = ws, self.network.planes(ws)
            while len(self._faces) > self._keep:
                self._faces.popitem(last=False)
        self._faces.move_to_end(seed)
        return self._faces[seed]


def as_bytes(image: Float[Tensor, "b 3 s s"]) -> np.ndarray:
    """Colours -1..1 as RGB bytes (b, s, s, 3)."""
    return ((image.clamp(-1, 1) + 1) * 127.5 + 0.5).byte().permute(0, 2, 3, 1).cpu().numpy()


def sized(image: np.ndarray, size: int) -> np.ndarray:
    """The square picture or mask at another size."""
    if image.shape[0] == size:
        return image
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_CUBIC)
