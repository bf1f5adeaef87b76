"""The lifter's loss: its sum, what each half reads, and the mask of landmarks that face the camera."""

from dataclasses import asdict, dataclass, fields

import numpy as np
import pytest
import torch

from facelift.geometry import look_at_rotation, roll_rotation
from facelift.losses import (
    MultiViewTarget,
    frame_mask,
    geodesic_loss,
    laplacian_loss,
    marks_term,
    multi_frame_terms,
    multi_view_terms,
    points_mse,
    projected_loss,
    single_view_terms,
    translation_mse,
    weighted_sum,
)
from facelift.losses.distillation import distillation_terms
from facelift.training.config import LossWeights


@dataclass(frozen=True)
class Output:
    landmarks: torch.Tensor
    rotation: torch.Tensor
    translation: torch.Tensor
    points: torch.Tensor
    cholesky: torch.Tensor
    marks: torch.Tensor
    marks_cholesky: torch.Tensor


def rotations(*azimuths_deg: float) -> torch.Tensor:
    return torch.tensor(look_at_rotation(np.array(azimuths_deg), 10.0), dtype=torch.float32)


@pytest.fixture
def output() -> Output:
    torch.manual_seed(0)
    cholesky = torch.tensor([[0.2, 0.0], [0.1, 0.3]]).repeat(2, 6, 1, 1)
    landmarks, translation, points = torch.randn(2, 6, 3), torch.randn(2, 3), torch.rand(2, 6, 2)
    return Output(landmarks, rotations(10.0, -40.0), translation, points, cholesky, torch.rand(2, 6, 2), 2 * cholesky)


@pytest.fixture
def target() -> MultiViewTarget:
    torch.manual_seed(1)
    weight = torch.ones(2, 6)
    weight[1, 2] = 0
    landmarks, points = torch.randn(2, 6, 3), torch.rand(2, 6, 2)
    landmarks[1, 2], points[1, 2] = torch.nan, torch.nan
    return MultiViewTarget(landmarks, points, rotations(0.0, -60.0), torch.randn(2, 3), weight)


def test_every_term_has_a_factor_in_the_training_settings(output, target):
    terms = multi_view_terms(output, target) | multi_frame_terms(output, target.points, target.weight)
    terms |= single_view_terms(output, target.rotation, target.points) | marks_term(
        output, target.points, target.weight
    )
    terms |= distillation_terms(output, output)
    assert set(terms) == set(asdict(LossWeights())) - {"visibility", "closure", "glance", "gaze"}
    total = weighted_sum(terms, dict.fromkeys(terms, 1.0))
    assert total.item() == pytest.approx(sum(term.item() for term in terms.values()), rel=1e-6)


def test_sum_is_that_of_the_single_losses_times_their_factors(output, target):
    total = weighted_sum(
        multi_view_terms(output, target),
        {"points_3d": 2, "translation": 3, "points_2d": 5, "rotation": 7, "frames_2d": 100},
    )
    expected = (
        2 * points_mse(output.landmarks, target.landmarks, weight=target.weight)
        + 3 * translation_mse(output.translation, target.translation)
        + 5 * laplacian_loss(output.points, target.points, output.cholesky, weight=target.weight)
        + 7 * geodesic_loss(output.rotation, target.rotation)
    )
    assert total.item() == pytest.approx(expected.item(), rel=1e-6) and np.isfinite(total.item())


@pytest.mark.parametrize("kind", ["l1", "mse"])
def test_ablated_losses_replace_the_likelihood_in_both_halves(output, target, kind):
    leaves = {f.name: getattr(output, f.name).clone().requires_grad_() for f in fields(output)}
    views = multi_view_terms(Output(**leaves), target, points_loss=kind)["points_2d"]
    frames = multi_frame_terms(Output(**leaves), target.points, target.weight, points_loss=kind)["frames_2d"]
    expected = projected_loss(output.points, target.points, output.cholesky, kind=kind, weight=target.weight)
    assert views == frames == expected
    (views + frames).backward()
    assert leaves["points"].grad.abs().sum() > 0 and leaves["cholesky"].grad is None


