"""M3-LRN's terms by hand, their gradients, and labels that are missing."""

import math

import pytest
import torch

from facelift.losses.facelift_loss import weighted_sum
from facelift.losses.m3lrn_loss import M3LRNTarget, m3lrn_terms
from facelift.losses.morphable_parameters import parameters_loss
from facelift.losses.refined_landmarks import landmarks_loss
from facelift.models.m3lrn import M3LRNOutput
from facelift.training.config import M3LRNWeights


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_parameters_by_hand():
    """Groups of 2, 1 and 3 numbers, off by (1, 3), 2, (0, 0, 3): means of squares 5, 4, 3."""
    prediction = torch.tensor([[1.0, 3.0, 2.0, 0.0, 0.0, 3.0]])
    loss = lambda kind: parameters_loss(prediction, torch.zeros(1, 6), groups=(2, 1, 3), kind=kind).item()  # noqa: E731
    assert loss("squared") == pytest.approx(5 + 4 + 3)
    assert loss("root") == pytest.approx(math.sqrt(12))
    with pytest.raises(ValueError, match=r"expected 62 of \(12, 40, 10\), found 6"):
        parameters_loss(prediction, torch.zeros(1, 6))


@pytest.mark.parametrize("kind", ["squared", "root"])
def test_faces_without_3dmm_do_not_count(kind):
    prediction = torch.randn(4, 62, requires_grad=True)
    target = torch.randn(4, 62)
    target[1], target[3, 5] = torch.nan, torch.nan
    loss = parameters_loss(prediction, target, kind=kind)
    loss.backward()
    torch.testing.assert_close(loss, parameters_loss(prediction[[0, 2]], target[[0, 2]], kind=kind))
    assert torch.isfinite(prediction.grad).all() and not prediction.grad[[1, 3]].any()
    assert prediction.grad[[0, 2]].all()
    nobody = parameters_loss(prediction, torch.full_like(target, torch.nan), kind=kind)
    assert nobody.item() == 0 and parameters_loss(prediction[:0], target[:0], kind=kind).item() == 0


def test_a_prediction_that_is_not_a_number_is_not_hidden():
    assert parameters_loss(torch.full((2, 62), torch.nan), torch.zeros(2, 62)).isnan()
    assert landmarks_loss(torch.full((2, 68, 3), torch.nan), torch.zeros(2, 68, 3)).isnan()


def test_landmarks_by_hand():
    """Smooth L1 of 0.5, 3 and -1: 0.125, 2.5, 0.5; of 0, 0 and 4: 3.5."""
    prediction = torch.tensor([[[0.5, 3.0, -1.0], [0.0, 0.0, 4.0]]])
    target = torch.zeros(1, 2, 3)
    assert landmarks_loss(prediction, target).item() == pytest.approx((0.125 + 2.5 + 0.5 + 3.5) / 6)
    weight = torch.tensor([[2.0, 1.0]])
    assert landmarks_loss(prediction, target, weight=weight).item() == pytest.approx((2 * 3.125 + 3.5) / 9)
    assert landmarks_loss(prediction, target, beta=2.0).item() == pytest.approx((0.0625 + 2 + 0.25 + 3) / 6)


def test_coordinates_without_label_do_not_count():
    """A photo has no z, a hidden landmark nothing: three labelled coordinates of six, and two of six."""
    prediction = torch.tensor([[[2.0, 2.0, 9.0], [9.0, 9.0, 9.0]], [[2.0, 2.0, 2.0], [9.0, 9.0, 9.0]]]).requires_grad_()
    target = torch.zeros(2, 2, 3)
    target[0, 0, 2], target[:, 1] = torch.nan, torch.nan
    loss = landmarks_loss(prediction, target, weight=torch.tensor([[1.0, 1.0], [3.0, 1.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(1.5)
    expected = torch.zeros(2, 2, 3)
    expected[0, 0, :2], expected[1, 0] = 1 / 11, 3 / 11
    torch.testing.assert_close(prediction.grad, expected)
    assert landmarks_loss(prediction, torch.full_like(target, torch.nan)).item() == 0


@pytest.mark.parametrize("kind", ["squared", "root"])
def test_gradients_are_those_of_finite_differences(kind):
    whitened, regressed = torch.randn(2, 3, 62, dtype=torch.float64).requires_grad_()
    landmarks = (3 * torch.randn(3, 68, 3, dtype=torch.float64)).requires_grad_()
    parameters, points = torch.randn(3, 62).double(), torch.randn(3, 68, 3).double()
    parameters[1], points[1, :, 2] = torch.nan, torch.nan

    def total(whitened, landmarks, regressed):
        found = M3LRNOutput(whitened, whitened, landmarks, landmarks, regressed)
        terms = m3lrn_terms(found, M3LRNTarget(parameters, points), kind=kind)
        return weighted_sum(terms, vars(M3LRNWeights()))

    assert torch.autograd.gradcheck(total, (whitened, landmarks, regressed), fast_mode=True)


def test_equal_estimates_have_finite_gradients():
    for kind in ("squared", "root"):
        same = torch.randn(2, 62, requires_grad=True)
        parameters_loss(same, same.detach().clone(), kind=kind).backward()
        assert torch.isfinite(same.grad).all()


def output(support: bool = True) -> M3LRNOutput:
    """Whitened parameters 1, landmarks 2 px, 4 px before refinement, parameters from landmarks 4; all truth is 0."""
    whitened = torch.ones(2, 62, requires_grad=True)
    landmarks = torch.full((2, 68, 3), 2.0, requires_grad=True)
    regressed = torch.full((2, 62), 4.0, requires_grad=True) if support else None
    coarse = torch.full((2, 68, 3), 4.0, requires_grad=True)
    return M3LRNOutput(torch.zeros(2, 62), whitened, landmarks, coarse, regressed)


def test_terms_and_their_sum_by_hand():
    target = M3LRNTarget(torch.zeros(2, 62), torch.zeros(2, 68, 3), torch.ones(2, 68))
    terms = m3lrn_terms(output(), target)
    found = {name: value.item() for name, value in terms.items()}
    expected = {"parameters": 3, "landmarks": 1.5, "coarse": 3.5, "from_landmarks": 48, "consistency": 27}
    assert found == pytest.approx(expected)
    total = weighted_sum(terms, vars(M3LRNWeights()))
    assert total.item() == pytest.approx(0.02 * 3 + 0.03 * (1.5 + 3.5) + 0.02 * 48 + 0.001 * 27)
    assert list(m3lrn_terms(output(support=False), target)) == ["parameters", "landmarks", "coarse"]
    unrefined = output(support=False)
    unrefined = unrefined._replace(coarse=unrefined.landmarks)
    assert list(m3lrn_terms(unrefined, target)) == ["parameters", "landmarks"]


def test_a_photo_teaches_its_landmarks_and_consistency_alone():
    found = output()
    points = torch.zeros(2, 68, 3)
    points[..., 2] = torch.nan
    terms = m3lrn_terms(found, M3LRNTarget(torch.full((2, 62), torch.nan), points))
    assert {name for name, value in terms.items() if value > 0} == {"landmarks", "coarse", "consistency"}
    weighted_sum(terms, vars(M3LRNWeights())).backward()
    assert not found.landmarks.grad[..., 2].any() and found.landmarks.grad[..., :2].all()
    torch.testing.assert_close(found.whitened.grad, -found.from_landmarks.grad)  # both move towards each other
    assert (found.whitened.grad < 0).all()
