"""`facelift fit` on the shipped photo, a short video and files of landmarks, with models that need no assets."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from facelift import Predictor
from facelift.cli import main
from facelift.commands.fit import FitCommand, fit
from facelift.crops import crop_transform
from facelift.faces.dense_face import DenseFace
from facelift.faces.dense_face_io import write_dense_faces
from facelift.faces.face_io import write_faces
from facelift.fitting.config import FitConfig
from facelift.fitting.fit import photo_camera
from facelift.fitting.given_points import dense_covariances, joined, of_dense_faces, read_points
from facelift.fitting.models import load_head
from facelift.geometry import geodesic_distance, project
from facelift.onnx_models.dense import OnnxDense

PHOTO = "examples/astronaut.jpg"


@pytest.fixture(scope="session")
def linear_path(tmp_path_factory):
    """A linear model of the procedural head."""
    path = tmp_path_factory.mktemp("model") / "procedural.npz"
    assert (
        main(["morphable", "procedural", "--out", str(path), "--faces", "40", "--shape", "5", "--expression", "3"]) == 0
    )
    return path


@pytest.fixture(scope="session")
def face():
    return Predictor(threads=1).predict(PHOTO)[0]


def test_photo_gives_parameters_meshes_and_overlay(linear_path, tmp_path, face):
    arguments = ["fit", PHOTO, "--model", str(linear_path), "--out", str(tmp_path), "--threads", "1"]
    arguments += ["--mesh", "obj", "ply", "glb", "--texture", "--draw", "--format", "json", "npz"]
    assert main(arguments) == 0
    document = json.loads((tmp_path / "astronaut.fit.json").read_text())
    (found,) = document["faces"]
    assert document["format"] == "facelift-head-fits" and found["failure"] is None and found["converged"]
    model = load_head(str(linear_path))
    mesh = model.vertices(np.array(found["shape"]), np.array(found["expression"]))
    camera = (np.array(found[name]) for name in ("rotation", "translation", "intrinsics"))
    pixels = project(model.landmark_points("ibug68", mesh), *camera)
    np.testing.assert_allclose(pixels, found["points"], atol=0.01)
    given = face.to("ibug68").points_2d
    np.testing.assert_allclose(np.linalg.norm(pixels - given, axis=1), found["residuals"], atol=0.05)
    assert found["rms_px"] < 0.05 * np.ptp(given[:, 0])  # 5 % of the face's width, by a coarse head
    assert np.degrees(geodesic_distance(np.array(found["rotation"]), face.rotation)) < 25
    arrays = np.load(tmp_path / "astronaut.fit.npz")
    np.testing.assert_allclose(arrays["shape"][0], found["shape"], rtol=1e-5)
    for name in ("obj", "png", "mtl", "ply", "glb"):
        assert (tmp_path / f"astronaut.fit.face1.{name}").stat().st_size > 50
    rows = [line.split() for line in (tmp_path / "astronaut.fit.face1.obj").read_text().splitlines()]
    np.testing.assert_allclose([[float(x) for x in row[1:4]] for row in rows if row[0] == "v"], mesh, atol=1e-5)
    drawn, photo = (np.asarray(Image.open(path), int) for path in (tmp_path / "astronaut.fit.jpg", PHOTO))
    changed = np.abs(drawn - photo).max(-1) > 25
    low, high = given.min(0).astype(int), given.max(0).astype(int)
    assert changed[low[1] : high[1], low[0] : high[0]].mean() > 0.5  # the head is where the face is
    assert changed[300:, 400:].mean() < 0.01 and changed[:, :40].mean() < 0.01


def test_texture_shows_the_photo(linear_path, tmp_path):
    assert main(["fit", PHOTO, "--model", str(linear_path), "--out", str(tmp_path), "--mesh", "obj", "--texture"]) == 0
    texture = np.asarray(Image.open(tmp_path / "astronaut.fit.face1.png"), float)
    skin = np.asarray(Image.open(PHOTO).convert("RGB"), float)[120:140, 215:235].mean((0, 1))
    middle = texture[texture.shape[0] // 3 : texture.shape[0] // 2, texture.shape[1] // 3 : 2 * texture.shape[1] // 3]
    assert np.abs(np.median(middle, axis=(0, 1)) - skin).max() < 70


def test_landmark_files_and_cameras(tmp_path, face):
    """Either camera gives about the predictor's pose; regions leave points out."""
    path = tmp_path / "faces.json"
    write_faces(path, [face, face], image="x.jpg", image_wh=(512, 512))
    for camera, limit in (("photo", 25), ("predictor", 15)):
        config = FitCommand((str(path),), out=tmp_path / camera, camera=camera, regions=("eyes", "nose", "contours"))
        assert fit(config) == 0
        first, second = json.loads((tmp_path / camera / "faces.fit.json").read_text())["faces"]
        assert first["residuals"] == second["residuals"] and first["residuals"][80] is None  # of the mouth
        assert set(first["expression"]) == {"jawOpen", "eyeBlink", "mouthSmile"}
        assert all(0 <= weight <= 1 for weight in first["expression"].values())
        turned = np.degrees(geodesic_distance(np.array(first["rotation"]), face.rotation))
        assert turned < limit


