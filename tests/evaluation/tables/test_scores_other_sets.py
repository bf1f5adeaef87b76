"""Scoring of sets that lack something: points, yaw, labels, faces found, a second person, the predictions' scheme."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facelift.datasets.benchmarks import FacesOfMeshes, find_benchmark
from facelift.datasets.readers.cameras import Camera
from facelift.datasets.readers.meshes import Mesh, MeshSample
from facelift.datasets.sample import UNKNOWN, FaceSample
from facelift.evaluation.metrics.landmarks_3d import landmark_error
from facelift.evaluation.predictions import Predictions, write_predictions
from facelift.evaluation.score_stage import ScoreStage
from facelift.geometry import AFLW2000, rotation_from_euler
from facelift.landmarks import conversion, mean_head

COUNT = 6
TITLE_OF_POSE = "Pose, mean absolute error in degrees"
PITCH_YAW_ROLL = np.array([[5.0, -70, 3], [0, -40, -8], [-9, -10, 0], [12, 5, 20], [3, 33, -2], [-4, 65, 7]])


class Listed:
    """Faces of a list."""

    name = "listed"

    def __init__(self, samples):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int):
        return self.samples[index]


def sample(index, points, scheme, **fields) -> FaceSample:
    return FaceSample(
        f"f{index}",
        lambda: np.full((120, 120, 3), 128, np.uint8),
        np.array([10.0, 12, 100, 112]),
        points,
        np.full(len(points), UNKNOWN, np.int8),
        scheme,
        **{"identity": f"p{index}", **fields},
    )


def answers(points, scheme, *, found=None, system="system", **fields) -> Predictions:
    found = np.ones(len(points), bool) if found is None else found
    names = np.array([f"f{i}" for i in range(len(points))])
    blank = {
        key: np.where(found.reshape(-1, *[1] * (a.ndim - 1)), a, np.nan)
        for key, a in {"points_2d": points, **fields}.items()
    }
    return Predictions(names, scheme, found=found, about={"system": system}, **blank)


@pytest.fixture
def score(monkeypatch, tmp_path):
    """Tables by title of a benchmark that holds these samples; `out` and other fields as of ScoreStage."""

    def run(benchmark, samples, *predictions, out=None, compare=None, **options):
        faces = samples if isinstance(samples, FacesOfMeshes) else Listed(samples)
        monkeypatch.setattr("facelift.evaluation.score_stage.open_benchmark", lambda name, data: faces)
        paths = [write_predictions(tmp_path / f"{i}.npz", found) for i, found in enumerate(predictions)]
        stage = ScoreStage(paths, find_benchmark(benchmark), tmp_path, **options)
        return {table.title: table for table in stage.run(out, compare)}

    return run


def heads(scheme, rng):
    """(m, n, 2) px of turned heads, and their rotations."""
    rotation = rotation_from_euler(PITCH_YAW_ROLL, AFLW2000)
    head = conversion("wflw98", scheme) @ mean_head() if scheme != "lapa106" else rng.normal(0, 0.2, (106, 3))
    return 60 + 150 * (head @ rotation.swapaxes(1, 2))[..., :2], rotation


def angles(index):
    return dict(zip(("pitch", "yaw", "roll"), PITCH_YAW_ROLL[index].tolist(), strict=True))


def biwi_samples():
    rotation = rotation_from_euler(PITCH_YAW_ROLL, AFLW2000)
    return [
        sample(i, np.zeros((0, 2)), "none", rotation=rotation[i], identity=f"{i // 2:02d}", attributes=angles(i))
        for i in range(COUNT)
    ]


def test_a_set_with_poses_alone_gets_the_pose_table(score, rng, tmp_path):
    points, _ = heads("wflw98", rng)
    off = rng.normal(0, 6, (COUNT, 3))
    found = np.arange(COUNT) != 4
    near, far = (
        answers(
            points, "wflw98", found=found, system=name, rotation=rotation_from_euler(PITCH_YAW_ROLL + k * off, AFLW2000)
        )
        for name, k in (("near", 1), ("far", 3))
    )
    tables = score("biwi", biwi_samples(), near, far, out=tmp_path / "out", compare=("near", "far"))
    assert list(tables) == ["Pose, mean absolute error in degrees", "near - far, paired"]
    table = tables["Pose, mean absolute error in degrees"]
    cells = {row.system: row.cells for row in table.rows}
    assert cells["near"]["yaw"].value == pytest.approx(np.abs(off[found, 1]).mean(), abs=1e-9)
    assert cells["far"]["mean"].value == pytest.approx(3 * np.abs(off[found]).mean(), abs=1e-9)
    true, predicted = (
        Rotation.from_euler("XYZ", angles_deg * [-1, 1, 1], degrees=True)
        for angles_deg in (PITCH_YAW_ROLL[found], (PITCH_YAW_ROLL + off)[found])
    )
    geodesic = np.degrees((predicted * true.inv()).magnitude()).mean()
    assert cells["near"]["geodesic"].value == pytest.approx(geodesic, abs=1e-9)
    assert "near: 6 faces, 1 not found." in table.notes and "M3-LRN" in cells
    difference = tables["near - far, paired"].rows[0].cells
    assert list(difference) == ["pose MAE, degrees"]
    assert difference["pose MAE, degrees"].value == pytest.approx(-2 * np.abs(off[found]).mean(), abs=1e-9)
    report = (tmp_path / "out" / "report.html").read_text()
    assert "Pose, mean absolute error" in report and "Cumulative error of pose" in report


def test_poses_alone_need_rotations_and_have_no_normaliser(score, rng):
    found = answers(heads("wflw98", rng)[0], "wflw98")
    with pytest.raises(ValueError, match="system: expected rotations, for biwi has no points, found none"):
        score("biwi", biwi_samples(), found)
    with pytest.raises(ValueError, match="biwi: expected no normaliser or threshold"):
        score("biwi", biwi_samples(), found, normaliser="box")


def aflw2000_samples(points, rotation, **fields):
    return [sample(i, points[i], "ibug68", rotation=rotation[i], attributes=angles(i), **fields) for i in range(COUNT)]


def test_a_system_that_finds_no_face_is_scored_so(score, rng, tmp_path):
    points, rotation = heads("ibug68", rng)
    covariance = np.broadcast_to(np.eye(2), (COUNT, 68, 2, 2))
    shape = {"rotation": rotation, "points_3d": rng.normal(size=(COUNT, 68, 3)), "covariance": covariance}
    blind = answers(points, "ibug68", found=np.zeros(COUNT, bool), system="blind", **shape)
    seeing = answers(points + 1, "ibug68", system="seeing", **shape)
    samples = aflw2000_samples(points, rotation)
    tables = score("aflw2000", samples, blind, out=tmp_path / "out")
    cells = tables["NME, % (aflw2000)"].rows[0].cells
    assert np.isnan(cells["all"].value) and cells["all"].count == 0 and cells["not found"] == COUNT
    assert cells["not found = failed"].value == 100 and cells["FR 7 %"].value == 100 and cells["AUC 7 %"].value == 0
    rows = {row.system: row.cells for row in tables["Uncertainty"].rows}
    assert all(np.isnan(c.value) and c.count == 0 for c in rows["blind, gaussian"].values())
    failed = rows["blind, gaussian, not found = failed"]
    assert failed["inside 90 %"].value == 0 and failed["inside 90 %"].count == COUNT * 68
    pose = {row.system: row.cells for row in tables["Pose, mean absolute error in degrees"].rows}
    assert pose["blind, not found = failed"]["mean"].value == 90 and np.isnan(pose["blind"]["mean"].value)
    assert "DC-NME by region, %" not in tables  # nothing to fit the offsets on
    assert "blind, head axes aligned" not in {row.system for row in tables["Pose, mean absolute error in degrees"].rows}
    written = json.loads((tmp_path / "out" / "tables.json").read_text())
    assert written[0]["rows"][0]["cells"]["all"]["value"] is None
    both = score("aflw2000", samples, blind, seeing, out=tmp_path / "both")
    assert [row.system for row in both["DC-NME by region, %"].rows] == ["seeing"]
    assert "Worst 6 faces of seeing" in (tmp_path / "both" / "report.html").read_text()


def test_one_person_cannot_be_halved(score, rng):
    points, rotation = heads("ibug68", rng)
    shape = {"rotation": rotation, "points_3d": rng.normal(size=(COUNT, 68, 3))}
    tables = score("aflw2000", aflw2000_samples(points, rotation, identity="one"), answers(points, "ibug68", **shape))
    assert "DC-NME by region, %" not in tables
    systems = {row.system for row in tables["Pose, mean absolute error in degrees"].rows}
    assert systems & {"system", "system, head axes aligned", "system, head axes by shape"} == {"system"}


def test_all_faces_are_a_row_of_their_own_only_where_the_papers_leave_some_out(score, rng):
    points, rotation = heads("ibug68", rng)
    system = answers(points, "ibug68", rotation=rotation)
    kept = score("aflw2000", aflw2000_samples(points, rotation), system)[TITLE_OF_POSE]
    assert "system, all 6 faces" not in {row.system for row in kept.rows}
    samples = aflw2000_samples(points, rotation)
    samples[3] = replace(samples[3], attributes={**samples[3].attributes, "yaw": 120.0})
    rows = {row.system: row.cells for row in score("aflw2000", samples, system)[TITLE_OF_POSE].rows}
    assert rows["system"]["yaw"].count == 5 and rows["system, all 6 faces"]["yaw"].count == 6


def test_head_axes_by_shape_are_fitted_on_the_other_half(score, rng):
    """The heads of the first half of people are tilted by other than those of the second: neither half comes right."""
    points, rotation = heads("ibug68", rng)
    head = conversion("wflw98", "ibug68") @ mean_head()
    tilt = Rotation.from_euler("x", np.where(np.arange(COUNT) % 2, 10, -6)[:, None], degrees=True).as_matrix()
    system = answers(points, "ibug68", points_3d=head @ tilt.swapaxes(1, 2), rotation=rotation @ tilt.swapaxes(1, 2))
    samples = [
        replace(sample, points_3d=head @ rotation[i].T) for i, sample in enumerate(aflw2000_samples(points, rotation))
    ]
    cells = {row.system: row.cells for row in score("aflw2000", samples, system)[TITLE_OF_POSE].rows}
    assert cells["system"]["geodesic"].value == pytest.approx(8, abs=1e-6)
    assert cells["system, head axes by shape"]["geodesic"].value == pytest.approx(16, abs=1e-6)


def test_dc_nme_needs_no_bins_of_yaw(score, rng):
    points, rotation = heads("ibug68", rng)
    head = conversion("wflw98", "ibug68") @ mean_head()
    step = np.array([0.0, 0.1, 0])
    off = points + (150 * rotation @ step)[:, None, :2]
    samples = [sample(i, points[i], "ibug68") for i in range(COUNT)]
    system = answers(off, "ibug68", rotation=rotation, points_3d=np.tile(head, (COUNT, 1, 1)))
    tables = score("300w_full", samples, system)
    assert "yaw 0-30" not in tables["NME, % (300w_full)"].columns
    assert tables["NME, % (300w_full)"].rows[0].cells["all"].value > 5
    assert tables["DC-NME by region, %"].rows[0].cells["full"].value < 1e-6


def test_published_rows_stand_beside_their_own_normaliser_alone(score, rng):
    points, rotation = heads("ibug68", rng)
    samples, found = aflw2000_samples(points, rotation), answers(points + 1, "ibug68")
    sources = {}
    for normaliser in ("box", "diagonal"):
        table = score("aflw2000", samples, found, normaliser=normaliser)["NME, % (aflw2000)"]
        sources[normaliser] = {row.source for row in table.rows}
    assert sources["diagonal"] == {"measured"} < sources["box"]


def test_aflw_with_missing_points_and_faces_of_unknown_yaw(score, rng, tmp_path):
    full, _ = heads("aflw21", rng)
    labelled = rng.random((COUNT, 21)) < 0.6
    labelled[:, 14] = True
    points = np.where(labelled[..., None], full, np.nan)
    samples = [
        sample(i, points[i], "aflw21", attributes={} if i == 2 else {"yaw": PITCH_YAW_ROLL[i, 1]}) for i in range(COUNT)
    ]
    predicted = heads("wflw98", rng)[0] + rng.normal(0, 2, (COUNT, 98, 2))
    tables = score("aflw", samples, answers(predicted, "wflw98"), out=tmp_path / "out")
    distance = np.linalg.norm(conversion("wflw98", "aflw21") @ predicted - full, axis=-1)
    nme = 100 * np.array([d[seen].mean() for d, seen in zip(distance, labelled, strict=True)]) / np.sqrt(90 * 100)
    table = tables["NME, % (aflw)"]
    assert table.rows[0].cells["all"].value == pytest.approx(nme.mean(), abs=1e-9)
    assert table.rows[0].cells["yaw 0-30"].value == pytest.approx(nme[3], abs=1e-9)  # not number 2
    assert "1 faces of unknown yaw are in no bin." in table.notes
    report = (tmp_path / "out" / "report.html").read_text()
    assert "5 faces of system from one profile to the other" in report


def test_300w_by_subset(score, rng):
    points, _ = heads("ibug68", rng)
    samples = [
        sample(i, points[i], "ibug68", attributes={"subset": "challenge" if i < 2 else "common", "source": "x"})
        for i in range(COUNT)
    ]
    predicted = points + rng.normal(0, 2, points.shape)
    tables = score("300w_full", samples, answers(predicted, "ibug68"))
    eyes = np.linalg.norm(points[:, 36] - points[:, 45], axis=-1)
    nme = 100 * np.linalg.norm(predicted - points, axis=-1).mean(1) / eyes
    cells = tables["NME by subset, %"].rows[0].cells
    assert list(cells) == ["challenge", "common"] and cells["common"].value == pytest.approx(nme[2:].mean(), abs=1e-9)
    columns = tables["NME, % (300w_full)"].columns
    assert "FR 10 %" in columns and "yaw 0-30" not in columns
    assert "Pose, mean absolute error in degrees" not in tables


def test_numbers_as_categories_and_faces_without_one(score, rng):
    points, _ = heads("ibug68", rng)
    categories = [10.0, 2.0, 2.0, 1.0, None, 1.0]
    samples = [
        sample(i, points[i], "ibug68", attributes={} if value is None else {"category": value})
        for i, value in enumerate(categories)
    ]
    cells = score("300vw", samples, answers(points + 1, "ibug68"))["NME by category, %"].rows[0].cells
    assert [(name, cell.count) for name, cell in cells.items()] == [("1", 2), ("2", 2), ("10", 1)]


def test_the_subsets_of_wflw_are_one_table(score, rng):
    points, _ = heads("wflw98", rng)
    groups = find_benchmark("wflw_test").groups
    flags = rng.random((COUNT, len(groups))) < 0.5
    flags[0], flags[1, 2] = True, False
    words = np.where(flags, "yes", "no").tolist()
    samples = [
        sample(i, points[i], "wflw98", attributes=dict(zip(groups, words[i], strict=True))) for i in range(COUNT)
    ]
    predicted = points + rng.normal(0, 2, points.shape)
    tables = score("wflw_test", samples, answers(predicted, "wflw98"))
    eyes = np.linalg.norm(points[:, 60] - points[:, 72], axis=-1)
    nme = 100 * np.linalg.norm(predicted - points, axis=-1).mean(1) / eyes
    cells = tables["NME by attribute, %"].rows[0].cells
    assert tuple(cells) == groups and "NME by pose, %" not in tables
    for column, has in zip(cells.values(), flags.T, strict=True):
        assert column.value == pytest.approx(nme[has].mean(), abs=1e-9) and column.count == has.sum()


def test_labels_of_106_points_are_taken_to_the_98_that_a_system_gives(score, rng):
    points, _ = heads("lapa106", rng)
    samples = [sample(i, points[i], "lapa106") for i in range(COUNT)]
    index = conversion("lapa106", "wflw98").argmax(1)
    full = points + rng.normal(0, 2, points.shape)
    part = points[:, index] + rng.normal(0, 2, (COUNT, 98, 2))
    eyes = np.linalg.norm(points[:, index[60]] - points[:, index[72]], axis=-1, keepdims=True)

    alone = score("lapa_test", samples, answers(full, "lapa106"))["NME, % (lapa_test)"]
    expected = 100 * (np.linalg.norm(full - points, axis=-1) / eyes).mean()
    assert alone.rows[0].cells["all"].value == pytest.approx(expected, abs=1e-9)
    assert "Points: all labelled of lapa106; means over the faces found." in alone.notes

    two = (answers(full, "lapa106", system="full"), answers(part, "wflw98", system="part"))
    both = score("lapa_test", samples, *two)["NME, % (lapa_test)"]
    for row, predicted in zip(both.rows, (full[:, index], part), strict=True):
        expected = 100 * (np.linalg.norm(predicted - points[:, index], axis=-1) / eyes).mean()
        assert row.cells["all"].value == pytest.approx(expected, abs=1e-9)
    assert "The labels are lapa106; those of them that are wflw98 are scored." in both.notes


@pytest.mark.parametrize(("benchmark", "scheme"), [("wflw_test", "wflw98"), ("300w_full", "ibug68")])
def test_a_scheme_that_says_too_little_is_refused(score, rng, benchmark, scheme):
    points, _ = heads(scheme, rng)
    samples = [sample(i, points[i], scheme) for i in range(COUNT)]
    mine = answers(heads("aflw21", rng)[0], "aflw21", system="mine")
    with pytest.raises(ValueError, match=r"^mine: expected landmarks that determine .*ibug68, found aflw21$"):
        score(benchmark, samples, mine)


def test_a_face_without_a_normaliser_is_named(score, rng):
    points, _ = heads("ibug68", rng)
    samples = [sample(i, points[i] * ([1, 0] if i == 4 else [1, 1]), "ibug68") for i in range(COUNT)]
    with pytest.raises(ValueError, match="300w_full, f4: normaliser: expected a box with area"):
        score("300w_full", samples, answers(points, "ibug68"), normaliser="box")


def test_covariances_that_are_none_are_named(score, rng):
    points, _ = heads("ibug68", rng)
    covariance = np.tile(np.eye(2), (COUNT, 68, 1, 1))
    covariance[3, 7] = [[1, 2], [2, 1]]
    samples = [sample(i, points[i], "ibug68") for i in range(COUNT)]
    with pytest.raises(ValueError, match=r"system: expected positive definite covariances, .* 1 faces such as 'f3'"):
        score("300w_full", samples, answers(points, "ibug68", covariance=covariance))


def test_a_picture_that_does_not_load_spoils_no_report(score, rng, tmp_path):
    points, _ = heads("ibug68", rng)

    def broken():
        raise ValueError("f2.jpg: expected a picture")

    samples = [sample(i, points[i], "ibug68") for i in range(COUNT)]
    samples[2] = replace(samples[2], read=broken)
    score("300w_full", samples, answers(points + 1, "ibug68"), out=tmp_path / "out")
    report = (tmp_path / "out" / "report.html").read_text()
    assert report.count("data:image/jpeg") == COUNT and report.count("%, picture unreadable</figcaption>") == 1


@pytest.fixture
def meshes(rng):
    """Two heads of 80 vertices in the place of Multiface's."""
    shape = rng.uniform(-1, 1, (80, 3))
    faces = []
    for i in range(2):
        vertices = shape + rng.normal(0, 0.01, shape.shape)
        view = {"camera": f"c{i}", "sequence": "s", "frame": "1"}
        face = sample(i, 60 + 40 * vertices[:, :2], "multiface7306", points_3d=vertices, attributes=view)
        faces.append(MeshSample(face, partial(Mesh, vertices), Camera(np.eye(3), np.eye(3), np.array([i, 0.0, 5]))))
    return FacesOfMeshes(Listed(faces))


