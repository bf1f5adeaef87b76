"""Dense points of human-labelled photos: kept where they fit what people labelled, half precision, by name."""

import numpy as np
import pytest

from facelift.datasets.mesh_labels import MeshConfig, label_error, mesh
from facelift.datasets.packed import PackedSet
from facelift.datasets.training_sets import PackedPhotos, read_mesh
from facelift.detectors2d.mediapipe import ibug68_of_mesh
from facelift.detectors2d.protocol import Detections
from facelift.landmarks import MEDIAPIPE478


class FakeMesh:
    """A mesh through the labels of the photo of its turn; none for photo 4, beside the face on photo 5."""

    labels: np.ndarray

    def __init__(self, scheme):
        assert scheme == "mediapipe478"
        self.turn = -1

    def detect(self, images, boxes):
        self.turn += 1
        points = np.linalg.pinv(ibug68_of_mesh()) @ self.labels[self.turn] + 20.0 * (self.turn == 5)
        found = np.array([self.turn != 4])
        points = np.where(found[0], points, np.nan)[None]
        return Detections(points, np.ones((1, 478)), found, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_meshes_that_fit_the_labels_are_kept(packed_root, tmp_path, monkeypatch):
    FakeMesh.labels = np.load(packed_root / "small.npz")["pts68"].astype(float)
    monkeypatch.setattr("facelift.detectors2d.mediapipe.MediaPipeDetector", FakeMesh)
    out = mesh(MeshConfig(out=tmp_path / "mesh", data=packed_root, sets=("small",)))
    assert out == tmp_path / "mesh.npz" and not list(tmp_path.glob("*partial*"))
    meshes = read_mesh(out, "small")
    assert sorted(meshes) == ["000.jpg", "001.jpg", "002.jpg", "003.jpg"] and read_mesh(out, "other") == {}
    np.testing.assert_allclose(ibug68_of_mesh() @ meshes["002.jpg"], FakeMesh.labels[2], atol=0.1)
    photos = PackedPhotos(packed_root, "small", labels=None, mesh=out, dev=1)
    assert photos.definitions == ("wflw98", "merl68", "mediapipe478")
    np.testing.assert_array_equal(photos[2].labels["mediapipe478"].points, meshes["002.jpg"])
    assert "mediapipe478" not in photos[4].labels and "mediapipe478" not in photos[5].labels


def test_label_error_by_hand(packed_root):
    """Moved by (3, 4) px every point is off by 5; a hidden one does not count, nor does a photo without a mesh fit."""
    sample = PackedSet(packed_root, "small")[0]
    side = np.sqrt(np.prod(np.ptp(sample.points, axis=0)))
    sample.state[:5] = 1
    moved = sample.points + np.array([3.0, 4.0])
    moved[:5] += 50
    assert label_error(moved, sample) == pytest.approx(5 / side)
    assert np.isnan(label_error(np.full((68, 2), np.nan), sample))


def test_mirror_of_the_mesh_swaps_what_the_maps_call_left_and_right():
    """The eye corners, mouth corners, jaw ends, pupils and irises by their published vertex numbers."""
    for left, right in ((33, 263), (133, 362), (61, 291), (234, 454), (468, 473), (469, 476), (471, 474), (159, 386)):
        assert MEDIAPIPE478.mirror[left] == right and MEDIAPIPE478.mirror[right] == left
    assert MEDIAPIPE478.mirror[[1, 4, 10, 13, 14, 152, 168]].tolist() == [1, 4, 10, 13, 14, 152, 168]
