"""BIWI in its released layout: rotations, the papers' angles, and the way from the depth to the colour camera."""

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facelift.datasets.readers.biwi import Biwi, read_calibration
from facelift.geometry import AFLW2000, euler_deg

K = np.array([[517.679, 0, 320], [0, 517.679, 240.5], [0, 0, 1]])
R_C = Rotation.from_rotvec([0.015, -0.009, 0.004]).as_matrix()
T_C = np.array([-24.0198, 5.8896, -13.2308])
CENTRE = np.array([43.4019, -30.7038, 906.864])


def rows(matrix):
    return "".join(" ".join(repr(float(value)) for value in row) + " \n" for row in np.atleast_2d(matrix))


def hopenet_angles(R):
    """Pitch, yaw, roll as Ruiz et al. 2018 read them from pose.txt: of the transpose, yaw and roll negated."""
    R = R.T
    roll = -np.degrees(np.arctan2(R[1, 0], R[0, 0]))
    yaw = -np.degrees(np.arctan2(-R[2, 0], np.sqrt(R[2, 1] ** 2 + R[2, 2] ** 2)))
    pitch = np.degrees(np.arctan2(R[2, 1], R[2, 2]))
    return [pitch, yaw, roll]


def write_recording(root, name, rotations, centre=CENTRE):
    folder = root / name
    folder.mkdir(parents=True)
    blocks = [rows(K), rows([0, 0, 0, 0]), rows(R_C), rows(T_C), "640 480\n"]
    (folder / "rgb.cal").write_text("\n".join(blocks))
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[:, :320] = (0, 255, 0)
    picture[:, :100] = (0, 0, 255)  # BGR: red
    for index, R in enumerate(rotations):
        cv2.imwrite(str(folder / f"frame_{index + 3:05d}_rgb.png"), picture)
        (folder / f"frame_{index + 3:05d}_pose.txt").write_text(rows(R) + "\n" + rows(centre) + "\n")


@pytest.fixture
def rotations(rng):
    return Rotation.from_rotvec(rng.normal(0, 0.6, (6, 3))).as_matrix()


@pytest.fixture
def data(tmp_path, rotations):
    write_recording(tmp_path, "07", rotations[:4])
    write_recording(tmp_path, "22", rotations[4:])
    return Biwi(tmp_path)


def test_angles_are_those_of_the_papers(data, rotations):
    for index, R in enumerate(rotations):
        face = data[index]
        np.testing.assert_allclose(euler_deg(face.rotation, AFLW2000), hopenet_angles(R), atol=1e-9)
        np.testing.assert_allclose([face.attributes[k] for k in ("pitch", "yaw", "roll")], hopenet_angles(R), atol=1e-9)
        np.testing.assert_allclose(face.rotation @ np.diag([1, -1, -1]), R, atol=1e-12)
        assert np.abs(euler_deg(R.T @ np.diag([1, -1, -1]), AFLW2000) - hopenet_angles(R)).max() > 1


def test_signs_on_the_released_sample():
    """The first pose of recording 12, as the set's description prints it: the nose points to the image's left."""
    R = np.array([[0.980639, 0.109899, 0.162077], [-0.11023, 0.993882, -0.00697376], [-0.161851, -0.011027, 0.986754]])
    pitch, yaw, roll = euler_deg(R @ np.diag([1.0, -1, -1]), AFLW2000)
    np.testing.assert_allclose([pitch, yaw, roll], [-0.405, 9.328, -6.394], atol=2e-3)
    nose = R @ [0, 0, -1]
    assert nose[0] < 0 < yaw


def test_box_is_about_the_centre_in_the_colour_camera(data):
    face = data[0]
    expected = cv2.projectPoints(CENTRE[None], cv2.Rodrigues(R_C)[0], T_C, K, None)[0][0, 0]
    np.testing.assert_allclose((face.box[:2] + face.box[2:]) / 2, expected, atol=1e-9)
    depth = (R_C @ CENTRE + T_C)[2]
    np.testing.assert_allclose(face.box[2:] - face.box[:2], 200 * 517.679 / depth, atol=1e-9)
    np.testing.assert_allclose(data.camera(0).project(CENTRE[None])[0], expected, atol=1e-9)


def test_names_people_and_pictures(data, tmp_path):
    assert (len(data), data[0].name, data[4].name) == (6, "07/frame_00003", "22/frame_00003")
    assert data[0].identity == data[4].identity == "07"  # recorded twice
    assert data[0].image.shape == (480, 640, 3) and data[0].image[5, 5].tolist() == [255, 0, 0]
    assert data[0].points.shape == (0, 2) and data[0].scheme == "none"
    assert [Biwi(tmp_path, every=3)[i].name for i in range(3)] == ["07/frame_00003", "07/frame_00006", "22/frame_00003"]


def test_missing_parts_are_named(data, tmp_path, rotations):
    (tmp_path / "22" / "frame_00004_pose.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"frame_00004_pose\.txt: expected the pose .*, found 5 of 6"):
        Biwi(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match=r"recordings 01 \.\. 24, found none of them"):
        Biwi(tmp_path / "none")
    assert len(data.missing) == 22 and not {"07", "22"} & set(data.missing)
    (tmp_path / "09").mkdir()
    with pytest.raises(FileNotFoundError, match=r"09.rgb\.cal: expected the colour camera .*, found 2 of 3"):
        Biwi(tmp_path)
    (tmp_path / "09" / "rgb.cal").write_text((tmp_path / "07" / "rgb.cal").read_text())
    with pytest.raises(FileNotFoundError, match=r"09: expected pictures frame_NNNNN_rgb\.png, found none"):
        Biwi(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"recordings 01 \.\. 24, found nothing"):
        Biwi(tmp_path / "nowhere")


def test_files_that_are_not_the_format_are_refused(data, tmp_path):
    path = tmp_path / "07" / "frame_00003_pose.txt"
    for text, message in (
        (rows(np.eye(3)), r"rows of \[3, 3, 3, 3\] numbers, found rows of \[3, 3, 3\]"),
        (rows(2 * np.eye(3)) + rows(CENTRE), "a rotation in the first three rows"),
        (rows(np.eye(3)) + "1 2 x\n", "as numbers, found.*x"),
        (rows(np.eye(3)) + "1 2 nan\n", "finite numbers"),
        (rows(np.eye(3)) + rows(-CENTRE), "a head before the camera, found depth"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message) as error:
            data[0]
        assert "frame_00003_pose.txt" in str(error.value)
    calibration = tmp_path / "07" / "rgb.cal"
    good = calibration.read_text()
    for text, message in (
        (rows(K), "a calibration"),
        (good.replace(rows(R_C), rows(2 * R_C)), "rgb.cal: expected a rotation in rows 5 to 7"),
        (good.replace(rows(K), rows(K * 2)), "rgb.cal: expected K .* found .*2.0"),
    ):
        calibration.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_calibration(calibration)
