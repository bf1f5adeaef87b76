"""Scoring from files: the numbers of the tables against plain arithmetic, on a packed set that the test writes."""

import csv
import io
import json
import tarfile
from dataclasses import replace

import cv2
import numpy as np
import pytest

from facelift.cli import main
from facelift.datasets.benchmarks import find_benchmark
from facelift.evaluation.predictions import Predictions, write_predictions
from facelift.evaluation.score_stage import ScoreStage
from facelift.geometry import rotation_from_euler
from facelift.landmarks import SCHEMES, conversion, mean_head

COUNT = 9
YAW = np.array([-80.0, -50, -35, -10, 0, 5, 29, 31, 75])
NOT_FOUND, ABSENT = 4, 8
SIZE_PX = 4.0


@pytest.fixture
def packed(tmp_path, rng):
    """merl_test of `COUNT` faces in the packed layout; (folder, points, state, rotations)."""
    rotation = np.stack([rotation_from_euler(np.array([0.0, yaw, 0.0])) for yaw in YAW])
    head = conversion("wflw98", "ibug68") @ mean_head()
    points = 60 + SIZE_PX * (head @ rotation.swapaxes(1, 2))[..., :2] + rng.normal(0, 0.3, (COUNT, 68, 2))
    state = np.where(rng.random((COUNT, 68)) < 0.3, 2, 0).astype(np.int8)
    state[:, :2] = [0, 2]
    names = [f"image{i}.jpg" for i in range(COUNT)]
    folder = tmp_path / "data"
    folder.mkdir()
    labels = {"yaw": YAW, "pose_group": np.where(YAW < 0, "left", "right"), "state": state}
    np.savez(folder / "merl_test.npz", name=names, pts68=np.where(state[..., None] == 2, np.nan, points), **labels)
    with tarfile.open(folder / "merl_test.tar", "w") as tar:
        for name in names:
            jpeg = cv2.imencode(".jpg", rng.integers(0, 255, (120, 120, 3), np.uint8))[1].tobytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(jpeg)
            tar.addfile(entry, io.BytesIO(jpeg))
    return folder, points, state, rotation


def predictions(points, rotation, rng, sigma: float, system: str) -> Predictions:
    found = np.arange(COUNT) != NOT_FOUND
    noise = rng.normal(0, sigma, points.shape)
    covariance = np.broadcast_to(sigma**2 * np.eye(2), (*points.shape[:2], 2, 2))
    arrays = {
        "points_2d": points + noise,
        "covariance": covariance,
        "rotation": rotation,
        "points_3d": np.broadcast_to(conversion("wflw98", "ibug68") @ mean_head(), (COUNT, 68, 3)),
        "visibility": rng.random((COUNT, 68)),
    }
    blank = {key: np.where(found.reshape(-1, *[1] * (a.ndim - 1)), a, np.nan) for key, a in arrays.items()}
    names = np.array([f"image{i}.jpg" for i in range(COUNT)])
    about = {"system": system, "unreadable pictures": "1"}
    whole = Predictions(names, "ibug68", found=found, about=about, **blank)
    kept = [name for i, name in enumerate(names.tolist()) if i != ABSENT]
    return whole.of(kept)[0]


@pytest.fixture
def files(packed, rng, tmp_path):
    _, points, _, rotation = packed
    made = {name: predictions(points, rotation, rng, sigma, name) for name, sigma in (("good", 1.0), ("bad", 3.0))}
    paths = [write_predictions(tmp_path / f"{name}.npz", found) for name, found in made.items()]
    return paths, made


def expected_nme(packed, made):
    """(m,) percent, visible points, by the labelled box; NaN where not found."""
    _, points, state, _ = packed
    nme = np.full(COUNT, np.nan)
    for row, name in enumerate(made.name):
        face = int(str(name)[5:-4])
        seen = state[face] == 0
        if made.found[row]:
            distance = np.linalg.norm(made.points_2d[row] - points[face], axis=-1)[seen].mean()
            nme[face] = 100 * distance / np.sqrt(np.ptp(points[face][seen], axis=0).prod())
    return nme


