"""WFLW (Wu et al. 2018): faces of WIDER FACE with 98 points and six attributes.

Layout, as released:

    WFLW_images/EVENT/NAME.jpg
    WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{train,test}.txt

A line has 207 fields: 196 coordinates x0 y0 x1 y1 ..., the box x0 y0 x1 y1, six attributes 0 or 1 (pose, expression,
illumination, make-up, occlusion, blur) and the picture's path in WFLW_images. 7,500 train and 2,500 test faces.

Traps: the six test subsets overlap, they are the attributes and not a partition; a picture has several faces, so its
path is no name of a face. The authors do not say where pixels are counted from: taken as indices from 0 (px = value +
0.5). NME is by the distance of the outer eye corners, 60 and 72.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from facelift.datasets.readers.official_layout import require_file, require_files, require_folder
from facelift.datasets.readers.picture_files import picture_reader
from facelift.datasets.sample import UNKNOWN, FaceSample

SUBSETS = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")
"""The attributes, in the order of the file."""
_FIELDS = 207


@dataclass(frozen=True)
class _Line:
    picture: Path
    name: str
    numbers: Float[np.ndarray, "206"]


class WFLW:
    """The faces of a split, or the `subset` of those whose attribute is 1; scheme "wflw98", no visibility.

    `box` is the file's. A face's name is PICTURE#K, its K-th in the split's list, in every subset; `identity` is the
    picture. `attributes`: each of `SUBSETS`, "yes" or "no".
    """

    def __init__(self, root: Path, split: str = "test", *, subset: str | None = None):
        if split not in ("train", "test"):
            raise ValueError(f"split of WFLW: expected 'train' or 'test', found {split!r}")
        if subset is not None and subset not in SUBSETS:
            raise ValueError(f"subset of WFLW: expected one of {SUBSETS}, found {subset!r}")
        root = require_folder(Path(root), "the folder of WFLW with WFLW_images and WFLW_annotations")
        self.name = f"wflw_{split}" if subset is None else f"wflw_{split}_{subset}"
        self._images = require_folder(root / "WFLW_images", "the pictures of WFLW")
        lists = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
        lines = _read_list(lists / f"list_98pt_rect_attr_{split}.txt", self._images)
        place = None if subset is None else 200 + SUBSETS.index(subset)
        self._lines = [line for line in lines if place is None or line.numbers[place] == 1]
        if not self._lines:
            raise ValueError(f"{lists}: expected faces of {subset or split}, found none")
        require_files(dict.fromkeys(line.picture for line in self._lines), "every picture of the list")

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> FaceSample:
        line = self._lines[index]
        flags = line.numbers[200:]
        return FaceSample(
            line.name,
            picture_reader(line.picture),
            line.numbers[196:200],
            line.numbers[:196].reshape(98, 2) + 0.5,
            np.full(98, UNKNOWN, np.int8),
            "wflw98",
            identity=line.name.rpartition("#")[0],
            attributes={subset: "yes" if flag else "no" for subset, flag in zip(SUBSETS, flags, strict=True)},
        )


def _read_list(path: Path, images: Path) -> list[_Line]:
    require_file(path, "the annotations of a WFLW split")
    count: Counter[str] = Counter()
    lines = []
    for row, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = text.split()
        if not fields:
            continue
        if len(fields) != _FIELDS:
            raise ValueError(f"{path}: expected {_FIELDS} fields in line {row}, found {len(fields)}")
        picture = fields[-1]
        numbers = _numbers(fields[:-1], f"{path}, line {row}")
        lines.append(_Line(images / picture, f"{picture}#{count[picture]}", numbers))
        count[picture] += 1
    return lines


def _numbers(fields: list[str], where: str) -> Float[np.ndarray, "206"]:
    try:
        numbers = np.array([float(field) for field in fields])
    except ValueError as error:
        raise ValueError(f"{where}: expected 206 numbers and a path, found: {error}") from None
    if not np.isfinite(numbers).all():
        raise ValueError(f"{where}: expected finite numbers, found NaN or infinity")
    x0, y0, x1, y1 = numbers[196:200]
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"{where}: expected a box x0 < x1, y0 < y1 in fields 197-200, found {fields[196:200]}")
    if not np.isin(numbers[200:], [0, 1]).all():
        raise ValueError(f"{where}: expected attributes 0 or 1 in fields 201-206, found {fields[200:]}")
    return numbers
