"""The Python blocks of README and docs/python.md run as they stand, in order."""

import re
from pathlib import Path

import pytest

from facelift.onnx_models.lifter import SHIPPED

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_page(weights, tmp_path, monkeypatch):
    """Runs the blocks of a page where a user would, and returns their names."""
    (tmp_path / "examples").mkdir()
    photo = ROOT / "examples" / "astronaut.jpg"
    (tmp_path / "examples" / photo.name).write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(SHIPPED, "small", str(weights))

    def run(page: str) -> dict:
        names: dict = {}
        for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
            exec(compile(block, page, "exec"), names)
        return names

    return run


def test_readme(run_page, capsys):
    assert run_page("README.md")["face"].points_2d.shape == (98, 2)
    assert "(98, 3)" in capsys.readouterr().out


def test_python_page(run_page, tmp_path):
    names = run_page("docs/python.md")
    assert names["face68"].points_2d.shape == (68, 2) and names["again"].points_2d.shape == (98, 2)
    assert names["overlay"].ndim == 3 and (tmp_path / "astronaut.json").exists()
    assert names["mesh"].vertices.shape == (9728, 3) and names["dense"].confidence.shape == (202, 2)
