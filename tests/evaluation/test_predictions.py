"""Predictions files: what is written is read back, broken ones are refused, a killed run goes on."""

from dataclasses import replace

import numpy as np
import pytest

from facelift.datasets.sample import FaceSample
from facelift.evaluation.predict_stage import PredictStage
from facelift.evaluation.predictions import Predictions, read_predictions, write_predictions
from facelift.evaluation.systems import Answer
from facelift.evaluation.tables.entries import coverage


def predictions(rng, count: int = 4, **changes) -> Predictions:
    arrays = {
        "found": np.ones(count, bool),
        "points_2d": rng.normal(size=(count, 68, 2)),
        "covariance": rng.normal(size=(count, 68, 2, 2)),
    }
    return Predictions(np.array([f"face{i}" for i in range(count)]), "ibug68", **{**arrays, **changes})


def test_read_gives_back_what_was_written(rng, tmp_path):
    written = predictions(rng, about={"system": "é"})
    read = read_predictions(write_predictions(tmp_path / "p.npz", written))
    np.testing.assert_array_equal(read.points_2d, written.points_2d)
    np.testing.assert_array_equal(read.covariance, written.covariance)
    assert read.name.tolist() == written.name.tolist() and read.about == {"system": "é"} and read.rotation is None


def test_a_file_by_hand_needs_three_arrays(rng, tmp_path):
    points = rng.normal(size=(2, 98, 2))
    points[1] = np.nan
    np.savez(tmp_path / "p.npz", name=["a", "b"], points_2d=points, scheme="wflw98")
    assert read_predictions(tmp_path / "p.npz").found.tolist() == [True, False]


def test_faces_in_another_order_and_missing_ones(rng):
    taken, there = predictions(rng).of(["face2", "nobody", "face0"])
    assert there.tolist() == [True, False, True] and taken.found.tolist() == [True, False, True]
    np.testing.assert_array_equal(taken.points_2d[0], predictions(np.random.default_rng(20240617)).points_2d[2])
    assert np.isnan(taken.points_2d[1]).all() and np.isnan(taken.covariance[1]).all()


def test_marks_stand_for_points_where_a_system_has_them(rng, tmp_path):
    marks = {"marks_2d": rng.normal(size=(4, 68, 2)), "marks_covariance": rng.normal(size=(4, 68, 2, 2))}
    written = predictions(rng, **marks)
    read = read_predictions(write_predictions(tmp_path / "p.npz", written))
    marked = read.as_marked()
    np.testing.assert_array_equal(marked.points_2d, marks["marks_2d"])
    np.testing.assert_array_equal(marked.covariance, marks["marks_covariance"])
    np.testing.assert_array_equal(read.to("aflw21").marks_2d, replace(marked, covariance=None).to("aflw21").points_2d)
    alone = predictions(rng)
    assert alone.as_marked() is alone


def test_meshes_are_read_back_and_follow_their_faces(rng, tmp_path):
    vertices, triangles = rng.normal(size=(4, 5, 3)).astype(np.float32), np.array([[0, 1, 2], [2, 3, 4]], np.int32)
    path = write_predictions(tmp_path / "p.npz", predictions(rng, vertices=vertices, triangles=triangles))
    read = read_predictions(path)
    assert read.vertices.dtype == np.float32  # of many faces they are large
    np.testing.assert_array_equal(read.vertices, vertices)
    np.testing.assert_array_equal(read.triangles, triangles)
    taken, _ = read.of(["face3", "nobody"])
    np.testing.assert_array_equal(taken.vertices[0], vertices[3])
    assert np.isnan(taken.vertices[1]).all()
    np.testing.assert_array_equal(taken.triangles, triangles)


def test_without_a_mesh_of_a_face_not_found(rng, tmp_path):
    vertices = np.where([[[True]], [[False]], [[True]], [[True]]], rng.normal(size=(4, 5, 3)), np.nan)
    found = np.array([True, False, True, True])
    path = write_predictions(tmp_path / "p.npz", predictions(rng, found=found, vertices=vertices))
    assert np.isnan(read_predictions(path).vertices[1]).all() and read_predictions(path).triangles is None


