"""IDE-3D (Sun et al. 2022), whose network's source code exists only inside its checkpoint.

Tensors, settings and source are read here without running anything. Pictures need the code to run: an explicit choice,
in another process, which is no sandbox: what it may do, this user may do.
"""

import io
import os
import struct
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from threading import Thread
from typing import IO, Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from facelift.checkpoints.checkpoint import Checkpoint, open_checkpoint
from facelift.crops import CropTransform, cut, sized
from facelift.generators.protocol import View, checked_focal
from facelift.geometry import intrinsics, look_at_rotation, sphere_translation
from facelift.geometry.gan_cameras import label_of, opengl_label

STYLES = 18
"""num_ws: 8 of geometry and semantics, 10 of texture."""
FIELD = 52
"""Channels of its field: 32 features, 19 classes of CelebAMask-HQ, density."""
CLASSES = slice(32, 51)
BACKGROUND = 0
"""Of the classes."""
RISK = (
    "running IDE-3D runs the program inside its checkpoint, with all rights of this user: it could read, send and "
    "delete files. It runs in a process of its own, which is no protection. Choose it for files of trusted origin alone"
)


def read_ide3d(path: Path | str) -> Checkpoint:
    """Tensors, settings and source text. Raises FileNotFoundError, or ValueError for a file that is no IDE-3D: without
    18 styles or without source."""
    found = open_checkpoint(path)
    styles = _styles(found)
    if found.kind != "StyleGAN pickle" or styles != STYLES or not found.sources:
        raise ValueError(f"{path}: expected a pickle of IDE-3D with num_ws = {STYLES}, found num_ws = {styles}")
    return found


def is_ide3d(path: Path | str) -> bool:
    """Whether `read_ide3d` would take the file. Raises as `open_checkpoint`."""
    found = open_checkpoint(path)
    return found.kind == "StyleGAN pickle" and _styles(found) == STYLES and bool(found.sources)


def _styles(found: Checkpoint) -> int | None:
    styles = (found.settings.get("G_ema.backbone.mapping") or found.settings.get("G_ema.mapping") or {}).get("num_ws")
    return (found.settings.get("G_ema") or {}).get("num_ws") if styles is None else styles


class Ide3dGenerator:
    """Generator over an IDE-3D checkpoint, run by the code inside it.

    `run_embedded_code` must be true: see `RISK`. `library`: folder with the packages torch_utils and dnnlib of a clone
    of StyleGAN2-ADA, EG3D or IDE-3D, which that code imports. Cameras are given to it in OpenGL's axes. `focal`: the
    focal length of its pictures over ours, as `facelift check-generator` measures it; whether the code heeds a label's
    K is not known, so that pictures are resampled to ours. Raises ValueError without the choice, and RuntimeError with
    the process's last words if it fails.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        library: Path | str,
        run_embedded_code: bool = False,
        truncation: float = 0.7,
        focal: float = 1.0,
    ):
        checked_focal(focal)
        self.checkpoint = read_ide3d(path)
        if not run_embedded_code:
            raise ValueError(f"{path}: {RISK}, by FACELIFT_RUN_EMBEDDED_CODE=yes")
        self.name, self.truncation, self._focal = Path(path).stem, truncation, focal
        self._folder = tempfile.TemporaryDirectory()
        self._process = _start(Path(path).resolve(), Path(library).resolve(), self._folder.name)
        self._said: deque[bytes] = deque(maxlen=16)
        self._listener = Thread(target=_listen, args=(self._process, self._said), daemon=True)
        self._listener.start()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        self._listener.join(10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._folder.cleanup()

    def __enter__(self) -> "Ide3dGenerator":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def landmarks(self, seed: int) -> None:
        """Not known."""
        return None

    def render(
        self,
        seed: int,
        rotations: Float[np.ndarray, "n 3 3"],
        translations: Float[np.ndarray, "n 3"],
        size: int = 256,
        *,
        background: int | None = None,
    ) -> list[View]:
        """One face from n cameras; `background` changes nothing."""
        front = look_at_rotation(0.0, 0.0)
        asked = {
            "z": np.random.default_rng([seed, 0]).standard_normal((1, 512)).astype(np.float32),
            "condition": _label(front, sphere_translation(front))[None],
            "labels": np.stack([_label(r, t) for r, t in zip(rotations, translations, strict=True)]),
            "truncation": np.array(self.truncation, np.float32),
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            send(self._process.stdin, asked)
            images = receive(self._process.stdout)["images"]
        except (EOFError, BrokenPipeError, ValueError, KeyError) as error:
            raise RuntimeError(f"{self.name}: the code inside the checkpoint failed: {self._last_words()}") from error
        views = zip(images, rotations, translations, strict=True)
        return [View(zoomed(image, 1 / self._focal, size), r, t, size, None, None) for image, r, t in views]

    def _last_words(self) -> str:
        self._process.kill()
        self._listener.join(10)
        return b"".join(self._said).decode("utf-8", "replace").strip()[-500:] or "without a word"


def _listen(process: subprocess.Popen, said: deque[bytes]) -> None:
    """What a process says, the last of it kept: a pipe that nobody reads stops who writes."""
    assert process.stderr is not None
    with process.stderr as stream:
        while part := os.read(stream.fileno(), 1 << 14):
            said.append(part)


def zoomed(image: UInt8[np.ndarray, "n n 3"], factor: float, size: int) -> UInt8[np.ndarray, "s s 3"]:
    """The square picture by a camera of `factor` times its focal length, its edge repeated, at another size."""
    if factor == 1:
        return sized(image, size)
    scale = factor * size / len(image)
    linear = np.eye(2) * scale
    return cut(image, CropTransform(np.column_stack([linear, [size / 2 - scale * len(image) / 2] * 2]), size, 0.0))


def _label(rotation: np.ndarray, translation: np.ndarray) -> Float[np.ndarray, "25"]:
    return opengl_label(label_of(rotation, translation, intrinsics(1.0))).astype(np.float32)


def _start(path: Path, library: Path, folder: str) -> subprocess.Popen:
    source = Path(__file__).parents[2]
    names = ("PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", "facelift.generators.ide3d_process", str(path), str(library)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={
            **kept,
            "PYTHONPATH": str(source),
            "HOME": folder,
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        },
    )


def send(stream: IO[bytes], arrays: dict[str, np.ndarray]) -> None:
    """Arrays as an .npz behind its length."""
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    data = packed.getvalue()
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes], most: int = 1 << 31) -> dict[str, np.ndarray]:
    """What `send` sent; never a pickle. Raises EOFError at the end, ValueError for anything else."""
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError("the other side closed")
    (length,) = struct.unpack("<Q", head)
    if length > most:
        raise ValueError(f"expected at most {most} bytes, found {length}")
    with np.load(io.BytesIO(stream.read(length)), allow_pickle=False) as file:
        return dict(file)


def clear_background(field, near: Bool[Any, "*b n"]):
    """The field (*b, n, 52), tensor or array, with no density at the near samples that are of the background: it cannot
    stand before the face (Ferman et al. 2024, pre-processing)."""
    behind = field[..., CLASSES].argmax(-1) == BACKGROUND
    cleared = field.clone() if hasattr(field, "clone") else field.copy()
    cleared[..., -1][behind & near] = -1e4
    return cleared
