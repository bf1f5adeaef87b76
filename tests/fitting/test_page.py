"""docs/fitting.md: its Python block runs as it stands."""

import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.fixture
def block(monkeypatch):
    monkeypatch.chdir(ROOT)
    (found,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "fitting.md").read_text(), re.DOTALL)
    return found


def test_python_block_without_a_face(block, tmp_path):
    Image.new("RGB", (512, 512)).save(tmp_path / "black.png")
    names: dict = {}
    assert block.count("examples/astronaut.jpg") == 1
    exec(
        compile(block.replace("examples/astronaut.jpg", str(tmp_path / "black.png")), "docs/fitting.md", "exec"), names
    )
    assert names["fits"].failure == () and names["mesh"].shape == (0, len(names["model"].mean), 3)


def test_python_block(block):
    names: dict = {}
    exec(compile(block, "docs/fitting.md", "exec"), names)
    assert names["fits"].failure == (None,) and names["fits"].rms[0] < 5
    assert names["mesh"].shape == (1, len(names["model"].mean), 3)
