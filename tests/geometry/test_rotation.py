"""Rotations: the 6D form by hand and against QR, the angle against SciPy, both where they are hardest."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facelift.geometry import geodesic_distance, rotation_from_6d, six_d_from_rotation


def random_rotations(rng, *shape: int) -> np.ndarray:
    return Rotation.random(int(np.prod(shape)), rng=rng).as_matrix().reshape(*shape, 3, 3)


def test_six_d_by_hand():
    """a1 = (0, 2, 0), a2 = (-3, 1, 0): x = (0, 1, 0), z ~ x cross a2 = (0, 0, 3), y = z cross x."""
    rotation = rotation_from_6d(np.array([0.0, 2, 0, -3, 1, 0]))
    np.testing.assert_allclose(rotation, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-15)


def test_six_d_is_orthonormalisation_by_qr(rng):
    """QR of the two columns with a positive diagonal; the third column completes a right hand."""
    six = rng.standard_normal((200, 6))
    q, r = np.linalg.qr(np.stack([six[:, :3], six[:, 3:]], axis=-1))
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]
    expected = np.concatenate([q, np.cross(q[..., 0], q[..., 1])[..., None]], axis=-1)
    np.testing.assert_allclose(rotation_from_6d(six), expected, atol=1e-10)


def test_six_d_returns_the_rotation_it_came_from(rng):
    rotation = random_rotations(rng, 4, 25)
    six = six_d_from_rotation(rotation)
    assert six.shape == (4, 25, 6)
    np.testing.assert_allclose(rotation_from_6d(six), rotation, atol=1e-12)
    sheared = np.concatenate([5 * six[..., :3], 0.3 * six[..., 3:] - 2 * six[..., :3]], axis=-1)
    np.testing.assert_allclose(rotation_from_6d(sheared), rotation, atol=1e-10)


@pytest.mark.parametrize("six", [np.zeros(6), np.array([1.0, 2, 3, 2, 4, 6]), np.full(6, 1e-30)])
def test_degenerate_six_d_is_finite(six):
    assert np.isfinite(rotation_from_6d(six)).all()


def test_geodesic_distance_is_scipys_magnitude(rng):
    a, b = random_rotations(rng, 300), random_rotations(rng, 300)
    expected = (Rotation.from_matrix(a) * Rotation.from_matrix(b).inv()).magnitude()
    np.testing.assert_allclose(geodesic_distance(a, b), expected, atol=1e-12)


@pytest.mark.parametrize("angle", [0, 1e-9, 1e-5, 0.3, np.pi / 2, np.pi - 1e-5, np.pi - 1e-9, np.pi])
def test_geodesic_distance_keeps_its_digits_at_both_ends(angle, rng):
    """acos((tr - 1) / 2) would lose half of them: its error at 1e-9 is 1e-8."""
    axis = np.array([1, 2, -2]) / 3
    a = Rotation.from_rotvec(angle * axis).as_matrix()
    start = random_rotations(rng, 1)[0]
    assert geodesic_distance(a @ start, start) == pytest.approx(angle, abs=2e-15 if angle == 0 else 1e-13)


def test_geodesic_distance_is_symmetric_and_bi_invariant(rng):
    a, b, c = random_rotations(rng, 3, 40)
    distance = geodesic_distance(a, b)
    np.testing.assert_allclose(geodesic_distance(b, a), distance, atol=1e-12)
    np.testing.assert_allclose(geodesic_distance(c @ a, c @ b), distance, atol=1e-12)
    np.testing.assert_allclose(geodesic_distance(a @ c, b @ c), distance, atol=1e-12)
    assert distance.min() > 0.1


def test_torch_gives_what_numpy_gives(rng):
    torch = pytest.importorskip("torch")
    six, a, b = rng.standard_normal((5, 6)), random_rotations(rng, 5), random_rotations(rng, 5)
    np.testing.assert_allclose(rotation_from_6d(torch.tensor(six)).numpy(), rotation_from_6d(six), atol=1e-12)
    np.testing.assert_array_equal(six_d_from_rotation(torch.tensor(a)).numpy(), six_d_from_rotation(a))
    np.testing.assert_allclose(
        geodesic_distance(torch.tensor(a), torch.tensor(b)).numpy(), geodesic_distance(a, b), atol=1e-12
    )


def test_torch_gradients_equal_finite_differences(rng):
    torch = pytest.importorskip("torch")
    six = torch.tensor(rng.standard_normal((4, 6)), requires_grad=True)
    target = torch.tensor(random_rotations(rng, 4))
    assert torch.autograd.gradcheck(lambda s: geodesic_distance(rotation_from_6d(s), target), (six,))


@pytest.mark.parametrize("angle", [0.0, 1e-7, np.pi - 1e-7, np.pi])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_of_the_distance_is_finite_and_bounded_at_both_ends(angle, dtype):
    torch = pytest.importorskip("torch")
    turn = Rotation.from_rotvec([0, angle, 0]).as_matrix()
    six = torch.tensor(six_d_from_rotation(turn), dtype=getattr(torch, dtype), requires_grad=True)
    geodesic_distance(rotation_from_6d(six), torch.eye(3, dtype=six.dtype)).backward()
    assert torch.isfinite(six.grad).all() and six.grad.abs().max() < 2


def test_gradient_of_degenerate_six_d_is_finite():
    torch = pytest.importorskip("torch")
    six = torch.zeros(1, 6, requires_grad=True)
    rotation_from_6d(six).sum().backward()
    assert torch.isfinite(six.grad).all()