def test_tables_hold_what_plain_arithmetic_gives(packed, files, tmp_path):
    paths, made = files
    stage = ScoreStage(paths, find_benchmark("merl_test"), packed[0])
    tables = {table.title: table for table in stage.run(tmp_path / "out", compare=("good", "bad"))}
    nme = {name: expected_nme(packed, found) for name, found in made.items()}
    by_system = {row.system: row.cells for row in tables["NME, % (merl_test)"].rows}
    for system, per_face in nme.items():
        cells = by_system[system]
        frontal, half, profile = (
            np.nanmean(per_face[(np.abs(YAW) >= low) & (np.abs(YAW) < high)])
            for low, high in ((0, 30), (30, 60), (60, 181))
        )
        assert cells["yaw 30-60"].value == pytest.approx(half, abs=1e-9)
        assert cells["mean of bins"].value == pytest.approx((frontal + half + profile) / 3, abs=1e-9)
        assert cells["all"].value == pytest.approx(np.nanmean(per_face), abs=1e-9) and cells["all"].count == 7
        assert cells["all"].low < cells["all"].value < cells["all"].high
        assert cells["not found = failed"].value == pytest.approx((np.nansum(per_face) + 200) / 9, abs=1e-9)
        assert cells["not found"] == 2
        failed = np.isnan(per_face) | (per_face > 7)
        assert cells["FR 7 %"].value == pytest.approx(100 * failed.mean(), abs=1e-9)
        lost = by_system[f"{system}, not found = failed"]
        assert lost["all"].value == cells["not found = failed"].value and lost["all"].count == COUNT
        frontal_failed = np.where(np.isnan(per_face), 100, per_face)[np.abs(YAW) < 30].mean()
        assert lost["yaw 0-30"].value == pytest.approx(frontal_failed, abs=1e-9)
    coverage = "good: 9 faces, 2 not found, 1 of them absent from its file, 1 with a picture that could not be read."
    assert coverage in tables["NME, % (merl_test)"].notes
    groups = {row.system: row.cells for row in tables["NME by pose_group, %"].rows}
    assert groups["bad"]["left"].value == pytest.approx(nme["bad"][YAW < 0].mean(), abs=1e-9)
    right = np.where(np.isnan(nme["bad"]), 100, nme["bad"])[YAW >= 0]
    failed_right = groups["bad, not found = failed"]["right"]
    assert failed_right.value == pytest.approx(right.mean(), abs=1e-9) and failed_right.count == 5
    difference = tables["good - bad, paired"].rows[0].cells["NME full, %"]
    assert difference.value == pytest.approx(np.nanmean(nme["good"] - nme["bad"]), abs=1e-9)
    assert difference.high < 0


def test_marks_are_scored_where_people_marked_the_points(packed, files, tmp_path):
    """And projections where they did not: AFLW2000-3D labels a 3D jaw."""
    paths, made = files
    marked = replace(made["good"], points_2d=made["good"].points_2d + 50, marks_2d=made["good"].points_2d)
    path = write_predictions(tmp_path / "marked.npz", replace(marked, about={"system": "marked"}))
    stage = ScoreStage([paths[0], path], find_benchmark("merl_test"), packed[0])
    rows = {row.system: row.cells for row in stage.run(None)[0].rows}
    assert rows["marked"]["all"].value == rows["good"]["all"].value
    assert not find_benchmark("aflw2000").marked and find_benchmark("wflw_test").marked


def test_a_comparison_holds_regions_and_the_means_over_the_faces_that_both_found(packed, files, tmp_path):
    paths, made = files
    fewer = made["bad"].found & (made["bad"].name != "image2.jpg")
    points = np.where(fewer[:, None, None], made["bad"].points_2d, np.nan)
    bad = replace(made["bad"], found=fewer, points_2d=points)
    paths = [paths[0], write_predictions(tmp_path / "fewer.npz", bad)]
    stage = ScoreStage(paths, find_benchmark("merl_test"), packed[0])
    table = {t.title: t for t in stage.run(None, compare=("bad", "good"))}["bad - good, paired"]
    both = np.isfinite(expected_nme(packed, bad))
    nme = {name: expected_nme(packed, found)[both] for name, found in (("good", made["good"]), ("bad", bad))}
    assert [row.system for row in table.rows] == [
        "bad - good",
        "bad, on the faces that both found",
        "good, on the faces that both found",
    ]
    found = [row.cells["NME full, %"] for row in table.rows]
    means = nme["bad"].mean(), nme["good"].mean()
    assert [cell.value for cell in found] == pytest.approx([means[0] - means[1], *means], abs=1e-9)
    assert {cell.count for cell in found} == {6}
    assert table.columns == ("NME full, %", *(f"NME {name}, %" for name in SCHEMES["ibug68"].regions))
    _, truth, state, _ = packed
    brows = SCHEMES["ibug68"].regions["brows"]
    errors = []
    for face in np.flatnonzero(both):
        seen = state[face] == 0
        row = bad.name.tolist().index(f"image{face}.jpg")
        distance = np.linalg.norm(bad.points_2d[row] - truth[face], axis=-1)[brows][seen[brows]].mean()
        errors.append(100 * distance / np.sqrt(np.ptp(truth[face][seen], axis=0).prod()))
    assert table.rows[1].cells["NME brows, %"].value == pytest.approx(np.mean(errors), abs=1e-9)


