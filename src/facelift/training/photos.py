"""Which photos a training learns from, and which it is measured on."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from facelift.datasets.packed import data_root
from facelift.datasets.real_faces import RealFaces


@runtime_checkable
class PhotoOptions(Protocol):
    """Options of a training with photos; `training.config` says what each is."""

    @property
    def sets(self) -> tuple[str, ...]: ...
    @property
    def dev_set(self) -> str | None: ...
    @property
    def dev(self) -> int: ...


def training_photos(
    options: PhotoOptions, data: Path | None, labels: Path | None = None
) -> tuple[RealFaces | None, RealFaces | None]:
    """(the faces that teach, those whose last `dev` are measured), None without; one and the same without --dev-set.

    `labels`: pseudo-labels for what people did not label. Raises ValueError for options that contradict each other.
    """
    measured = options.dev_set or next(iter(options.sets), None)
    if measured is None:
        return None, None
    if options.dev < 1:
        raise ValueError(f"--dev: expected at least one face to evaluate on, found {options.dev}")
    if measured in options.sets[1:]:
        raise ValueError(f"--dev-set: expected the first of --sets or a set that is not in it, found {measured}")
    root = data_root(data)
    faces = RealFaces(root, options.sets, labels=labels, dev=options.dev) if measured in options.sets else None
    if faces:
        return faces, faces
    taught = RealFaces(root, options.sets, labels=labels) if options.sets else None
    return taught, RealFaces(root, (measured,), dev=options.dev)
