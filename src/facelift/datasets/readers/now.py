"""NoW (Sanyal et al. 2019): photos of people of whom there is a neutral 3D scan.

Layout, as the evaluation code of the set has it; each part lies in the folder final_release_version or beside it:

    imagepathsvalidation.txt (imagepathstest.txt)        lines SUBJECT/CHALLENGE/IMG.jpg
    iphone_pictures/SUBJECT/CHALLENGE/IMG.jpg
    detected_face/SUBJECT/CHALLENGE/IMG.npy              a pickled {left, right, top, bottom} in px
    scans/SUBJECT/*.obj                                  one scan
    scans_lmks_onlypp/SUBJECT/*.pp                       7 points picked on it

Predictions, as the set takes them: FOLDER/SUBJECT/CHALLENGE/IMG.obj and IMG.npy or IMG.txt with the 7 points on the
mesh: four eye corners from the subject's right to left, the base of the nose, the two mouth corners (right, left). The
set also takes .ply meshes; this reader does not. The scans of the test split are not public. Scans are in mm, as users
of the set report. Not known: whether boxes count pixels from the edge (as here) or from the first centre, and whether
photos carry an EXIF turn (the stored pixels are read).
"""

import pickle
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float

from facelift.atomic import written_whole
from facelift.checkpoints.safe_pickle import SafeUnpickler
from facelift.datasets.readers.meshes import Mesh, MeshSample
from facelift.datasets.readers.official_layout import require_file, require_files, require_folder
from facelift.datasets.readers.picked_points import read_picked_points
from facelift.datasets.readers.picture_files import picture_reader
from facelift.datasets.readers.wavefront import read_obj, write_obj
from facelift.datasets.sample import UNKNOWN, FaceSample

CHALLENGES = ("multiview_neutral", "multiview_expressions", "multiview_occlusions", "selfie")
LISTS = {"val": "imagepathsvalidation.txt", "test": "imagepathstest.txt"}


class NoW:
    """The photos of a split, or of one `challenge` of it.

    `face.points_3d` are the 7 points picked on the scan (scheme "now7"), in its frame, mm; they have no place in the
    photo, so `face.points` are NaN. The mesh is the scan; there is no camera. `face.box` is the detected face that the
    set gives. `face.identity` is the subject; `face.attributes`: challenge. The test split, which the set's authors
    score, is read without scans where there are none: `face.points_3d` is None, asking for the mesh raises
    FileNotFoundError.
    """

    def __init__(self, root: Path, split: str = "val", *, challenge: str | None = None):
        if split not in LISTS:
            raise ValueError(f"split of NoW: expected one of {sorted(LISTS)}, found {split!r}")
        if challenge is not None and challenge not in CHALLENGES:
            raise ValueError(f"challenge of NoW: expected one of {CHALLENGES}, found {challenge!r}")
        root = require_folder(Path(root), "the folder of NoW")
        self.name = f"now_{split}" if challenge is None else f"now_{split}_{challenge}"
        listed = _part(root, LISTS[split])
        names = _read_list(listed)
        self._names = [name for name in names if challenge is None or name.parent.name == challenge]
        if not self._names:
            raise ValueError(f"{listed}: expected photos of {challenge or 'the set'}, found none")
        self._pictures, self._boxes = _part(root, "iphone_pictures"), _part(root, "detected_face")
        require_files((self._pictures / name for name in self._names), "every photo of the list")
        require_files((self._box_file(name) for name in self._names), "the detected face of every photo")
        subjects = dict.fromkeys(name.parts[0] for name in self._names)
        self._scans: dict[str, Path] = {}
        self._landmarks: dict[str, Path] = {}
        for subject in subjects:
            if split == "test" and not any((folder / "scans" / subject).is_dir() for folder in _folders(root)):
                continue
            self._scans[subject] = _only(_part(root, "scans") / subject, "*.obj")
            self._landmarks[subject] = _only(_part(root, "scans_lmks_onlypp") / subject, "*.pp")

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> MeshSample:
        name = self._names[index]
        subject, challenge = name.parts[0], name.parts[1]
        face = FaceSample(
            name.with_suffix("").as_posix(),
            picture_reader(self._pictures / name),
            read_box(self._box_file(name)),
            np.full((7, 2), np.nan),
            np.full(7, UNKNOWN, np.int8),
            "now7",
            points_3d=read_scan_landmarks(self._landmarks[subject]) if subject in self._landmarks else None,
            identity=subject,
            attributes={"challenge": challenge},
        )
        return MeshSample(face, partial(_read_scan, subject, self._scans.get(subject)))

    def _box_file(self, name: Path) -> Path:
        return self._boxes / name.with_suffix(".npy")


