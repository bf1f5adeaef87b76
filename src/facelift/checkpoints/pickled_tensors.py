"""Stand-ins for the names by which torch's tensors lie in pickles; their storages are read with `weights_only`."""

import pickle
from collections.abc import Callable, Mapping
from reprlib import repr as brief
from typing import Any

import torch
from torch import Tensor

from facelift.checkpoints.safe_load import read_torch
from facelift.checkpoints.safe_pickle import StandIn

STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""Classes `torch.X` by which a storage says its type."""


def rebuild(storage: Any, offset: Any, size: Any, stride: Any, *_gradients: Any) -> Tensor:
    """A view of the storage, whose memory all its tensors share. Refuses those that reach out of it or are larger."""
    if not isinstance(storage, Tensor) or storage.ndim != 1:
        raise pickle.UnpicklingError(f"a tensor of {brief(storage)}")
    numbers = (offset, *size, *stride)
    if not all(type(number) is int and number >= 0 for number in numbers) or len(size) != len(stride):
        raise pickle.UnpicklingError(f"a tensor of shape {brief(size)}, strides {brief(stride)}, at {brief(offset)}")
    count, last = 1, offset
    for length, step in zip(size, stride, strict=True):
        count, last = count * length, last + (length - 1) * step
    if count and (last >= len(storage) or count > len(storage)):
        raise pickle.UnpicklingError(f"a tensor of shape {brief(size)} in a storage of {len(storage)} numbers")
    return storage.as_strided(size, stride, offset) if count else storage.new_zeros(size)


def nested_storage(data: Any) -> Tensor:
    """What `torch.storage._load_from_bytes` would unpickle: bytes of a file within the file, never a path to one."""
    if type(data) is not bytes:
        raise pickle.UnpicklingError(f"a storage from {brief(data)}, which is not bytes")
    storage = read_torch(data, name="a storage in it")
    if not isinstance(storage, torch.storage.TypedStorage):
        raise pickle.UnpicklingError(f"a storage that is a {type(storage).__name__}")
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)


TENSORS: Mapping[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): StandIn(rebuild),
    ("torch._utils", "_rebuild_parameter"): StandIn(lambda data, *_: data),
    ("torch.storage", "_load_from_bytes"): StandIn(nested_storage),
    ("torch", "device"): StandIn(lambda *words: ":".join(map(str, words))),
    ("torch", "Size"): StandIn(tuple),
    **{("torch", str(dtype)[6:]): str(dtype) for dtype in STORAGE_DTYPES.values()},
    **{("torch", name): name for name in STORAGE_DTYPES},
}
"""For `SafeUnpickler`: tensors, and by their names alone types and devices."""


def stored_outside(read: Callable[[str], bytes]) -> Callable[[Any], Tensor]:
    """A `persistent_load` for archives that keep each storage in a file, of which `read` gives the bytes by its key;
    it reads each once."""
    seen: dict[str, bytearray] = {}

    def load(reference: Any) -> Tensor:
        match reference:
            case ("storage", str(kind), str(key), str(), int(count)) if kind in STORAGE_DTYPES and key.isalnum():
                dtype = STORAGE_DTYPES[kind]
            case _:
                raise pickle.UnpicklingError(f"a storage {brief(reference)}")
        data = seen[key] = seen[key] if key in seen else bytearray(read(key))
        if len(data) < count * dtype.itemsize:
            raise pickle.UnpicklingError(f"a storage of {count} numbers in {len(data)} bytes")
        return torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)

    return load
