"""docs/datasets-3d.md: its Python block runs as it stands."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from facelift.geometry import rotation_from_euler

PAGE = (Path(__file__).parents[2] / "docs" / "datasets-3d.md").read_text(encoding="utf-8")
TURN = rotation_from_euler(np.array([5.0, 20, -3]))
FOCAL, CENTRE, DEPTH = 150.0, 60.0, 2.0


@pytest.fixture
def vertices(tmp_path, rng):
    """Vertices of the one head in DAD-3DHeads' layout, two units before a camera of OpenGL's kind."""
    folder = tmp_path / "dataset" / "DAD-3DHeadsDataset" / "val"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    view = np.eye(4)
    view[:3, :3] = TURN * [[1], [-1], [-1]]
    view[2, 3] = -DEPTH
    frustum = [[FOCAL, 0, -CENTRE, 0], [0, FOCAL, -CENTRE, 0], [0, 0, -1, -0.1], [0, 0, -1, 0]]
    shape = rng.uniform(-0.2, 0.2, (5023, 3))
    annotation = {"vertices": shape.tolist(), "model_view_matrix": view.tolist(), "projection_matrix": frustum}
    (folder / "annotations" / "a.json").write_text(json.dumps(annotation))
    cv2.imwrite(str(folder / "images" / "a.png"), np.full((120, 120, 3), (10, 20, 200), np.uint8))
    (folder / "val.json").write_text(json.dumps([{"item_id": "a", "bbox": [10, 20, 90, 80]}]))
    return shape


def test_the_block_gives_what_it_says(vertices, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    held: dict = {}
    exec(compile(block, "docs/datasets-3d.md", "exec"), held)
    pixel, given, turned, mesh, flat = shown(block, held)
    assert pixel[0, 0].tolist() == [200, 20, 10]
    np.testing.assert_allclose(given, [10, 20, 100, 100])
    np.testing.assert_allclose(turned, TURN, atol=1e-9)
    np.testing.assert_allclose(mesh, vertices, atol=1e-9)
    seen = vertices @ TURN.T + [0, 0, DEPTH]
    np.testing.assert_allclose(flat, CENTRE + FOCAL * seen[:, :2] / seen[:, 2:], atol=1e-6)


def shown(block: str, held: dict) -> list:
    """Values of the lines that only look at something."""
    lines = [line for line in block.splitlines() if line.startswith("sample.")]
    return [value for line in lines for value in eval(line, held)]
