"""AFLW2000-3D in its released layout, its packed sample, and the real files."""

import io
import tarfile

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from scipy.spatial.transform import Rotation

from facelift.crops import box_of_crop
from facelift.datasets.readers.aflw2000 import REANNOTATED, AFLW2000Faces, tddfa_crop
from facelift.datasets.readers.aflw2000_sample import AFLW2000Sample
from facelift.evaluation.metrics.pose import within_99
from facelift.geometry import AFLW2000, euler_deg

POSES_DEG = {"image00002": (-10.0, 25.0, 5.0), "image00004": (3.0, -80.0, 12.0), "image00006": (20.0, 60.0, -100.0)}
PLACES = {"image00002": (225, 215), "image00004": (215, 235), "image00006": (230, 230)}


def write_face(folder, name, pose_deg, place, face68, spots, **changes):
    """The nose tip of pt3d_68 lies on the spot's pixel, counted from 0; its z points to the viewer."""
    x, y = place
    spots[0](folder / f"{name}.jpg", x, y, width=450, height=450)
    points, _ = face68(0, 0, size=150)
    points += np.array([x, y]) - points[30]
    depth = np.linspace(-60, 60, 68)
    pose = np.array([[*np.radians(pose_deg), 300, 200, -20, 1e-3]], np.float32)
    held = {
        "pt3d_68": np.vstack([points.T, depth]).astype(np.float32),
        "Pose_Para": pose,
        "roi": np.array([[527, 93, 761, 327]], np.int16),
        "pt2d": np.full((2, 21), -1.0),
        **changes,
    }
    savemat(folder / f"{name}.mat", {key: value for key, value in held.items() if value is not None})
    return points


@pytest.fixture
def root(tmp_path, face68, spots):
    folder = tmp_path / "AFLW2000"
    folder.mkdir()
    points = [write_face(folder, name, POSES_DEG[name], PLACES[name], face68, spots) for name in POSES_DEG]
    np.save(tmp_path / REANNOTATED, np.stack([(p + np.array([3, -2])).T for p in points]))
    return tmp_path


def test_points_lie_on_what_the_picture_shows(root, spots):
    data = AFLW2000Faces(root, "original")
    for index in range(3):
        face = data[index]
        np.testing.assert_allclose(face.points[30], spots[1](face.image), atol=0.1)
        np.testing.assert_allclose(face.points_3d[:, :2], face.points)
        np.testing.assert_allclose(face.points_3d[:, 2], np.linspace(60, -60, 68), atol=1e-4)
        assert face.scheme == "ibug68" and (face.state == -1).all() and face.points.dtype == np.float64


def test_the_reannotation_moves_the_points_alone(root):
    original, reannotated = AFLW2000Faces(root, "original")[1], AFLW2000Faces(root)[1]
    np.testing.assert_allclose(reannotated.points - original.points, np.broadcast_to([3, -2], (68, 2)), atol=1e-4)
    np.testing.assert_array_equal(reannotated.points_3d, original.points_3d)
    np.testing.assert_array_equal(reannotated.box, original.box)
    assert (AFLW2000Faces(root).name, AFLW2000Faces(root, "original").name) == ("aflw2000", "aflw2000_original")


def test_pose_is_the_rotation_of_its_three_angles(root):
    data = AFLW2000Faces(root)
    for index, pose in enumerate(POSES_DEG.values()):
        pitch, yaw, roll = pose
        head = Rotation.from_euler("XYZ", [-pitch, yaw, roll], degrees=True).as_matrix()
        np.testing.assert_allclose(data[index].rotation @ np.diag([1, -1, -1]), head, atol=1e-6)
        assert data[index].attributes["yaw"] == pytest.approx(yaw, abs=1e-5)
        assert data[index].attributes["pitch"] == pytest.approx(pitch, abs=1e-5)
        assert data[index].attributes["roll"] == pytest.approx(roll, abs=1e-5)


def test_the_folder_itself_and_the_file_inside_it_are_found_too(root):
    (root / REANNOTATED).rename(root / "AFLW2000" / REANNOTATED)
    assert len(AFLW2000Faces(root)) == len(AFLW2000Faces(root / "AFLW2000")) == 3


def test_box_is_that_of_the_crop_of_3ddfa():
    points = np.array([[10.0, 20.0], [110.0, 60.0]])
    side = 100 * np.sqrt(2)
    np.testing.assert_allclose(tddfa_crop(points), [60 - side / 2, 40 - side / 2, 60 + side / 2, 40 + side / 2])


def test_rows_in_another_order_are_noticed(root, tmp_path, face68, spots):
    write_face(tmp_path / "AFLW2000", "image00008", (0, 0, 0), (120, 330), face68, spots)
    rows = np.load(root / REANNOTATED)
    last = loadmat(tmp_path / "AFLW2000" / "image00008.mat")["pt3d_68"][:2]
    np.save(root / REANNOTATED, np.stack([last, *rows]))
    with pytest.raises(ValueError, match=r"image00002\.mat: AFLW2000-3D-Rean.*found them 1\d\d px away.*sorted names"):
        AFLW2000Faces(root)[0]
    np.save(root / REANNOTATED, np.stack([*rows, last]))
    np.testing.assert_allclose(AFLW2000Faces(root)[3].points.mean(0), last.mean(1) + 0.5, atol=1e-4)


