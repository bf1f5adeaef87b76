"""Euler angles: round trips, SciPy's matrices, the meaning of each sign, BIWI's files and AFLW2000-3D's own labels."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facelift.geometry import (
    AFLW2000,
    BIWI,
    FACELIFT,
    TDDFA,
    EulerConvention,
    convert_euler,
    euler_deg,
    look_at_rotation,
    procrustes,
    rotation_from_biwi,
    rotation_from_euler,
)

CONVENTIONS = {"facelift": FACELIFT, "aflw2000": AFLW2000, "tddfa": TDDFA, "biwi": BIWI}
FRONTAL = np.diag([1.0, -1.0, -1.0])


def random_angles(rng, convention, count: int) -> np.ndarray:
    """Pitch, yaw, roll anywhere, the middle axis short of its singularity."""
    angles = rng.uniform(-179, 179, (count, 3))
    middle = "XYZ".index(convention.order[1])
    angles[:, middle] = rng.uniform(-89, 89, count)
    return angles


@pytest.mark.parametrize("name", CONVENTIONS)
def test_angles_survive_a_round_trip(name, rng):
    convention = CONVENTIONS[name]
    angles = random_angles(rng, convention, 200)
    np.testing.assert_allclose(euler_deg(rotation_from_euler(angles, convention), convention), angles, atol=1e-9)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_matrix_is_scipys_intrinsic_sequence(name, rng):
    convention = CONVENTIONS[name]
    angles = random_angles(rng, convention, 50)
    signed = angles * convention.signs
    ordered = signed[:, ["XYZ".index(axis) for axis in convention.order]]
    expected = Rotation.from_euler(convention.order, ordered, degrees=True).as_matrix() @ FRONTAL
    np.testing.assert_allclose(rotation_from_euler(angles, convention), expected, atol=1e-12)


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("middle_deg", [90.0, -90.0])
def test_singular_angles_still_describe_the_rotation(name, middle_deg):
    convention = CONVENTIONS[name]
    angles = np.array([30.0, 30.0, 30.0])
    angles["XYZ".index(convention.order[1])] = middle_deg
    rotation = rotation_from_euler(angles, convention)
    rotation[np.abs(rotation) < 1e-12] = 0  # exactly singular, no rounding left to read the angles from
    found = euler_deg(rotation, convention)
    assert found["XYZ".index(convention.order[2])] == 0
    np.testing.assert_allclose(rotation_from_euler(found, convention), rotation, atol=1e-7)


@pytest.mark.parametrize("source", CONVENTIONS)
@pytest.mark.parametrize("target", CONVENTIONS)
def test_conversion_keeps_the_rotation(source, target, rng):
    angles = rng.uniform(-60, 60, (30, 3))
    converted = convert_euler(angles, CONVENTIONS[source], CONVENTIONS[target])
    np.testing.assert_allclose(
        rotation_from_euler(converted, CONVENTIONS[target]),
        rotation_from_euler(angles, CONVENTIONS[source]),
        atol=1e-12,
    )
    if CONVENTIONS[source] == CONVENTIONS[target]:  # BIWI and AFLW2000-3D
        np.testing.assert_allclose(converted, angles, atol=1e-9)
    else:
        assert np.abs(converted - angles).max() > 5


def seen(rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where nose and crown point in the picture (x right, y down, z away from the viewer)."""
    return rotation @ [0, 0, 1], rotation @ [0, 1, 0]


@pytest.mark.parametrize(
    ("name", "up", "right", "clockwise"),
    [("facelift", 1, 1, 1), ("aflw2000", 1, -1, 1), ("tddfa", -1, -1, -1), ("biwi", 1, -1, 1)],
)
def test_signs_mean_what_a_viewer_sees(name, up, right, clockwise):
    """+20 degrees of one angle each: does the nose go up, to the picture's right, the crown to the right?"""
    convention = CONVENTIONS[name]
    nose, _ = seen(rotation_from_euler(np.array([20.0, 0, 0]), convention))
    assert nose[1] == pytest.approx(-up * np.sin(np.radians(20)))  # y points down
    nose, _ = seen(rotation_from_euler(np.array([0, 20.0, 0]), convention))
    assert nose[0] == pytest.approx(right * np.sin(np.radians(20)))
    _, crown = seen(rotation_from_euler(np.array([0, 0, 20.0]), convention))
    assert crown[0] == pytest.approx(clockwise * np.sin(np.radians(20)))


