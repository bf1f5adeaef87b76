"""Linear models of our heads, and the command that makes them."""

from dataclasses import replace

import numpy as np
import pytest

from facelift.cli import main
from facelift.commands import morphable
from facelift.geometry import UNIT_CM
from facelift.landmarks import IBUG68, wflw98_of_ibug68
from facelift.morphable.coefficients import fit_coefficients
from facelift.morphable.face_cut import FaceCut, open_face, procedural_face
from facelift.morphable.head import landmarks, vertex_normals
from facelift.morphable.head_model import distance_to_unseen, head_model
from facelift.morphable.linear import load_linear_model, mirror_error
from facelift.morphable.open_head import OpenHead, to_canonical
from facelift.morphable.procedural_head import ProceduralHead
from facelift.sources import ICT, PROCEDURAL_HEAD


@pytest.fixture(scope="module")
def procedural():
    head = ProceduralHead()
    cut = procedural_face(head)
    return head, cut, head_model(head, cut, name="procedural", sources=(PROCEDURAL_HEAD,), faces=40)


_OPEN: list[tuple[OpenHead, FaceCut]] = []


@pytest.fixture
def open_cut(assets_dir) -> tuple[OpenHead, FaceCut]:
    if not _OPEN:
        head = OpenHead(assets_dir)
        _OPEN.append((head, open_face(head)))
    return _OPEN[0]


def check_cut(cut: FaceCut, mean: np.ndarray, head) -> None:
    """Own mirror image in space and texture, landmarks in their places, triangles outward."""
    index = np.arange(len(cut.vertices))
    np.testing.assert_array_equal(cut.partners[cut.partners], index)
    np.testing.assert_array_equal(cut.partners[cut.landmark_vertices], cut.landmark_vertices[IBUG68.mirror])
    np.testing.assert_allclose(mean[cut.partners] * [-1, 1, 1], mean, atol=4e-4)
    np.testing.assert_allclose(cut.uv[cut.partners] * [-1, 1] + [1, 0], cut.uv, atol=2e-3)
    assert cut.uv.min() >= 0 and cut.uv.max() <= 1 and len(np.unique(cut.landmark_vertices)) >= 67
    assert (np.unique(cut.faces) == index).all()
    off = np.linalg.norm(mean[cut.landmark_vertices] - landmarks(head, head_mean(head))[wflw98_of_ibug68()], axis=-1)
    assert off.max() * UNIT_CM < 0.25
    skin = cut.faces[~cut.still[cut.faces].any(1)]
    front = vertex_normals(mean, skin)[cut.landmark_vertices[[8, 27, 30, 33, 57]], 2]
    assert (front > 0).all()


def head_mean(head) -> np.ndarray:
    return to_canonical(head.mean_cm) if isinstance(head, OpenHead) else head.vertices(np.zeros(5), np.zeros(3))


def test_procedural_cut(procedural):
    head, cut, _ = procedural
    check_cut(cut, head_mean(head)[cut.vertices], head)


def test_procedural_head_is_linear_and_found_whole(procedural, rng):
    """Five identities and three expressions, all of them symmetric; any face of it is in the model."""
    head, cut, built = procedural
    model = built.model
    assert (len(model.shape), len(model.expression)) == (5, 3) and (model.mirror_signs == 1).all()
    assert built.shape_explained.sum() == pytest.approx(1) and built.expression_explained.sum() == pytest.approx(1)
    neutral, moved = cut.neutral_and_moved(head, rng.standard_normal(5), rng.random(3))
    found = fit_coefficients(model, moved, neutral)
    assert found.residual * UNIT_CM < 1e-3
    np.testing.assert_allclose(model.vertices(found.shape, found.expression), moved, atol=1e-4)
    np.testing.assert_allclose(model.vertices(found.shape, 0 * found.expression), neutral, atol=1e-4)


def test_distance_to_unseen_faces_is_that_of_the_nearest_ones(procedural):
    """A model without the last two identities and two expressions; the same by hand."""
    head, cut, _ = procedural
    model = head_model(head, cut, name="less", sources=(), faces=40, shape=3, expression=1).model
    vertices, marks = distance_to_unseen(head, cut, model, faces=3, seed=5)
    rng, off = np.random.default_rng(5), []
    for _ in range(3):
        neutral, moved = cut.neutral_and_moved(head, *head.sample(rng))
        rest = []
        for basis, offset in ((model.shape, neutral - model.mean), (model.expression, moved - neutral)):
            matrix = basis.reshape(len(basis), -1).T.astype(float)
            rest.append(offset.ravel() - matrix @ np.linalg.lstsq(matrix, offset.ravel(), rcond=None)[0])
        off.append(np.linalg.norm(sum(rest).reshape(-1, 3), axis=-1))
    assert vertices == pytest.approx(np.mean(off), rel=1e-3) and vertices * UNIT_CM > 0.01
    assert marks == pytest.approx(np.mean(np.stack(off)[:, cut.landmark_vertices]), rel=1e-3)


def test_whitening_is_of_the_faces_that_the_model_was_made_of(procedural):
    model = procedural[2].model
    np.testing.assert_allclose(model.whitening.mean[12:17], 0, atol=1e-3)
    np.testing.assert_allclose(model.whitening.std[12:17], 1, atol=1e-3)
    assert np.abs(model.whitening.mean[17:]).max() > 0.1  # expressions are about the neutral face, not their mean


