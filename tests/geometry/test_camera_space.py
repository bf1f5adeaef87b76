"""Training cameras: the law their angles follow, and the face that they promise to hold."""

import math

import numpy as np
import pytest
from scipy import stats

from facelift.geometry import CameraSpace, euler_deg, intrinsics, project


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """Points on the front of a head of usual size: 15 cm wide, 19 cm high, 10 cm deep, in units of 36 cm."""
    generator = np.random.default_rng(5)
    azimuth = generator.uniform(-np.pi / 2, np.pi / 2, 98)
    height = generator.uniform(-1, 1, 98)
    round_ = np.sqrt(1 - height**2)
    points = [0.21 * round_ * np.sin(azimuth), 0.26 * height, 0.05 + 0.26 * round_ * np.cos(azimuth)]
    return np.stack(points, axis=-1)


def test_accepted_angles_follow_the_truncated_gaussian(rng):
    """Kept with exp(-(x/L)^2) inside [-L, L]: a normal of sigma L / sqrt 2, cut at sqrt 2 sigma."""
    space = CameraSpace()
    angles = np.array([space.angles(rng) for _ in range(6000)])
    for drawn, limit in zip(angles.T, (110.0, 60.0, 90.0), strict=True):
        law = stats.truncnorm(-math.sqrt(2), math.sqrt(2), scale=limit / math.sqrt(2))
        assert stats.kstest(drawn, law.cdf).pvalue > 0.01
        assert stats.kstest(drawn, stats.uniform(-limit, 2 * limit).cdf).pvalue < 1e-6
    assert abs(np.corrcoef(angles.T)[np.triu_indices(3, 1)]).max() < 0.05


def test_limits_are_the_ones_given(rng):
    space = CameraSpace(azimuth_deg=20.0, elevation_deg=5.0, roll_deg=1.0)
    angles = np.abs([space.angles(rng) for _ in range(500)]).max(axis=0)
    assert (angles <= [20, 5, 1]).all() and (angles > [18, 4.5, 0.9]).all()


def test_every_sampled_camera_holds_the_face_and_shows_it_large(rng, face):
    space = CameraSpace()
    smaller, centres = [], []
    for _ in range(300):
        rotation, translation = space.sample(rng, face)
        pixels = project(face, rotation, translation, intrinsics(1.0))
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        assert (low >= 0).all() and (high <= 1).all()
        smaller.append((high - low).min())
        centres.append((high + low) / 2 - 0.5)
    assert min(smaller) >= 0.5 and max(smaller) > 0.8
    assert np.std(centres, axis=0).min() > 0.02  # the place varies, not only the size


def test_rotation_is_that_of_the_drawn_angles(face):
    """The same generator draws the same angles; the translation never turns the camera."""
    space = CameraSpace(azimuth_deg=60.0, elevation_deg=30.0, roll_deg=10.0)
    rotation, _ = space.sample(np.random.default_rng(3), face)
    roll = euler_deg(rotation)[2]
    assert np.linalg.det(rotation) == pytest.approx(1) and abs(roll) < 25


def test_same_seed_same_camera(face):
    first, second = (CameraSpace().sample(np.random.default_rng(9), face) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_missing_landmarks_are_ignored(face):
    holed = np.concatenate([face, np.full((2, 3), np.nan)])
    first = CameraSpace().sample(np.random.default_rng(4), face)
    second = CameraSpace().sample(np.random.default_rng(4), holed)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_smaller_least_size_is_respected(rng, face):
    space = CameraSpace(smaller_side=0.2, margin=0.1)
    sides = []
    for _ in range(100):
        pixels = project(face, *space.sample(rng, face), intrinsics(1.0))
        assert pixels.min() >= 0 and pixels.max() <= 1
        sides.append(np.ptp(pixels, axis=0).min())
    assert 0.2 <= min(sides) < 0.4
