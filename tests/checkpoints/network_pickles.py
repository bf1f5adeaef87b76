"""Network pickles as the StyleGAN family writes them: protocol 4, modules reduced to their source and state."""

import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path

import torch

SOURCE = "import os\nos.system('touch WAS_RUN')\nclass TriPlaneGenerator: pass\n"


def _module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module


class _Persistent:
    """Pickles as a call of torch_utils.persistence._reconstruct_persistent_obj(meta)."""

    def __init__(self, class_name: str, state: dict):
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": class_name,
            "state": state,
        }

    def __reduce__(self):
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


def state_of(tensors: dict, attributes: dict, modules: dict, buffers: tuple[str, ...] = ()) -> dict:
    """`__dict__` of a torch module."""
    return {
        "training": False,
        "_parameters": OrderedDict(
            (k, torch.nn.Parameter(v, requires_grad=False)) for k, v in tensors.items() if k not in buffers
        ),
        "_buffers": OrderedDict((k, v) for k, v in tensors.items() if k in buffers),
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": OrderedDict(),
        "_modules": OrderedDict(modules),
        **attributes,
    }


BUFFERS = ("noise_const", "resample_filter", "w_avg")


def nested(state: dict[str, torch.Tensor], attributes: dict[str, dict], name: str = "", kind: str = "Generator"):
    """A tree of modules with these tensors and, by the module's name, attributes."""
    prefix = f"{name}." if name else ""
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    here = {k: v for k, v in own.items() if "." not in k}
    children = dict.fromkeys(k.partition(".")[0] for k in own if "." in k)
    modules = {child: nested(state, attributes, f"{prefix}{child}", "SynthesisLayer") for child in children}
    return _Persistent(kind, state_of(here, attributes.get(name, {}), modules, BUFFERS))


def write(path: Path, held: dict) -> Path:
    """Pickles `held`, with the names of the family importable only while this runs."""
    made = {name: _module(name) for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util")}

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("was called")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    made["torch_utils.persistence"]._reconstruct_persistent_obj = _reconstruct_persistent_obj
    easy = type("EasyDict", (dict,), {"__module__": "dnnlib.util", "__qualname__": "EasyDict"})
    made["dnnlib.util"].EasyDict = easy
    try:
        held = {"training_set_kwargs": easy(path="x.zip", resolution=512), **held}
        path.write_bytes(pickle.dumps(held, protocol=4))
    finally:
        for name in made:
            del sys.modules[name]
    return path