def test_a_finer_mesh_has_the_points_between_vertices(score, rng):
    """Landmarks are the projections of the middles of 68 edges, in perspective, and of nothing in the mesh as it is."""
    shape, triangles = rng.uniform(-1, 1, (80, 3)), np.stack([np.arange(78), np.arange(1, 79), np.arange(2, 80)], 1)
    samples, points = [], []
    for i in range(2):
        vertices = shape + rng.normal(0, 0.01, shape.shape)
        camera = Camera(np.diag([300.0, 300, 1]), np.eye(3), np.array([0.2, 0.2, 3 + i]))
        view = {"camera": f"c{i}", "sequence": "s", "frame": "1"}
        face = sample(i, camera.project(vertices), "multiface7306", points_3d=vertices, attributes=view)
        samples.append(MeshSample(face, partial(Mesh, vertices, triangles), camera))
        points.append(camera.project((vertices[:68] + vertices[1:69]) / 2))
    noise = rng.normal(0, 0.05, (2, 68, 2))
    faces, found = FacesOfMeshes(Listed(samples)), answers(np.array(points) + noise, "ibug68")
    plain, fine = (score("multiface", faces, found, upsample=times)["NMLC, % (multiface)"] for times in (0, 1))
    size = np.array([np.sqrt(np.ptp(s.face.points, axis=0).prod()) for s in samples])
    expected = 100 * (np.linalg.norm(noise, axis=-1).mean(1) / size).mean()
    assert fine.rows[0].cells["full"].value == pytest.approx(expected, rel=1e-9)
    assert plain.rows[0].cells["full"].value > 10 * expected
    assert "Meshes upsampled 1 times before (--upsample)." in fine.notes


