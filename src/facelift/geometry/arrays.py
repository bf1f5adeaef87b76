"""The array module behind an argument: one implementation of each formula serves NumPy and PyTorch."""

import sys
from types import ModuleType
from typing import Any

import numpy as np


def namespace(*arrays: Any) -> ModuleType:
    """`torch` if any argument is a tensor, else `numpy`. Never imports torch itself."""
    torch = sys.modules.get("torch")
    if torch is not None and any(isinstance(array, torch.Tensor) for array in arrays):
        return torch
    return np


def constant(values: Any, like: Any) -> Any:
    """`values` as an array of the module, dtype and device of `like`."""
    xp = namespace(like)
    if xp is np:
        return np.asarray(values, dtype=np.asarray(like).dtype)
    return xp.as_tensor(values, dtype=like.dtype, device=like.device)


def transpose(matrix: Any) -> Any:
    """Swaps the last two axes."""
    return namespace(matrix).swapaxes(matrix, -1, -2)