def test_frames_reach_points_and_covariance_alone(output, target):
    leaves = {f.name: getattr(output, f.name).clone().requires_grad_() for f in fields(output)}
    terms = multi_frame_terms(Output(**leaves), target.points, target.weight)
    weighted_sum(terms, {"frames_2d": 0.5}).backward()
    assert leaves["points"].grad.abs().sum() > 0 and leaves["cholesky"].grad.abs().sum() > 0
    assert (leaves["points"].grad[1, 2] == 0).all()
    assert all(leaves[name].grad is None for name in ("landmarks", "rotation", "translation"))


def test_marks_learn_from_every_label_and_teach_nothing_else(output, target):
    leaves = {f.name: getattr(output, f.name).clone().requires_grad_() for f in fields(output)}
    term = marks_term(Output(**leaves), target.points, torch.full((2, 6), 0.5))["frames_marks"]
    labelled = torch.ones(2, 6)
    labelled[1, 2] = 0
    expected = laplacian_loss(output.marks, target.points, output.marks_cholesky, weight=labelled)
    assert term.item() == pytest.approx(expected.item())
    term.backward()
    assert leaves["marks"].grad.abs().sum() > 0 and (leaves["marks"].grad[1, 2] == 0).all()
    assert leaves["marks_cholesky"].grad.abs().sum() > 0
    assert all(leaves[name].grad is None for name in ("landmarks", "rotation", "points", "cholesky"))


def test_fits_of_frames_count_where_there_is_one(output):
    turned = torch.as_tensor(roll_rotation(np.radians(30.0))).float()
    rotation, hidden = turned @ rotations(10.0, -40.0), output.points.clone() + torch.tensor([0.3, 0.4])
    rotation[1], hidden[0], hidden[1, 2:] = torch.nan, torch.nan, torch.nan
    terms = single_view_terms(output, rotation, hidden)
    assert terms["frames_rotation"] == pytest.approx(np.pi / 6, abs=1e-5)
    assert terms["frames_hidden"] == pytest.approx(0.5, abs=1e-4)
    nothing = single_view_terms(output, torch.full_like(rotation, torch.nan), torch.full_like(hidden, torch.nan))
    assert all(value == 0 for value in nothing.values())


def test_unknown_term_is_refused():
    with pytest.raises(KeyError, match="smoothness"):
        weighted_sum({"smoothness": torch.zeros(())}, {"points_3d": 1.0})


def sideways_normals(angles_deg: list[float]) -> torch.Tensor:
    """Unit normals in the horizontal plane; 0 looks out of the face, 90 to the subject's left (+x)."""
    angles = torch.deg2rad(torch.tensor(angles_deg))
    return torch.stack([angles.sin(), torch.zeros_like(angles), angles.cos()], dim=-1)


def test_frame_mask_of_the_frontal_camera_cuts_at_sixty_degrees():
    """cos 59 > 0.5 > cos 61; the bridge sees as far as acos(-0.1) = 95.7 degrees."""
    normals = sideways_normals([0, 59, 61, -59, -61, 95, 96, 180])
    frontal = torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None]
    assert frame_mask(frontal, normals, bridge=(5, 6)).tolist() == [
        [True, True, False, True, False, True, False, False]
    ]


def test_frame_mask_turns_with_the_head():
    """Seen from the subject's left (azimuth 80), what faces left is in sight and what faces right is not."""
    normals = sideways_normals([80, 30, -30])
    # From azimuth 80 the camera looks at LOOK_AT, not the origin: so from 84.2 degrees.
    seen = frame_mask(rotations(80.0, -80.0), normals, bridge=())
    assert seen.tolist() == [[True, True, False], [False, False, True]]


def test_bridge_is_wflw98s_nose_bridge_and_the_mask_has_no_gradient():
    normals = sideways_normals([85.0] * 98)
    rotation = torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None].requires_grad_()
    mask = frame_mask(rotation, normals)
    assert mask[0].nonzero()[:, 0].tolist() == [51, 52, 53, 54] and not mask.requires_grad