def test_points_of_vertices_are_fitted(tmp_path, capsys):
    """A dense regressor's file: the model's vertices, with one face of no confidence."""
    model = load_head("procedural")
    vertices = np.flatnonzero(model.mean[:, 2] > 0.1)[::20]
    mesh = model.vertices(np.array([1.0, -0.5, 0.3, 0, 0]), np.array([0.6, 0.0, 0.2]))
    rotation, translation = np.diag([1.0, -1, -1]), np.array([0, 0, 2.0])
    K = np.array([[800, 0, 320], [0, 800, 240], [0, 0, 1.0]])
    points = project(mesh[vertices], rotation, translation, K)
    record = {"points_2d": points.tolist(), "confidence": [[1.0, 1.0]] * len(points)}
    bad = {**record, "confidence": [0.0] * len(points)}
    document = {"format": "facelift-points", "width": 640, "height": 480, "vertices": vertices.tolist()}
    path = tmp_path / "dense.json"
    path.write_text(json.dumps({**document, "faces": [record, bad, {"points_2d": None}]}))
    assert main(["fit", str(path), "--out", str(tmp_path / "out"), "--fit.noise", "0.001"]) == 0
    good, *failed = json.loads((tmp_path / "out" / "dense.fit.json").read_text())["faces"]
    assert good["rms_px"] < 0.1 and good["expression"]["jawOpen"] == pytest.approx(0.6, abs=0.02)
    assert "confidence" in failed[0]["failure"] and "no point is a number" in failed[1]["failure"]
    for head, told in (("open-head", "openhead"), ("flame5023", "of flame5023"), ("procedural", "of procedural")):
        path.write_text(json.dumps({**document, "head": head, "faces": [record]}))
        assert main(["fit", str(path), "--out", str(tmp_path / "out")]) == 1
        assert f"expected --model {told}, whose vertices it holds, found procedural" in capsys.readouterr().err
    path.write_text(json.dumps({**document, "head": "procedural-head", "faces": [record]}))
    assert main(["fit", str(path), "--out", str(tmp_path / "out")]) == 0


@pytest.fixture
def dense_file(tmp_path):
    """Two DenseFaces as `facelift predict` writes them, the head that they are of, and the file."""
    rng, model = np.random.default_rng(2), load_head("procedural")
    vertices = np.flatnonzero(model.mean[:, 2] > 0.1)[::20]
    points = project(model.mean[vertices], np.diag([1.0, -1, -1]), np.array([0, 0, 2.0]), photo_camera(640, 480))
    sigma = rng.uniform(1, 9, (2, len(vertices), 2))
    faces = [
        DenseFace(points, sigma[k], 1 - sigma[k] / 200, np.zeros((68, 2)), roll, np.zeros(4), 1.0)
        for k, roll in enumerate((0.0, 90.0))
    ]
    network = object.__new__(OnnxDense)  # what a file tells of it
    network.path, network.mesh = tmp_path / "dense.onnx", {"vertices": vertices}
    network.metadata = {"head": "procedural-head"}
    path = tmp_path / "dense.json"
    write_dense_faces(path, faces, image="x.jpg", image_wh=(640, 480), network=network)
    return faces, model, vertices, path


def test_deviations_weigh_dense_points_in_files_as_in_memory(dense_file):
    """1 / sigma along the photo's axes: a crop on its side has them swapped. A point of weight 1 has a deviation of the
    noise times sqrt(w h)."""
    faces, model, vertices, path = dense_file
    config = FitConfig(noise=0.02)
    given = of_dense_faces(faces, vertices, (640, 480), config)
    expected = 0.02 * np.sqrt(np.prod(np.ptp(faces[0].points, axis=0)))
    np.testing.assert_allclose(given.weights[0], expected / np.maximum(faces[0].sigma, 0.1 * expected))
    np.testing.assert_allclose(given.weights[1], expected / np.maximum(faces[1].sigma[:, ::-1], 0.1 * expected))
    read = read_points(path, model, config, "photo")
    for name in ("points", "weights", "intrinsics", "vertices"):
        np.testing.assert_allclose(getattr(read, name), getattr(given, name), rtol=1e-5, err_msg=name)
    both = joined([of_dense_faces([face], vertices, (640, 480), config) for face in faces])
    np.testing.assert_array_equal(both.weights, given.weights)


