"""Heads by the names that users give: our open head, the one built by code, FLAME, or a file."""

import os
from pathlib import Path

from facelift.morphable.skinned import SkinnedModel, skinned_linear

NAMES = ("openhead", "procedural")


def load_head(
    name: str, *, assets: Path | None = None, landmarks: Path | None = None, shape: int = 100, expression: int = 100
) -> SkinnedModel:
    """`openhead` (of the folder `assets`, or FACELIFT_ASSETS), `procedural`, or a file: a linear model of `facelift
    morphable`, or FLAME's .pkl or .npz, whose landmark embedding is `landmarks`; `flame`: the file that FACELIFT_FLAME
    names.

    Raises FileNotFoundError, or ValueError naming what was expected and found.
    """
    if name == "openhead":
        return _open_head(assets)
    if name == "procedural":
        return _procedural()
    if name == "flame":
        name = _flame_file()
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"{name}: expected {', '.join(NAMES)} or the file of a head model, found no such file")
    if path.suffix == ".npz" and _is_linear(path):
        from facelift.morphable.linear import load_linear_model

        return skinned_linear(load_linear_model(path))
    return _flame(path, landmarks, shape, expression)


def _open_head(assets: Path | None) -> SkinnedModel:
    from facelift.morphable.open_head import OpenHead
    from facelift.morphable.open_skinned import open_skinned

    folder = assets or (Path(os.environ["FACELIFT_ASSETS"]) if os.environ.get("FACELIFT_ASSETS") else None)
    if folder is None:
        raise ValueError("--model openhead: expected --assets or the variable FACELIFT_ASSETS, found none")
    return open_skinned(OpenHead(folder))


def _procedural() -> SkinnedModel:
    from facelift.morphable.procedural_head import ProceduralHead
    from facelift.morphable.procedural_skinned import procedural_skinned

    return procedural_skinned(ProceduralHead())


def _flame_file() -> str:
    """Its licence lets nobody ship it."""
    found = os.environ.get("FACELIFT_FLAME")
    if not found:
        raise ValueError(
            "--model flame: expected FLAME's file, which comes from flame.is.tue.mpg.de alone, by its path (--model "
            "generic_model.pkl, or an .npz) or by the variable FACELIFT_FLAME, found neither"
        )
    return found


def _is_linear(path: Path) -> bool:
    from facelift.archives import read_npz

    return "notes" in read_npz(path, "a head model")


def _flame(path: Path, landmarks: Path | None, shape: int, expression: int) -> SkinnedModel:
    from facelift.morphable.readers.flame import read_flame

    if landmarks is None:
        raise ValueError(
            f"{path}: expected --landmarks with FLAME's landmark embedding (landmark_embedding.npy or "
            "flame_static_embedding.pkl), found none"
        )
    return read_flame(path, landmarks=landmarks, shape=shape, expression=expression)
