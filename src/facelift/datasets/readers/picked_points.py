"""MeshLab's .pp files: points that somebody picked on a scan."""

import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float

from facelift.datasets.readers.official_layout import require_file


def read_picked_points(path: Path) -> dict[str, Float[np.ndarray, "3"]]:
    """The active points by name, in the file's order and the scan's frame. Names that occur twice get a suffix.

    `<PickedPoints> <point name="0" active="1" x=".." y=".." z=".."/> ...`, attributes in any order. Raises
    FileNotFoundError, or ValueError for a file that is none.
    """
    path = require_file(Path(path), "a .pp file of picked points")
    text = path.read_text(encoding="utf-8", errors="replace")
    if "<!ENTITY" in text:
        raise ValueError(f"{path}: expected picked points, found XML that defines entities")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: expected the XML of picked points, found: {error}") from None
    points: dict[str, np.ndarray] = {}
    for order, element in enumerate(root.iter("point")):
        if element.get("active", "1") != "0":
            name = element.get("name", str(order))
            points[name if name not in points else f"{name}#{order}"] = _position(path, order, element)
    if not points:
        raise ValueError(f"{path}: expected picked points, found <{root.tag}> without any")
    return points


def _position(path: Path, order: int, element: ElementTree.Element) -> np.ndarray:
    try:
        position = [float(element.get(axis, "")) for axis in "xyz"]
    except ValueError:
        position = [math.nan]
    if not np.isfinite(position).all():
        raise ValueError(f"{path}: expected numbers x, y, z of point {order}, found {element.attrib}")
    return np.array(position)
