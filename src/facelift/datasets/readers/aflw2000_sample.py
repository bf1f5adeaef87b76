"""The packed sample of AFLW2000-3D: 100 of its photos with both annotations, in the files' own coordinates."""

from functools import partial
from pathlib import Path

import numpy as np

from facelift.datasets.packed import decode_jpeg, read_packed
from facelift.datasets.readers.aflw2000 import aflw2000_face, check_annotation
from facelift.datasets.sample import FaceSample


class AFLW2000Sample:
    """Samples as of `AFLW2000Faces`, from aflw2000_sample.tar and .npz."""

    def __init__(self, root: Path, annotation: str = "reannotated"):
        check_annotation(annotation)
        self.name = "aflw2000_sample" if annotation == "reannotated" else "aflw2000_sample_original"
        self._annotation = annotation
        rows = {"pts68_orig": (3, 68), "pts68_reannotated": (68, 2), "pose": (3,)}
        self._labels, self._files = read_packed(Path(root), "aflw2000_sample", rows)

    def __len__(self) -> int:
        return len(self._labels["name"])

    def __getitem__(self, index: int) -> FaceSample:
        file = str(self._labels["name"][index])
        original, reannotated, pose_deg = (
            self._labels[key][index].astype(np.float64) for key in ("pts68_orig", "pts68_reannotated", "pose")
        )
        return aflw2000_face(
            Path(file).stem,
            partial(decode_jpeg, self._files[file], file),
            original.T,
            original[:2].T if self._annotation == "original" else reannotated,
            pose_deg,
        )
