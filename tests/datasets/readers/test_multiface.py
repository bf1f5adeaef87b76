"""Multiface in its released layout, with meshes of the real size and pictures of the real shape."""

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facelift.datasets.readers.meshes import Mesh
from facelift.datasets.readers.multiface import EXCLUDED_CAMERAS, SEQUENCES, Multiface, read_krt
from facelift.datasets.readers.wavefront import write_obj

ENTITY = "m--20180227--0000--6795937--GHS"
CAMERAS = ("400002", "400015", "400055")


def pose(rng, distance):
    return np.column_stack([Rotation.from_rotvec(rng.normal(0, 0.4, 3)).as_matrix(), [20.0, -10.0, distance]])


def rows(matrix):
    return "".join(" ".join(repr(float(value)) for value in row) + "\n" for row in np.atleast_2d(matrix))


def write_entity(root, rng, frames):
    """`frames`: sequence -> frame names, written to the list in the order given."""
    entity = root / ENTITY
    entity.mkdir(parents=True)
    (entity / "frame_list.txt").write_text("".join(f"{s} {f}\n" for s, names in frames.items() for f in names))
    truth = {name: (np.array([[7695.2, 0, 819.0], [0, 7693.0, 962.5], [0, 0, 1]]), pose(rng, 1000)) for name in CAMERAS}
    blocks = [f"{name}\n{rows(K)}0.0 0.0 0.0 0.0 0.0\n{rows(RT)}\n" for name, (K, RT) in truth.items()]
    (entity / "KRT").write_text("".join(blocks))
    picture = cv2.imencode(".png", np.full((2048, 1334, 3), (10, 90, 200), np.uint8))[1].tobytes()
    for sequence, names in frames.items():
        for frame in names:
            mesh = entity / "tracked_mesh" / sequence
            mesh.mkdir(parents=True, exist_ok=True)
            vertices = rng.uniform(-90, 90, (7306, 3)).astype(np.float32)
            vertices.tofile(mesh / f"{frame}.bin")
            write_obj(mesh / f"{frame}.obj", Mesh(vertices[:40].astype(float) + 500, np.array([[0, 1, 2], [2, 3, 39]])))
            (mesh / f"{frame}_transform.txt").write_text(rows(pose(rng, 30)))
            for camera in CAMERAS:
                folder = entity / "images" / sequence / camera
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{frame}.png").write_bytes(picture)
    return truth


def names_of(data):
    return [data[index].face.name.removeprefix(ENTITY + "/") for index in range(len(data))]


def frames_from(first, count):
    return [f"{number:06d}" for number in range(first, first + 3 * count, 3)]


@pytest.fixture
def root(tmp_path, rng):
    wanted = frames_from(102, 18)
    write_entity(tmp_path, rng, {SEQUENCES[0]: [*wanted[5:], *wanted[:5]], "E002_Swallow": ["000431"]})
    return tmp_path


def test_protocol_of_the_paper(root):
    """Sorted before every 15th is taken; the excluded camera and other sequences are left out."""
    data = Multiface(root)
    kept = [(frame, camera) for frame in ("000102", "000147") for camera in ("400002", "400015")]
    assert names_of(data) == [f"{SEQUENCES[0]}/{camera}/{frame}" for frame, camera in kept]
    assert data.missing == [] and "400055" in EXCLUDED_CAMERAS and len(SEQUENCES) == 6 == len(EXCLUDED_CAMERAS)
    assert data[1].face.attributes == {"sequence": SEQUENCES[0], "camera": "400015", "frame": "000102"}
    assert data[1].face.identity == ENTITY
    assert len(Multiface(root, every=1, excluded_cameras=())) == 18 * 3
    assert names_of(Multiface(root / ENTITY)) == names_of(data)


def test_pixels_are_those_of_the_releases_own_code(tmp_path, rng):
    """Its M = K [R_c R_f | R_c t_f + t_c] on the .bin's vertices; the .obj's positions would be elsewhere."""
    truth = write_entity(tmp_path, rng, {SEQUENCES[3]: ["000102"]})
    sample = Multiface(tmp_path)[1]
    mesh = tmp_path / ENTITY / "tracked_mesh" / SEQUENCES[3]
    v = np.fromfile(mesh / "000102.bin", "<f4").reshape(-1, 3).astype(np.float64)
    moved = np.loadtxt(mesh / "000102_transform.txt")
    K, RT = truth["400015"]
    world = v @ moved[:, :3].T + moved[:, 3]
    expected = cv2.projectPoints(world, cv2.Rodrigues(RT[:, :3])[0], RT[:, 3], K, None)[0][:, 0]
    np.testing.assert_allclose(sample.vertices_2d(), expected, atol=1e-6)
    M = K @ np.column_stack([RT[:, :3] @ moved[:, :3], RT[:, :3] @ moved[:, 3] + RT[:, 3]])
    p = np.column_stack([v, np.ones(len(v))]) @ M.T
    np.testing.assert_allclose(sample.face.points, p[:, :2] / p[:, 2:], atol=1e-9)
    np.testing.assert_allclose(sample.face.rotation, RT[:, :3] @ moved[:, :3], atol=1e-12)
    np.testing.assert_allclose(sample.face.box, [*sample.face.points.min(0), *sample.face.points.max(0)])
    assert sample.mesh.faces.tolist() == [[0, 1, 2], [2, 3, 39]] and sample.mesh.unit == "mm"


