"""Views from random cameras, rendered where the network trains."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from facelift.datasets.views import RenderedView
from facelift.generators.morphable import MorphableGenerator
from facelift.geometry import CameraSpace
from facelift.rendering.torch_scene import FaceBank


class DeviceRenderer:
    """Draws faces of a generator on a device; what of a face does not depend on the camera is made on the CPU when the
    face is first drawn, and stays on the device."""

    def __init__(self, generator: MorphableGenerator, device: torch.device):
        self.generator, self.space, self.bank = generator, CameraSpace(), FaceBank(device)
        self._numbers: dict[int, int] = {}
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def draw(
        self,
        seeds: Int[np.ndarray, "n"],
        landmarks: Float[np.ndarray, "n 98 3"],
        rngs: Sequence[np.random.Generator],
        size: int,
    ) -> list[RenderedView]:
        """One view of each face from a random camera of the camera space C that frames its landmarks."""
        cameras = [self.space.sample(rng, points.astype(float)) for rng, points in zip(rngs, landmarks, strict=True)]
        scenes = [self.generator.backgrounds(int(rng.integers(2**31)), size) for rng in rngs]
        rotations, translations = (np.stack(part) for part in zip(*cameras, strict=True))
        images = self.images(seeds, rotations, translations, np.stack(scenes))
        return [
            RenderedView(image, points, rotation.astype(np.float32), translation.astype(np.float32))
            for image, points, (rotation, translation) in zip(images, landmarks, cameras, strict=True)
        ]

    def images(
        self,
        seeds: Int[np.ndarray, "n"],
        rotations: Float[np.ndarray, "n 3 3"],
        translations: Float[np.ndarray, "n 3"],
        scenes: Float[np.ndarray, "n s s 3"],
    ) -> np.ndarray:
        """(n, s, s, 3) uint8 pictures of the faces before scenes in linear colour."""
        with torch.cuda.stream(self._stream):  # beside the network's work, not behind it; nothing on a CPU
            numbers = [self._number(int(seed)) for seed in seeds]
            cameras = self._put(rotations), self._put(translations)
            return self.bank.render(numbers, *cameras, scenes.shape[1], self._put(scenes)).cpu().numpy()

    def _put(self, array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.asarray(array, np.float32), device=self.bank.device)

    def _number(self, seed: int) -> int:
        if seed not in self._numbers:
            face = self.generator.face(seed)
            self._numbers[seed] = self.bank.add(face.surface, face.alpha_of, face.alphas, face.exposure)
        return self._numbers[seed]
