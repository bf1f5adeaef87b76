"""DAD-3DHeads (Martyniuk et al. 2022): photos with FLAME meshes fitted by annotators.

Layout, as the release has it:

    DAD-3DHeadsDataset/SPLIT/SPLIT.json         [{item_id, bbox [x, y, w, h], attributes {...}, ...}]
    DAD-3DHeadsDataset/SPLIT/images/ID.png
    DAD-3DHeadsDataset/SPLIT/annotations/ID.json  {vertices 5023 x 3, model_view_matrix 4 x 4, projection_matrix 4 x 4}

Traps: the matrices are OpenGL's (the camera looks along -z, y up), stored by rows, with the viewport inside, so that
px = P MV (v, 1) / w and the picture's y is H - y. Pixels count from the picture's edges (its own drawing code rounds
down), which is this project's convention. The test split is released without annotations; the set's own benchmark code
takes no attributes of val, so they may be missing there. Its 68 landmarks lie inside FLAME's triangles (the contour at
zero pose, then the other 51), so they are weights of vertices, not vertices; FLAME's embedding is not part of the set.
Not checked against the real files: that every projection is a perspective one (last row 0 0 -1 0), and that MV holds no
scale.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from facelift.datasets.readers.cameras import Camera
from facelift.datasets.readers.meshes import Mesh, MeshSample, loaded, points_on, vertex_indices
from facelift.datasets.readers.official_layout import (
    inner_folder,
    read_json,
    require_files,
    require_folder,
    require_rotation,
)
from facelift.datasets.readers.picture_files import picture_reader, picture_wh
from facelift.datasets.sample import UNKNOWN, FaceSample
from facelift.geometry.euler import FRONTAL

SPLITS = ("train", "val", "test")
VERTICES = 5023
ATTRIBUTES = {
    "pose": ("front", "sided", "atypical"),
    "expression": ("true", "false"),
    "occlusions": ("true", "false"),
    "quality": ("hq", "lq"),
    "standard light": ("true", "false"),
    "gender": ("female", "male", "undefined"),
    "age": ("child", "young", "middle_aged", "senior"),
}
"""The categories of FaceLift's tables (the first three in the paper, the others in its supplement) and their values."""


class DAD3DHeads:
    """Heads with FLAME vertices in the model's own frame: x to the subject's left, y up, z out of the face.

    The mesh's unit is unknown. `face.points` are all vertices in px (scheme "flame5023"), or those of `landmarks`
    (vertex indices, or weights of the vertices) under the name `scheme`, `face.points_3d` the same in the mesh; their
    states are unknown.
    `face.rotation` is diag(1, -1, -1) MV[:3, :3], the truth of the set's pose error. `face.box` is the set's head box,
    not a face box. `face.attributes` has those of `ATTRIBUTES` that the split has; `unlabelled` counts, for each of the
    categories, the faces without it. Raises ValueError for a value that no table has.
    """

    def __init__(
        self,
        root: Path,
        split: str = "val",
        *,
        landmarks: Int[np.ndarray, "l"] | Float[np.ndarray, "l v"] | None = None,
        scheme: str = "flame5023",
    ):
        if split not in SPLITS:
            raise ValueError(f"split of DAD-3DHeads: expected one of {SPLITS}, found {split!r}")
        folder = inner_folder(root, "DAD-3DHeadsDataset") / split
        self.folder = require_folder(folder, f"the split {split!r} of DAD-3DHeads")
        self.name = f"dad3dheads_{split}"
        self._landmarks, self._scheme = landmarks, scheme
        self._items = _read_split(self.folder / f"{split}.json")
        self._attributes = [_attributes(item, self.folder / f"{split}.json") for item in self._items]
        self.unlabelled = {key: sum(key not in given for given in self._attributes) for key in ATTRIBUTES}
        names = [item["item_id"] for item in self._items]
        require_files((self.folder / "images" / f"{name}.png" for name in names), "the picture of every item")
        if not (self.folder / "annotations").is_dir():
            why = "; the test split is released without, use val" if split == "test" else ""
            raise FileNotFoundError(f"{self.folder / 'annotations'}: expected annotations, found no folder{why}")
        require_files((self._annotation(name) for name in names), "the annotation of every item")

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> MeshSample:
        item = self._items[index]
        name, path = item["item_id"], self._annotation(item["item_id"])
        picture = self.folder / "images" / f"{name}.png"
        annotation = _read_annotation(path)
        mesh = Mesh(annotation["vertices"], landmarks=vertex_indices(self._landmarks), unit="unknown")
        camera = _camera(annotation, picture_wh(picture)[1], path)
        points_3d = points_on(mesh.vertices, self._landmarks)
        points = camera.project(points_3d)
        x, y, width, height = (float(value) for value in item["bbox"])
        face = FaceSample(
            name,
            picture_reader(picture),
            np.array([x, y, x + width, y + height]),
            points,
            np.full(len(points), UNKNOWN, np.int8),
            self._scheme,
            points_3d=points_3d,
            rotation=camera.R,
            identity=name,
            attributes=self._attributes[index],
        )
        return MeshSample(face, loaded(mesh), camera)

    def _annotation(self, name: str) -> Path:
        return self.folder / "annotations" / f"{name}.json"