def test_our_order_is_regular_in_profile_where_aflw2000s_is_singular():
    """A profile that looks up, head tilted: yaw is the turn about the vertical, whatever pitch and roll are."""
    angles = np.array([25.0, 90.0, -35.0])
    rotation = rotation_from_euler(angles)
    np.testing.assert_allclose(euler_deg(rotation), angles, atol=1e-9)
    nose, _ = seen(rotation)
    np.testing.assert_allclose(nose, [np.cos(np.radians(25)), -np.sin(np.radians(25)), 0], atol=1e-12)
    singular = rotation_from_euler(np.array([25.0, 90.0, -35.0]), AFLW2000)
    np.testing.assert_allclose(singular, rotation_from_euler(np.array([0.0, 90, -35 - 25]), AFLW2000), atol=1e-12)


def test_no_angle_is_the_frontal_camera():
    for convention in CONVENTIONS.values():
        np.testing.assert_allclose(rotation_from_euler(np.zeros(3), convention), FRONTAL)


def test_camera_angles_and_head_angles_correspond():
    """A camera that moves to the subject's left sees the head turned to the picture's left, and so on.

    It looks at a point 0.2 before the origin: the angle there counts, atan2(2.7 sin, 2.7 cos - 0.2).
    """
    for angle in (-40.0, 15.0):
        seen_from = np.degrees(np.arctan2(2.7 * np.sin(np.radians(angle)), 2.7 * np.cos(np.radians(angle)) - 0.2))
        np.testing.assert_allclose(euler_deg(look_at_rotation(angle, 0.0)), [0, -seen_from, 0], atol=1e-9)
        np.testing.assert_allclose(euler_deg(look_at_rotation(0.0, angle)), [-seen_from, 0, 0], atol=1e-9)
        np.testing.assert_allclose(euler_deg(look_at_rotation(0.0, 0.0, angle)), [0, 0, angle], atol=1e-9)


def test_tddfa_angles_are_read_from_the_entries_that_its_code_reads(rng):
    """3DDFA_V2's formulas, with y up and z to the viewer."""
    angles = np.stack([rng.uniform(-80, 80, 40), rng.uniform(-80, 80, 40), rng.uniform(-80, 80, 40)], axis=-1)
    r = FRONTAL @ rotation_from_euler(angles, TDDFA)  # camera axes flipped to y up, z to the viewer
    pitch = np.arctan2(r[:, 2, 1], r[:, 2, 2])
    yaw = np.arcsin(r[:, 2, 0])
    roll = np.arctan2(r[:, 1, 0], r[:, 0, 0])
    np.testing.assert_allclose(np.degrees(np.stack([pitch, yaw, roll], axis=-1)), angles, atol=1e-9)


def test_biwi_angles_are_those_that_hopenet_reads_from_the_file(rng):
    """Hopenet's lines, on the transposed matrix of `pose.txt`; SciPy makes the matrices, anywhere short of profile."""
    matrix = Rotation.from_euler("XYZ", random_angles(rng, BIWI, 200), degrees=True).as_matrix()
    R = np.swapaxes(matrix, -1, -2)
    roll = -np.arctan2(R[:, 1, 0], R[:, 0, 0])
    yaw = -np.arctan2(-R[:, 2, 0], np.sqrt(R[:, 2, 1] ** 2 + R[:, 2, 2] ** 2))
    pitch = np.arctan2(R[:, 2, 1], R[:, 2, 2])
    expected = np.degrees(np.stack([pitch, yaw, roll], axis=-1))
    np.testing.assert_allclose(euler_deg(rotation_from_biwi(matrix), BIWI), expected, atol=1e-9)
    assert (np.abs(expected).max(0) > 80).all()


def test_biwi_angles_are_scipys_of_the_matrix_and_not_of_its_transpose():
    matrix = Rotation.random(100, random_state=2).as_matrix()
    found = euler_deg(rotation_from_biwi(matrix), BIWI)
    expected = Rotation.from_matrix(matrix).as_euler("XYZ", degrees=True) * [-1, 1, 1]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    transposed = euler_deg(rotation_from_biwi(np.swapaxes(matrix, -1, -2)), BIWI)
    assert np.median(np.abs(transposed - found)) > 10