def test_deviations_turn_with_the_crop():
    """Against the crop's own matrix; by hand at 30 degrees, where cos^2 = 3/4."""
    sigma = np.array([[1.0, 3.0], [2.0, 2.0]])
    crop = crop_transform(np.array([0, 0, 9, 9.0]), size=9, scale=1.0, roll=np.radians(30))
    photo_from_crop = np.linalg.inv(crop.crop_from_image[:, :2])
    wanted = np.stack([photo_from_crop @ np.diag(s**2) @ photo_from_crop.T for s in sigma])
    found = dense_covariances(sigma, 30.0)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    np.testing.assert_allclose(found[0, [0, 1], [0, 1]], [0.75 * 1 + 0.25 * 9, 0.25 * 1 + 0.75 * 9])


def test_what_is_known_of_the_camera_is_used(dense_file, tmp_path, capsys):
    arguments = ["fit", str(dense_file[3]), "--out", str(tmp_path / "out"), "--focal-px", "700"]
    assert main([*arguments, "--principal-px", "300", "250"]) == 0
    (found, _) = json.loads((tmp_path / "out" / "dense.fit.json").read_text())["faces"]
    np.testing.assert_array_equal(found["intrinsics"], [[700, 0, 300], [0, 700, 250], [0, 0, 1]])
    assert main([*arguments, "--camera", "predictor"]) == 1
    assert "expected neither --focal-px" in capsys.readouterr().err


def test_flame_is_fitted_from_its_file(flame_path, flame, tmp_path, rng):
    """Points of FLAME's vertices, an open jaw among them, and an .npz with its parameters."""
    triangles = {"full_lmk_faces_idx": np.arange(68)[None], "full_lmk_bary_coords": np.full((1, 68, 3), 1 / 3)}
    np.save(tmp_path / "landmarks.npy", np.array(triangles, object), allow_pickle=True)
    vertices = np.sort(rng.permutation(np.flatnonzero(flame.mean[:, 2] > 0.02))[:200])
    jaw = np.zeros((4, 3))
    jaw[1, 0] = 0.3
    mesh = flame.vertices(rng.normal(0, 0.5, 20), np.zeros(15), jaw)
    K = np.array([[800, 0, 320], [0, 800, 240], [0, 0, 1.0]])
    points = project(mesh[vertices], np.diag([1.0, -1, -1]), np.array([0, 0, 0.7]), K)
    document = {"width": 640, "height": 480, "vertices": vertices.tolist(), "faces": [{"points_2d": points.tolist()}]}
    (tmp_path / "points.json").write_text(json.dumps(document))
    arguments = ["fit", str(tmp_path / "points.json"), "--model", str(flame_path), "--out", str(tmp_path / "out")]
    arguments += ["--landmarks", str(tmp_path / "landmarks.npy"), "--format", "npz", "--fit.noise", "0.001"]
    assert main([*arguments, "--mesh", "ply"]) == 0
    found = np.load(tmp_path / "out" / "points.fit.npz")
    assert found["rms"][0] < 0.2 and found["joint_names"].tolist() == ["neck", "jaw", "left_eye", "right_eye"]
    assert found["joints"][0, 1, 0] == pytest.approx(0.3, abs=0.1) and found["shape"].shape == (1, 100)
    assert (tmp_path / "out" / "points.fit.face1.ply").stat().st_size > 10_000


