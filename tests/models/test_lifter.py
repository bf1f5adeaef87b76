"""The lifter's geometry: what its heads mean, and that its parts agree with each other."""

import pytest
import torch

from facelift.geometry import geodesic_distance, intrinsics, project, sphere_translation
from facelift.models.detector import LandmarkDetector
from facelift.models.lifter import Lifter

FRONTAL = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


@pytest.fixture
def template() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(98, 3, generator=generator) * 0.1 + torch.tensor([0.0, 0.0, 0.2])


@pytest.fixture
def lifter(template) -> Lifter:
    torch.manual_seed(0)
    return Lifter(template=template).eval()


def test_a_fresh_network_sees_the_template_from_the_front(lifter, template):
    found = lifter(torch.rand(2, 3, 128, 128))
    assert (found.landmarks - template).abs().max() < 0.02
    assert geodesic_distance(found.rotation, FRONTAL.expand(2, 3, 3)).max() < 0.3
    assert (found.translation - torch.tensor([0.0, 0.0, 2.7])).abs().max() < 0.4


def test_points_are_the_projection_of_the_landmarks(lifter):
    found = lifter(torch.rand(3, 3, 128, 128))
    expected = project(found.landmarks.double(), found.rotation.double(), found.translation.double(), intrinsics(1.0))
    torch.testing.assert_close(found.points.double(), expected, atol=1e-5, rtol=0)
    identity = torch.eye(3).expand(3, 3, 3)
    torch.testing.assert_close(found.rotation @ found.rotation.mT, identity, atol=1e-5, rtol=0)
    assert (torch.linalg.det(found.rotation) > 0.999).all()


