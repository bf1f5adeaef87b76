"""Arrays that are the same for every picture, as outputs of an exported network."""

import numpy as np
import onnx


def add_outputs(graph: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> None:
    """Adds constants as outputs of a graph."""
    for name, array in arrays.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        node = onnx.helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(array))
        graph.graph.node.append(node)
        graph.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, array.shape))
