"""A benchmark whose faces have meshes: what stays in memory of each face, and its vertices, read when asked for."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from facelift.datasets.benchmarks import Benchmark, FacesOfMeshes
from facelift.evaluation.metrics.upsample import midpoint_subdivision, with_midpoints
from facelift.evaluation.truth import check_names


@dataclass(frozen=True, eq=False)
class MeshSet:
    """m faces of one topology, by which systems are scored."""

    benchmark: Benchmark
    faces: FacesOfMeshes
    name: np.ndarray
    """(m,) str."""
    identity: np.ndarray
    """(m,) str: what a bootstrap draws as one."""
    attributes: dict[str, np.ndarray]
    """(m,) str each."""
    rotation: Float[np.ndarray, "m 3 3"] | None
    edges: tuple[Int[np.ndarray, "e 2"], ...] = ()
    """Of `upsampled`: whose middles become vertices, one subdivision after the other."""

    def __len__(self) -> int:
        return len(self.name)

    @property
    def unit(self) -> str:
        """Of the vertices: "mm", or "unknown"."""
        return self.faces.meshes[0].mesh.unit

    @property
    def vertex_count(self) -> int:
        """Of each face, those of `upsampled` included."""
        return len(self.faces.meshes[0].mesh.vertices) + sum(len(edges) for edges in self.edges)

    def upsampled(self, times: int) -> "MeshSet":
        """With every triangle cut into four, `times` times. Raises ValueError for a set without triangles."""
        if not times:
            return self
        mesh = self.faces.meshes[0].mesh
        if mesh.faces is None:
            raise ValueError(f"{self.benchmark.name}: expected meshes with triangles to upsample, found points alone")
        edges, triangles, count = [], mesh.faces, len(mesh.vertices)
        for _ in range(times):
            middles, triangles = midpoint_subdivision(triangles, count)
            edges.append(middles)
            count += len(middles)
        return MeshSet(
            self.benchmark, self.faces, self.name, self.identity, self.attributes, self.rotation, tuple(edges)
        )

    def vertices_2d(self, index: int) -> Float[np.ndarray, "v 2"]:
        """px. Middles of edges are made in 3D and then projected. Raises ValueError where that needs a camera."""
        sample = self.faces.meshes[index]
        if not self.edges:
            return sample.face.points
        if sample.camera is None:
            raise ValueError(f"{sample.face.name}: expected a camera to project finer meshes with, found none")
        return sample.camera.project(self._finer(sample.mesh.vertices))

    def vertices_3d(self, index: int) -> Float[np.ndarray, "v 3"]:
        """In the frame and unit of the set."""
        points = self.faces[index].points_3d
        assert points is not None
        return self._finer(points)

    def _finer(self, vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "_ 3"]:
        for edges in self.edges:
            vertices = with_midpoints(vertices, edges)
        return vertices


def gather_meshes(benchmark: Benchmark, faces: FacesOfMeshes) -> MeshSet:
    """One pass over the set for what is small.

    Raises ValueError for a name that comes twice, and what the reader raises.
    """
    names, identities, rotations = [], [], []
    columns: dict[str, list[str]] = {}
    for index in range(len(faces)):
        sample = faces[index]
        names.append(sample.name)
        identities.append(sample.identity or sample.name)
        rotations.append(np.full((3, 3), np.nan) if sample.rotation is None else sample.rotation)
        for key in benchmark.groups:
            columns.setdefault(key, []).append(str(sample.attributes.get(key, "")))
    check_names(benchmark.name, names)
    attributes = {key: np.array(values, str) for key, values in columns.items() if any(values)}
    rotation = np.stack(rotations) if benchmark.pose else None
    return MeshSet(benchmark, faces, np.array(names, str), np.array(identities, str), attributes, rotation)
