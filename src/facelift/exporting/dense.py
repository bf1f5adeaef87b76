"""Dense landmarks for export: the network in one graph, with the mesh that its points are of."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from facelift.models.dense import DenseLandmarks
from facelift.models.dense_config import DenseConfig
from facelift.morphable.vertex_sets import VertexSets


class _Flat(nn.Module):
    """Points and deviations, crop widths."""

    def __init__(self, model: DenseLandmarks):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(self.model(image))


def load_dense(run: Path, config: dict[str, Any]) -> DenseLandmarks:
    """The averaged network of a run of `facelift train dense`, without the flow that only training needs.

    Raises as `read_state` and `fill`.
    """
    from facelift.checkpoints.safe_load import fill, read_state

    network, checkpoint = DenseLandmarks(DenseConfig(**config["network"])), run / "checkpoint.pt"
    state, prefix = read_state(checkpoint, inside="averaged"), "network."
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    fill(network, own, path=checkpoint)
    return network.eval()


def wrapped(network: DenseLandmarks) -> tuple[nn.Module, list[str]]:
    """The network as it is exported, and the names of its outputs."""
    return _Flat(network).eval(), ["points", "sigma"]


def constants(network: DenseLandmarks, sets: VertexSets) -> dict[str, np.ndarray]:
    """What is the same for every picture: mesh_vertices (indices in the head's mesh), mesh_faces, mesh_mean
    (canonical), mesh_landmark_index and mesh_landmark_weights (iBUG-68)."""
    count = network.config.points
    level = sets[count]
    return {
        "mesh_vertices": level.vertices.astype(np.int32),
        "mesh_faces": level.faces.astype(np.int32),
        "mesh_mean": sets.mean[sets.places(count)].astype(np.float32),
        "mesh_landmark_index": level.landmark_index.astype(np.int32),
        "mesh_landmark_weights": level.landmark_weights.astype(np.float32),
    }


def dense_metadata(network: DenseLandmarks, sets: VertexSets) -> dict[str, str]:
    """What a reader of the file needs to know of the network."""
    return {"head": sets.head, "landmarks": str(network.config.points), "loss": network.config.loss}