WRONG = {
    "not json": ("nothing", "expected JSON"),
    "other json": ("[1]", "expected a file of"),
    "no faces": ('{"faces": [3], "width": 9, "height": 9, "scheme": "ibug68"}', "expected faces with named fields"),
    "huge": ('{"faces": [], "width": 1e400, "height": 9, "scheme": "ibug68"}', "width and height"),
    "huge points": (
        '{"faces": [{"points_2d": [[1, 1' + "0" * 400 + ']]}], "width": 9, "height": 9, "vertices": [1]}',
        "found some that do not fit",
    ),
    "digits": ('{"width": 1' + "0" * 5000 + "}", "expected JSON"),
    "nested vertices": ('{"faces": [], "width": 9, "height": 9, "vertices": [[1, 2]]}', "expected vertices 0"),
    "names of heads": ('{"faces": [], "width": 9, "height": 9, "vertices": [1], "head": []}', "expected --model of a"),
    "sigma": (
        '{"faces": [{"points_2d": [[1, 2]], "sigma": [[-1, 1]]}], "width": 9, "height": 9, "vertices": [1]}',
        "expected deviations of 0 or more",
    ),
    "no size": ('{"faces": [], "scheme": "ibug68"}', "width and height"),
    "scheme": ('{"faces": [], "width": 9, "height": 9, "scheme": "x"}', "expected landmarks of"),
    "vertices": ('{"faces": [], "width": 9, "height": 9, "vertices": [999999]}', "expected vertices 0"),
    "points": (
        '{"faces": [{"points_2d": [[1, 2]]}], "width": 9, "height": 9, "scheme": "ibug68"}',
        "expected 68 points",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_landmark_files_are_told(tmp_path, capsys, name):
    """And the files after them are reached."""
    text, message = WRONG[name]
    (tmp_path / "points.json").write_text(text)
    (tmp_path / "good.json").write_text('{"faces": [], "width": 9, "height": 9, "scheme": "ibug68"}')
    files = [str(tmp_path / name) for name in ("points.json", "good.json")]
    assert main(["fit", *files, "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "points.json" in told.err and message in told.err and "good.json: no face" in told.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nowhere.npz"], "nowhere.npz: expected openhead"),
        (["--model", "flame"], "expected FLAME's file"),
        (["--model", PHOTO], "expected --landmarks"),
        (["--fit.noise", "0"], "noise: expected a positive number"),
    ],
)
def test_wrong_models_are_told(capsys, tmp_path, arguments, message):
    assert main(["fit", PHOTO, "--out", str(tmp_path), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_video_shares_one_shape(tmp_path, capsys):
    picture = cv2.imread(PHOTO)
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (512, 512))
    for frame in range(4):
        writer.write(np.roll(picture, 4 * frame, axis=1))
    writer.release()
    arguments = ["fit", str(path), "--out", str(tmp_path / "out"), "--draw", "--mesh", "ply", "--fit.smooth", "1"]
    assert main([*arguments, "--texture"]) == 1
    assert "clip.mp4: expected a photo with --texture" in capsys.readouterr().err
    assert main([*arguments, "--format", "json", "npz"]) == 0
    frames = json.loads((tmp_path / "out" / "clip.fit0.json").read_text())["faces"]
    assert [frame["frame"] for frame in frames] == [0, 1, 2, 3]
    held = np.load(tmp_path / "out" / "clip.fit0.npz")
    assert held["frame"].tolist() == [0, 1, 2, 3] and held["expression_names"][0] == "jawOpen"
    assert np.ptp(held["shape"], axis=0).max() == 0
    moved = held["points"].mean(1)[:, 0]
    np.testing.assert_allclose(np.diff(moved), 4, atol=1.5)
    assert (tmp_path / "out" / "clip.fit.mp4").stat().st_size > 1000 and (tmp_path / "out" / "clip.fit0.ply").is_file()


def test_photos_of_one_person_share_one_shape(tmp_path, capsys):
    """What is no photo is named and counted, the rest goes on."""
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"nothing")
    small = tmp_path / "small.png"
    Image.open(PHOTO).crop((60, 0, 400, 300)).save(small)
    assert fit(FitCommand((str(broken), PHOTO, str(small)), out=tmp_path / "out", one_person=True)) == 0
    told = capsys.readouterr()
    assert "broken.jpg" in told.err and "2 faces in 2 files, 1 failed" in told.out
    shapes = [
        json.loads((tmp_path / "out" / f"{name}.fit.json").read_text())["faces"][0]["shape"]
        for name in ("astronaut", "small")
    ]
    assert shapes[0] == shapes[1]


def test_the_open_head_names_its_expressions(assets_dir, tmp_path, face):
    path = tmp_path / "faces.json"
    write_faces(path, [face], image="x.jpg", image_wh=(512, 512))
    assert main(["fit", str(path), "--model", "openhead", "--assets", str(assets_dir), "--out", str(tmp_path)]) == 0
    (found,) = json.loads((tmp_path / "faces.fit.json").read_text())["faces"]
    assert 0.2 < found["expression"]["mouthSmile_L"] <= 1 and found["expression"]["eyeBlink_L"] < 0.5  # she smiles
    assert set(found["joints"]) == {"left_eye", "right_eye"}
    assert found["rms_px"] < 3
