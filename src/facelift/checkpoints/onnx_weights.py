"""Weights of our own exported networks, read back for further training."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from facelift.checkpoints.printable import printable
from facelift.checkpoints.safe_load import fill

if TYPE_CHECKING:
    from onnx import ModelProto

YOUNG = ("marks.", "decoder.look.")
"""Beginnings of the names of the lifter's modules that older files lack."""
_PREFIX = "model."


def read_graph(path: Path | str) -> tuple["ModelProto", dict[str, np.ndarray]]:
    """(the graph, its weights by name). No other file is opened at this one's word. Raises FileNotFoundError, or
    ValueError for a file that is no ONNX graph or keeps weights in other files."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected weights in ONNX format, found no such file")
    try:
        model = onnx.load(str(path), load_external_data=False)
        for entry in model.graph.initializer:
            if entry.data_location == onnx.TensorProto.EXTERNAL or entry.external_data:
                raise ValueError(f"weights of {printable(entry.name)} in another file, which is not opened")
        return model, {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    except (DecodeError, ValueError, TypeError, LookupError) as error:
        raise ValueError(
            f"{path}: expected weights in ONNX format, found a file that does not load: {error}"
        ) from error


def read_exported(path: Path | str) -> dict[str, Tensor]:
    """Tensors of a file of `facelift export` under the network's own names, batch norm folded into its convolutions.

    A folded convolution comes as NAME.weight and NAME.weight_bias. Linear weights, which the exporter transposes and
    renames, get their names back from the biases that are added to their products. Of equal tensors it keeps one:
    networks that never learned cannot be read. Raises FileNotFoundError, or
    ValueError for a file that is no ONNX graph.
    """
    model, tensors = read_graph(path)
    products = {node.output[0]: node.input[1] for node in model.graph.node if node.op_type == "MatMul"}
    state = {name: value for name, value in tensors.items() if name.startswith(_PREFIX)}
    for node in model.graph.node:
        if node.op_type != "Add":
            continue
        bias = next((name for name in node.input if name.startswith(_PREFIX) and name.endswith(".bias")), None)
        matrix = next((products[name] for name in node.input if name in products), None)
        if bias is not None and matrix in tensors:
            state[bias.removesuffix("bias") + "weight"] = tensors[matrix].T
    return {name.removeprefix(_PREFIX): torch.tensor(np.ascontiguousarray(value)) for name, value in state.items()}


@torch.no_grad()
def start_from_exported(
    model: nn.Module, path: Path | str, images: Float[Tensor, "b 3 s s"], *, fresh: tuple[str, ...] = ()
) -> None:
    """Makes `model` compute what the exported network of the same architecture does, but for fresh modules.

    Batch norm was folded away; it comes back with the statistics that `images` have there, and a scale and shift that
    undo them. Modules whose names begin with one of `fresh` may be missing in the file and stay as they are. Raises as
    `read_exported`, and ValueError for weights of another architecture.
    """
    found, own = read_exported(path), model.state_dict()
    norms = {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    convolutions = {_before(name): name for name in norms}
    state = {}
    for name, value in own.items():
        module, _, part = name.rpartition(".")
        if module in norms:
            state[name] = _identity(part, value, norms[module].eps)
        elif name in found:
            state[name] = found[name]
        elif name.startswith(fresh):
            state[name] = value
    for convolution, norm in convolutions.items():
        bias = found.get(f"{convolution}.weight_bias")
        if bias is not None:
            state[f"{norm}.bias"] = bias
    fill(model, state, path=path)
    _restore_statistics(model, norms.values(), images)


def _before(norm: str) -> str:
    """Name of the convolution in front of a batch norm: its neighbour in the same sequence."""
    parent, _, index = norm.rpartition(".")
    return f"{parent}.{int(index) - 1}"


def _identity(part: str, value: Tensor, eps: float) -> Tensor:
    """A parameter or buffer of a batch norm that changes nothing."""
    if part == "running_var":
        return torch.full_like(value, 1 - eps)
    return torch.ones_like(value) if part == "weight" else torch.zeros_like(value)


def _restore_statistics(model: nn.Module, norms, images: Tensor) -> None:
    """Gives norms that only shift their true statistics, and the scale and shift that leave the output as it was."""
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        seen[module] = mean, variance

    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    training = model.training
    model.eval()(images)
    model.train(training)
    for hook in hooks:
        hook.remove()
    for norm, (mean, variance) in seen.items():
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.bias.add_(mean)
        norm.weight.copy_((variance + norm.eps).sqrt())
