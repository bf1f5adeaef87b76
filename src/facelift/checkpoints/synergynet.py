"""SynergyNet's checkpoint, `best.pth.tar` (Wu et al. 2021), as M3-LRN in its released form."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from facelift.checkpoints.safe_load import fill, read_state
from facelift.models.m3lrn import M3LRN
from facelift.models.m3lrn_config import M3LRNConfig

_GROUPS = {"pose": ("ori", 1), "shape": ("shape", 2), "expression": ("exp", 3)}
"""Our name of a group of parameters: the file's name of the picture's head, its number of the landmarks' head."""


@dataclass(frozen=True)
class SynergyNet:
    """A network in evaluation mode, and the dense 3DMM that its file holds besides; model units of BFM, y up.

    The network takes RGB in [0, 1], 120 px, and turns it to the BGR that it learned from itself; its output is in our
    frame. `network.dewhiten` and `checkpoints.released_frame` convert parameters alone. Triangles and the vertices of
    the landmarks are not in the file.
    """

    network: M3LRN
    mean: Float[np.ndarray, "v 3"]
    shape: Float[np.ndarray, "s v 3"]
    """Offsets per unit of a shape coefficient."""
    expression: Float[np.ndarray, "e v 3"]


def load_synergynet(path: Path | str) -> SynergyNet:
    """Reads {'epoch', 'state_dict'} with the prefix `module.`; numbers of vertices and coefficients are the file's.

    Of `param_mean` and `param_std` the first 12 + shape + expression numbers are used; a texture's may follow.
    Raises FileNotFoundError, or ValueError naming file, expected and found, for names or shapes that differ.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in read_state(path, inside="state_dict").items()}
    mean = _take(state, "u", path, columns=1)
    vertices = len(mean) // 3
    shape = _take(state, "w_shp", path, rows=3 * vertices)
    expression = _take(state, "w_exp", path, rows=3 * vertices)
    shapes, expressions = shape.shape[1], expression.shape[1]
    state["landmark_mean"] = _points(_take(state, "u_base", path, rows=204, columns=1))[0]
    state["landmark_shape"] = _points(_take(state, "w_shp_base", path, rows=204, columns=shapes))
    state["landmark_expression"] = _points(_take(state, "w_exp_base", path, rows=204, columns=expressions))
    for name in ("mean", "std"):
        state[name] = _take_statistics(state, f"param_{name}", path, 12 + shapes + expressions)
    network = M3LRN(M3LRNConfig(released=True, shape_size=shapes, expression_size=expressions))
    fill(network, state, path=path, names={name: _file_name(name) for name in network.state_dict()})
    dense = (_points(matrix).numpy() for matrix in (mean, shape, expression))
    return SynergyNet(network.eval(), next(dense)[0], *dense)


def _take(
    state: dict[str, Tensor], name: str, path: Path | str, *, rows: int | None = None, columns: int | None = None
) -> Float[Tensor, "rows columns"]:
    """Removes a matrix of three rows a vertex from `state`, in float32."""
    found = state.pop(name, None)
    shape = () if found is None else tuple(found.shape)
    fits = (
        len(shape) == 2 and shape[0] and shape[0] % 3 == 0 and rows in (None, shape[0]) and columns in (None, shape[1])
    )
    if found is None or not fits:
        expected = f"({rows or '3 x vertices'}, {columns or 'coefficients'})"
        raise ValueError(f"{path}: expected {name} of shape {expected}, found {'none' if found is None else shape}")
    return found.float()


def _take_statistics(state: dict[str, Tensor], name: str, path: Path | str, count: int) -> Float[Tensor, "n"]:
    found = state.pop(name, None)
    if found is None or found.ndim != 1 or len(found) < count:
        shape = "none" if found is None else tuple(found.shape)
        raise ValueError(f"{path}: expected {name} of at least {count} numbers, found {shape}")
    return found[:count]


def _points(matrix: Float[Tensor, "rows k"]) -> Float[Tensor, "k v 3"]:
    """x, y, z of a vertex follow each other in a column."""
    return matrix.T.unflatten(1, (-1, 3)).contiguous()


def _file_name(name: str) -> str:
    """The file's name of one of our tensors."""
    if name.startswith("encoder."):
        return name.replace("encoder", "I2P.backbone", 1)
    module, *rest = name.split(".")
    if module == "heads":
        return f"I2P.backbone.classifier_{_GROUPS[rest[0]][0]}.1.{rest[1]}"
    if module not in ("refinement", "support"):
        return name
    prefix = {"refinement": "forwardDirection", "support": "reverseDirection"}[module]
    *place, kind, tensor = rest
    return f"{prefix}.{'conv' if kind == '0' else 'bn'}{_number(place)}.{tensor}"


def _number(place: list[str]) -> str:
    """The file's number of a layer of the point networks: 1 to 5 see points, 6 to 9 refine, 6_1 to 6_3 are heads."""
    match place:
        case ["points", "layers", index]:
            return str(int(index) + 1)
        case ["mlp", index]:
            return str(int(index) + 6)
        case ["heads", group]:
            return f"6_{_GROUPS[group][1]}"
    assert place == ["out"]
    return "9"
