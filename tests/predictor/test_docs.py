"""The blocks of docs/python.md run as they stand, in order."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_python_page(weights, tmp_path, monkeypatch):
    photo = ROOT / "examples" / "astronaut.jpg"
    if not photo.exists():
        pytest.skip("examples/astronaut.jpg is not in this checkout")
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / photo.name).write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("facelift.onnx_lifter.shipped_weights", lambda: weights)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert len(blocks) >= 2
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert names["face68"].points_2d.shape == (68, 2) and names["again"].points_2d.shape == (98, 2)
    assert names["overlay"].ndim == 3 and (tmp_path / "astronaut.json").exists()
