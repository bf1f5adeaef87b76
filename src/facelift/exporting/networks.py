"""Networks of run folders, and what each of them gives as flat arrays, by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facelift.onnx_models.lifter import OUTPUTS

M3LRN_SIZE = 120
"""Side of the crops of M3-LRN, px, and of the texture GAN that goes with it."""
_FINDER_SIZE = 256
"""Side of the pictures that a face finder is checked on, px; it takes any in multiples of 32."""


def input_size(task: str, model: Any) -> int:
    """Side of the pictures that a network is exported for, px."""
    if task == "finder":
        return _FINDER_SIZE
    if task in ("m3lrn", "texture"):
        return M3LRN_SIZE
    if task == "dense":
        return model.image_size
    return model.encoder.image_size


def load_network(run: Path) -> tuple[str, Any]:
    """Task name and model with the averaged weights of a run folder."""
    import torch

    from facelift.checkpoints.safe_load import fill, read_state
    from facelift.models.detector import LandmarkDetector
    from facelift.models.finder import FaceFinderNetwork
    from facelift.models.lifter import Lifter
    from facelift.models.m3lrn import M3LRN
    from facelift.models.m3lrn_config import M3LRNConfig
    from facelift.training.texture_task import TextureGan

    config_file = run / "config.json"
    if not config_file.is_file():
        raise FileNotFoundError(f"{run}: expected a run folder with config.json, found none")
    config = json.loads(config_file.read_text())
    if config.get("task") == "dense":
        from facelift.exporting.dense import load_dense

        return "dense", load_dense(run, config)
    networks: dict[str, Callable[[], Any]] = {
        "detector": lambda: LandmarkDetector(encoder=config["encoder"], definitions=tuple(config["definitions"])),
        "lifter": lambda: Lifter(encoder=config["encoder"]),
        "finder": FaceFinderNetwork,
        "m3lrn": lambda: M3LRN(M3LRNConfig(**config["network"] | {"inputs": tuple(config["network"]["inputs"])})),
        "texture": lambda: TextureGan(torch.zeros(3, config["size"], config["size"])),
    }
    if config.get("task") not in networks:
        expected = "detector, lifter, finder, m3lrn, texture or dense"
        raise ValueError(f"{config_file}: expected task {expected}, found {config.get('task')!r}")
    model = networks[config["task"]]()
    checkpoint = run / "checkpoint.pt"
    fill(model, read_state(checkpoint, inside="averaged"), path=checkpoint)
    return config["task"], model.eval()


def flat_outputs(task: str, model: Any) -> tuple[Any, list[str]]:
    """The network with flat outputs, and their names: covariance as (l00, l10, l11), visibility and a face finder's
    scores as probability."""
    import torch

    if task == "dense":
        from facelift.exporting.dense import wrapped

        return wrapped(model)

    def flat(cholesky: Any) -> Any:
        return torch.stack([cholesky[..., 0, 0], cholesky[..., 1, 0], cholesky[..., 1, 1]], dim=-1)

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Any) -> tuple[Any, ...]:
            if task == "texture":
                return (self.model.generate(image),)
            found = self.model(image)
            if task == "finder":
                return found.logits.sigmoid(), found.boxes, found.points
            if task == "lifter":
                marked = found.marks, flat(found.marks_cholesky)
                return (*found[:4], flat(found.cholesky), found.visibility.sigmoid(), *marked)
            parts = [(p.points, flat(p.cholesky), p.visibility()) for p in found.values()]
            return tuple(value for part in parts for value in part)

    if task in ("finder", "texture"):
        return Flat().eval(), ["scores", "boxes", "points"] if task == "finder" else ["texture"]
    if task == "lifter":
        return Flat().eval(), list(OUTPUTS)
    names = [f"{kind}_{name}" for name in model.heads for kind in ("points", "cholesky", "visibility")]
    return Flat().eval(), names
