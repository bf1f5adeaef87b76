"""docs/fitting.md: its Python block runs as it stands."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_python_block(monkeypatch):
    monkeypatch.chdir(ROOT)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "fitting.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(block, "docs/fitting.md", "exec"), names)
    assert names["fits"].failure == (None,) and names["fits"].rms[0] < 5
    assert names["mesh"].shape == (1, len(names["model"].mean), 3)