def read_scan_landmarks(path: Path) -> Float[np.ndarray, "7 3"]:
    """The 7 points picked on a scan, in its frame."""
    points = list(read_picked_points(path).values())
    if len(points) != 7:
        raise ValueError(f"{path}: expected 7 picked points, found {len(points)}")
    return np.stack(points)


def write_prediction(folder: Path, name: str, mesh: Mesh, landmarks: Float[np.ndarray, "7 3"]) -> None:
    """FOLDER/NAME.obj and FOLDER/NAME.npy, `name` as the samples have it (SUBJECT/CHALLENGE/IMG)."""
    write_obj(Path(folder) / f"{name}.obj", mesh)
    with written_whole(Path(folder) / f"{name}.npy") as partial_file:
        np.save(partial_file, landmarks.astype(np.float64))


def read_prediction(folder: Path, name: str) -> tuple[Mesh, Float[np.ndarray, "7 3"]]:
    """(mesh, 7 points on it) of a submission; the mesh's unit is "unknown". The .npy goes before the .txt.

    Raises FileNotFoundError, or ValueError for anything but 7 x 3 finite numbers.
    """
    base = Path(folder) / name
    mesh = read_obj(base.with_name(f"{base.name}.obj"), unit="unknown")
    array, text = (base.with_name(f"{base.name}{suffix}") for suffix in (".npy", ".txt"))
    try:
        if array.is_file():
            landmarks = np.load(array, allow_pickle=False).astype(np.float64)
        else:
            require_file(text, "7 landmarks of the predicted mesh (.npy or .txt)")
            rows = [line.split() for line in text.read_text().splitlines() if line.strip()]
            landmarks = np.array([[float(word) for word in row] for row in rows])
    except ValueError as error:
        raise ValueError(f"{array if array.is_file() else text}: expected 7 x 3 numbers, found: {error}") from None
    if landmarks.shape != (7, 3) or not np.isfinite(landmarks).all():
        raise ValueError(f"{base}: expected 7 x 3 finite landmarks, found an array {landmarks.shape}")
    return mesh, landmarks


def read_box(path: Path) -> Float[np.ndarray, "4"]:
    """x0 y0 x1 y1 of a detected face.

    The file is a pickle: numbers and NumPy arrays in it are read, nothing else that it asks for is called. Raises
    ValueError for anything else.
    """
    try:
        with path.open("rb") as stream:
            loaded = _read_pickled_array(stream)
        box = np.array([float(loaded[side]) for side in ("left", "top", "right", "bottom")])
    except (ValueError, TypeError, KeyError, LookupError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: expected a pickled {{left, right, top, bottom}}, found: {error}") from None
    if not (np.isfinite(box).all() and box[0] < box[2] and box[1] < box[3]):
        raise ValueError(f"{path}: expected left < right and top < bottom, found (x0 y0 x1 y1) {box.tolist()}")
    return box


def _read_pickled_array(stream: BinaryIO) -> Any:
    """The one object in an .npy file of objects."""
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"version {version} of the .npy format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if shape != () or not dtype.hasobject:
        raise ValueError(f"an array {shape} of {dtype}")
    return SafeUnpickler(stream).load().item()


def _read_scan(subject: str, path: Path | None) -> Mesh:
    if path is None:
        raise FileNotFoundError(f"{subject}: expected a scan, found none: those of NoW's test split are not public")
    return read_obj(path)


def _part(root: Path, name: str) -> Path:
    """A file or folder of the release, in `root` or in final_release_version in it."""
    for folder in _folders(root):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"{root / name}: expected {name} of NoW here or in final_release_version, found neither")


def _folders(root: Path) -> tuple[Path, Path]:
    return root / "final_release_version", root


def _read_list(path: Path) -> list[Path]:
    """SUBJECT/CHALLENGE/IMG.jpg of every line; folders before the subject do not count, as in the set's own code."""
    require_file(path, "the list of photos of a NoW split")
    names = [Path(*Path(line.strip()).parts[-3:]) for line in path.read_text().splitlines() if line.strip()]
    for name in names:
        if len(name.parts) != 3 or name.parts[1] not in CHALLENGES:
            raise ValueError(f"{path}: expected lines SUBJECT/CHALLENGE/IMG.jpg, found {name.as_posix()!r}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: expected every photo once, found {twice[0].as_posix()} again")
    return names


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(require_folder(folder, f"one file {pattern} of a subject").glob(pattern))
    if len(found) != 1:
        raise FileNotFoundError(f"{folder}: expected one file {pattern}, found {len(found)}")
    return found[0]