FIVE = np.zeros((4, 5, 3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vertices": np.zeros((3, 5, 3))}, r"expected vertices of shape \(4, v, 3\), found \(3, 5, 3\)"),
        ({"vertices": np.zeros((4, 5, 2))}, r"expected vertices of shape \(4, v, 3\), found \(4, 5, 2\)"),
        ({"vertices": np.zeros((4, 0, 3))}, r"expected vertices of shape \(4, v, 3\), found \(4, 0, 3\)"),
        ({"vertices": FIVE * np.nan}, "expected finite vertices for every found face, found NaN at 'a'"),
        ({"triangles": np.array([[0, 1, 2]])}, "expected vertices beside triangles, found triangles alone"),
        ({"vertices": FIVE, "triangles": np.array([[0, 1, 2.0]])}, "expected triangles of integers, found float64"),
        (
            {"vertices": FIVE, "triangles": np.zeros((2, 4), int)},
            r"expected triangles of shape \(f, 3\), found \(2, 4\)",
        ),
        (
            {"vertices": FIVE, "triangles": np.zeros((0, 3), int)},
            r"expected triangles of shape \(f, 3\), found \(0, 3\)",
        ),
        ({"vertices": FIVE, "triangles": np.array([[0, 1, 5]])}, r"triangles of vertices 0\.\.4, found 0\.\.5"),
        ({"vertices": FIVE, "triangles": np.array([[0, 1, -1]])}, r"triangles of vertices 0\.\.4, found -1\.\.1"),
        ({"points_2d": np.zeros((4, 67, 2))}, r"expected points_2d of shape \(4, 68, 2\), found \(4, 67, 2\)"),
        ({"scheme": "mine"}, "expected a scheme among .* found 'mine'"),
        ({"name": np.array(["a", "a", "b", "c"])}, "expected every name once, found 'a' 2 times"),
        ({"points_2d": np.zeros((4, 68, 2), object)}, r"p\.npz: expected a predictions file"),
        ({"points_2d": np.full((4, 68, 2), "left")}, r"p\.npz: expected numbers of the documented shapes .*left"),
        ({"name": np.array([["a"], ["b"], ["c"], ["d"]])}, r"expected a list of names, .* found an array of \(4, 1\)"),
        ({"version": [1, 2]}, r"p\.npz: expected version 1, found \[1 2\]"),
        (
            {"about": "echo"},
            r"p\.npz: expected numbers of the documented shapes and `about` as a JSON object, found Expecting",
        ),
        ({"about": "[1]"}, r"p\.npz: expected .* `about` as a JSON object, found \[1\]"),
        ({"points_2d": np.full((4, 68, 2), np.nan)}, "expected finite points_2d for every found face, found NaN"),
        ({"format": "their-predictions"}, r"p\.npz: expected format 'facelift-predictions', found 'their-predictions'"),
        ({"found": np.array([1, 1, 2, 0])}, r"p\.npz: .* found 2 in found, which holds booleans or 0 and 1"),
        ({"found": np.array([1, 1, np.nan, 0])}, r"p\.npz: .* found nan in found"),
        ({"found": np.array(["True", "False", "True", "True"])}, r"p\.npz: .* found 'False' in found"),
        (
            {"rotation": np.eye(3) * np.array([1.0, 1, 2, 1])[:, None, None]},
            r"with \|R R\^T - I\| <= 0.01 and det R = 1 at 'c', found 3 and 8",
        ),
        (
            {"rotation": np.stack([np.eye(3), np.diag([1.0, 1, -1]), np.eye(3), np.eye(3)])},
            "at 'b', found 0 and -1",
        ),
        ({"visibility": np.eye(4, 68) * 90}, "expected visibility in 0..1, found 90 at 'a', landmark 0"),
        ({"visibility": -np.eye(4, 68, 3)}, "expected visibility in 0..1, found -1 at 'a', landmark 3"),
    ],
)
def test_broken_arrays_are_refused(rng, tmp_path, changes, message):
    fields = {"name": np.array(list("abcd")), "scheme": "ibug68", "found": np.ones(4, bool)}
    fields |= {"points_2d": rng.normal(size=(4, 68, 2)), **changes}
    np.savez(tmp_path / "p.npz", **fields)
    with pytest.raises(ValueError, match=message):
        read_predictions(tmp_path / "p.npz")


def test_what_is_not_found_may_hold_anything_and_zeros_and_ones_are_booleans(rng, tmp_path):
    rotation, visibility = np.tile(np.eye(3) + 0.004, (2, 1, 1)), rng.random((2, 68))
    rotation[1], visibility[1], visibility[0, 3] = np.nan, 7.0, np.nan
    arrays = {"points_2d": rng.normal(size=(2, 68, 2)), "rotation": rotation, "visibility": visibility}
    np.savez(tmp_path / "p.npz", name=["a", "b"], scheme="ibug68", found=np.array([1, 0]), **arrays)
    read = read_predictions(tmp_path / "p.npz")
    assert read.found.tolist() == [True, False] and read.found.dtype == bool


def test_a_file_without_faces_is_refused(tmp_path):
    np.savez(tmp_path / "p.npz", name=np.array([], str), points_2d=np.zeros((0, 68, 2)), scheme="ibug68")
    with pytest.raises(ValueError, match=r"p\.npz: expected a list of names, one a face, found an array of \(0,\)"):
        read_predictions(tmp_path / "p.npz")