def _read_split(path: Path) -> list[dict[str, Any]]:
    items = read_json(path, "the list of a DAD-3DHeads split")
    if not isinstance(items, list):
        raise ValueError(f"{path}: expected a list of items, found {type(items).__name__}")
    seen: set[str] = set()
    for order, item in enumerate(items):
        keys = sorted(item) if isinstance(item, dict) else type(item).__name__
        if not isinstance(item, dict) or not {"item_id", "bbox"} <= item.keys():
            raise ValueError(f"{path}: expected item_id and bbox in item {order}, found {keys}")
        if not isinstance(item["item_id"], str):
            raise ValueError(f"{path}: expected item_id of item {order} as text, found {item['item_id']!r}")
        box = item["bbox"]
        numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(value, int | float) for value in box)
        if not numbers or not np.isfinite(box).all() or not (box[2] > 0 and box[3] > 0):
            raise ValueError(f"{path}: expected bbox [x, y, w, h] of {item['item_id']} with w, h > 0, found {box}")
        if item["item_id"] in seen:
            raise ValueError(f"{path}: expected every item once, found {item['item_id']} twice")
        seen.add(item["item_id"])
    return items


def _read_annotation(path: Path) -> dict[str, np.ndarray]:
    annotation, arrays = read_json(path, "an annotation of DAD-3DHeads"), {}
    if not isinstance(annotation, dict):
        raise ValueError(f"{path}: expected an annotation with keys, found {type(annotation).__name__}")
    for key, shape in {
        "vertices": (VERTICES, 3),
        "model_view_matrix": (4, 4),
        "projection_matrix": (4, 4),
    }.items():
        if key not in annotation:
            raise ValueError(f"{path}: expected {key!r}, found {sorted(annotation)}")
        try:
            arrays[key] = np.array(annotation[key], np.float64)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: expected {key} as {shape} numbers, found: {error}") from None
        if arrays[key].shape != shape:
            raise ValueError(f"{path}: expected {key} of shape {shape}, found {arrays[key].shape}")
        if not np.isfinite(arrays[key]).all():
            bad = int((~np.isfinite(arrays[key])).sum())
            raise ValueError(f"{path}: expected {key} of finite numbers, found {bad} that are not")
    return arrays


def _camera(annotation: dict[str, np.ndarray], height: int, path: Path) -> Camera:
    """With D = diag(1, -1, -1): x_cam = D MV v, w = -z_gl = z_cam, so K = (P00 -P01 -P02, -P10 P11 H + P12, 0 0 1)."""
    view, projection = annotation["model_view_matrix"], annotation["projection_matrix"]
    if not np.allclose(view[3], [0, 0, 0, 1], atol=1e-6):
        raise ValueError(f"{path}: expected model_view_matrix by rows, its last 0 0 0 1, found {view[3].tolist()}")
    R = FRONTAL @ require_rotation(view[:3, :3], path, "model_view_matrix")
    last = projection[3] / (-projection[3, 2] or 1.0)
    zeros = [*projection[:2, 3], *projection[2, :2]]
    if not np.allclose(last, [0, 0, -1, 0], atol=1e-6) or not np.allclose(zeros, 0, atol=1e-6):
        raise ValueError(
            f"{path}: expected a perspective projection_matrix by rows (* * * 0, * * * 0, 0 0 * *, 0 0 -1 0), "
            f"found {projection.tolist()}"
        )
    p = projection / -projection[3, 2]
    K = np.array([[p[0, 0], -p[0, 1], -p[0, 2]], [-p[1, 0], p[1, 1], height + p[1, 2]], [0, 0, 1.0]])
    return Camera(K, R, FRONTAL @ view[:3, 3])


def _attributes(item: dict[str, Any], path: Path) -> dict[str, str | float]:
    """Those of `ATTRIBUTES` that an item has. JSON's true and "True", "middle aged" and "middle_aged" are one value."""
    given = item.get("attributes") or {}
    if not isinstance(given, dict):
        raise ValueError(f"{path}: expected attributes of {item['item_id']} by name, found {type(given).__name__}")
    found: dict[str, str | float] = {}
    for key, value in given.items():
        name, text = key.replace("_", " "), str(value).lower().replace(" ", "_")
        if name not in ATTRIBUTES or value is None:
            continue
        if text not in ATTRIBUTES[name]:
            raise ValueError(f"{path}: expected {name} of {item['item_id']} in {ATTRIBUTES[name]}, found {value!r}")
        found[name] = text
    return found
