"""Videos: frames in, one annotated video and one table out, in bounded memory.

Faces are followed from frame to frame (`facelift.tracking`).
"""

import csv
import importlib.util
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from facelift.atomic import written_whole
from facelift.drawing import draw_faces
from facelift.faces.face import Face
from facelift.faces.face_io import csv_header, csv_row
from facelift.predictors.predictor import Predictor
from facelift.tracking import Follow, Tracker

logger = logging.getLogger(__name__)

SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video, turned upright."""

    index: int
    time_s: float
    pixels: UInt8[np.ndarray, "h w 3"]
    """RGB."""


@dataclass(frozen=True)
class VideoSummary:
    """What a run over a video did."""

    frames: int
    with_faces: int
    faces: int
    claimed: int
    """Frames that the container claims to hold, 0 if it does not say."""
    paths: list[Path]


@dataclass
class VideoReader:
    """Frames of a video file, one at a time, upright. Raises ValueError for a file that holds no video."""

    path: Path
    fps: float = field(init=False)
    frames: int = field(init=False)
    """As the container claims; 0 if it does not."""

    def __post_init__(self) -> None:
        self.path = Path(self.path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: expected a video file, found nothing under this name")
        capture = self._open()
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if np.isfinite(fps) and 1 <= fps <= 1000 else 25.0
        self.frames = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        capture.release()

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            size = self.path.stat().st_size
            raise ValueError(f"{self.path}: expected a video that OpenCV reads, found {size} bytes it cannot open")
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        return capture

    def __iter__(self) -> Iterator[Frame]:
        capture = self._open()
        try:
            index, last = 0, -1 / self.fps
            while True:
                good, bgr = capture.read()
                if not good:
                    break
                stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000  # frame rates vary; 0 where the container is silent
                time_s = stamp if stamp > last or index == 0 else last + 1 / self.fps
                yield Frame(index, time_s, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
                last = time_s
                index += 1
        finally:
            capture.release()
        if index == 0:
            raise ValueError(f"{self.path}: expected a video, found no frame that decodes")


def follow_faces(
    predictor: Predictor, frames: Iterable[Frame], follow: Follow | None = None
) -> Iterator[tuple[Frame, dict[int, Face]]]:
    """Each frame with its faces by number: a face keeps its number as long as it is followed."""
    tracker = Tracker(predictor, follow)
    for frame in frames:
        yield frame, tracker.update(frame.pixels)


def predict_video(
    predictor: Predictor,
    source: str | os.PathLike[str],
    *,
    table: Path | None,
    picture: Path | None = None,
    follow: Follow | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> VideoSummary:
    """Writes a table (.csv: one row a face, with frame and time; .npz: the same as arrays) and an annotated .mp4.

    Both appear whole at the end. `progress` is called with (frames done, frames in all or 0). Raises ValueError and
    FileNotFoundError for a file that is no video.
    """
    reader = VideoReader(Path(source))
    counts = {"frames": 0, "with_faces": 0, "faces": 0}
    with ExitStack() as stack:
        rows = _table(table) if table else None
        if rows:
            stack.enter_context(rows)
        video = stack.enter_context(VideoWriter(picture, reader.fps)) if picture else None
        for frame, faces in follow_faces(predictor, iter(reader), follow):
            if rows:
                rows.add(frame, faces)
            if video:
                video.add(draw_faces(frame.pixels, list(faces.values())))
            counts["frames"] += 1
            counts["with_faces"] += bool(faces)
            counts["faces"] += len(faces)
            if progress:
                progress(counts["frames"], reader.frames)
    return VideoSummary(**counts, claimed=reader.frames, paths=[path for path in (table, picture) if path])


class CsvTable:
    """The wide table of `facelift.faces.face_io` with frame and time before it, written row by row."""

    def __init__(self, path: Path):
        self._stack = ExitStack()
        self._path = path

    def __enter__(self) -> "CsvTable":
        partial = self._stack.enter_context(written_whole(self._path))
        stream = self._stack.enter_context(partial.open("w", newline="", encoding="utf-8"))
        self._writer = csv.writer(stream)
        self._writer.writerow(["frame", "time_s", *csv_header("wflw98")])
        return self

    def add(self, frame: Frame, faces: dict[int, Face]) -> None:
        """One row a face; a frame without a face has none."""
        for number, face in faces.items():
            self._writer.writerow([frame.index, f"{frame.time_s:.6f}", *csv_row(number, face)])

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)


class NpzTable:
    """Arrays with one row per face of a frame, single precision: 5 kB a face in memory until the end."""

    _FIELDS = tuple(field.name for field in fields(Face) if field.name not in ("score", "scheme"))

    def __init__(self, path: Path):
        self._path = path
        self._rows: dict[str, list[Any]] = {
            name: [] for name in ("frame", "time_s", "face", "score", "euler_deg", *self._FIELDS)
        }

    def __enter__(self) -> "NpzTable":
        return self

    def add(self, frame: Frame, faces: dict[int, Face]) -> None:
        """Keeps the faces of a frame."""
        for number, face in faces.items():
            for name, value in (("frame", frame.index), ("time_s", frame.time_s), ("face", number)):
                self._rows[name].append(value)
            self._rows["score"].append(face.score)
            for name in ("euler_deg", *self._FIELDS):
                self._rows[name].append(np.asarray(getattr(face, name), np.float32))

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is not None:
            return
        with written_whole(self._path) as partial, partial.open("wb") as stream:
            arrays: dict[str, Any] = {name: np.array(values) for name, values in self._rows.items()}
            arrays |= {"format": "facelift-video", "version": 2, "scheme": "wflw98"}
            np.savez_compressed(stream, **arrays)


def _table(path: Path) -> CsvTable | NpzTable:
    if path.suffix == ".csv":
        return CsvTable(path)
    if path.suffix == ".npz":
        return NpzTable(path)
    raise ValueError(f"{path}: expected a .csv or .npz table for a video, found {path.suffix!r}")


class VideoWriter:
    """An .mp4 that grows frame by frame: H.264 through PyAV where it is installed, else OpenCV's MPEG-4."""

    def __init__(self, path: Path, fps: float):
        self._path, self._fps = path, fps
        self._stack = ExitStack()
        self._sink: _AvSink | _CvSink | None = None

    def __enter__(self) -> "VideoWriter":
        self._partial = self._stack.enter_context(written_whole(self._path))
        self._stack.callback(lambda: self._sink and self._sink.close())
        return self

    def add(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Appends an RGB picture; all must have one size. An odd side loses its last row or column."""
        even = image[: image.shape[0] // 2 * 2 or 1, : image.shape[1] // 2 * 2 or 1]
        if self._sink is None:
            kind = _AvSink if importlib.util.find_spec("av") else _CvSink
            self._sink = kind(self._partial, self._fps, even.shape[1::-1])
        self._sink.add(np.ascontiguousarray(even))

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)


class _AvSink:
    def __init__(self, path: Path, fps: float, wh: tuple[int, int]):
        import av

        self._av = av
        self._container = av.open(str(path), "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        self._stream.width, self._stream.height = wh
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": "20", "preset": "veryfast"}

    def add(self, image: np.ndarray) -> None:
        frame = self._av.VideoFrame.from_ndarray(image, format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


class _CvSink:
    def __init__(self, path: Path, fps: float, wh: tuple[int, int]):
        self._path = path
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, wh)
        if not self._writer.isOpened():
            raise ValueError(f"{path}: expected OpenCV to write MPEG-4 video of {wh[0]} x {wh[1]}, found it cannot")

    def add(self, image: np.ndarray) -> None:
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()
        if not Path(self._path).stat().st_size:  # OpenCV tells nobody that the disk is full
            raise OSError(f"{self._path}: expected OpenCV to write a video, found an empty file; is the disk full?")
