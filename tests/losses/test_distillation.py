"""A student's distance to its teacher: a divergence against torch's own, and gradients that lead to the teacher."""

from types import SimpleNamespace

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from facelift.geometry import rotation_from_6d
from facelift.losses.distillation import distillation_terms, gaussian_divergence
from facelift.losses.laplacian import cholesky_from_raw


def output(seed: int) -> SimpleNamespace:
    """A lifter's output for three faces, in float64, with gradient."""
    draw = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=draw, dtype=torch.float64, requires_grad=True)  # noqa: E731
    raw = {"landmarks": normal(3, 98, 3), "points": normal(3, 98, 2), "marks": normal(3, 98, 2)}
    raw |= {
        "translation": normal(3, 3),
        "six": normal(3, 6),
        "cholesky": normal(3, 98, 3),
        "marks_cholesky": normal(3, 98, 3),
    }
    made = {"rotation": rotation_from_6d(raw["six"])}
    made |= {name: cholesky_from_raw(raw[name]) for name in ("cholesky", "marks_cholesky")}
    return SimpleNamespace(**raw | made, leaves=list(raw.values()))


def frozen(of: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(**{name: value.detach() for name, value in vars(of).items() if name != "leaves"})


def test_divergence_is_that_of_torch_and_not_symmetric():
    student, teacher = output(1).cholesky, output(2).cholesky
    zero = torch.zeros(2, dtype=torch.float64)
    gaussian = lambda factor: MultivariateNormal(zero, scale_tril=factor, validate_args=False)  # noqa: E731
    found = gaussian_divergence(student, teacher)
    torch.testing.assert_close(found, kl_divergence(gaussian(teacher), gaussian(student)), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(found, gaussian_divergence(teacher, student))
    assert gaussian_divergence(student, student).abs().max() < 1e-12


def test_a_student_that_descends_becomes_its_teacher():
    student, teacher = output(3), frozen(output(4))
    first = distillation_terms(student, teacher)
    assert set(first) == {f"teacher_{name}" for name in ("points", "marks", "covariance", "rotation", "landmarks")}
    for value in first.values():
        gradients = torch.autograd.grad(value, student.leaves, allow_unused=True, retain_graph=True)
        assert any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)
    same = distillation_terms(teacher, teacher)
    for name, value in first.items():
        assert value > same[name] + 0.1, name
    assert same["teacher_covariance"] == pytest.approx(0, abs=1e-12)
    assert same["teacher_landmarks"] < 1e-5 and same["teacher_rotation"] < 1e-3


def test_points_that_the_teacher_is_sure_of_pull_more():
    student, teacher = output(5), frozen(output(6))
    teacher.cholesky[:, 0] = 0.01 * torch.eye(2)
    teacher.cholesky[:, 1] = 1.0 * torch.eye(2)
    gradient = torch.autograd.grad(distillation_terms(student, teacher)["teacher_points"], student.points)[0]
    pull = gradient.norm(dim=-1).mean(0)
    assert pull[0] == pytest.approx(100 * pull[1].item(), rel=1e-3)
