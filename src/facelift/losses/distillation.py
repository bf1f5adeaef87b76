"""What a teacher network says of a picture, as soft targets of a smaller one."""

import torch
from jaxtyping import Float
from torch import Tensor

from facelift.losses.facelift_loss import LifterOutput
from facelift.losses.geodesic import geodesic_loss
from facelift.losses.laplacian import laplacian_loss
from facelift.losses.masked_mean import masked_mean
from facelift.losses.points import points_distance


def distillation_terms(student: LifterOutput, teacher: LifterOutput) -> dict[str, Float[Tensor, ""]]:
    """Unweighted terms by name, each least where student and teacher agree. `teacher` comes without gradient.

    Points and marks: Laplacian likelihood under the TEACHER's covariance, so that what it is sure of counts most. The
    covariances: their divergence from the teacher's, because a student's own likelihood would shrink them to its error
    against the teacher, which knows nothing of the teacher's error.
    """
    spread = gaussian_divergence(student.cholesky, teacher.cholesky)
    marks_spread = gaussian_divergence(student.marks_cholesky, teacher.marks_cholesky)
    every = torch.ones_like(spread)
    return {
        "teacher_points": laplacian_loss(student.points, teacher.points, teacher.cholesky),
        "teacher_marks": laplacian_loss(student.marks, teacher.marks, teacher.marks_cholesky),
        "teacher_covariance": masked_mean(spread) + masked_mean(marks_spread),
        "teacher_rotation": geodesic_loss(student.rotation, teacher.rotation),
        "teacher_landmarks": points_distance(student.landmarks, teacher.landmarks, weight=every),
    }


def gaussian_divergence(student: Float[Tensor, "*b 2 2"], teacher: Float[Tensor, "*b 2 2"]) -> Float[Tensor, "*b"]:
    """KL(N(0, T T^T) || N(0, S S^T)) = log(|S| / |T|) + |S^-1 T|_F^2 / 2 - 1, S and T lower-triangular; 0 if equal."""
    first = teacher[..., 0, 0] / student[..., 0, 0]  # S^-1 T by forward substitution
    below = (teacher[..., 1, 0] - student[..., 1, 0] * first) / student[..., 1, 1]
    last = teacher[..., 1, 1] / student[..., 1, 1]
    return 0.5 * (first**2 + below**2 + last**2) - torch.log(first * last) - 1