def test_landmarks_frame_the_box(root):
    chosen = np.array([3, 500, 7000])
    face = Multiface(root, landmarks=chosen, scheme="three")[0].face
    np.testing.assert_array_equal(face.points, Multiface(root)[0].face.points[chosen])
    np.testing.assert_array_equal(face.box, [*face.points.min(0), *face.points.max(0)])
    assert face.scheme == "three" and face.points_3d.shape == (3, 3)


def test_pictures_are_checked_when_read(root):
    data = Multiface(root)
    assert data[0].face.image[100, 100].tolist() == [200, 90, 10]
    path = root / ENTITY / "images" / SEQUENCES[0] / "400002" / "000102.png"
    cv2.imwrite(str(path), np.zeros((1024, 667, 3), np.uint8))
    with pytest.raises(ValueError, match=r"000102\.png: expected \(1334, 2048\) px.*found \(667, 1024\)"):
        _ = data[0].face.image


def test_missing_pictures_are_counted_and_missing_meshes_an_error(root):
    (root / ENTITY / "images" / SEQUENCES[0] / "400002" / "000102.png").unlink()
    data = Multiface(root)
    assert len(data) == 3 and [path.name for path in data.missing] == ["000102.png"]
    (root / ENTITY / "tracked_mesh" / SEQUENCES[0] / "000147_transform.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"000147_transform\.txt: expected the tracked mesh.*1 of 2 files"):
        Multiface(root)


def test_what_is_no_multiface_is_refused(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="found none in frame_list"):
        Multiface(root, sequences=("E099",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="m--DATE--TIME--ID--GHS, found none"):
        Multiface(tmp_path / "empty")
    with pytest.raises(ValueError, match="every: expected at least 1"):
        Multiface(root, every=0)
    path = root / ENTITY / "tracked_mesh" / SEQUENCES[0] / "000102.bin"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"000102\.bin: expected 7306 x 3 float32 \(87672 bytes\), found 87668"):
        Multiface(root)[0]
    vertices = np.zeros((7306, 3), np.float32)
    vertices[[5, 90], 1] = np.nan, np.inf
    vertices.tofile(path)
    with pytest.raises(ValueError, match=r"000102\.bin: expected finite vertices, found 2 that are not"):
        Multiface(root)[0]
    moved = path.with_name("000102_transform.txt")
    vertices[:] = 0
    vertices.tofile(path)
    moved.write_text(rows(2 * np.eye(3, 4)))
    with pytest.raises(ValueError, match=r"000102_transform\.txt: expected a rotation in a head pose"):
        Multiface(root)[0]


def test_sequences_that_an_entity_lacks_are_listed(root):
    data = Multiface(root)
    assert data.missing_sequences == [f"{ENTITY}/{sequence}" for sequence in SEQUENCES[1:]]
    assert Multiface(root, sequences=("E002_Swallow", SEQUENCES[0])).missing_sequences == []


def test_landmarks_may_be_weights_of_vertices(root):
    weights = np.zeros((2, 7306))
    weights[0, [4, 70, 600]] = 0.5, 0.3, 0.2
    weights[1, 12] = 1
    sample, everything = Multiface(root, landmarks=weights, scheme="two")[0], Multiface(root)[0].mesh.vertices
    mean = 0.5 * everything[4] + 0.3 * everything[70] + 0.2 * everything[600]
    np.testing.assert_allclose(sample.face.points_3d, [mean, everything[12]], atol=1e-12)
    np.testing.assert_allclose(sample.face.points, sample.camera.project(np.stack([mean, everything[12]])), atol=1e-9)
    assert sample.mesh.landmarks is None
    with pytest.raises(ValueError, match=r"landmarks: expected weights of 7306 vertices with sums 1, found .* 2\.\.2"):
        Multiface(root, landmarks=2 * weights)[0]


def test_krt_with_another_shape_is_refused(tmp_path):
    good = "400002\n" + rows(np.eye(3)) + "0 0 0 0 0\n" + rows(np.eye(3, 4))
    path = tmp_path / "KRT"
    for text, message in (
        ("", "found an empty file"),
        (good + "\n" + good, "camera '400002': expected, once"),
        (good.replace("0 0 0 0 0\n", ""), "rows of 3 3 3 5 4 4 4 numbers, found"),
        (good.replace("0 0 0 0 0\n", "0 0 0 0 x\n"), "expected numbers and a K, found.*x"),
        (good.replace("0 0 0 0 0\n", "0 0 0 0 nan\n"), "expected numbers and a K, found: NaN"),
        (good.replace(rows(np.eye(3, 4)), rows(3 * np.eye(3, 4))), r"a rotation in \[R\|t\] of camera '400002'"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_krt(path)
    path.write_text(good.replace("0 0 0 0 0\n", "0.1 0 0 0 0\n"))
    assert read_krt(path)["400002"].distortion[0] == 0.1
