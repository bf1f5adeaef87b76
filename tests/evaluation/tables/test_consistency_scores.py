"""Multi-view consistency from files to a table: a rig in Multiface's layout, one camera with lens distortion."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facelift.datasets.benchmarks import FacesOfMeshes, find_benchmark
from facelift.datasets.readers.cameras import Camera
from facelift.datasets.readers.meshes import Mesh, MeshSample, loaded
from facelift.datasets.readers.multiface import SEQUENCES
from facelift.datasets.readers.wavefront import write_obj
from facelift.datasets.sample import FaceSample
from facelift.evaluation.metrics.consistency import multi_view_consistency
from facelift.evaluation.predictions import Predictions, write_predictions
from facelift.evaluation.score_stage import ScoreStage
from facelift.evaluation.tables.consistency import gather_frames

ENTITIES = ("m--1--0000--A--GHS", "m--2--0000--B--GHS")
CAMERAS = ("400002", "400015", "400026", "400031")
BENT = np.array([0.08, -0.1, 0.01, -0.006, 0.02])
"""Distortion of the second camera."""
FRAMES = {SEQUENCES[0]: "000102", SEQUENCES[3]: "000201"}


def rows(matrix) -> str:
    return "".join(" ".join(repr(float(value)) for value in row) + "\n" for row in np.atleast_2d(matrix))


def some_pose(rng, distance):
    turn = Rotation.from_rotvec(rng.normal(0, 0.4, 3)).as_matrix()
    return SimpleNamespace(R=turn, t=np.array([20.0, -10, distance]))


@pytest.fixture
def rig(tmp_path, rng):
    """Two people, two sequences of a frame, four cameras; (data folder, cameras by person, points by frame)."""
    picture = cv2.imencode(".png", np.zeros((2048, 1334, 3), np.uint8))[1].tobytes()
    cameras, points = {}, {}
    for entity in ENTITIES:
        root = tmp_path / "data" / "Multiface" / entity
        root.mkdir(parents=True)
        (root / "frame_list.txt").write_text("".join(f"{s} {f}\n" for s, f in FRAMES.items()))
        cameras[entity] = {}
        for name in CAMERAS:
            camera = some_pose(rng, 1000)
            camera.K = np.array([[4000 + 9 * rng.normal(), 1.5, 640], [0, 4010, 1000], [0, 0, 1]])
            camera.distortion = BENT if name == CAMERAS[1] else np.zeros(5)
            cameras[entity][name] = camera
        blocks = [
            f"{name}\n{rows(c.K)}{rows(c.distortion)}{rows(np.column_stack([c.R, c.t]))}\n"
            for name, c in cameras[entity].items()
        ]
        (root / "KRT").write_text("".join(blocks))
        for sequence, frame in FRAMES.items():
            folder, head = root / "tracked_mesh" / sequence, some_pose(rng, 30)
            folder.mkdir(parents=True)
            vertices = rng.uniform(-70, 70, (7306, 3)).astype(np.float32)
            vertices.tofile(folder / f"{frame}.bin")
            write_obj(folder / f"{frame}.obj", Mesh(vertices[:3].astype(float), np.array([[0, 1, 2]])))
            (folder / f"{frame}_transform.txt").write_text(rows(np.column_stack([head.R, head.t])))
            points[entity, frame] = vertices[100:168].astype(float) @ head.R.T + head.t
            for name in CAMERAS:
                (root / "images" / sequence / name).mkdir(parents=True)
                (root / "images" / sequence / name / f"{frame}.png").write_bytes(picture)
    return tmp_path / "data", cameras, points


def in_picture(camera, rays):
    return np.column_stack([rays, np.ones(len(rays))]) @ camera.K[:2].T


def predictions(rig, rng, sigma, system, lost):
    """Noisy projections by OpenCV; `lost` are (entity index, frame, camera) that were not found."""
    _, cameras, points = rig
    names, found, answers = [], [], []
    for (entity, frame), landmarks in points.items():
        sequence = next(s for s, f in FRAMES.items() if f == frame)
        for name, camera in cameras[entity].items():
            vector = cv2.Rodrigues(camera.R)[0]
            rays = cv2.projectPoints(landmarks, vector, camera.t, np.eye(3), camera.distortion)[0][:, 0]
            names.append(f"{entity}/{sequence}/{name}/{frame}")
            found.append((ENTITIES.index(entity), frame, name) not in lost)
            size = sigma * (1 + ENTITIES.index(entity))
            noisy = in_picture(camera, rays) + size * rng.standard_normal((68, 2))
            answers.append(noisy if found[-1] else np.full((68, 2), np.nan))
    about = {"system": system}
    return Predictions(np.array(names), "ibug68", np.stack(answers), np.array(found), about=about)


def straightened(camera, answer):
    rays = np.linalg.solve(camera.K, np.column_stack([answer, np.ones(68)]).T).T[:, :2]
    steps = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 200, 1e-15)
    eye = np.eye(3)
    return in_picture(camera, cv2.undistortPointsIter(rays[:, None], eye, camera.distortion, eye, eye, steps)[:, 0])


def expected_residuals(rig, made):
    """(68 landmarks of the views found) of each frame, from the cameras of KRT alone: the head's motion drops out."""
    _, cameras, points = rig
    residuals = {}
    for entity, frame in points:
        used = [
            (cameras[entity][name.split("/")[2]], answer)
            for name, answer, found in zip(made.name.tolist(), made.points_2d, made.found, strict=True)
            if found and name.startswith(entity) and name.endswith(frame)
        ]
        if len(used) > 1:
            straight = np.stack([straightened(camera, answer) for camera, answer in used])
            arrays = [np.stack([getattr(camera, key) for camera, _ in used]) for key in ("R", "t", "K")]
            residuals[entity, frame] = multi_view_consistency(straight[None], *arrays).residual_px[0]
    return residuals


