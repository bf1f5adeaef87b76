"""Florence and NoW from files to tables: sets in the released layout, planted motions and noise."""

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facelift.cli import main
from facelift.datasets.benchmarks import find_benchmark, open_benchmark
from facelift.datasets.readers.meshes import Mesh
from facelift.datasets.readers.wavefront import write_obj
from facelift.evaluation.metrics.bootstrap import bootstrap_mean, bootstrap_statistic
from facelift.evaluation.metrics.scans import florence_rmse, now_distances, now_summary
from facelift.evaluation.predictions import Predictions, write_predictions
from facelift.evaluation.score_stage import ScoreStage
from facelift.evaluation.tables.scans import florence_start
from facelift.geometry import Similarity

PICKED = np.array([307, 310, 314, 317, 237, 185, 189])
"""Vertices of the grid that NoW's annotators picked, in their order."""
SEVEN_OF_68 = (36, 39, 42, 45, 33, 48, 54)
PHOTOS = ("A/multiview_neutral/1", "A/selfie/2", "B/multiview_neutral/3", "B/selfie/4", "C/selfie/5")


def picked_points(points, name: str = "") -> str:
    lines = [f'<point x="{x}" y="{y}" z="{z}" name="{name or i}"/>' for i, (x, y, z) in enumerate(points.tolist())]
    return "<PickedPoints>" + "".join(lines) + "</PickedPoints>"


def random_motion(rng) -> Similarity:
    return Similarity(np.array(rng.uniform(0.5, 2)), Rotation.random(rng=rng).as_matrix(), rng.normal(0, 9, 3))


def undone(motion: Similarity, points: np.ndarray) -> np.ndarray:
    return (points - motion.translation) @ motion.rotation / motion.scale


@pytest.fixture
def florence(tmp_path, bumpy_grid):
    """Three scans, the last without a nose tip; (data folder, vertices of each, nose tip, triangles)."""
    vertices, triangles = bumpy_grid
    nose = vertices[312]
    scans = [vertices + shift for shift in (0.0, 30.0, 60.0)]
    for i, scan in enumerate(scans):
        folder = tmp_path / "data" / "Florence" / f"subject_0{i + 1}" / "Model" / "frontal1" / "obj"
        write_obj(folder / "scan.obj", Mesh(scan, triangles))
        if i < 2:
            (folder / "scan_picked_points.pp").write_text(picked_points((nose + (0.0, 30.0)[i])[None], "nose_tip"))
    return tmp_path / "data", scans, nose, triangles


