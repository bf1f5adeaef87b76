"""The network that a smaller one learns from."""

import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from facelift.checkpoints.safe_load import fill, read_state
from facelift.models.lifter import Lifter, LifterOutput


class Teacher:
    """A trained lifter, frozen; it sees pictures at its own input size. No part of the student or its checkpoint."""

    def __init__(self, path: Path, *, bf16: bool = False):
        """`path`: a run folder of `facelift train lifter`, or the checkpoint.pt in one; its averaged weights teach.
        `bf16`: it thinks in bfloat16.

        Raises FileNotFoundError, or ValueError for a run of another task.
        """
        checkpoint = path / "checkpoint.pt" if path.is_dir() else path
        config = checkpoint.with_name("config.json")
        if not config.is_file():
            raise FileNotFoundError(f"{config}: expected the settings of the teacher's run, found no file")
        settings = json.loads(config.read_text())
        if settings.get("task") != "lifter":
            raise ValueError(f"{config}: expected a run of a lifter as teacher, found {settings.get('task')!r}")
        self.bf16 = bf16
        self.model = Lifter(encoder=settings["encoder"])
        fill(self.model, read_state(checkpoint, inside="averaged"), path=checkpoint)
        self.model.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, image: Float[Tensor, "b 3 s s"]) -> LifterOutput:
        """What the teacher says of pictures in [0, 1] of any size, on their device."""
        self.model.to(image.device)
        size = self.model.encoder.image_size
        if image.shape[-1] != size:
            image = interpolate(image, (size, size), mode="bilinear", align_corners=False, antialias=True)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            return self.model(image)
