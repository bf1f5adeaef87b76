"""The run folder: what was run, with what, and what came of it."""

import csv
import importlib.metadata
import json
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from facelift.atomic import written_whole
from facelift.checkpoints.safe_load import read_torch


class RunFolder:
    """config.json, versions.json, metrics.csv, curves.png, pictures/, checkpoint.pt."""

    def __init__(self, root: Path):
        self.root = Path(root)
        self.checkpoint = self.root / "checkpoint.pt"

    def claim(self, description: dict[str, Any], *, resumable: tuple[str, ...] = ()) -> None:
        """Writes what is run and with what.

        Raises ValueError if the folder holds a run of other settings than `description`; the settings named in
        `resumable` (of its `loop`) may differ.
        """
        (self.root / "pictures").mkdir(parents=True, exist_ok=True)
        description = json.loads(json.dumps(description, default=str))
        config = self.root / "config.json"
        if config.exists() and self.checkpoint.exists():
            found = json.loads(config.read_text())
            if _fixed(found, resumable) != _fixed(description, resumable):
                raise ValueError(f"{config}: expected the settings of this run, found other ones; choose another --run")
        _write_text(config, json.dumps(description, indent=2))
        _write_text(self.root / "versions.json", json.dumps(_versions(), indent=2))

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """A kill at any moment leaves the old or the new checkpoint, whole."""
        with written_whole(self.checkpoint) as partial:
            torch.save(state, partial)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The saved state on the CPU; None in a fresh run. Raises ValueError for a file that is none."""
        if not self.checkpoint.exists():
            return None
        state = read_torch(self.checkpoint)
        missing = sorted({"step", "model", "averaged", "optimizer", "torch_rng"} - set(state))
        if missing:
            raise ValueError(f"{self.checkpoint}: expected a checkpoint of a training, found none of its {missing}")
        return state

    def record(self, step: int, metrics: dict[str, float], picture: np.ndarray) -> None:
        """Adds a row to metrics.csv and redraws the curves; keeps the picture."""
        rows = [*self._rows(), {"step": step, **metrics}]
        self._write_rows(rows)
        cv2.imwrite(str(self.root / "pictures" / f"{step:07d}.png"), picture[..., ::-1])
        _draw_curves(rows, self.root / "curves.png")

    def forget_after(self, step: int) -> None:
        """Drops metrics of steps that a resumed run will do again."""
        self._write_rows([row for row in self._rows() if int(row["step"]) <= step])

    def _rows(self) -> list[dict[str, Any]]:
        path = self.root / "metrics.csv"
        if not path.exists():
            return []
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    def _write_rows(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        with written_whole(self.root / "metrics.csv") as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
            writer.writeheader()
            writer.writerows(rows)


def _fixed(description: dict[str, Any], resumable: tuple[str, ...]) -> dict[str, Any]:
    loop = {k: v for k, v in description.get("loop", {}).items() if k not in resumable}
    return {**description, "loop": loop}


def _write_text(path: Path, text: str) -> None:
    with written_whole(path) as partial:
        partial.write_text(text)


def _versions() -> dict[str, str]:
    here = Path(__file__).parent
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True)
    packages = ("facelift", "torch", "numpy", "lightning-fabric", "opencv-python-headless")
    versions = {"commit": commit.stdout.strip()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed as a package"
    return versions


def _draw_curves(rows: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    names = [name for name in rows[-1] if name != "step"]
    columns = 4
    figure = Figure(figsize=(4 * columns, 2.4 * _rows_for(len(names), columns)), layout="constrained")
    for index, name in enumerate(names):
        axes = figure.add_subplot(_rows_for(len(names), columns), columns, index + 1)
        points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name) not in (None, "")]
        axes.plot(*zip(*points, strict=True))
        axes.set_title(name, fontsize=9)
    figure.savefig(path, dpi=80)


def _rows_for(count: int, columns: int) -> int:
    return -(-count // columns)
