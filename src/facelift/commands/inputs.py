"""What a user names on the command line: files, folders, globs; and the names of what is written for each."""

import glob
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from facelift.video import SUFFIXES as VIDEO_SUFFIXES

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".jp2", ".avif"),
    *(".pgm", ".ppm", ".pbm", ".pnm", ".tga", ".ico", ".heic", ".heif"),
)
"""Files of a folder that are taken for pictures. A file that is named itself is tried whatever its suffix."""

OVERLAY, DETECTIONS, FITTED = ".faces", ".points", ".fit"
"""Ends of the stems of drawn results: none has the name of its photo, and a folder's are not taken for photos."""


_DRAWN = re.compile(r"\.(faces|points|fit|depth|pncc|face\d+|face\d+\.texture)$")
"""Ends of the stems of all that these commands draw."""


@dataclass(frozen=True)
class Input:
    """One file to work on."""

    path: Path
    stem: Path
    """Path of its results below the output folder, without suffix; no two inputs share one."""

    @property
    def is_video(self) -> bool:
        """Whether the suffix is a video's."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def expand(names: Sequence[str]) -> list[Input]:
    """The files behind paths, folders (with everything below them, sorted) and globs, each once.

    A name behind which there is nothing stays as it is, so that reading it fails and is counted.
    """
    found: dict[Path, Path] = {}
    for name in names:
        for path, relative in _files(name):
            found.setdefault(path, relative)
    stems = Counter(relative.with_suffix("") for relative in found.values())
    taken: Counter[Path] = Counter()
    inputs = []
    for path, relative in found.items():
        stem = relative.with_suffix("") if stems[relative.with_suffix("")] == 1 else relative
        taken[stem] += 1
        if taken[stem] > 1:
            stem = stem.with_name(f"{stem.name}-{taken[stem]}")
        inputs.append(Input(path, stem))
    return inputs


def _files(name: str) -> list[tuple[Path, Path]]:
    """(path, name relative to what the user named)."""
    path = Path(name)
    if path.is_dir():
        suffixes = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
        return [(p, p.relative_to(path)) for p in inside if not _DRAWN.search(p.stem)]
    if not path.exists() and glob.has_magic(name):
        matches = sorted(glob.glob(name, recursive=True))
        return [pair for match in matches for pair in _files(match)] or [(path, Path(path.name))]
    return [(path, Path(path.name))]
