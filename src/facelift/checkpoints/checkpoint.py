"""The one door for files of weights that others wrote: whatever kind a file is of, nothing of it is executed."""

import json
import mmap
import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facelift.archives import DAMAGED, read_npz
from facelift.checkpoints.onnx_weights import read_graph
from facelift.checkpoints.pickled_tensors import TENSORS
from facelift.checkpoints.safe_load import read_torch
from facelift.checkpoints.safe_pickle import Budget, Record, bytes_of, read_pickle
from facelift.checkpoints.scientific_pickle import NAMES, plain_array, written_out
from facelift.checkpoints.stylegan_pickle import NetworkPickle, plain, read_network_pickle, walk
from facelift.checkpoints.torchscript import read_torchscript

SETTINGS = "facelift-settings"
"""Key of a converted file's settings, as JSON, among the metadata of its safetensors."""
_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


@dataclass(frozen=True)
class Checkpoint:
    """What a file of weights holds."""

    path: Path
    kind: str
    """torch, TorchScript, StyleGAN pickle, pickle, safetensors, npz or ONNX."""
    tensors: dict[str, Tensor]
    """By name; what lies in dictionaries has their keys before its own, with dots between."""
    settings: dict[str, Any]
    """Numbers and text beside them, by the same names."""
    sources: dict[str, str]
    """Source code in the file: text, never run."""

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors under `name`, without it. Raises ValueError where there is none."""
        found = {
            key.removeprefix(f"{name}."): value for key, value in self.tensors.items() if key.startswith(f"{name}.")
        }
        if not found:
            there = sorted({key.partition(".")[0] for key in self.tensors})[:8]
            raise ValueError(f"{self.path}: expected tensors of {name}, found those of {', '.join(there) or 'nothing'}")
        return found


def open_checkpoint(path: Path | str) -> Checkpoint:
    """Reads a file by what it is, not by its suffix. Raises FileNotFoundError, or ValueError that names the file, what
    was expected and found, for one that is damaged, of an unknown kind, or that wants anything called."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of weights, found no such file")
    kind = kind_of(path)
    match kind:
        case "torch":
            return _flat(path, kind, read_torch(path))
        case "TorchScript":
            held, sources = read_torchscript(path)
            return _flat(path, kind, held, sources)
        case "safetensors":
            return _safetensors(path)
        case "npz":
            return _flat(path, kind, read_npz(path, "arrays"))
        case "ONNX":
            return _flat(path, kind, _onnx(path))
    if _mentions(path, b"_reconstruct_persistent_obj"):
        return _network(path, read_network_pickle(path))
    return _flat(path, "pickle", read_pickle(path, "weights", more={**TENSORS, **NAMES}))


def kind_of(path: Path) -> str:
    """torch, TorchScript, safetensors, npz, ONNX, or else pickle, by the file's first bytes and, in archives, names."""
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(_TORCH_MAGIC[:14]):
        return "torch"
    if head[:2] == b"PK":
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except DAMAGED as error:
            raise ValueError(f"{path}: expected a file of weights, found a damaged archive ({error})") from error
        if any(name.endswith("/constants.pkl") for name in names):
            return "TorchScript"
        return "torch" if any(name.endswith("data.pkl") for name in names) else "npz"
    if len(head) > 9 and head[8:9] == b"{" and 2 <= struct.unpack("<Q", head[:8])[0] <= path.stat().st_size - 8:
        return "safetensors"
    return "ONNX" if path.suffix == ".onnx" else "pickle"


def _mentions(path: Path, text: bytes) -> bool:
    with path.open("rb") as file:
        if not file.read(1):
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(text) >= 0


def _network(path: Path, found: NetworkPickle) -> Checkpoint:
    tensors: dict[str, Tensor] = {}
    settings = dict(found.settings)
    for name, network in found.networks.items():
        tensors |= {f"{name}.{key}": value for key, value in network.tensors.items()}
        settings |= {key: {"class": part.kind, **part.settings} for key, part in walk(network, name)}
    return Checkpoint(path, "StyleGAN pickle", tensors, settings, found.sources)


def _safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            noted = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        settings = json.loads(noted.pop(SETTINGS, "{}"))
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: expected safetensors, found a file that does not load: {error}") from error
    return Checkpoint(path, "safetensors", tensors, {**noted, **settings}, {})


def _onnx(path: Path) -> dict[str, Any]:
    model, held = read_graph(path)
    if not model.graph.node:
        raise ValueError(f"{path}: expected an ONNX graph, found a file without any operation")
    shown = {entry.key: entry.value for entry in model.metadata_props}
    for kind, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            sides = [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
            shown[f"{kind} {value.name}"] = str(sides)
    return held | shown


def _flat(path: Path, kind: str, held: Any, sources: Mapping[str, str] | None = None) -> Checkpoint:
    """What lies in dictionaries and lists, by the keys on the way there."""
    found = Checkpoint(path, kind, {}, {}, dict(sources or {}))
    made = bytes_of(sum(part.nbytes for part in held.values()) if kind == "npz" else path.stat().st_size)
    budget, numbers, waiting = Budget(), written_out(), [("", held)]
    while waiting:
        name, value = waiting.pop()
        try:
            budget.spend(1 + len(value) // 1000 if isinstance(value, str) else 1)
            value = plain_array(value, numbers)
            if isinstance(value, np.ndarray) or _dense(value):
                made.spend(value.nbytes)
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path}: expected weights, found {error}") from error
        parts = _parts(value)
        waiting += [(f"{name}.{key}" if name else str(key), part) for key, part in reversed(parts)]
        if not parts:
            _keep(found, name or "value", value)
    return found


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    nested = isinstance(value, list | tuple) and any(isinstance(v, Tensor | np.ndarray | dict | Record) for v in value)
    return list(enumerate(value)) if nested else []


def _dense(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided


def _keep(found: Checkpoint, name: str, value: Any) -> None:
    if _dense(value):
        found.tensors[name] = value
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        found.tensors[name] = torch.tensor(np.array(value, value.dtype.newbyteorder("=")))
    elif plain(value):
        found.settings[name] = value
    elif isinstance(value, list | tuple) and len(value) <= 64 and all(v is not None and plain(v) for v in value):
        found.settings[name] = list(value)
    else:
        found.settings[name] = f"({type(value).__name__}, not shown)"
