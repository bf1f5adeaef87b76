"""TorchScript archives (`torch.jit.save`), as facer's `face_alignment.farl.wflw.main_ema_jit.pt`: tensors and source
text. `torch.jit.load` would compile and, where a class asks for it, run what is in them."""

import io
import zipfile
from pathlib import Path
from typing import Any

from facelift.archives import DAMAGED, check_sizes, read_member
from facelift.checkpoints.pickled_tensors import TENSORS, stored_outside
from facelift.checkpoints.safe_load import read_torch
from facelift.checkpoints.safe_pickle import REFUSALS, Budget, Record, SafeUnpickler, StandIn

_LISTS = {("torch.jit._pickle", f"build_{kind}list"): StandIn(list) for kind in ("int", "tensor", "double", "bool")}
_NAMES = {**TENSORS, **_LISTS, ("torch.jit._pickle", "restore_type_tag"): StandIn(lambda value, _tag: value)}


def read_torchscript(path: Path | str) -> tuple[dict[str, Any], dict[str, str]]:
    """(the module's attributes as nested dictionaries with tensors, source text by its file's name).

    Files in the archive's `extra/` come as `extra`: torch files within, such as facer's backbone, are read as torch
    files of tensors alone, others as the number of their bytes. Raises FileNotFoundError, or ValueError for another
    kind of file, a damaged one, or one that names anything but tensors and classes of its own.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a TorchScript archive, found no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            check_sizes(archive, path.stat().st_size)
            root = next(name for name in archive.namelist() if name.endswith("/constants.pkl")).removesuffix(
                "constants.pkl"
            )
            held = _as_dictionary(_load(archive, root, "data"), Budget())
            files = [name.removeprefix(root) for name in archive.namelist() if name.startswith(root)]
            sources = {
                name.removeprefix("code/"): read_member(archive, root + name).decode("utf-8", "replace")
                for name in files
                if name.startswith("code/") and name.endswith(".py")
            }
            extra = {
                name.removeprefix("extra/"): _extra(archive, root + name, f"{path}: {name}")
                for name in files
                if name.startswith("extra/")
            }
    except (*REFUSALS, *DAMAGED, StopIteration) as error:
        raise ValueError(
            f"{path}: expected a TorchScript archive, found {error or 'a file that does not load'}"
        ) from error
    held = held if isinstance(held, dict) else {"value": held}
    return {**held, **({"extra": extra} if extra else {})}, sources


def _load(archive: zipfile.ZipFile, root: str, name: str) -> Any:
    file = io.BytesIO(read_member(archive, f"{root}{name}.pkl"))
    unpickler = SafeUnpickler(file, more=_NAMES, records=("__torch__",))
    unpickler.persistent_load = stored_outside(lambda key: read_member(archive, f"{root}{name}/{key}"))
    return unpickler.load()


def _as_dictionary(value: Any, budget: Budget) -> Any:
    """Records as the dictionaries of their attributes."""
    budget.spend()
    if isinstance(value, Record):
        value = value.state if isinstance(value.state, dict) else {}
    if isinstance(value, dict):
        return {str(name): _as_dictionary(part, budget) for name, part in value.items()}
    return value


def _extra(archive: zipfile.ZipFile, member: str, name: str) -> Any:
    """A torch file's tensors, or the number of bytes, of which no more are unpacked."""
    if read_member(archive, member, 4) in (b"PK\x03\x04", b"\x80\x02\x8a\x0a"):
        return read_torch(read_member(archive, member), name=name)
    return archive.getinfo(member).file_size