def test_mixed_precision_keeps_the_geometry_in_float32(lifter):
    """bf16 in the projection alone would move points by 0.2 %, in the 6D form bend rotations by 0.2 degrees."""
    for head in (lifter.offset, lifter.rotation):
        torch.nn.init.normal_(head.out.weight, std=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        found = lifter(torch.rand(3, 3, 128, 128))
    assert all(part.dtype == torch.float32 for part in found if part is not None)
    expected = project(found.landmarks.double(), found.rotation.double(), found.translation.double(), intrinsics(1.0))
    torch.testing.assert_close(found.points.double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.rotation @ found.rotation.mT, torch.eye(3).expand(3, 3, 3), atol=1e-5, rtol=0)


def test_translation_is_the_sphere_s_plus_a_residual(lifter):
    for head in (lifter.t_xy, lifter.t_z):
        torch.nn.init.zeros_(head.out.weight)
    lifter.t_xy.out.bias.data = torch.tensor([1.0, -2.0])
    lifter.t_z.out.bias.data = torch.tensor([0.5])
    found = lifter(torch.rand(2, 3, 128, 128))
    residual = found.translation - sphere_translation(found.rotation)
    torch.testing.assert_close(residual, torch.tensor([[0.1, -0.2, 0.25]]).expand(2, 3), atol=1e-6, rtol=0)


def test_covariances_are_positive_definite(lifter):
    torch.nn.init.normal_(lifter.spread.out.weight, std=1.0)
    cholesky = lifter(torch.rand(2, 3, 128, 128)).cholesky.double()
    assert torch.linalg.eigvalsh(cholesky @ cholesky.mT).min() > 0
    assert (cholesky[..., 0, 1] == 0).all() and (cholesky.diagonal(dim1=-2, dim2=-1) > 0).all()


def test_size_fits_the_small_class(lifter):
    assert sum(p.numel() for p in lifter.parameters()) < 5e6


def test_every_parameter_learns(lifter):
    lifter.train()
    found = lifter(torch.rand(2, 3, 128, 128), gaze=True)
    sum(part.square().sum() for part in found).backward()
    without = [name for name, p in lifter.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_batch_does_not_mix_faces(lifter):
    images = torch.rand(3, 3, 128, 128)
    torch.testing.assert_close(lifter(images).landmarks[1:2], lifter(images[1:2]).landmarks, atol=1e-5, rtol=0)


def test_starts_from_a_detector(lifter):
    torch.manual_seed(5)
    detector = LandmarkDetector()
    pose_tokens = lifter.decoder.tokens[98:].clone()
    lifter.start_from_detector(detector.state_dict(), path="detector.pt")
    assert torch.equal(lifter.decoder.tokens[:98], detector.decoder.tokens)
    assert torch.equal(lifter.decoder.tokens[98:], pose_tokens)
    assert torch.equal(lifter.encoder.fuse.weight, detector.encoder.fuse.weight)
    with pytest.raises(ValueError, match=r"other\.pt: expected encoder\.fuse\.weight of shape"):
        wrong = detector.state_dict() | {"encoder.fuse.weight": torch.zeros(2, 2)}
        lifter.start_from_detector(wrong, path="other.pt")
    with pytest.raises(ValueError, match=r"other\.pt: expected the .* missing: decoder\."):
        lifter.start_from_detector({"weight": torch.zeros(2)}, path="other.pt")


def test_detector_reads_each_definition_from_the_same_tokens():
    torch.manual_seed(0)
    detector = LandmarkDetector().eval()
    with torch.no_grad():
        detector.heads["ibug68"].head.load_state_dict(detector.heads["wflw98"].head.state_dict())
    found = detector(torch.rand(1, 3, 128, 128))
    assert found["wflw98"].points.shape == (1, 98, 2) and found["ibug68"].points.shape == (1, 68, 2)
    offset98 = found["wflw98"].points - detector.heads["wflw98"].mean
    offset68 = found["ibug68"].points - detector.heads["ibug68"].mean
    torch.testing.assert_close(offset68[:, [8, 30, 36]], offset98[:, [16, 54, 60]])  # chin, nose tip, eye corner
    torch.testing.assert_close(found["ibug68"].state[:, [8, 30, 36]], found["wflw98"].state[:, [16, 54, 60]])


def test_detector_answers_for_the_rows_that_are_asked_for():
    torch.manual_seed(0)
    detector, images = LandmarkDetector().eval(), torch.rand(3, 3, 128, 128)
    rows = {"wflw98": torch.tensor([2, 0]), "ibug68": torch.tensor([], dtype=torch.long)}
    all_rows, some = detector(images), detector(images, rows)
    torch.testing.assert_close(some["wflw98"].points, all_rows["wflw98"].points[[2, 0]])
    torch.testing.assert_close(some["wflw98"].state, all_rows["wflw98"].state[[2, 0]])
    assert some["ibug68"].points.shape == (0, 68, 2)
    with pytest.raises(ValueError, match=r"landmark definition: expected one of .*'merl68'.*, found 'ibug'"):
        LandmarkDetector(definitions=("ibug",))


def test_landmarks_without_a_partner_mix_the_tokens_near_to_them():
    detector = LandmarkDetector(definitions=("wflw98", "lapa106", "mediapipe478"))
    means = {"wflw98": torch.full((98, 2), 0.5), "lapa106": torch.full((106, 2), 0.5)}
    tip = torch.tensor([0.5, 0.5])  # of the nose, about
    means["mediapipe478"] = tip.repeat(478, 1)
    means["lapa106"][55] = torch.tensor([0.9, 0.1])
    detector.start_at(means)
    lapa, mesh = detector.heads["lapa106"], detector.heads["mediapipe478"]
    assert lapa.mix[16, 16] == 1 and lapa.mix[16].sum() == 1  # the chin is WFLW's
    for row in (lapa.mix[55], mesh.mix[0]):
        assert row.sum() == pytest.approx(1, abs=1e-5) and row.max() < 0.9
    assert mesh.mix[0, 51:60].sum() > 0.5  # tokens of the nose
    assert torch.equal(mesh.mean[0], tip) and torch.equal(detector.heads["wflw98"].mix, torch.eye(98))
