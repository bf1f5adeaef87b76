"""300W-LP in its released layout: origin, mirrored pictures, and coordinates from the bottom."""

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from facelift.datasets.readers.w300lp import SOURCES, W300LP, in_order, turning_area
from facelift.geometry import AFLW2000, euler_deg, look_at_rotation
from facelift.landmarks import IBUG68

MIRRORED_X = np.diag([-1.0, 1, 1])


def write_picture(folder, name, points, rotation, *, flipped, reordered=True, from_bottom=False):
    """A picture whose one bright spot is the outer corner of the subject's right eye, whichever way it is mirrored."""
    points, corner = points.copy(), 36
    image = np.zeros((450, 450, 3), np.uint8)
    x, y = np.floor(points[corner]).astype(int)
    points += np.array([x, y]) + 0.5 - points[corner]
    image[y - 4 : y + 5, x - 4 : x + 5] = (0, 120, 255)
    if flipped:
        image = image[:, ::-1]
        points = points * [-1, 1] + [450, 0]
        points = points[IBUG68.mirror] if reordered else points
        rotation = MIRRORED_X @ rotation @ MIRRORED_X
    values = points + 0.5
    if from_bottom:
        values[:, 1] = 451 - values[:, 1]
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{name}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    pose = np.array([[*np.radians(euler_deg(rotation, AFLW2000)), 0, 0, 0, 1e-3]])
    savemat(folder / f"{name}.mat", {"pt2d": values.T, "Pose_Para": pose})


@pytest.fixture
def root(tmp_path, face68):
    """Each way a file may be mirrored; all in the order that the sample must have."""
    points, rotation = face68(220, 230, size=140, yaw_deg=25)
    top = tmp_path / "300W_LP"
    for source in SOURCES:
        for k in (0, 3):
            name, bottom = f"{source}_image_1_{k}", source == "LFPW"
            write_picture(top / source, name, points, rotation, flipped=False, from_bottom=bottom)
            reordered = source in ("AFW", "LFPW")
            write_picture(
                top / f"{source}_Flip", name, points, rotation, flipped=True, reordered=reordered, from_bottom=bottom
            )
    return tmp_path


def test_points_lie_on_what_the_picture_shows(root, spots):
    data = W300LP(root)
    assert len(data) == 16 == len(W300LP(root / "300W_LP"))
    for index in range(len(data)):
        face = data[index]
        corner = 45 if face.attributes["flipped"] == "yes" else 36  # the other eye's place in the mirror image
        np.testing.assert_allclose(face.points[corner], spots[1](face.image), atol=0.1)
        left, right = face.points[[36, 45], 0]
        assert left < right and face.points[8, 1] > face.points[27, 1]


def test_mirror_images_are_mirrored(root):
    data = W300LP(root, sources=("HELEN",))
    there, back = data[0], data[2]
    assert (there.name, back.name) == ("HELEN/HELEN_image_1_0", "HELEN_Flip/HELEN_image_1_0")
    np.testing.assert_allclose(there.points[IBUG68.mirror] * [-1, 1] + [450, 0], back.points, atol=1e-9)
    np.testing.assert_allclose(MIRRORED_X @ there.rotation @ MIRRORED_X, back.rotation, atol=1e-9)
    assert there.attributes["yaw"] == pytest.approx(-back.attributes["yaw"]) and abs(there.attributes["yaw"]) > 20
    assert there.identity == back.identity == data[1].identity == "HELEN/HELEN_image_1"
    assert [face.attributes["flipped"] for face in (there, back)] == ["no", "yes"]
    assert there.attributes["source"] == back.attributes["source"] == "HELEN"


def test_order_is_found_for_every_pose_of_the_set(face68, rng):
    """Whichever way it was mirrored, a face comes out as it was; up to 80 degrees of yaw and 60 of roll."""
    for yaw in np.linspace(-80, 80, 9):
        for roll in np.radians([-60, 0, 60]):
            points, rotation = face68(0, 0, yaw_deg=yaw)
            turn = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
            points, rotation = points @ turn[:2, :2].T + 225, turn @ rotation
            bottom = points * [1, -1] + [0, 450]
            for given in (points, points[IBUG68.mirror], bottom, bottom[IBUG68.mirror]):
                np.testing.assert_allclose(in_order(given, rotation), points, atol=1e-9)


def test_turning_area_against_opencv(rng):
    polygon = rng.uniform(0, 100, (7, 2)).astype(np.float32)
    assert turning_area(polygon.astype(float)) == pytest.approx(cv2.contourArea(polygon, oriented=True), rel=1e-6)
    assert turning_area(np.array([[0.0, 0], [4, 0], [4, 3], [0, 3]])) == 12  # clockwise in the picture


def test_parts(root):
    assert len(W300LP(root, flips=False)) == 8 and len(W300LP(root, sources=("AFW", "IBUG"))) == 8
    with pytest.raises(ValueError, match=r"sources of 300W-LP: expected some of .*found \('COFW',\)"):
        W300LP(root, sources=("COFW",))


def test_missing_parts_are_named(root):
    (root / "300W_LP/IBUG_Flip/IBUG_image_1_3.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"IBUG_image_1_3\.mat: expected the \.mat of every picture, found 15"):
        W300LP(root)
    (root / "300W_LP/AFW_Flip").rename(root / "300W_LP/AFW_flip")
    with pytest.raises(FileNotFoundError, match=r"AFW_Flip: expected the pictures of 300W-LP's AFW_Flip"):
        W300LP(root)
    assert len(W300LP(root, flips=False)) == 8
    savemat(root / "300W_LP/AFW/AFW_image_1_0.mat", {"pt2d": np.zeros((2, 21)), "Pose_Para": np.zeros((1, 7))})
    with pytest.raises(ValueError, match=r"AFW_image_1_0\.mat: expected pt2d as \(2, 68\) finite numbers"):
        W300LP(root, flips=False)[0]


def test_a_real_profile_pose_is_not_mistaken(face68):
    points, _ = face68(0, 0, yaw_deg=80)
    rotation = look_at_rotation(80, 0.0)
    np.testing.assert_array_equal(in_order(points, rotation), points)