def florence_predictions(florence, rng, sigma: float, system: str):
    """Noisy scans in random frames and sizes, seen by weak perspective; (predictions, scan_from_mesh of each face)."""
    data, scans, nose, _ = florence
    faces = open_benchmark("florence", data)
    samples = [faces.meshes[i] for i in range(len(faces))]
    arrays = {key: [] for key in ("points_2d", "points_3d", "rotation", "vertices")}
    motions = []
    for i, sample in enumerate(samples):
        motion, centre = random_motion(rng), nose + (0.0, 30.0, 60.0)[i // 15]
        scan = scans[i // 15] + sigma * rng.standard_normal(scans[0].shape)
        landmarks = centre + rng.normal(0, 30, (68, 3))
        landmarks[30] = centre
        rotation = sample.camera.R @ motion.rotation
        depth = (sample.camera.R @ centre + sample.camera.t)[2]
        arrays["points_2d"].append(sample.camera.K[0, 0] / depth * (landmarks @ sample.camera.R.T)[:, :2] + 7)
        arrays["points_3d"].append(undone(motion, landmarks))
        arrays["rotation"].append(rotation)
        arrays["vertices"].append(undone(motion, np.concatenate([scan, centre + rng.normal(0, 9, (5, 3)) + 200])))
        motions.append(motion)
    names = np.array([sample.face.name for sample in samples])
    stacked = {key: np.stack(values) for key, values in arrays.items()}
    found = np.arange(len(names)) % 2 == 0
    stacked = {key: np.where(found.reshape(-1, *[1] * (v.ndim - 1)), v, np.nan) for key, v in stacked.items()}
    whole = Predictions(names, "ibug68", found=found, about={"system": system}, **stacked)
    return whole.of([name for i, name in enumerate(names.tolist()) if i != 20])[0], motions


def test_florence_table_holds_the_rmse_of_every_face(florence, rng, tmp_path):
    data, scans, nose, triangles = florence
    made = {name: florence_predictions(florence, rng, sigma, name) for name, sigma in (("good", 0.3), ("bad", 0.9))}
    paths = [write_predictions(tmp_path / f"{name}.npz", found) for name, (found, _) in made.items()]
    stage = ScoreStage(paths, find_benchmark("florence"), data)
    tables = {table.title: table for table in stage.run(tmp_path / "out", compare=("good", "bad"))}
    rmse, faces = {}, open_benchmark("florence", data)
    names = [faces[i].name for i in range(45)]
    *rows, published = tables["Point-to-plane RMSE, mm (florence)"].rows
    assert published.cells == {"RMSE": 1.87} and published.source == "Wu et al., 3DV 2021"
    for row in rows:
        found, motions = made[row.system]
        placed = found.of(names)[0]
        rmse[row.system] = np.full(45, np.nan)
        for i in (i for i in range(0, 30, 2) if i != 20):
            centre, scan = nose + (0.0, 30.0)[i // 15], scans[i // 15]
            rmse[row.system][i] = florence_rmse(
                placed.vertices[i], scan, triangles, nose_tip=centre, with_scale=True, start=motions[i]
            )
        cell = row.cells["RMSE"]
        assert cell.value == pytest.approx(np.nanmean(rmse[row.system]), rel=1e-6)
        assert cell.count == row.cells["faces scored"] == 14 and row.cells["not found"] == 23
        interval = bootstrap_mean(rmse[row.system], groups=[str(i // 15) for i in range(45)])
        assert [cell.low, cell.high] == pytest.approx([interval.low, interval.high], rel=1e-6)
    assert 0.1 < np.nanmean(rmse["good"]) < 0.5 * np.nanmean(rmse["bad"])
    by_yaw = tables["Point-to-plane RMSE by yaw, mm"]
    assert by_yaw.columns == ("-80", "-40", "+0", "+40", "+80")
    expected = np.nanmean(rmse["bad"][3::5])  # yaw 40
    assert by_yaw.rows[1].cells["+40"].value == pytest.approx(expected, rel=1e-6)
    assert by_yaw.rows[1].cells["+40"].count == 3
    assert tables["Point-to-plane RMSE by pitch, mm"].columns == ("-15", "+20", "+25")
    difference = tables["good - bad, paired"].rows[0].cells["mm"]
    assert difference.value == pytest.approx(np.nanmean(rmse["good"] - rmse["bad"]), rel=1e-6) and difference.high < 0
    both = np.isfinite(rmse["good"]) & np.isfinite(rmse["bad"])
    own = tables["good - bad, paired"].rows[2].cells["mm"]
    assert own.value == pytest.approx(rmse["bad"][both].mean(), rel=1e-6) and own.count == both.sum()
    notes = tables["Point-to-plane RMSE, mm (florence)"].notes
    assert "15 faces of scans without a picked nose tip are not scored." in notes
    assert "bad: 45 faces, 23 not found, 1 of them absent from its file." in notes
    assert "Cumulative error" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_florence_starts_at_the_planted_motion(florence, rng):
    found, motions = florence_predictions(florence, rng, 0.3, "any")
    faces = open_benchmark("florence", florence[0])
    start = florence_start(faces.meshes[18], found, 18)
    np.testing.assert_allclose(start.scale, motions[18].scale, rtol=1e-9)
    np.testing.assert_allclose(start.rotation, motions[18].rotation, atol=1e-9)
    np.testing.assert_allclose(start.translation, motions[18].translation, atol=1e-6)


def test_florence_names_what_it_cannot_score(florence, rng, tmp_path, capsys):
    data, path = florence[0], tmp_path / "p.npz"
    arguments = ["evaluate", "score", str(path), "--benchmark", "florence", "--data", str(data)]
    found, _ = florence_predictions(florence, rng, 0.3, "mine")

    def error(**changes) -> str:
        fields = {name: getattr(found, name) for name in ("name", "points_2d", "points_3d", "rotation", "vertices")}
        kept = {key: value for key, value in (fields | changes).items() if value is not None}
        np.savez(path, scheme="ibug68", found=found.found, about='{"system": "mine"}', **kept)
        assert main(arguments) == 1
        return capsys.readouterr().err

    expected = "mine: expected the arrays vertices, points_3d, rotation to score meshes on florence, found none of"
    assert f"{expected} vertices (docs/evaluation.md)" in error(vertices=None)
    assert f"{expected} points_3d, rotation" in error(points_3d=None, rotation=None)
    upside_down = found.rotation * np.array([-1.0, -1, 1])[:, None]
    told = error(rotation=upside_down)
    assert "mine, subject_01/pitch-15_yaw-80: expected points_3d that look like points_2d once" in told
    assert "found a scale of -" in told
    assert "prediction points within 95.0 mm of the nose, found 0" in error(vertices=found.vertices + 1e4)
    (scan,) = (data / "Florence" / "subject_02").rglob("*.obj")
    write_obj(scan, Mesh(florence[1][1]))
    assert "mine, subject_02/pitch-15_yaw-40: expected a scan with triangles" in error()
    for picked in (data / "Florence").rglob("*.pp"):
        picked.unlink()
    assert "florence: expected scans with a nose tip in NAME_picked_points.pp beside them, found none" in error()


@pytest.fixture
def now(tmp_path, bumpy_grid):
    """Three people, five photos; (data folder, scan, triangles)."""
    vertices, triangles = bumpy_grid
    root = tmp_path / "data" / "NoW" / "final_release_version"
    root.mkdir(parents=True)
    (root / "imagepathsvalidation.txt").write_text("".join(f"{photo}.jpg\n" for photo in PHOTOS))
    for photo in PHOTOS:
        for folder in ("iphone_pictures", "detected_face"):
            (root / folder / photo).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / "iphone_pictures" / f"{photo}.jpg"), np.zeros((20, 20, 3), np.uint8))
        np.save(root / "detected_face" / f"{photo}.npy", {"left": 1, "right": 9, "top": 1, "bottom": 9})
    for subject in "ABC":
        write_obj(root / "scans" / subject / "scan.obj", Mesh(vertices, triangles))
        (root / "scans_lmks_onlypp" / subject).mkdir(parents=True)
        (root / "scans_lmks_onlypp" / subject / "scan.pp").write_text(picked_points(vertices[PICKED]))
    return tmp_path / "data", vertices, triangles


def now_predictions(now, rng, sigma: float, system: str) -> Predictions:
    _, scan, triangles = now
    vertices, points_3d = [], rng.normal(0, 99, (len(PHOTOS), 68, 3))
    for i in range(len(PHOTOS)):
        noisy = undone(random_motion(rng), scan + sigma * (i + 1) * rng.standard_normal(scan.shape))
        points_3d[i, SEVEN_OF_68] = noisy[PICKED]
        vertices.append(noisy)
    return Predictions(
        np.array(PHOTOS[::-1]),
        "ibug68",
        rng.normal(size=(5, 68, 2)),
        np.array([True, True, True, False, True]),
        points_3d=points_3d[::-1].copy(),
        vertices=np.stack(vertices)[::-1].astype(np.float32),
        triangles=triangles,
        about={"system": system},
    )


def now_expected(now, found: Predictions) -> dict[str, np.ndarray]:
    _, scan, triangles = now
    return {
        name: now_distances(
            scan,
            scan[PICKED],
            found.vertices[i].astype(float),
            triangles,
            found.points_3d[i][list(SEVEN_OF_68)],
        )
        for i, name in enumerate(found.name.tolist())
        if found.found[i]
    }


def test_now_table_pools_the_vertices_of_the_photos_found(now, rng, tmp_path):
    made = {name: now_predictions(now, rng, sigma, name) for name, sigma in (("good", 0.2), ("bad", 0.6))}
    paths = [write_predictions(tmp_path / f"{name}.npz", found) for name, found in made.items()]
    tables = ScoreStage(paths, find_benchmark("now_val"), now[0]).run(tmp_path / "out", compare=("good", "bad"))
    rows = {row.system: row.cells for row in tables[0].rows}
    distances = {name: now_expected(now, found) for name, found in made.items()}
    for system, by_photo in distances.items():
        for suffix, challenge in (("", "/"), (", selfie", "/selfie/"), (", multiview_neutral", "/multiview_neutral/")):
            chosen = [values for photo, values in by_photo.items() if challenge in photo]
            summary, cells = now_summary(chosen), rows[system + suffix]
            pooled = np.concatenate(chosen)
            assert cells["median"].value == pytest.approx(np.median(pooled), abs=1e-9)
            assert cells["mean"].value == pytest.approx(pooled.mean(), abs=1e-9)
            assert cells["std"].value == pytest.approx(summary.std, abs=1e-9)
            assert cells["mean"].count == cells["faces scored"] == len(chosen)
            assert cells["mean"].low <= cells["mean"].value <= cells["mean"].high
    assert rows["bad"]["median"].value > 0.2 and rows["bad"]["not found"] == 1
    assert rows["bad, selfie"]["not found"] == 1 and rows["bad, multiview_neutral"]["not found"] == 0
    by_photo = {photo: distances["bad"][photo] for photo in PHOTOS if photo in distances["bad"]}
    values = list(by_photo.values())
    interval = bootstrap_statistic(
        lambda drawn: float(np.median(np.concatenate([values[i] for i in drawn]))),
        len(values),
        groups=[photo[0] for photo in by_photo],
        draws=200,
    )
    assert [rows["bad"]["median"].low, rows["bad"]["median"].high] == pytest.approx([interval.low, interval.high])
    assert interval.low < interval.high
    per_photo = [[values.mean() for values in by_photo.values()] for by_photo in distances.values()]
    difference = tables[1].rows[0].cells["mm"]
    assert difference.value == pytest.approx(np.mean(np.subtract(*per_photo)), abs=1e-9) and difference.count == 4
    assert difference.value < -0.1
    notes = tables[0].notes
    assert "bad: 5 faces, 1 not found." in notes and "36, 39, 42, 45, 33, 48, 54 of ibug68" in notes[0]


def test_a_challenge_that_nobody_found_has_no_numbers(now, rng, tmp_path):
    found = now_predictions(now, rng, 0.2, "mine").of([PHOTOS[0]])[0]
    tables = ScoreStage([write_predictions(tmp_path / "p.npz", found)], find_benchmark("now_val"), now[0]).run(None)
    cells = {row.system: row.cells for row in tables[0].rows}["mine, selfie"]
    assert np.isnan(cells["median"].value) and cells["median"].count == 0 and cells["not found"] == 3
    assert "mine: 5 faces, 4 not found, 4 of them absent from its file." in tables[0].notes


def test_now_names_what_it_cannot_score(now, rng, tmp_path, capsys):
    data, path = now[0], tmp_path / "p.npz"
    arguments = ["evaluate", "score", str(path), "--benchmark", "now_val", "--data", str(data)]
    found = now_predictions(now, rng, 0.2, "mine")
    fields = {"name": found.name, "points_2d": found.points_2d, "scheme": "ibug68", "found": found.found}
    np.savez(path, **fields)
    assert main(arguments) == 1
    expected = "p: expected the arrays vertices, triangles, points_3d to score meshes on now_val, found none of"
    assert f"{expected} vertices, triangles, points_3d" in capsys.readouterr().err
    write_predictions(path, found)
    assert main([*arguments, "--compare", "mine", "nobody"]) == 1
    assert "compare: expected one of mine, found 'nobody'" in capsys.readouterr().err
    assert main([*arguments, "--subsets", str(path)]) == 1
    assert "subsets: expected them with a set of FLAME meshes, found now_val" in capsys.readouterr().err
    write_obj(data / "NoW" / "final_release_version" / "scans" / "B" / "scan.obj", Mesh(now[1] + 1e5, now[2]))
    assert main(arguments) == 1
    assert "mine, B/multiview_neutral/3: now_distances: expected scan vertices round" in capsys.readouterr().err
