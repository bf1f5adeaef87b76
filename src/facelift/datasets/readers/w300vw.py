"""300VW (Shen et al. 2015): 114 videos with iBUG-68 points in every frame.

Layout: NNN/vid.avi and NNN/annot/NNNNNN.pts. Traps: both the frames' names and the points count from 1 (000001.pts
belongs to the first frame; px = value - 0.5). Frames without an annotation are not read. Test videos of the challenge's
categories: 1 well-lit, 2 unconstrained light, 3 arbitrary conditions; the lists agree between several published codes.
"""

from functools import partial
from pathlib import Path

import numpy as np

from facelift.boxes import tight_box
from facelift.datasets.readers.official_layout import require_file, require_folder
from facelift.datasets.readers.pts import read_pts, require_count
from facelift.datasets.readers.videos import read_frame
from facelift.datasets.sample import UNKNOWN, FaceSample

CATEGORIES = {
    1: (
        *(114, 124, 125, 126, 150, 158, 401, 402, *range(505, 512), 514, 515, *range(518, 523), 524, 525),
        *(537, 538, 540, 541, 546, 547, 548),
    ),
    2: (203, 208, 211, 212, 213, 214, 218, 224, *range(403, 410), 412, 550, 551, 553),
    3: (410, 411, 516, 517, 526, 528, 529, 530, 531, 533, 557, 558, 559, 562),
}
"""Test videos of the challenge's three categories: 31, 19 and 14."""


class W300VW:
    """Every `every`-th annotated frame of the test videos of a category, or of `videos`.

    iBUG-68 points; no visibility is labelled. `box` is the points' tight box, `identity` the video, `attributes`
    category (0 for videos that are in none) and frame, counted from 0.
    """

    def __init__(
        self, root: Path, category: int | None = None, *, videos: tuple[str, ...] | None = None, every: int = 1
    ):
        if category is not None and category not in CATEGORIES:
            raise ValueError(f"category of 300VW: expected 1, 2 or 3, or None for all, found {category}")
        if every < 1:
            raise ValueError(f"every: expected at least 1, found {every}")
        self.name = "300vw" if category is None else f"300vw_{category}"
        self.root = require_folder(Path(root), "the folder of 300VW's videos 001, 002, ...")
        wanted = CATEGORIES.values() if category is None else [CATEGORIES[category]]
        names = list(videos) if videos is not None else [f"{video:03d}" for group in wanted for video in group]
        absent = [name for name in names if not (self.root / name).is_dir()]
        if absent:
            raise FileNotFoundError(
                f"{self.root}: expected {len(names)} videos NNN, found {len(names) - len(absent)}; "
                f"missing: {' '.join(absent)}"
            )
        self._frames = [frame for name in names for frame in _annotated(self.root / name)[::every]]

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> FaceSample:
        path = self._frames[index]
        video, frame = path.parents[1], int(path.stem) - 1
        points = require_count(path, read_pts(path), 68)
        number = int(video.name) if video.name.isdecimal() else 0
        category = next((key for key, group in CATEGORIES.items() if number in group), 0)
        return FaceSample(
            f"{video.name}/{path.stem}",
            partial(read_frame, video / "vid.avi", frame),
            tight_box(points),
            points,
            np.full(68, UNKNOWN, np.int8),
            "ibug68",
            identity=video.name,
            attributes={"category": float(category), "frame": float(frame)},
        )


def _annotated(video: Path) -> list[Path]:
    """The annotation files of a video, in its order."""
    require_file(video / "vid.avi", "the video")
    annotations = sorted(require_folder(video / "annot", "the annotations of a video").glob("*.pts"))
    wrong = [path for path in annotations if not path.stem.isdecimal() or int(path.stem) < 1]
    if not annotations or wrong:
        raise ValueError(
            f"{video / 'annot'}: expected 000001.pts, 000002.pts, ..., found {wrong[0].name if wrong else 'none'}"
        )
    return annotations
