"""300-W (Sagonas et al. 2013): photos of AFW, Helen, LFPW and iBUG with iBUG-68 points.

Layout, as iBUG releases it: afw/, helen/{trainset,testset}/, lfpw/{trainset,testset}/ and ibug/, each with NAME.pts
beside NAME.jpg or NAME.png. Traps: points count from 1 (px = value - 0.5); widespread copies hold mirrored pictures
NAME_mirror, which belong to no split and are left out; the parts `common` and `challenge` are the test set of the
papers, not the later one of 600 indoor and outdoor photos. Jaw points lie on the outline seen in the picture.
"""

from pathlib import Path

import numpy as np

from facelift.boxes import tight_box
from facelift.datasets.readers.official_layout import require_folder
from facelift.datasets.readers.picture_files import picture_reader
from facelift.datasets.readers.pts import read_pts, require_count
from facelift.datasets.sample import UNKNOWN, FaceSample

_COMMON, _CHALLENGE = ("helen/testset", "lfpw/testset"), ("ibug",)
SPLITS: dict[str, tuple[str, ...]] = {
    "common": _COMMON,
    "challenge": _CHALLENGE,
    "full": (*_COMMON, *_CHALLENGE),
    "train": ("afw", "helen/trainset", "lfpw/trainset"),
}
"""Folders of the papers' parts: 554, 135, 689 and 3,148 faces."""
_MIRROR = "_mirror"
SUFFIXES = (".jpg", ".png", ".jpeg", ".JPG", ".PNG", ".JPEG")


class W300:
    """The faces of a split; no visibility (state unknown).

    `box` is the points' tight box. `identity` is the photo, so that the several faces of one count as one draw where
    their names end in _1, _2, ... (AFW, iBUG); `attributes`: subset ("common", "challenge" or "train"), source.
    """

    def __init__(self, root: Path, split: str = "full"):
        if split not in SPLITS:
            raise ValueError(f"split of 300-W: expected one of {', '.join(SPLITS)}, found {split!r}")
        self.root = require_folder(Path(root), "the folder of 300-W with afw, helen, ibug, lfpw")
        self.name = f"300w_{split}"
        folders = [require_folder(self.root / part, f"the part {part} of 300-W") for part in SPLITS[split]]
        found = [path for folder in folders for path in sorted(folder.glob("*.pts"))]
        labels = [path for path in found if not path.stem.endswith(_MIRROR)]
        if not labels:
            raise FileNotFoundError(f"{self.root}: expected .pts files in {', '.join(SPLITS[split])}, found none")
        self._faces = [(path, _picture(path)) for path in labels]

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, index: int) -> FaceSample:
        labels, picture = self._faces[index]
        points = require_count(labels, read_pts(labels), 68)
        part = labels.parent.relative_to(self.root).as_posix()
        source = part.partition("/")[0]
        several = source in ("afw", "ibug")
        return FaceSample(
            f"{part}/{labels.stem}",
            picture_reader(picture),
            tight_box(points),
            points,
            np.full(68, UNKNOWN, np.int8),
            "ibug68",
            identity=f"{source}/{labels.stem.rpartition('_')[0] if several else labels.stem}",
            attributes={"subset": next(split for split, parts in SPLITS.items() if part in parts), "source": source},
        )


def _picture(labels: Path) -> Path:
    """The picture beside a .pts file, which may be in colour or grey, JPEG or PNG."""
    found = [labels.with_suffix(suffix) for suffix in SUFFIXES if labels.with_suffix(suffix).is_file()]
    if not found:
        raise FileNotFoundError(f"{labels}: expected a picture {labels.stem}.jpg or .png beside it, found none")
    return found[0]
