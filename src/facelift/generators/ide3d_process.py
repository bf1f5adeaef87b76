"""The process that runs the code inside an IDE-3D checkpoint; arguments: the file, and the folder of its libraries.

Started by `generators.ide3d` alone, after the user chose to. Answers requests on stdin with pictures on stdout.
Not tried on the released file, which we do not have: how its `synthesis` is called, that a module of it
answers with the field, and what it returns.
"""

import os
import pickle
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from facelift.generators.ide3d import FIELD, clear_background, receive, send


def load(path: Path, library: Path) -> torch.nn.Module:
    """The averaged generator, as its authors load it: this runs its code."""
    sys.path.insert(0, str(library))
    with path.open("rb") as file:
        network = pickle.load(file)["G_ema"]
    return network.eval().requires_grad_(False)


class BackgroundClearing:
    """Clears the background in the near half of the frustum from whatever module answers with the field.

    Near is nearer to the eye than the middle of the depths met in the picture, where the module was given as many
    points as its field has samples. Otherwise it is the first half of the samples of each ray, whose number comes from
    the settings: the near half of the frustum only if they are even and in order.
    """

    def __init__(self, network: torch.nn.Module):
        rendering = getattr(network, "rendering_kwargs", {})
        known = (getattr(network, "num_steps", 0), rendering.get("num_steps", 0), rendering.get("depth_resolution", 0))
        self.steps = next((int(count) for count in known if count), 0)
        self._start(torch.zeros(3))
        for module in network.modules():
            module.register_forward_hook(self._clear, with_kwargs=True)

    @contextmanager
    def picture(self, label: Float[Tensor, "25"]) -> Iterator[None]:
        """While one picture is made. Raises RuntimeError if no field was cleared."""
        self._start(label[[3, 7, 11]])
        yield
        if not self.cleared:
            raise RuntimeError(
                f"expected a field of {FIELD} channels with its points, or with the number of samples of a ray in the "
                f"settings, found {self.fields} fields and {self.steps or 'no'} samples: background is not cleared"
            )

    def _start(self, eye: Float[Tensor, "3"]) -> None:
        self.eye, self.fields, self.cleared = eye, 0, 0
        self._ends = (torch.inf, -torch.inf)

    def _clear(self, _module: torch.nn.Module, inputs: tuple, named: dict[str, Any], output: Any) -> Any:
        if not (isinstance(output, Tensor) and output.ndim > 1 and output.shape[-1] == FIELD):
            return output
        self.fields += 1
        near = self._near(output.shape[:-1], [*inputs, *named.values()])
        if near is None:
            return output
        self.cleared += 1
        return clear_background(output, near)

    def _near(self, shape: torch.Size, given: list) -> Bool[Tensor, "*b n"] | None:
        for points in given:
            if isinstance(points, Tensor) and points.shape == (*shape, 3) and not _directions(points):
                depth = (points - self.eye.to(points)).norm(dim=-1)
                self._ends = min(self._ends[0], float(depth.min())), max(self._ends[1], float(depth.max()))
                return depth < sum(self._ends) / 2
        if not self.steps or shape[-1] % self.steps:
            return None
        return (torch.arange(shape[-1]) % self.steps < self.steps // 2).expand(shape)


def _directions(points: Float[Tensor, "*b n 3"]) -> bool:
    """Whether all have length 1."""
    return bool(((points.norm(dim=-1) - 1).abs() < 1e-3).all())


@torch.no_grad()
def pictures(network: Any, asked: dict[str, np.ndarray], clearing: BackgroundClearing) -> np.ndarray:
    """RGB bytes (n, s, s, 3), the conditioning pose fixed."""
    z, condition, labels = (torch.as_tensor(asked[name]) for name in ("z", "condition", "labels"))
    ws = network.mapping(z, condition, truncation_psi=float(asked["truncation"]))
    made = []
    for label in labels:
        with clearing.picture(label):
            found = network.synthesis(ws, label[None], noise_mode="const")
        image = found["image"] if isinstance(found, dict) else found[0] if isinstance(found, tuple) else found
        made.append(((image[0].float().clamp(-1, 1) + 1) * 127.5 + 0.5).byte().permute(1, 2, 0).numpy())
    return np.stack(made)


def main(path: str, library: str) -> None:
    """Until stdin ends. What the code prints goes to stderr, it may write no file."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    network = load(Path(path), Path(library))
    clearing = BackgroundClearing(network)
    while True:
        try:
            asked = receive(sys.stdin.buffer)
        except EOFError:
            return
        send(answers, {"images": pictures(network, asked, clearing)})


if __name__ == "__main__":
    main(*sys.argv[1:])
