"""`facelift inspect-checkpoint`: what a file of weights holds, without running any of it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from facelift.atomic import written_whole
from facelift.checkpoints.printable import printable

if TYPE_CHECKING:
    from torch import Tensor

    from facelift.checkpoints.checkpoint import Checkpoint


@dataclass(frozen=True)
class InspectConfig:
    """List tensors, settings and source code of a file of weights; nothing in it is executed. Reads .pkl of the
    StyleGAN family and others, .pt and .pth (TorchScript too), .safetensors, .npz and .onnx."""

    file: Annotated[Path, tyro.conf.Positional]
    """The file."""
    tensors: bool = True
    """Each tensor's name, shape and type; --no-tensors for the count alone."""
    source: str | None = None
    """Print the source code of this name that the file carries; "all" for all of it."""
    convert: Path | None = None
    """Write tensors and settings to this .safetensors file, with a card, .md, beside it."""


def inspect(config: InspectConfig) -> None:
    """Prints what the config asks for. Raises ValueError for a file that is refused, naming why."""
    from facelift.checkpoints.checkpoint import open_checkpoint

    try:
        found = open_checkpoint(config.file)
    except ValueError as error:
        raise ValueError(printable(str(error), "\n")) from error
    if config.source is not None:
        print(_source(found, config.source))
    else:
        print("\n".join(describe(found, tensors=config.tensors)))
    if config.convert is not None:
        print(convert(found, config.convert))


def describe(found: "Checkpoint", *, tensors: bool = True) -> list[str]:
    """Lines: kind, counts, tensors, settings, names of source code. What would steer a terminal is written out."""
    numbers = sum(tensor.numel() for tensor in found.tensors.values())
    lines = [f"{found.path}: {found.kind}, {len(found.tensors)} tensors, {numbers:,} numbers"]
    if tensors and found.tensors:
        shown = {printable(name): tensor for name, tensor in found.tensors.items()}
        width = max(map(len, shown))
        lines += ["", "tensors"]
        lines += [f"  {name:<{width}}  {_shape(tensor)}" for name, tensor in shown.items()]
    if found.settings:
        lines += ["", "settings"]
        lines += [f"  {printable(name)}: {_short(value)}" for name, value in found.settings.items()]
    if found.sources:
        lines += ["", "source code, as text (--source NAME prints it)"]
        lines += [f"  {printable(name)}: {text.count(chr(10)) + 1} lines" for name, text in found.sources.items()]
    return lines


def _shape(tensor: Any) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _short(value: Any, most: int = 400) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return printable(text) if len(text) <= most else f"{printable(text[:most])}... ({len(text)} characters)"


def _source(found: "Checkpoint", name: str) -> str:
    if name == "all":
        return "\n".join(f"# {printable(key)}\n{_text(text)}" for key, text in found.sources.items())
    if name not in found.sources:
        there = ", ".join(map(printable, found.sources)) or "none"
        raise ValueError(f"{found.path}: expected source code of {name!r}, found {there}")
    return _text(found.sources[name])


def _text(source: str) -> str:
    return printable(source.replace("\r\n", "\n"), "\n\t")


def _apart(tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Each in memory of its own, as safetensors wants them."""
    places: set[int] = set()
    kept = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        whole = tensor.contiguous()
        kept[name] = whole.clone() if place in places and whole is tensor else whole
        places.add(place)
    return kept


def convert(found: "Checkpoint", target: Path) -> Path:
    """Writes `target` with all tensors, and settings as metadata; its card lies beside it with the suffix .md."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from facelift.checkpoints.checkpoint import SETTINGS

    if target.suffix != ".safetensors":
        raise ValueError(f"{target}: expected a name that ends in .safetensors, found {target.suffix or 'no suffix'}")
    digest = hashlib.sha256(found.path.read_bytes()).hexdigest()
    noted = {SETTINGS: json.dumps(found.settings, default=str), "converted-from": f"{found.path.name} sha256:{digest}"}
    try:
        with written_whole(target) as partial:
            save_file(_apart(found.tensors), partial, metadata=noted)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"{found.path}: expected tensors that safetensors holds, found others: {error}") from error
    with written_whole(target.with_suffix(".md")) as partial:
        partial.write_text(_card(found, target, digest))
    return target


def _card(found: "Checkpoint", target: Path, digest: str) -> str:
    numbers = sum(tensor.numel() for tensor in found.tensors.values())
    return f"""# {target.name}

Converted by `facelift inspect-checkpoint {found.path.name} --convert {target.name}`.

- From: {found.path.name} ({found.kind}), sha256 {digest}
- Holds: {len(found.tensors)} tensors, {numbers:,} numbers, bit by bit those of the file; {len(found.settings)} settings
- Source code in the file: {", ".join(map(printable, found.sources)) or "none"}; not kept here, never run
- Training data and licence: those of the file that it was converted from. They are not in the file: see where it was
  published. EG3D: NVIDIA's, non-commercial. PanoHead: CC BY-NC-SA 4.0. IDE-3D: none stated. FaRL: MIT.
"""
