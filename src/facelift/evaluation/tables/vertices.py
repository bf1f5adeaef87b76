"""The vertices that NMLC chose on one split: their table, and its reading from a tables.json to score another split."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from facelift.datasets.benchmarks import Benchmark, find_benchmark
from facelift.evaluation.tables.mesh_set import MeshSet
from facelift.evaluation.tables.table import Row, Table
from facelift.landmarks import SCHEMES

_TITLE = re.compile(r"Chosen vertex of each landmark \((\w+), (\d+) vertices\)")


@dataclass(frozen=True, eq=False)
class FrozenVertices:
    """What a file says."""

    path: Path
    benchmark: Benchmark
    """On which they were chosen."""
    count: int
    """Vertices of a mesh there, upsampling included."""
    of_system: dict[str, Int[np.ndarray, "n"]]

    def check(self, meshes: MeshSet) -> None:
        """Raises ValueError, naming the file, for vertices of meshes of another kind than these."""
        held = self.benchmark.scheme, self.count
        wanted = meshes.benchmark.scheme, meshes.vertex_count
        if held != wanted:
            raise ValueError(
                f"{self.path}: expected vertices of {wanted[0]} meshes with {wanted[1]} vertices "
                f"({meshes.benchmark.name}), found those of {held[0]} with {held[1]} ({self.benchmark.name})"
            )

    def of(self, system: str) -> Int[np.ndarray, "n"]:
        """Raises ValueError, naming the file, for a system that it does not hold."""
        if system not in self.of_system:
            raise ValueError(
                f"{self.path}: expected vertices of {system!r}, found those of {', '.join(self.of_system)}"
            )
        return self.of_system[system]


def vertex_table(meshes: MeshSet, chosen: Mapping[str, Int[np.ndarray, "n"]], scheme: str) -> Table:
    """System -> vertices, to be frozen and applied to another split."""
    columns = tuple(str(index) for index in range(SCHEMES[scheme].size))
    rows = tuple(Row(system, {str(i): int(v) for i, v in enumerate(indices)}) for system, indices in chosen.items())
    title = f"Chosen vertex of each landmark ({meshes.benchmark.name}, {meshes.vertex_count} vertices)"
    return Table(title, columns, rows)


def read_vertices(path: Path) -> FrozenVertices:
    """Raises FileNotFoundError, or ValueError that names the file, without a table of chosen vertices."""
    path = Path(path)
    try:
        tables = json.loads(path.read_text(encoding="utf-8"))
        title, table = next((found, table) for table in tables if (found := _TITLE.fullmatch(table["title"])))
        benchmark = find_benchmark(title[1])
        rows = {
            row["system"]: np.array([int(row["cells"][column]["value"]) for column in table["columns"]])
            for row in table["rows"]
        }
    except (ValueError, StopIteration, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected a tables.json with chosen vertices, found {error!r}") from error
    return FrozenVertices(path, benchmark, int(title[2]), rows)
