"""Exported networks opened in ONNX Runtime: one way for lifter, detector and finder."""

from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

_LOAD_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


def open_session(path: Path, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """The network of an .onnx file, on the CPU, in so many threads that do not spin while they wait.

    Raises FileNotFoundError, or ValueError for a file that is no such network.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected weights in ONNX format, found no such file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leaves the CPU to others
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _LOAD_ERRORS as error:
        size = path.stat().st_size
        reason = str(error).splitlines()[0][:200]
        raise ValueError(
            f"{path}: expected weights in ONNX format, found {size} bytes that do not load: {reason}"
        ) from error
