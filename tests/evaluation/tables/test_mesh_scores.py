"""Tables of a set with meshes, in DAD-3DHeads' layout: NMLC finds planted vertices and applies frozen ones; heads."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from facelift.cli import main
from facelift.datasets.benchmarks import find_benchmark, open_benchmark
from facelift.evaluation.metrics.heads import dad_chamfer, z_accuracy
from facelift.evaluation.predictions import Predictions, read_predictions, write_predictions
from facelift.evaluation.score_stage import ScoreStage
from facelift.evaluation.tables.heads import read_subsets
from facelift.evaluation.tables.vertices import read_vertices
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
    read = read_vertices(tmp_path / "out" / "tables.json")
    np.testing.assert_array_equal(read.of("planted"), chosen)
    assert (read.benchmark.name, read.count) == ("dad3dheads_val", 5023)
    measured = tables["NMLC, % (dad3dheads_val)"].rows[0].cells
    assert measured["full"].value == pytest.approx(errors.mean(), abs=1e-9)
    assert measured["nose"].value == pytest.approx(errors[:, 27:36].mean(), abs=1e-9)
    by_pose = tables["NMLC by pose, %"].rows[0].cells
    assert by_pose["sided"].value == pytest.approx(errors[2:].mean(), abs=1e-9) and by_pose["sided"].count == 2
    assert tables["NMLC in 3D, %"].rows[0].cells["full"].value == pytest.approx(0, abs=1e-6)
    published = {row.system: row.cells for row in tables["NMLC, % (dad3dheads_val)"].rows if row.source != "measured"}
    assert {"FaceLift", "3DDFA_V2"} <= published.keys() and published["FaceLift"]["contours"] == 3.13
    by_pose = {row.system: row.cells for row in tables["NMLC by pose, %"].rows if row.source != "measured"}
    assert by_pose["SynergyNet"] == {"front": 2.59, "sided": 2.91, "atypical": 3.27}
    report = (tmp_path / "out" / "report.html").read_text()
    assert "Worst 4 faces of planted" in report and "Error by region" in report
    assert report.count("data:image/jpeg") == COUNT


def test_frozen_vertices_are_applied(data, planted, tmp_path):
    path, chosen, errors = planted
    benchmark = find_benchmark("dad3dheads_val")
    ScoreStage([path], benchmark, data).run(tmp_path / "out")
    stored = tmp_path / "out" / "tables.json"
    document = json.loads(stored.read_text())
    table = next(t for t in document if t["title"].startswith("Chosen vertex of each"))
    table["rows"][0]["cells"]["30"]["value"] = int(chosen[30] + 1) % 5023
    stored.write_text(json.dumps(document))
    table = ScoreStage([path], benchmark, data, vertices=stored).run(None)[0]
    assert table.notes[0] == "The vertices of the landmarks were chosen on another split (--vertices)."
    frozen = table.rows[0].cells
    assert frozen["full"].value > errors.mean() and frozen["eyes"].value == pytest.approx(errors[:, 36:48].mean())
    with pytest.raises(ValueError, match=r"none\.json: expected a tables\.json"):
        (tmp_path / "none.json").write_text("[]")
        ScoreStage([path], benchmark, data, vertices=tmp_path / "none.json").run(None)


@pytest.mark.parametrize(
    ("title", "message"),
    [
        ("multiface, 7306 vertices", r"flame5023 meshes with 5023 .*, found those of multiface7306 with 7306 \(multi"),
        ("dad3dheads_val, 20000 vertices", r"with 5023 vertices \(dad.*, found those of flame5023 with 20000 \(dad"),
        ("theirs, 5023 vertices", "expected a tables.json with chosen vertices, found .*benchmark: expected one of"),
        ("5023 vertices", "expected a tables.json with chosen vertices"),
    ],
)
def test_frozen_vertices_of_other_meshes_are_refused(data, planted, tmp_path, title, message):
    cells = {str(i): {"value": i} for i in range(68)}
    rows = [{"system": "planted", "cells": cells}]
    table = {"title": f"Chosen vertex of each landmark ({title})", "columns": list(cells), "rows": rows}
    (tmp_path / "other.json").write_text(json.dumps([table]))
    stage = ScoreStage([planted[0]], find_benchmark("dad3dheads_val"), data, vertices=tmp_path / "other.json")
    with pytest.raises(ValueError, match=r"other\.json: " + (".*" + message)):
        stage.run(None)


def test_frozen_vertices_of_another_system_are_refused(data, planted, tmp_path):
    benchmark = find_benchmark("dad3dheads_val")
    ScoreStage([planted[0]], benchmark, data).run(tmp_path / "out")
    stored = tmp_path / "out" / "tables.json"
    stored.write_text(stored.read_text().replace('"planted"', '"their"'))
    with pytest.raises(ValueError, match=r"tables\.json: expected vertices of 'planted', found those of their"):
        ScoreStage([planted[0]], benchmark, data, vertices=stored).run(None)


def test_meshes_without_triangles_cannot_be_upsampled(data, planted):
    with pytest.raises(ValueError, match="dad3dheads_val: expected meshes with triangles to upsample, found points"):
        ScoreStage([planted[0]], find_benchmark("dad3dheads_val"), data, upsample=1).run(None)


def test_the_command_prints_them(data, planted, capsys):
    assert main(["evaluate", "score", str(planted[0]), "--benchmark", "dad3dheads_val", "--data", str(data)]) == 0
    printed = capsys.readouterr().out
    assert "NMLC, % (dad3dheads_val)" in printed and "published: Ferman et al., CVPR 2024" in printed


SEVEN_OF_68 = [36, 39, 42, 45, 33, 48, 54]


@pytest.fixture
def heads(data, planted, rng, tmp_path):
    """The planted predictions with noisy heads, the third not found; (file, predictions, true vertices, rotations)."""
    faces = open_benchmark("dad3dheads_val", data)
    samples = [faces[i] for i in range(COUNT)]
    truth = np.stack([sample.points_3d for sample in samples])
    noise = 0.06 * np.arange(1, COUNT + 1)[:, None, None] * rng.standard_normal(truth.shape)
    found = read_predictions(planted[0])
    found = replace(
        found,
        vertices=3 * truth + 1 + noise,
        points_3d=found.points_3d + 0.02 * rng.standard_normal((COUNT, 68, 3)),
        found=np.array([True, True, False, True]),
    )
    return write_predictions(tmp_path / "heads.npz", found), found, truth, np.stack([s.rotation for s in samples])


def head_cells(path, data, **options):
    (table,) = (
        table
        for table in ScoreStage([path], find_benchmark("dad3dheads_val"), data, **options).run(None)
        if table.title == "Whole heads (DAD-3DHeads)"
    )
    return table.rows[0].cells, " ".join(table.notes)


@pytest.mark.parametrize("weights", [False, True])
def test_heads_by_the_subsets_of_the_release(data, heads, rng, tmp_path, weights):
    path, found, truth, rotation = heads
    face, head, seven = rng.choice(5023, 800, replace=False), rng.choice(5023, 3669, replace=False), np.arange(7) * 70
    true_seven = truth[:, seven]
    if weights:
        seven = np.eye(5023)[seven] / 2 + np.eye(5023)[seven + 9] / 2
        true_seven = np.stack([seven @ vertices for vertices in truth])
    np.savez(tmp_path / "flame.npz", face=face, head=head, seven=seven)
    cells, notes = head_cells(path, data, subsets=tmp_path / "flame.npz")
    for variant in ("released", "corrected"):
        chamfer, z5 = [], []
        for i in (0, 1, 3):
            arguments = (found.vertices[i], found.points_3d[i, SEVEN_OF_68], truth[i], true_seven[i])
            chamfer.append(dad_chamfer(*arguments, face=face, variant=variant))
            turned = found.vertices[i] @ rotation[i].T, truth[i] @ rotation[i].T
            z5.append(z_accuracy(turned[0][head], turned[1][head], variant=variant))
        assert cells[f"Chamfer, {variant}"].value == pytest.approx(np.mean(chamfer), rel=1e-9) and min(chamfer) > 0.1
        assert cells[f"Z5, {variant}"].value == pytest.approx(np.mean(z5), abs=1e-12) and 0.5 < np.mean(z5) < 0.99
        assert cells[f"Chamfer, {variant}"].count == cells[f"Z5, {variant}"].count == 3
        low, high = cells[f"Z5, {variant}"].low, cells[f"Z5, {variant}"].high
        assert low < np.mean(z5) < high
    assert cells["not found"] == 1 and "--subsets" not in notes and "4 faces, 1 not found." in notes


def test_heads_without_subsets_say_what_they_are_over(data, heads, planted):
    path, found, truth, rotation = heads
    cells, notes = head_cells(path, data)
    seven = planted[1][SEVEN_OF_68]  # the vertices that NMLC finds
    expected = [
        dad_chamfer(found.vertices[i], found.points_3d[i, SEVEN_OF_68], truth[i], truth[i][seven], face=np.arange(5023))
        for i in (0, 1, 3)
    ]
    assert cells["Chamfer, released"].value == pytest.approx(np.mean(expected), rel=1e-9)
    z5 = [z_accuracy(found.vertices[i] @ rotation[i].T, truth[i] @ rotation[i].T) for i in (0, 1, 3)]
    assert cells["Z5, corrected"].value == pytest.approx(np.mean(z5), abs=1e-12)
    assert "All 5023 vertices instead of FLAME's face and head (--subsets): not comparable" in notes
    assert "the vertices that NMLC chose for each system" in notes


def test_z5_needs_the_truths_vertices_and_a_rotation(data, heads, tmp_path):
    _, found, _, _ = heads
    fewer = write_predictions(tmp_path / "fewer.npz", replace(found, vertices=found.vertices[:, :900]))
    cells, notes = head_cells(fewer, data)
    assert "Z5, corrected" not in cells and cells["Chamfer, corrected"].count == 3
    assert "planted: no Z5, which needs FLAME's 5023 vertices; its meshes have 900." in notes
    turned = write_predictions(tmp_path / "turned.npz", replace(found, rotation=None))
    cells, notes = head_cells(turned, data)
    assert "Z5, released" not in cells and "planted: no Z5, which needs the array rotation." in notes
    with pytest.raises(ValueError, match="planted: expected points_3d beside vertices, to align heads by, found none"):
        head_cells(write_predictions(tmp_path / "flat.npz", replace(found, points_3d=None)), data)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "expected arrays among face, head, seven, found none"),
        ({"mask": np.arange(3)}, "expected arrays among face, head, seven, found mask"),
        ({"face": np.ones(9)}, r"expected face as a list of vertices, found an array \(9,\) of float64"),
        ({"head": np.zeros(0, int)}, r"expected head as a list of vertices, found an array \(0,\) of int64"),
        ({"face": np.array([0, 5023])}, r"expected vertices 0\.\.5022 in face, found 0\.\.5023"),
        ({"seven": np.arange(8)}, r"seven as 7 vertices or weights \(7, 5023\), found an array \(8,\) of int64"),
        ({"seven": np.ones((7, 5023))}, r"expected weights seven with sums 1, found 5023\.\.5023"),
    ],
)
def test_subsets_that_are_none_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "flame.npz", **arrays)
    with pytest.raises(ValueError, match=rf"flame\.npz: .*{message}"):
        read_subsets(tmp_path / "flame.npz")


def test_subsets_of_no_archive_are_refused(tmp_path, data, planted, capsys):
    with pytest.raises(FileNotFoundError, match=r"none\.npz: expected an \.npz of FLAME's vertex subsets, found no"):
        read_subsets(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no archive")
    command = ["evaluate", "score", str(planted[0]), "--benchmark", "dad3dheads_val", "--data", str(data)]
    assert main([*command, "--subsets", str(tmp_path / "text.npz")]) == 1
    assert "text.npz: expected an .npz of FLAME's vertex subsets" in capsys.readouterr().err
    np.save(tmp_path / "array.npy", np.arange(3))
    with pytest.raises(ValueError, match=r"array\.npy: expected an \.npz"):
        read_subsets(tmp_path / "array.npy")