def test_points_of_one_face_alone_are_refused(tmp_path):
    np.savez(tmp_path / "p.npz", name=["a"], points_2d=np.zeros((68, 2)), scheme="ibug68")
    with pytest.raises(ValueError, match=r"p\.npz: expected numbers of the documented shapes"):
        read_predictions(tmp_path / "p.npz")


def test_no_file_no_npz_and_other_arrays_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a predictions file"):
        read_predictions(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match=r"text\.npz: expected a predictions file"):
        read_predictions(tmp_path / "text.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"array\.npy: expected a predictions file"):
        read_predictions(tmp_path / "array.npy")
    np.savez(tmp_path / "other.npz", landmarks=np.zeros(3))
    with pytest.raises(ValueError, match="with name, points_2d, scheme, found landmarks"):
        read_predictions(tmp_path / "other.npz")


class Faces:
    """450 blank pictures; number 7 cannot be read."""

    name = "blank"

    def __len__(self) -> int:
        return 450

    def __getitem__(self, index: int) -> FaceSample:
        def read():
            if index == 7:
                raise ValueError("7.jpg: expected a picture, found none")
            return np.full((4, 4, 3), index % 256, np.uint8)

        return FaceSample(
            str(index), read, np.array([0.0, 0, 4, index + 1]), np.zeros((68, 2)), np.zeros(68, np.int8), "ibug68"
        )


class Echo:
    """Says the box's height as every point; finds no odd face; may be killed at a face."""

    scheme, about = "ibug68", {"system": "echo"}

    def __init__(self, dies_at: int | None = None):
        self.dies_at, self.asked = dies_at, 0

    def answer(self, image, box):
        self.asked += 1
        if self.dies_at == box[3]:
            raise KeyboardInterrupt
        return Answer(np.full((68, 2), box[3]), rotation=np.eye(3)) if box[3] % 2 else None


def test_a_killed_run_goes_on_and_unreadable_faces_count_as_not_found(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        PredictStage(Echo(dies_at=301), Faces(), tmp_path / "p.npz").run()
    assert not (tmp_path / "p.npz").exists()
    system = Echo()
    whole = read_predictions(PredictStage(system, Faces(), tmp_path / "p.npz").run())
    assert system.asked == 150  # six blocks of 50 were done
    assert whole.name.tolist() == [str(i) for i in range(450)]
    assert whole.found.sum() == 225 and (whole.points_2d[100] == 101).all() and np.isnan(whole.rotation[1]).all()
    assert [path.name for path in tmp_path.iterdir()] == ["p.npz"]
    printed = capsys.readouterr()
    assert "7: 7.jpg: expected a picture" in printed.err
    assert "450 faces, 225 found, 1 unreadable, 0 failed" in printed.out  # also those of the killed run
    assert whole.about["unreadable pictures"] == "1" and whole.about["failed answers"] == "0"


def test_a_system_that_fails_is_no_unreadable_picture(tmp_path, capsys):
    class Failing(Echo):
        def answer(self, image, box):
            if box[3] == 12:
                raise np.linalg.LinAlgError("SVD did not converge")
            if box[3] == 13:
                raise ValueError("expected a face, found a wall")
            return super().answer(image, box)

    whole = read_predictions(PredictStage(Failing(), Faces(), tmp_path / "p.npz").run())
    assert whole.about["unreadable pictures"] == "1" and whole.about["failed answers"] == "2"
    assert not whole.found[[11, 12]].any() and whole.found[14]
    printed = capsys.readouterr()
    assert "11: the system failed: SVD did not converge" in printed.err and "1 unreadable, 2 failed" in printed.out
    said = (
        "450 faces, 226 not found, 1 with a picture that could not be read, 2 on which the system failed with an error."
    )
    assert coverage("echo", whole, 0) == f"echo: {said}"


def test_a_file_that_the_system_misses_ends_the_run(tmp_path):
    class Missing(Echo):
        def answer(self, image, box):
            raise FileNotFoundError("weights.onnx: expected weights, found none")

    with pytest.raises(FileNotFoundError, match=r"weights\.onnx"):
        PredictStage(Missing(), Faces(), tmp_path / "p.npz").run()


def test_a_benchmark_without_faces_is_named(tmp_path):
    class Empty(Faces):
        def __len__(self) -> int:
            return 0

    with pytest.raises(ValueError, match="blank: expected faces, found none"):
        PredictStage(Echo(), Empty(), tmp_path / "p.npz").run()


def test_blocks_of_another_system_are_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        PredictStage(Echo(dies_at=301), Faces(), tmp_path / "p.npz").run()
    other = Echo()
    other.about = {"system": "other"}
    with pytest.raises(ValueError, match=r"p\.blocks: expected the blocks of this run, .* give another --out"):
        PredictStage(other, Faces(), tmp_path / "p.npz").run()
