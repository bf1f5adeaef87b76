"""CelebV-HQ (Zhu et al. 2022): clips of celebrities from YouTube, without landmarks.

Layout, as the release's download script leaves it:

    celebvhq_info.json                          {clips: {ID: {ytb_id, duration {start_sec, end_sec},
                                                 bbox {top, bottom, left, right}, ...}}}
    downloaded_celebvhq/processed/ID.mp4        the clip, cut to a square
    downloaded_celebvhq/raw/YTB_ID.mp4          or the whole video, from which this reader cuts the same square

The two folders may also lie beside the .json. The script makes both and, as released, fills raw alone; a folder
processed without videos is passed over.

The bbox is in 0..1 of the whole video's height and width and shows head and hair. The script widens it by 0.02 of the
video on every side and takes the middle square of its smaller side; that square is the crop of the face here, so `box`
is the face box whose crop it is. In a processed clip the square is the whole frame. Many videos are gone from YouTube:
what is not there is listed in `missing`, not an error.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from facelift.crops import box_of_crop
from facelift.datasets.readers.official_layout import inner_folder, read_json
from facelift.datasets.readers.videos import read_frame, video_info
from facelift.datasets.sample import FaceSample

SUFFIXES = (".mp4", ".avi", ".mkv", ".webm")
WIDEN = 0.02
"""Share of the video that the script adds on every side of the bbox."""


class CelebVHQ:
    """`frames` faces of each clip, in the middle of as many equal parts of it, without landmarks (scheme "none").

    `identity` is the YouTube id (one video, not one person); `attributes`: time_s and frame within the file.
    """

    def __init__(self, root: Path, *, frames: int = 1):
        if frames < 1:
            raise ValueError(f"frames: expected at least 1 a clip, found {frames}")
        self.name = "celebv_hq"
        self._frames = frames
        clips = _read_clips(Path(root) / "celebvhq_info.json")
        folder, files = _videos(Path(root))
        self._processed = folder.name == "processed"
        stem = {name: name if self._processed else clip["ytb_id"] for name, clip in clips.items()}
        self._clips = [(name, clips[name], files[stem[name]]) for name in clips if stem[name] in files]
        self.missing = [name for name in clips if stem[name] not in files]
        if not self._clips:
            raise FileNotFoundError(f"{folder}: expected videos of {len(clips)} clips, found none of them")

    def __len__(self) -> int:
        return len(self._clips) * self._frames

    def __getitem__(self, index: int) -> FaceSample:
        clip_index, part = divmod(range(len(self))[index], self._frames)
        name, clip, path = self._clips[clip_index]
        info = video_info(path)
        if not info.fps > 0 or not info.frames > 0:
            raise ValueError(f"{path}: expected a video that tells its length and rate, found {info}")
        share = (part + 0.5) / self._frames
        if self._processed:
            frame = int(share * info.frames)
            square = np.array([0.0, 0.0, info.width, info.height])
        else:
            start, end = clip["start_sec"], clip["end_sec"]
            frame = int((start + share * (end - start)) * info.fps)
            square = clip_square(clip["bbox"], info.width, info.height)
        return FaceSample(
            f"{name}/{part}",
            partial(read_frame, path, frame),
            box_of_crop(square),
            np.zeros((0, 2)),
            np.zeros(0, np.int8),
            "none",
            identity=clip["ytb_id"],
            attributes={"time_s": frame / info.fps, "frame": frame},
        )

    @property
    def names(self) -> list[str]:
        """Of the clips that are there."""
        return [name for name, _, _ in self._clips]

    @property
    def videos(self) -> list[str]:
        """YouTube id of each of these clips."""
        return [clip["ytb_id"] for _, clip, _ in self._clips]


def clip_square(bbox: Float[np.ndarray, "4"], width: int, height: int) -> Float[np.ndarray, "4"]:
    """x0 y0 x1 y1 px of the release's square about a bbox (top, bottom, left, right in 0..1), its rounding included."""
    top, bottom = round(max(bbox[0] - WIDEN, 0) * height), round(min(bbox[1] + WIDEN, 1) * height)
    left, right = round(max(bbox[2] - WIDEN, 0) * width), round(min(bbox[3] + WIDEN, 1) * width)
    half = min(bottom - top, right - left) // 2
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    return np.concatenate([middle - half, middle + half])


def _videos(root: Path) -> tuple[Path, dict[str, Path]]:
    """The folder processed, or raw where that has no videos; its videos by name."""
    found: dict[Path, dict[str, Path]] = {}
    for folder in (inner_folder(root, "downloaded_celebvhq") / name for name in ("processed", "raw")):
        if folder.is_dir():
            found[folder] = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}
    if not found:
        raise FileNotFoundError(f"{root}: expected a folder processed (ID.mp4) or raw (YTB_ID.mp4), found neither")
    return next(((folder, files) for folder, files in found.items() if files), next(iter(found.items())))


def _read_clips(path: Path) -> dict[str, dict[str, Any]]:
    loaded = read_json(path, "the clips of CelebV-HQ")
    if not isinstance(loaded, dict) or not isinstance(loaded.get("clips"), dict):
        raise ValueError(f"{path}: expected {{'clips': {{ID: ...}}}}, found {str(loaded)[:60]}")
    return {name: _clip(path, name, clip) for name, clip in loaded["clips"].items()}


def _clip(path: Path, name: str, clip: Any) -> dict[str, Any]:
    try:
        box = np.array([float(clip["bbox"][side]) for side in ("top", "bottom", "left", "right")])
        start, end = float(clip["duration"]["start_sec"]), float(clip["duration"]["end_sec"])
        video = str(clip["ytb_id"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected ytb_id, duration {{start_sec, end_sec}} and bbox {{top, bottom, left, right}} of clip "
            f"{name}, found no {error}"
        ) from None
    if not (0 <= box[0] < box[1] <= 1 and 0 <= box[2] < box[3] <= 1 and 0 <= start < end):
        raise ValueError(
            f"{path}: expected 0 <= top < bottom <= 1, 0 <= left < right <= 1 and start < end of clip {name}, "
            f"found {box.tolist()} and {start}..{end} s"
        )
    return {"ytb_id": video, "start_sec": start, "end_sec": end, "bbox": box}
