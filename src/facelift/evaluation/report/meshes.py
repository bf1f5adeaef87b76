"""What a report of a benchmark with meshes draws: its plots, and faces with the chosen vertices and the prediction."""

from collections.abc import Sequence

import numpy as np

from facelift.evaluation.metrics.nme import region_nme
from facelift.evaluation.report.figures import cumulative_curves
from facelift.evaluation.report.page import Picture
from facelift.evaluation.report.points import drawn, region_bars, worst_faces
from facelift.evaluation.tables.mesh_set import MeshSet
from facelift.evaluation.tables.meshes import REGIONS, SCHEME, MeshEntry


def figures_of_meshes(entries: Sequence[MeshEntry]) -> list[tuple[str, str]]:
    """(caption, SVG) of the cumulative curves and the error by region."""
    per_face = {entry.system: 100 * entry.nmlc.per_face for entry in entries}
    curves = {system: errors[~np.isnan(errors)] for system, errors in per_face.items()}
    regions = {entry.system: region_nme(entry.nmlc.errors, REGIONS) for entry in entries}
    return [
        ("Cumulative NMLC; faces not found are never reached", cumulative_curves(curves, 10, "% of the box")),
        ("Error by region, faces found", region_bars(regions)),
    ]


def galleries_of_meshes(meshes: MeshSet, entries: Sequence[MeshEntry]) -> list[tuple[str, list[Picture]]]:
    """(heading, faces): the worst of every system, the truth at the vertices that its landmarks stand for."""
    found = []
    for entry in entries:
        errors = entry.nmlc.per_face
        worst = [int(index) for index in worst_faces(errors)]
        pictures = [
            drawn(
                meshes.faces[index],
                meshes.vertices_2d(index)[entry.nmlc.indices],
                entry.predictions.points_2d[index],
                scheme=SCHEME,
                error=errors[index],
            )
            for index in worst
        ]
        if pictures:
            found.append((f"Worst {len(pictures)} faces of {entry.system}", pictures))
    return found