def test_uncertainty_visibility_and_offset_tables(packed, files):
    _, points, state, _ = packed
    paths, made = files
    tables = {t.title: t for t in ScoreStage(paths, find_benchmark("merl_test"), packed[0]).run(None)}
    gaussian = {row.system: row.cells for row in tables["Uncertainty"].rows}["bad, gaussian"]
    found = made["bad"]
    index = [int(str(name)[5:-4]) for name in found.name]
    seen = (state[index] == 0) & found.found[:, None]
    squared = ((found.points_2d - points[index]) ** 2).sum(-1)[seen] / 9
    assert gaussian["inside 50 %"].value == pytest.approx(100 * (squared < 2 * np.log(2)).mean(), abs=1e-9)
    assert gaussian["inside 50 %"].count == seen.sum()
    assert 40 < gaussian["inside 50 %"].value < 60 < gaussian["inside 90 %"].value < 96
    quantiles = tables["Squared Mahalanobis distance, quantiles"]
    measured = {row.system: row.cells for row in quantiles.rows}["bad"]["90 %"]
    assert measured.value == pytest.approx(np.quantile(squared, 0.9), abs=1e-9) and measured.count == seen.sum()
    assert "chi-square with 2 degrees of freedom): 1.39, 2.77, 4.61, 5.99." in quantiles.notes[1]
    lost = {row.system: row.cells for row in tables["Uncertainty"].rows}["bad, gaussian, not found = failed"]
    every = (state == 0).sum()
    assert lost["inside 50 %"].value == pytest.approx(100 * (squared < 2 * np.log(2)).sum() / every, abs=1e-9)
    assert lost["inside 50 %"].count == every and "NLL, nats a point" not in lost
    visibility = {row.system: row.cells for row in tables["Visibility, %"].rows}
    assert 40 < visibility["bad"]["AUC"].value < 60  # of a random guess
    called = (found.visibility >= 0.5) & seen
    failed = visibility["bad, not found = failed"]
    assert failed["recall"].value == pytest.approx(100 * called.sum() / every, abs=1e-9)
    assert failed["precision"].value == visibility["bad"]["precision"].value and failed["recall"].count == COUNT
    assert tables["DC-NME by region, %"].rows[0].cells["full"].count == 7


def test_files_of_every_kind_and_the_report(packed, files, tmp_path, capsys):
    paths, _ = files
    out = tmp_path / "out"
    arguments = ["evaluate", "score", *map(str, paths), "--benchmark", "merl_test", "--data", str(packed[0])]
    assert main([*arguments, "--out", str(out), "--compare", "good", "bad"]) == 0
    printed = capsys.readouterr().out
    assert "NME, % (merl_test)" in printed and "good - bad, paired" in printed
    assert sorted(p.name for p in out.iterdir()) == [
        "report.html",
        *(f"tables.{e}" for e in ("csv", "json", "md", "txt")),
    ]
    rows = list(csv.DictReader((out / "tables.csv").open()))
    loaded = json.loads((out / "tables.json").read_text())
    assert float(rows[0]["value"]) == loaded[0]["rows"][0]["cells"]["yaw 0-30"]["value"]
    report = (out / "report.html").read_text(encoding="utf-8")
    assert report.count("data:image/jpeg") == 7 * 3  # the worst of both systems, and those across yaw
    assert "Worst 7 faces of bad" in report and "Cumulative error" in report and "Reliability" in report


def test_another_normaliser_and_threshold(packed, files):
    paths, made = files
    stage = ScoreStage(paths[:1], find_benchmark("merl_test"), packed[0], "diagonal", 0.02)
    table = stage.run(None)[0]
    nme, (_, points, state, _) = expected_nme(packed, made["good"]), packed
    sides = np.array([np.ptp(points[i][state[i] == 0], axis=0) for i in range(COUNT)])
    by_diagonal = nme * np.sqrt(sides.prod(1)) / np.hypot(*sides.T)
    assert table.rows[0].cells["all"].value == pytest.approx(np.nanmean(by_diagonal), abs=1e-9)
    assert "FR 2 %" in table.columns and "diagonal" in table.notes[0]


def test_bad_input_is_named(packed, files, tmp_path, capsys):
    paths, made = files
    data = ["--data", str(packed[0])]
    score = ["evaluate", "score", str(paths[0]), "--benchmark"]
    assert main([*score, "mine", *data]) == 1
    assert "benchmark: expected one of aflw2000" in capsys.readouterr().err
    assert main([*score, "merl_test", "--data", str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err
    assert main([*score, "merl_test", *data, "--compare", "good", "nobody"]) == 1
    assert "compare: expected one of good, found 'nobody'" in capsys.readouterr().err
    strangers = replace(made["good"], name=np.array([f"x{i}" for i in range(len(made["good"]))]))
    write_predictions(tmp_path / "strangers.npz", strangers)
    assert main(["evaluate", "score", str(tmp_path / "strangers.npz"), "--benchmark", "merl_test", *data]) == 1
    assert "expected faces of merl_test such as 'image0.jpg', found 8 others such as 'x0'" in capsys.readouterr().err
    assert main(["evaluate", "score", "--benchmark", "merl_test", *data]) == 1
    assert "expected predictions files, found none" in capsys.readouterr().err


def test_the_list_names_every_benchmark(capsys):
    assert main(["evaluate", "list"]) == 0
    assert {"aflw2000", "wflw_test_pose", "dad3dheads_val", "merl_test"} <= set(capsys.readouterr().out.split())