def test_biwi_angles_in_our_convention_are_scipys():
    matrix = Rotation.random(100, random_state=3).as_matrix()
    found = euler_deg(rotation_from_biwi(matrix), FACELIFT)
    yaw, pitch, roll = Rotation.from_matrix(matrix).as_euler("YXZ", degrees=True).T
    np.testing.assert_allclose(found, np.stack([-pitch, -yaw, roll], axis=-1), atol=1e-9)
    converted = convert_euler(euler_deg(rotation_from_biwi(matrix), BIWI), BIWI, FACELIFT)
    np.testing.assert_allclose(converted, found, atol=1e-9)


def test_biwi_matrix_moves_the_head_and_keeps_the_camera():
    """The identity faces the camera. A turn by +20 degrees about the camera's y (down) takes the nose to the left."""
    np.testing.assert_array_equal(rotation_from_biwi(np.eye(3)), FRONTAL)
    matrix = Rotation.from_euler("y", 20, degrees=True).as_matrix()
    nose, crown = seen(rotation_from_biwi(matrix))
    np.testing.assert_allclose(nose, [-np.sin(np.radians(20)), 0, -np.cos(np.radians(20))], atol=1e-12)
    np.testing.assert_allclose(crown, [0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(euler_deg(rotation_from_biwi(matrix), BIWI), [0, 20, 0], atol=1e-9)
    assert rotation_from_biwi(np.tile(matrix, (1, 2, 1, 1))).shape == (1, 2, 3, 3)


def test_aflw2000_labels_are_the_rotation_that_aligns_a_head_to_their_3d_points(data_dir, assets_dir):
    """Independent of any formula: the mean head's 68 points moved onto each sample's 3D points.

    The sample's points are in pixels, x right, y down, z to the viewer. Two mean heads need not agree on what looks
    straight ahead: one constant turn is taken out. Another order of the axes, or another sign, fits far worse.
    """
    sample = np.load(data_dir / "aflw2000_sample.npz")
    with np.load(assets_dir / "head.npz") as head:
        template = head["vertices_cm"][head["landmarks68_vertices"]].astype(float)
    points = np.swapaxes(sample["pts68_orig"], 1, 2).astype(float) * [1, 1, -1]
    aligned = procrustes(np.broadcast_to(template, points.shape), points, with_scale=True).rotation

    def disagreement(convention: EulerConvention) -> tuple[np.ndarray, float]:
        """Angle between label and alignment per face, and of the constant turn; degrees."""
        labelled = Rotation.from_matrix(rotation_from_euler(sample["pose"], convention))
        turn = (labelled.inv() * Rotation.from_matrix(aligned)).mean()
        angles = (labelled * turn * Rotation.from_matrix(aligned).inv()).magnitude()
        return np.degrees(angles), np.degrees(turn.magnitude())

    angles, turn = disagreement(AFLW2000)
    assert np.median(angles) < 2.5 and angles.max() < 8 and turn < 5
    for order, signs in [
        ("YXZ", (-1, 1, 1)),
        ("XZY", (-1, 1, 1)),
        ("ZYX", (-1, 1, 1)),
        ("XYZ", (1, 1, 1)),
        ("XYZ", (-1, -1, 1)),
        ("XYZ", (-1, 1, -1)),
    ]:
        assert disagreement(EulerConvention(order, signs))[0].max() > 50


def test_aflw2000_yaw_turns_the_annotated_nose_to_the_left(data_dir):
    """From the re-annotated 2D points alone: the nose tip between the jaw's two ends."""
    sample = np.load(data_dir / "aflw2000_sample.npz")
    points, yaw = sample["pts68_reannotated"], sample["pose"][:, 1]
    upright = (np.abs(sample["pose"][:, 2]) < 20) & (np.abs(yaw) > 20) & (np.abs(sample["pose"][:, 0]) < 30)
    offset = points[:, 30, 0] - (points[:, 0, 0] + points[:, 16, 0]) / 2
    assert upright.sum() > 20 and (np.sign(offset[upright]) == -np.sign(yaw[upright])).mean() > 0.95
