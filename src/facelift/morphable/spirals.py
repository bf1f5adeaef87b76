"""Spirals about the vertices of a mesh: the neighbourhoods of spiral convolutions (SpiralNet++, Gong et al. 2019)."""

import numpy as np
from jaxtyping import Float, Int


def spirals(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], *, length: int = 9, dilation: int = 1
) -> Int[np.ndarray, "v length"]:
    """The vertex itself and those around it, ring by ring, anticlockwise as the faces are; every `dilation`-th counts.

    A ring goes on where the one before ended; the first begins at the neighbour that lies highest (y), so that spirals
    of different vertices are alike. Paper: a random neighbour. A spiral of a part of the mesh with fewer vertices is
    filled up with the vertex itself.
    """
    rings = _one_rings(vertices, faces)
    wanted = length * dilation
    rows = []
    for vertex in range(len(vertices)):
        spiral = _walk(vertex, rings, wanted)
        spiral += [vertex] * (wanted - len(spiral))
        rows.append(spiral[:wanted:dilation])
    return np.array(rows, np.int64).reshape(len(vertices), length)


def _walk(vertex: int, rings: list[list[int]], wanted: int) -> list[int]:
    """The first `wanted` vertices of a spiral, or all that hang together with its middle."""
    spiral, seen, last = [vertex], {vertex}, [vertex]
    while last and len(spiral) < wanted:
        ring: list[int] = []
        for inner in last:
            for neighbour in _from_the_inside(rings[inner], seen):
                if neighbour not in seen:
                    seen.add(neighbour)
                    ring.append(neighbour)
        spiral += ring
        last = ring
    return spiral[:wanted]


def _from_the_inside(ring: list[int], seen: set[int]) -> list[int]:
    """A ring turned so that it begins after its last seen vertex: outwards, and on in the spiral's direction."""
    starts = [i for i in range(len(ring)) if ring[i - 1] in seen and ring[i] not in seen]
    first = starts[0] if starts else 0
    return ring[first:] + ring[:first]


def _one_rings(vertices: np.ndarray, faces: np.ndarray) -> list[list[int]]:
    """The neighbours of every vertex in order; at a border from end to end, else from the highest on."""
    after: list[dict[int, int]] = [{} for _ in range(len(vertices))]
    for a, b, c in faces.tolist():
        after[a][b], after[b][c], after[c][a] = c, a, b
    return [_ordered(following, vertices) for following in after]


def _ordered(following: dict[int, int], vertices: np.ndarray) -> list[int]:
    """Chains of `following` one after the other: several where triangles meet in a vertex alone."""
    left = dict.fromkeys([*following, *following.values()])
    ring: list[int] = []
    while left:
        ends = [v for v in left if v not in following.values()]
        here: int | None = max(ends or left, key=lambda v: float(vertices[v, 1]))
        while here is not None and here in left:
            del left[here]
            ring.append(here)
            here = following.get(here)
    return ring