def test_open_cut(open_cut):
    head, cut = open_cut
    mean = head_mean(head)[cut.vertices]
    check_cut(cut, mean, head)
    eyes = mean[cut.still]
    chin = mean[cut.landmark_vertices[8], 1]
    assert 500 < cut.still.sum() < 1500 and (mean[:, 1] > chin - 4 / UNIT_CM).all()  # eyeballs, no neck
    for corners in ((36, 39), (42, 45)):
        left, right = mean[cut.landmark_vertices[list(corners)], 0]
        within = eyes[(eyes[:, 0] > left) & (eyes[:, 0] < right)]
        assert len(within) > 200 and np.ptp(within[:, 1]) * UNIT_CM > 1.5


def test_eyeballs_do_not_turn_with_the_gaze(open_cut):
    head, cut = open_cut
    expression = np.zeros(len(head.names))
    expression[[head.names.index(name) for name in ("eyeLookOut_L", "eyeLookIn_R", "jawOpen")]] = 1
    neutral, moved = cut.neutral_and_moved(head, np.zeros(100), expression)
    np.testing.assert_array_equal(neutral[cut.still], moved[cut.still])
    assert np.abs(neutral - moved)[~cut.still].max() * UNIT_CM > 1


@pytest.mark.slow
def test_open_head_model(open_cut, rng):
    """Few faces: more components than bounds are met by, with 600 faces."""
    head, cut = open_cut
    built = head_model(head, cut, name="open-head", sources=(ICT,), faces=80)
    model = built.model
    assert (len(model.shape), len(model.expression)) == (40, 10) and model.whitening.mean.shape == (62,)
    assert built.shape_explained.sum() > 0.97 and built.expression_explained.sum() > 0.97
    assert mirror_error(model) < 1e-6 and set(model.mirror_signs[:40]) == set(model.mirror_signs[40:]) == {-1, 1}
    for _ in range(3):
        neutral, moved = cut.neutral_and_moved(head, *head.sample(rng))
        apart, together = fit_coefficients(model, moved, neutral), fit_coefficients(model, moved)
        assert together.residual <= apart.residual < 0.3 / UNIT_CM < np.abs(moved - model.mean).max()


def test_command_writes_a_model(tmp_path, capsys):
    out = tmp_path / "model.npz"
    assert main(["morphable", "procedural", "--out", str(out), "--faces", "30"]) == 0
    printed = capsys.readouterr().out
    assert "procedural: 8633 vertices, 16896 triangles, 5 shape and 3 expression components" in printed
    assert "50 other faces: vertices 0.00 mm off on average, landmarks 0.00 mm" in printed
    assert "mirroring: a sign for each coefficient, off by 0.00%" in printed and printed.endswith(f"{out}\n")
    model = load_linear_model(out)
    assert model.name == "procedural" and model.sources == (PROCEDURAL_HEAD,)


def test_command_says_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FACELIFT_ASSETS", raising=False)
    out = str(tmp_path / "model.npz")
    for arguments, message in (
        (["open-head"], "expected --folder or the variable FACELIFT_ASSETS, found none"),
        (["open-head", "--folder", str(tmp_path)], "head.npz: expected the open head's geometry, found no file"),
        (["tddfa"], "tddfa: expected --folder, found none"),
        (["tddfa", "--folder", str(tmp_path)], "bfm_noneck_v3.pkl: expected 3DDFA_V2's face model, found no such file"),
        (["bfm09", "--folder", str(tmp_path)], "01_MorphableModel.mat: expected a Matlab file, found nothing"),
        (["bfm2017", "--folder", str(tmp_path)], "bfm2017: expected --landmarks"),
        (["synergynet", "--folder", str(tmp_path)], "u_shp.npy: expected SynergyNet's mean face, found no file"),
        (["ict", "--folder", str(tmp_path)], "generic_neutral_mesh.obj: expected the neutral mesh of ICT-FaceKit"),
        (["procedural", "--shape", "0"], "components: expected 1 or more of each, found 0 and None"),
    ):
        assert main(["morphable", *arguments, "--out", out]) == 1
        assert message in capsys.readouterr().err


def test_models_whose_mirror_image_is_not_known_are_told_apart(procedural, tmp_path, capsys, monkeypatch):
    """A mean that is not symmetric is written all the same."""
    model = procedural[2].model
    uneven = replace(model, mean=model.mean + np.float32(0.2), mirror_vertices=None, mirror_signs=None)
    monkeypatch.setattr(morphable, "_of_files", lambda config: uneven)
    assert main(["morphable", "tddfa", "--folder", str(tmp_path), "--out", str(tmp_path / "model.npz")]) == 0
    assert "mirroring: none. mean: expected a face that is its own mirror image" in capsys.readouterr().out
    monkeypatch.setattr(morphable, "_of_files", lambda config: replace(uneven, mean=model.mean))
    assert main(["morphable", "tddfa", "--folder", str(tmp_path), "--out", str(tmp_path / "model.npz")]) == 0
    assert "mirroring: least squares, off by 0.00% of the face's height" in capsys.readouterr().out
