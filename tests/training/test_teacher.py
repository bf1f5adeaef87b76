"""A teacher of another input size, frozen, and a student that comes to say what it says."""

import json

import pytest
import torch
from torch.nn.functional import interpolate

from facelift.losses.distillation import distillation_terms
from facelift.losses.facelift_loss import weighted_sum
from facelift.models.lifter import Lifter
from facelift.training.teacher import Teacher


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder of a small lifter with weights that nothing else has."""
    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("teacher")
    model = Lifter(encoder="small", template=torch.randn(98, 3) * 0.1)
    for head in (model.offset, model.rotation, model.spread, model.marks):
        torch.nn.init.normal_(head.out.weight, std=0.1)
    with torch.no_grad():  # batch norm has seen something
        for _ in range(20):
            model(torch.rand(4, 3, 128, 128))
    torch.save({"averaged": model.state_dict()}, folder / "checkpoint.pt")
    (folder / "config.json").write_text(json.dumps({"task": "lifter", "encoder": "small"}))
    return folder


def test_a_teacher_sees_its_own_size_and_learns_nothing(run):
    teacher = Teacher(run)
    waves = torch.rand(2, 3, 4, 4)
    drawn = lambda size, waves: interpolate(waves, (size, size), mode="bicubic").clamp(0, 1)  # noqa: E731
    large, small, other = (teacher(drawn(size, w)) for size, w in ((224, waves), (128, waves), (224, 1 - waves)))
    assert not large.points.requires_grad and not teacher.model.training
    assert (large.points - small.points).abs().max() < 0.3 * (large.points - other.points).abs().max()
    same = Teacher(run / "checkpoint.pt")(drawn(224, waves))
    torch.testing.assert_close(same.points, large.points)


def test_a_student_comes_to_say_what_its_teacher_says(run):
    teacher = Teacher(run)
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    torch.manual_seed(1)
    student, image = Lifter(encoder="small", template=teacher.model.template), torch.rand(4, 3, 128, 128)
    optimizer = torch.optim.Adam(student.parameters(), 2e-3)
    answer, curve = teacher(image), []
    for _ in range(25):
        terms = distillation_terms(student(image), answer)
        loss = weighted_sum(terms, dict.fromkeys(terms, 1.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append({name: value.item() for name, value in terms.items()})
    for name in ("teacher_points", "teacher_covariance", "teacher_rotation"):
        assert curve[-1][name] < 0.7 * curve[0][name], name
    assert all(torch.equal(before[name], value) for name, value in teacher.model.state_dict().items())


def test_what_is_no_run_of_a_lifter_is_named(run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json: expected the settings of the teacher's run"):
        Teacher(tmp_path / "checkpoint.pt")
    (tmp_path / "config.json").write_text('{"task": "detector", "encoder": "small"}')
    with pytest.raises(ValueError, match="expected a run of a lifter as teacher, found 'detector'"):
        Teacher(tmp_path)