def test_3d_points_are_measured_in_mm_too(score, meshes, rng):
    truth = np.stack([face.mesh.vertices for face in meshes.meshes.samples])[:, :68]
    points = np.stack([face.face.points[:68] for face in meshes.meshes.samples])
    shapes = 3 * truth + 1 + rng.normal(0, 0.02, truth.shape)
    found = answers(points + rng.normal(0, 0.02, points.shape), "ibug68", points_3d=shapes)
    cells = score("multiface", meshes, found)["NMLC in 3D, %"].rows[0].cells
    expected = landmark_error(shapes, truth, alignment="similarity").mean()
    assert cells["full, mm"].value == pytest.approx(expected, rel=1e-9) and expected > 0.005


def test_two_meshes_of_one_name_are_refused(score, meshes, rng):
    first, second = meshes.meshes.samples
    twice = FacesOfMeshes(Listed([first, replace(second, face=replace(second.face, name="f0"))]))
    with pytest.raises(ValueError, match="multiface: expected every name once, found 'f0' 2 times"):
        score("multiface", twice, answers(rng.normal(60, 20, (2, 68, 2)), "ibug68"))


def test_no_face_found_chooses_no_vertex(score, meshes, tmp_path):
    blind = answers(np.zeros((2, 68, 2)), "ibug68", found=np.zeros(2, bool), points_3d=np.zeros((2, 68, 3)))
    tables = score("multiface", meshes, blind, out=tmp_path / "out")
    assert set(tables["Chosen vertex of each landmark (multiface, 80 vertices)"].rows[0].cells.values()) == {-1}
    cells = tables["NMLC, % (multiface)"].rows[0].cells
    assert np.isnan(cells["full"].value) and cells["not found"] == 2 and "NMLC in 3D, %" not in tables


def test_options_that_a_benchmark_does_not_have_are_refused(score, meshes, rng, tmp_path):
    found = answers(rng.normal(60, 20, (2, 68, 2)), "ibug68")
    with pytest.raises(ValueError, match="multiface: expected no normaliser or threshold"):
        score("multiface", meshes, found, threshold=0.1)
    with pytest.raises(ValueError, match="300w_full: expected no vertices, for it has no meshes, found "):
        score("300w_full", [], found, vertices=tmp_path / "tables.json")
    with pytest.raises(ValueError, match="upsample: expected 0, or with meshes that NMLC is scored on more, found 1"):
        score("300w_full", [], found, upsample=1)
    with pytest.raises(ValueError, match="celebv_hq: expected a benchmark with labels to score"):
        score("celebv_hq", [], found)
