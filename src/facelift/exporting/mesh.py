"""M3-LRN for export: its whole inference path, from the crop to the mesh, in one graph."""

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from facelift.checkpoints.safe_load import read_state
from facelift.checkpoints.synergynet import load_synergynet
from facelift.checkpoints.tddfa import load_tddfa
from facelift.crops import MARGIN
from facelift.models.m3lrn import M3LRN, ROWS, require_rows
from facelift.morphable.linear import LinearModel, place, split_parameters
from facelift.onnx_models.constants import add_outputs

RELEASED_SCALE = 2**0.5
"""Side of the released networks' crops in longer sides of the landmarks' box: 3DDFA's rule is the box's diagonal."""


class _Inference(nn.Module):
    """Refined landmarks, coarse ones, parameters, and with a linear model its vertices; px of the crop."""

    dense_mean: Tensor
    dense_basis: Tensor

    def __init__(self, network: M3LRN, mesh: LinearModel | None):
        super().__init__()
        self.network, self.dense = network, mesh is not None
        if mesh:
            self.register_buffer("dense_mean", torch.as_tensor(mesh.mean).float())
            self.register_buffer("dense_basis", torch.as_tensor(mesh.basis).float().flatten(1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = self.network(image, support=False)
        answer = (found.landmarks, found.coarse, found.parameters)
        if not self.dense:
            return answer
        config = self.network.config
        pose, *coefficients = split_parameters(found.parameters, config.shape_size, config.expression_size)
        vertices = self.dense_mean + (torch.cat(coefficients, -1) @ self.dense_basis).unflatten(-1, (-1, 3))
        return (*answer, place(vertices, pose))


def load_released(path: Path, mesh: LinearModel | None) -> M3LRN:
    """SynergyNet's checkpoint, or one of 3DDFA_V2's, as an M3-LRN. Nothing of the file is run.

    Raises ValueError for another file, and for one of 3DDFA_V2's without the linear model, which it does not hold.
    """
    if any(".I2P." in f".{name}" for name in read_state(path, inside="state_dict")):
        return load_synergynet(path).network
    if mesh is None:
        raise ValueError(f"{path}: expected --mesh with 3DDFA_V2's linear model (facelift morphable tddfa), found none")
    return load_tddfa(path, mesh)


def with_mesh(network: M3LRN, mesh: LinearModel | None) -> tuple[nn.Module, list[str]]:
    """The network as it is exported, and the names of its outputs.

    Raises ValueError for a linear model that is not the one whose landmarks the network learned.
    """
    if mesh is not None:
        require_rows(mesh, *(getattr(network, f"landmark_{name}") for name in ROWS))
    names = ["points", "coarse", "parameters", *(["vertices"] if mesh else [])]
    return _Inference(network, mesh).eval(), names


def add_constants(graph: onnx.ModelProto, mesh: LinearModel) -> None:
    """Adds what is the same for every picture as outputs: mesh_mean, mesh_faces, and mesh_uv where there is one."""
    arrays = {"mesh_mean": mesh.mean.astype(np.float32), "mesh_faces": mesh.faces.astype(np.int32)}
    if mesh.uv is not None:
        arrays["mesh_uv"] = mesh.uv.astype(np.float32)
    add_outputs(graph, arrays)


def m3lrn_metadata(network: M3LRN) -> dict[str, str]:
    """What a reader of the file needs to know of the network."""
    config = network.config
    scale = RELEASED_SCALE if config.released else MARGIN
    return {"shape": str(config.shape_size), "expression": str(config.expression_size), "crop_scale": str(scale)}