def test_missing_parts_are_named(root):
    with pytest.raises(ValueError, match=r"annotation of AFLW2000-3D: expected one of .*found 'new'"):
        AFLW2000Faces(root, "new")
    np.save(root / REANNOTATED, np.zeros((2, 2, 68)))
    with pytest.raises(ValueError, match=r"pts68\.npy: expected \(3, 2 or more, 68\) for the 3 photos.*\(2, 2, 68\)"):
        AFLW2000Faces(root)
    (root / REANNOTATED).unlink()
    with pytest.raises(FileNotFoundError, match=r"pts68\.npy: expected the re-annotation, found nothing"):
        AFLW2000Faces(root)
    assert len(AFLW2000Faces(root, "original")) == 3
    (root / "AFLW2000" / "image00004.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"image00004\.mat: expected the \.mat of every photo, found 2 of 3"):
        AFLW2000Faces(root, "original")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pt3d_68": None}, r"expected a variable 'pt3d_68', found Pose_Para, pt2d, roi"),
        ({"pt3d_68": np.zeros((68, 3))}, r"expected pt3d_68 as \(3, 68\) finite numbers, found \(68, 3\)"),
        ({"Pose_Para": np.full((1, 7), np.nan)}, r"expected Pose_Para as \(1, 7\) finite numbers"),
        ({"Pose_Para": np.array([["a"] * 7])}, r"expected Pose_Para as \(1, 7\) finite numbers"),
    ],
)
def test_files_that_are_not_the_format_are_refused(root, face68, spots, changes, message):
    write_face(root / "AFLW2000", "image00002", (0, 0, 0), (225, 225), face68, spots, **changes)
    with pytest.raises(ValueError, match=r"image00002\.mat: " + message):
        AFLW2000Faces(root)[0]


def test_a_file_that_is_no_matlab_file_is_named(root):
    (root / "AFLW2000/image00002.mat").write_bytes(b"no Matlab file at all" * 20)
    with pytest.raises(ValueError, match=r"image00002\.mat: expected a Matlab file, found 420 bytes"):
        AFLW2000Faces(root)[0]


def test_real_photos(data_dir, tmp_path):
    """The 100 released .jpg and .mat of the sample, read as released, are what its packed labels say."""
    labels = dict(np.load(data_dir / "aflw2000_sample.npz"))
    folder = tmp_path / "AFLW2000"
    folder.mkdir()
    with tarfile.open(data_dir / "aflw2000_sample.tar") as tar:
        for member in tar:
            (folder / member.name).write_bytes(tar.extractfile(member).read())
    order = np.argsort(labels["name"])
    np.save(tmp_path / REANNOTATED, labels["pts68_reannotated"][order].transpose(0, 2, 1))
    for annotation in ("original", "reannotated"):
        released, packed = AFLW2000Faces(tmp_path, annotation), AFLW2000Sample(data_dir, annotation)
        assert len(released) == len(packed) == 100
        packed_faces = {packed[i].name: packed[i] for i in range(100)}
        for index in range(100):
            face = released[index]
            twin = packed_faces[face.name]
            for name in ("points", "points_3d", "box"):
                np.testing.assert_allclose(getattr(face, name), getattr(twin, name), atol=1e-4)
            np.testing.assert_allclose(face.rotation, twin.rotation, atol=1e-6)
            assert face.attributes.keys() == twin.attributes.keys()
        np.testing.assert_array_equal(face.image, twin.image)
    assert face.image.shape == (450, 450, 3)


def test_real_labels_of_the_sample(data_dir):
    labels, data = dict(np.load(data_dir / "aflw2000_sample.npz")), AFLW2000Sample(data_dir)
    for index in range(100):
        face = data[index]
        np.testing.assert_allclose(face.points, labels["pts68_reannotated"][index] + 0.5, atol=1e-4)
        crop = tddfa_crop(face.points_3d[:, :2])
        np.testing.assert_allclose(face.box, box_of_crop(crop))
        if crop.min() > 1 and crop.max() < 449:  # 3DDFA rounds corner and size, and cuts at the edge
            np.testing.assert_allclose(crop - 0.5, labels["crop120_roi_box"][index], atol=1)
        np.testing.assert_allclose(euler_deg(face.rotation, AFLW2000), labels["pose"][index], atol=1e-3)
        nose, jaw = face.points_3d[30, 2], face.points_3d[[0, 16], 2].mean()
        if abs(labels["pose"][index][1]) < 60:
            assert nose < jaw  # the camera looks along +z, so the nose is nearer
        angles = np.array([[face.attributes[angle] for angle in ("pitch", "yaw", "roll")]])
        assert within_99(angles).item() != labels["in_31_excluded"][index]
    with pytest.raises(FileNotFoundError, match=r"aflw2000_sample\.npz: expected the labels of the packed set"):
        AFLW2000Sample(data_dir / "none")


def test_the_files_of_the_real_sample_are_not_of_a_later_matlab(data_dir):
    with tarfile.open(data_dir / "aflw2000_sample.tar") as tar:
        names = [name for name in tar.getnames() if name.endswith(".mat")]
        held = loadmat(io.BytesIO(tar.extractfile(names[0]).read()))
    assert len(names) == 100 and held["pt3d_68"].shape == (3, 68) and held["Pose_Para"].shape == (1, 7)
