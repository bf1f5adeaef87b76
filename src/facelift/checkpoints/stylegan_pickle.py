"""Network pickles of the StyleGAN family (EG3D, PanoHead, IDE-3D): tensors, settings and source text, nothing run.

Such a file holds {G, D, G_ema, ...}. Each of their own modules is a call of `_reconstruct_persistent_obj` with the
module's source code, which the official loader executes; here the source stays text. Other classes of theirs and of
torch.nn come as records of what was set on them.
"""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import numpy as np
from torch import Tensor

from facelift.checkpoints.pickled_tensors import TENSORS
from facelift.checkpoints.safe_pickle import REFUSALS, Budget, Record, SafeUnpickler, StandIn

PACKAGES = ("training", "torch_utils", "dnnlib", "torch.nn.modules")
"""Whose classes become records."""
_DEPTH = 64
_SMALL = 64
"""Numbers of a tensor that is no parameter and no buffer, as a renderer's `plane_axes`, which count as a setting."""
_MODULE = {"_parameters", "_buffers", "_modules"}


@dataclass(frozen=True)
class Module:
    """A module of the file."""

    kind: str
    tensors: dict[str, Tensor]
    """Parameters and persistent buffers by name, those of its own modules under theirs."""
    settings: dict[str, Any]
    """What plain values were set on it: numbers, text, small tensors, and lists and dictionaries of these."""
    modules: "dict[str, Module]"


@dataclass(frozen=True)
class NetworkPickle:
    """What a file of the StyleGAN family holds."""

    networks: dict[str, Module]
    """G_ema and the like."""
    settings: dict[str, Any]
    """What else lies beside them."""
    sources: dict[str, str]
    """Text of the Python modules that the file carries, by the class that was taken from it."""


def _persistent(meta: Any) -> Record:
    """A module from {type, version, module_src, class_name, state}."""
    if type(meta) is not dict or not isinstance(meta.get("class_name"), str) or type(meta.get("state")) is not dict:
        raise pickle.UnpicklingError(f"a module of {brief(meta)}")
    record = Record(meta["class_name"], meta.get("module_src"))
    record.state = meta["state"]
    return record


_NAMES = {
    **TENSORS,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): StandIn(_persistent),
    ("dnnlib.util", "EasyDict"): StandIn(dict),
    ("dnnlib", "EasyDict"): StandIn(dict),
}


def read_network_pickle(path: Path | str) -> NetworkPickle:
    """Everything in the file but its code, which is text. Raises FileNotFoundError, or ValueError naming the file and
    what it asked for, for one that is damaged, of another kind, or wants anything run."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a network pickle of the StyleGAN family, found no such file")
    try:
        with path.open("rb") as file:
            held = SafeUnpickler(file, more=_NAMES, records=PACKAGES).load()
        if type(held) is not dict or not any(isinstance(value, Record) for value in held.values()):
            raise pickle.UnpicklingError(f"{brief(held)}, without a network")
        return _sorted_out(held)
    except (*REFUSALS, RuntimeError) as error:
        raise ValueError(
            f"{path}: expected a network pickle of the StyleGAN family, found {error or type(error).__name__}"
        ) from error


def _sorted_out(held: dict) -> NetworkPickle:
    records = {str(name): value for name, value in held.items() if isinstance(value, Record)}
    sources: dict[str, str] = {}
    budget = Budget()
    networks = {name: _module(record, sources, budget) for name, record in records.items()}
    rest = {str(name): value for name, value in held.items() if name not in records}
    return NetworkPickle(networks, _plain(rest, budget), sources)


def _module(record: Record, sources: dict[str, str], budget: Budget, depth: int = 0) -> Module:
    budget.spend()
    if depth > _DEPTH:
        raise pickle.UnpicklingError(f"modules within modules, more than {_DEPTH} deep")
    state = record.state if isinstance(record.state, dict) else {}
    if record.arguments and isinstance(record.arguments[0], str):
        sources.setdefault(record.kind, record.arguments[0])
    hidden = state.get("_non_persistent_buffers_set") or set()
    own = {**_part(state, "_parameters"), **{n: v for n, v in _part(state, "_buffers").items() if n not in hidden}}
    tensors = {name: value for name, value in own.items() if isinstance(value, Tensor)}
    modules = {
        name: _module(part, sources, budget, depth + 1)
        for name, part in _part(state, "_modules").items()
        if isinstance(part, Record)
    }
    for name, part in modules.items():
        tensors |= {f"{name}.{inner}": tensor for inner, tensor in part.tensors.items()}
    settings = {str(name): value for name, value in state.items() if name not in _MODULE}
    return Module(record.kind, tensors, _plain(settings, budget), modules)


def _part(state: dict, name: str) -> dict[str, Any]:
    part = state.get(name) or {}
    if type(part) is not dict:
        raise pickle.UnpicklingError(f"{name} of {brief(part)}")
    return {str(key): value for key, value in part.items()}


def walk(module: Module, name: str = "") -> Iterator[tuple[str, Module]]:
    """The module and all in it, with their names."""
    yield name, module
    for inner, part in module.modules.items():
        yield from walk(part, f"{name}.{inner}" if name else inner)


_NOTHING = object()


def _plain(values: dict[str, Any], budget: Budget) -> dict[str, Any]:
    """The values without what is no number, text, list or dictionary."""
    return _kept(values, 8, budget)


def plain(value: Any) -> bool:
    """Whether it is a number or text; integers beyond 1024 bits are no settings, and take long to write."""
    return isinstance(value, bool | float | str | None) or (isinstance(value, int) and value.bit_length() <= 1024)


def _kept(value: Any, depth: int, budget: Budget) -> Any:
    budget.spend(1 + len(value) // 1000 if isinstance(value, str) else 1)
    if plain(value):
        return value
    if isinstance(value, Tensor) and value.numel() <= _SMALL:
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if depth and isinstance(value, list | tuple):
        return [part for part in (_kept(part, depth - 1, budget) for part in value) if part is not _NOTHING]
    if depth and isinstance(value, dict):
        parts = {str(key): _kept(part, depth - 1, budget) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part is not _NOTHING}
    return _NOTHING
