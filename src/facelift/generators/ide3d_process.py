"""The process that runs the code inside an IDE-3D checkpoint; arguments: the file, and the folder of its libraries.

Started by `generators.ide3d` alone, after the user chose to. Answers requests on stdin with pictures on stdout.
Not tried on the released file, which we do not have: how its `synthesis` is called, that its decoder gives rays of
`steps` samples in order, and what it returns.
"""

import os
import pickle
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facelift.generators.ide3d import FIELD, clear_near_background, receive, send


def load(path: Path, library: Path) -> torch.nn.Module:
    """The averaged generator, as its authors load it: this runs its code."""
    sys.path.insert(0, str(library))
    with path.open("rb") as file:
        network = pickle.load(file)["G_ema"]
    return network.eval().requires_grad_(False)


def clear_backgrounds(network: torch.nn.Module) -> int:
    """Hooks every module whose answer is the field; the number of samples along a ray comes from the settings."""
    rendering = getattr(network, "rendering_kwargs", {})
    known = (getattr(network, "num_steps", 0), rendering.get("num_steps", 0), rendering.get("depth_resolution", 0))
    steps = next((int(count) for count in known if count), 0)

    def clear(_module: torch.nn.Module, _inputs: tuple, output: Any) -> Any:
        if steps and isinstance(output, torch.Tensor) and output.shape[-1] == FIELD and output.shape[-2] % steps == 0:
            return clear_near_background(output, steps)
        return output

    for module in network.modules():
        module.register_forward_hook(clear)
    return steps


@torch.no_grad()
def pictures(network: Any, asked: dict[str, np.ndarray]) -> np.ndarray:
    """RGB bytes (n, s, s, 3), the conditioning pose fixed."""
    z, condition, labels = (torch.as_tensor(asked[name]) for name in ("z", "condition", "labels"))
    ws = network.mapping(z, condition, truncation_psi=float(asked["truncation"]))
    made = []
    for label in labels:
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
    clear_backgrounds(network)
    while True:
        try:
            asked = receive(sys.stdin.buffer)
        except EOFError:
            return
        send(answers, {"images": pictures(network, asked)})


if __name__ == "__main__":
    main(*sys.argv[1:])
