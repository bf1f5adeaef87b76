"""NMLC tables of a set with meshes, in DAD-3DHeads' layout: the planted vertices are found, frozen ones are applied."""

import json

import cv2
import numpy as np
import pytest

from facelift.cli import main
from facelift.datasets.benchmarks import find_benchmark, open_benchmark
from facelift.evaluation.predictions import Predictions, write_predictions
from facelift.evaluation.score_stage import ScoreStage, read_vertices
from facelift.geometry import rotation_from_euler

COUNT = 4


@pytest.fixture
def data(tmp_path, rng):
    """Four heads of random vertices before a frustum, OpenGL's way."""
    folder = tmp_path / "data" / "DAD-3DHeadsDataset" / "val"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    shape = rng.uniform(-0.2, 0.2, (5023, 3))
    items = []
    for i in range(COUNT):
        view = np.eye(4)
        view[:3, :3] = rotation_from_euler(np.array([5.0, 20 * i, -3])) * [[1], [-1], [-1]]
        view[:3, 3] = [0.0, 0.0, -2.0]
        frustum = np.array([[150.0, 0, -60, 0], [0, 150.0, -60, 0], [0, 0, -1, -0.1], [0, 0, -1, 0]])
        vertices = shape + rng.normal(0, 0.002, shape.shape)
        annotation = {"vertices": vertices.tolist()}
        annotation |= {"model_view_matrix": view.tolist(), "projection_matrix": frustum.tolist()}
        (folder / "annotations" / f"h{i}.json").write_text(json.dumps(annotation))
        cv2.imwrite(str(folder / "images" / f"h{i}.png"), np.zeros((120, 120, 3), np.uint8))
        attributes = {"pose": "front" if i < 2 else "sided"}
        items.append({"item_id": f"h{i}", "bbox": [10, 10, 90, 90], "attributes": attributes})
    (folder / "val.json").write_text(json.dumps(items))
    return tmp_path / "data"


@pytest.fixture
def planted(data, rng, tmp_path):
    """Predictions near known vertices; (file, vertices, errors in % of the box)."""
    faces = open_benchmark("dad3dheads_val", data)
    chosen = rng.choice(5023, 68, replace=False)
    samples = [faces[i] for i in range(COUNT)]
    truth = np.stack([sample.points for sample in samples])
    points = truth[:, chosen] + rng.normal(0, 0.02, (COUNT, 68, 2))
    shapes = np.stack([3 * sample.points_3d[chosen] + 1 for sample in samples])
    found = Predictions(
        np.array([sample.name for sample in samples]),
        "ibug68",
        points,
        np.ones(COUNT, bool),
        points_3d=shapes,
        rotation=np.stack([sample.rotation for sample in samples]),
        about={"system": "planted"},
    )
    size = np.sqrt(np.ptp(truth, axis=1).prod(-1))
    errors = 100 * np.linalg.norm(points - truth[:, chosen], axis=-1) / size[:, None]
    return write_predictions(tmp_path / "planted.npz", found), chosen, errors


def test_nmlc_finds_the_planted_vertices(data, planted, tmp_path):
    path, chosen, errors = planted
    tables = {t.title: t for t in ScoreStage([path], find_benchmark("dad3dheads_val"), data).run(tmp_path / "out")}
    np.testing.assert_array_equal(read_vertices(tmp_path / "out" / "tables.json")["planted"], chosen)
    measured = tables["NMLC, % (dad3dheads_val)"].rows[0].cells
    assert measured["full"].value == pytest.approx(errors.mean(), abs=1e-9)
    assert measured["nose"].value == pytest.approx(errors[:, 27:36].mean(), abs=1e-9)
    by_pose = tables["NMLC by pose, %"].rows[0].cells
    assert by_pose["sided"].value == pytest.approx(errors[2:].mean(), abs=1e-9) and by_pose["sided"].count == 2
    assert tables["NMLC in 3D, %"].rows[0].cells["full"].value == pytest.approx(0, abs=1e-6)
    published = [row for row in tables["NMLC, % (dad3dheads_val)"].rows if row.source != "measured"]
    assert {"FaceLift", "3DDFA_V2"} <= {row.system for row in published}


def test_frozen_vertices_are_applied(data, planted, tmp_path):
    path, chosen, errors = planted
    benchmark = find_benchmark("dad3dheads_val")
    ScoreStage([path], benchmark, data).run(tmp_path / "out")
    stored = tmp_path / "out" / "tables.json"
    document = json.loads(stored.read_text())
    table = next(t for t in document if t["title"] == "Chosen vertex of each landmark")
    table["rows"][0]["cells"]["30"]["value"] = int(chosen[30] + 1) % 5023
    stored.write_text(json.dumps(document))
    frozen = ScoreStage([path], benchmark, data, vertices=stored).run(None)[0].rows[0].cells
    assert frozen["full"].value > errors.mean() and frozen["eyes"].value == pytest.approx(errors[:, 36:48].mean())
    with pytest.raises(ValueError, match=r"none\.json: expected a tables\.json"):
        (tmp_path / "none.json").write_text("[]")
        ScoreStage([path], benchmark, data, vertices=tmp_path / "none.json").run(None)


def test_the_command_prints_them(data, planted, capsys):
    assert main(["evaluate", "score", str(planted[0]), "--benchmark", "dad3dheads_val", "--data", str(data)]) == 0
    printed = capsys.readouterr().out
    assert "NMLC, % (dad3dheads_val)" in printed and "published: Ferman et al., CVPR 2024" in printed