def test_table_of_the_residuals(rig, rng, tmp_path):
    lost = {(0, "000102", "400015"), *((1, "000201", name) for name in CAMERAS[:3])}
    made = {"good": predictions(rig, rng, 0.5, "good", set()), "bad": predictions(rig, rng, 2.0, "bad", lost)}
    paths = [write_predictions(tmp_path / f"{name}.npz", found) for name, found in made.items()]
    tables = {t.title: t for t in ScoreStage(paths, find_benchmark("multiface"), rig[0]).run(None)}
    assert "NMLC, % (multiface)" in tables
    table = tables["Multi-view consistency, px"]
    for row in table.rows:
        residuals = expected_residuals(rig, made[row.system])
        full, nose = (
            [np.mean(values[:, part]) for values in residuals.values()] for part in (slice(None), slice(27, 36))
        )
        assert row.cells["full"].value == pytest.approx(np.mean(full), abs=1e-6)
        assert row.cells["nose"].value == pytest.approx(np.mean(nose), abs=1e-6)
        people = sorted([np.mean(full[:2]), np.mean(full[2:])])
        assert [row.cells["full"].low, row.cells["full"].high] == pytest.approx(people, abs=1e-6)  # of two people
    good, bad = (row.cells for row in table.rows)
    assert 0.3 < good["full"].value < 1.5 and bad["full"].value > 1
    assert (good["frames"], good["frames not solved"], good["observations"], good["not found"]) == (4, 0, 16 * 68, 0)
    assert (bad["frames"], bad["frames not solved"], bad["observations"], bad["not found"]) == (3, 1, 11 * 68, 4)
    assert bad["full"].count == 3 and "bad: 16 faces, 4 not found." in table.notes


def test_frames_of_people_sequences_and_times_are_apart(rng):
    faces = [("a", "s", "1"), ("b", "s", "1"), ("a", "s", "1"), ("a", "s", "2"), ("a", "r", "1")]
    camera = Camera(np.eye(3), np.eye(3), np.zeros(3))
    frames = gather_frames(FacesOfMeshes(Samples([sample(*key, camera) for key in faces])))
    assert [(frame.identity, frame.faces) for frame in frames] == [("a", (0, 2)), ("b", (1,)), ("a", (3,)), ("a", (4,))]
    assert frames[0].cameras == (camera, camera)
    with pytest.raises(
        ValueError, match=r"b/s/1: expected a camera, sequence and frame, found \['frame', 'sequence'\]"
    ):
        gather_frames(FacesOfMeshes(Samples([sample("a", "s", "1", camera), sample("b", "s", "1", None)])))


class Samples(list):
    name = "samples"


def sample(identity, sequence, frame, camera):
    attributes = {"sequence": sequence, "frame": frame}
    points, state = np.zeros((1, 2)), np.zeros(1, np.int8)
    name = f"{identity}/{sequence}/{frame}"
    face = FaceSample(name, picture, np.zeros(4), points, state, "one", identity=identity, attributes=attributes)
    return MeshSample(face, loaded(Mesh(np.zeros((1, 3)))), camera)


def picture():
    raise AssertionError("nobody asks for it")
