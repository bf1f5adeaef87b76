"""Views from random cameras, rendered where the network trains."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from facelift.datasets.views import RenderedView
from facelift.generators.morphable import MorphableGenerator
from facelift.generators.protocol import View
from facelift.generators.sight import Marks
from facelift.geometry import CameraSpace, intrinsics, project
from facelift.rendering.torch_scene import FaceBank, Pictures


class DeviceRenderer:
    """Draws faces of a generator on a device; what of a face does not depend on the camera is made on the CPU when the
    face is first drawn, and stays on the device."""

    def __init__(self, generator: MorphableGenerator, device: torch.device):
        self.generator, self.space, self.bank = generator, CameraSpace(), FaceBank(device)
        self._numbers: dict[int, int] = {}
        self._marks: list[Marks] = []
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
        views = self.render(seeds, rotations, translations, np.stack(scenes))
        drawn = []
        for view, points in zip(views, landmarks, strict=True):
            assert view.visible is not None and view.covered is not None  # our own renderer says
            camera = view.rotation.astype(np.float32), view.translation.astype(np.float32)
            drawn.append(RenderedView(view.image, points, *camera, view.visible, view.covered))
        return drawn

    def render(
        self,
        seeds: Int[np.ndarray, "n"],
        rotations: Float[np.ndarray, "n 3 3"],
        translations: Float[np.ndarray, "n 3"],
        scenes: Float[np.ndarray, "n s s 3"],
    ) -> list[View]:
        """One view of each face, before its scene in linear colour."""
        with torch.cuda.stream(self._stream):  # beside the network's work, not behind it; nothing on a CPU
            numbers, size = [self._number(int(seed)) for seed in seeds], scenes.shape[1]
            marks = [self._marks[number] for number in numbers]
            cameras = list(zip(rotations, translations, strict=True))
            pictures = self.bank.render(numbers, self._put(rotations), self._put(translations), size, self._put(scenes))
            images, fine = pictures.image.cpu().numpy(), pictures.depth.shape[-1]
            around = [m.around(*camera, fine) for m, camera in zip(marks, cameras, strict=True)]
            found = zip(*_fragments(pictures, np.array(around)), strict=True)
        seen = [m.seen(*camera, fine, *near) for m, camera, near in zip(marks, cameras, found, strict=True)]
        points = [project(m.points, *camera, intrinsics(size)) for m, camera in zip(marks, cameras, strict=True)]
        return [View(i, *c, size, p, *s) for i, c, p, s in zip(images, cameras, points, seen, strict=True)]

    def _put(self, array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.asarray(array, np.float32), device=self.bank.device)

    def _number(self, seed: int) -> int:
        if seed not in self._numbers:
            face = self.generator.face(seed)
            self._numbers[seed] = self.bank.add(face.surface, face.alpha_of, face.alphas, face.exposure)
            self._marks.append(face.marks)
        return self._numbers[seed]


def _fragments(pictures: Pictures, around: Int[np.ndarray, "n 2 98 3 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Depth and material (n, 98, 3, 3) at rows and columns of each view, on the CPU."""
    row, column = torch.as_tensor(around, device=pictures.depth.device).unbind(1)
    place = (torch.arange(len(row), device=row.device)[:, None, None, None], row, column)
    return pictures.depth[place].cpu().numpy(), pictures.material[place].cpu().numpy()
