"""Real photos as training samples: crops, flips, covers, and the errors of a broken set."""

import io
import tarfile

import cv2
import numpy as np
import pytest

from facelift.datasets.augment import Augmentation
from facelift.datasets.packed import PackedSet
from facelift.datasets.real_faces import RealFaces, cover_states, flip
from facelift.generators.morphable import MorphableGenerator
from facelift.geometry import geodesic_distance, look_at_rotation, sphere_translation
from facelift.landmarks import normals, wflw98_of_ibug68
from facelift.lifting.single_view import SingleViews, fit_single_views, shape_space


def test_plain_crop_keeps_labels_in_place(packed_root):
    faces = RealFaces(packed_root, ("small",))
    crop = faces.crop(faces.train[2], 128)
    labels = np.load(packed_root / "small.npz")["pts68"][2]
    np.testing.assert_allclose(crop.points[wflw98_of_ibug68()] * 120, labels, atol=1e-4)
    assert crop.image.shape == (128, 128, 3) and crop.image.dtype == np.uint8


def test_last_faces_of_the_first_set_are_held_out(packed_root):
    faces = RealFaces(packed_root, ("small", "small"), dev=2)
    assert faces.dev == [(0, 4), (0, 5)] and len(faces.train) == 10 and not set(faces.dev) & set(faces.train)
    assert faces.yaw_deg((0, 0)) == -80


def test_two_flips_are_none(packed_root):
    faces = RealFaces(packed_root, ("small",))
    sample = faces.labelled(faces.train[0])
    image, points, state = flip(*flip(sample.image, sample.points, sample.state))
    np.testing.assert_array_equal(image, sample.image)
    np.testing.assert_allclose(points, sample.points)
    np.testing.assert_array_equal(state, sample.state)


def test_flip_moves_a_pixel_and_its_point_together():
    image = np.zeros((8, 10, 3), np.uint8)
    image[3, 2] = 255
    points = np.full((98, 2), np.nan)
    points[60] = (2.5, 3.5)  # outer corner of the image-left eye, on that pixel
    flipped, moved, _ = flip(image, points, np.zeros(98, np.int8))
    assert flipped[3, 7, 0] == 255 and moved[72].tolist() == [7.5, 3.5] and np.isnan(moved[60]).all()


def test_same_seed_same_sample_and_other_seed_another(packed_root):
    faces = RealFaces(packed_root, ("small",))
    draw = lambda seed: faces.augmented(faces.train[1], 128, np.random.default_rng(seed), Augmentation())  # noqa: E731
    first, again, other = draw(5), draw(5), draw(6)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.points, again.points)
    assert np.abs(first.points - other.points)[np.isfinite(first.points)].max() > 0.005


def test_covered_points_become_occluded_but_not_self_occluded_ones():
    cover = np.zeros((10, 10), bool)
    cover[:, :5] = True
    state = np.array([0, 0, 2, -1, 0], np.int8)
    points = np.array([[2.5, 2.5], [7.5, 2.5], [2.5, 2.5], [2.5, 2.5], [-3.0, 2.0]])
    assert cover_states(state, points, cover).tolist() == [1, 0, 2, -1, 0]


def test_pseudo_labels_fill_only_what_people_did_not_label(packed_root, tmp_path):
    points = np.full((1, 98, 2), np.nan, np.float32)
    points[0, [38, 33]] = [[11, 12], [1, 1]]
    np.savez(tmp_path / "labels.npz", set=["small"], name=["000.jpg"], points=points)
    plain = RealFaces(packed_root, ("small",))
    filled = RealFaces(packed_root, ("small",), labels=tmp_path / "labels.npz")
    np.testing.assert_array_equal(filled.labelled((0, 0)).points[38], [11, 12])
    np.testing.assert_array_equal(filled.labelled((0, 0)).points[33], plain.labelled((0, 0)).points[33])


def test_missing_files_and_arrays_are_named(packed_root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"other\.npz.*packed set"):
        PackedSet(packed_root, "other")
    with pytest.raises(FileNotFoundError, match="facelift label fill"):
        RealFaces(packed_root, ("small",), labels=tmp_path / "none.npz")
    np.savez(packed_root / "small.npz", name=["000.jpg"])
    with pytest.raises(ValueError, match=r"small\.npz: expected the labels .* with name, pts68, found name"):
        PackedSet(packed_root, "small")


def test_a_label_without_its_picture_is_named(packed_root):
    labels = dict(np.load(packed_root / "small.npz"))
    labels["name"][1] = "gone.jp"
    np.savez(packed_root / "small.npz", **labels)
    with pytest.raises(ValueError, match=r"small\.tar: .* found none for gone\.jp"):
        PackedSet(packed_root, "small")


def test_fitted_poses_follow_the_crop_and_the_flip(tmp_path):
    """Faces of known cameras: what a crop says of pose and hidden landmarks is what its labels say."""
    generator = MorphableGenerator(None)
    rotation = look_at_rotation(np.linspace(-70, 70, 8), 5.0)
    names, labels, states = [], [], []
    with tarfile.open(tmp_path / "turned.tar", "w") as tar:
        for seed in range(8):
            view = generator.render(seed, rotation[seed, None], sphere_translation(rotation[seed, None]), 96)[0]
            data = cv2.imencode(".jpg", view.image[..., ::-1])[1].tobytes()
            info = tarfile.TarInfo(f"{seed}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            names.append(info.name)
            chosen = wflw98_of_ibug68()
            away = (normals() @ rotation[seed, 2] > 0)[chosen]
            labels.append(np.where(away[:, None], np.nan, view.points[chosen]))
            states.append(np.where(away, 2, 0))
    np.savez(tmp_path / "turned.npz", name=names, pts68=np.array(labels, np.float32), state=np.array(states, np.uint8))
    shapes = np.stack([generator.landmarks(seed) for seed in range(100, 140)])
    shapes[:, 96:] = np.nan
    faces = RealFaces(tmp_path, ("turned",))
    assert faces.fit_poses(shapes) == 1
    for index, key in enumerate(faces.train):
        for draw in range(4):
            sample = faces.augmented(key, 96, np.random.default_rng([index, draw]), Augmentation(colour=0, occluder=0))
            labelled, placed = (np.isfinite(p).all(-1)[:96] for p in (sample.points, sample.hidden))
            assert placed[~labelled].all() and not placed[33:][labelled[33:]].any()
            fit = fit_single_views(sample.points[None], np.ones((1, 98)), shape_space(shapes))
            assert np.degrees(geodesic_distance(fit.rotation[0], sample.rotation)) < 4
            assert np.nanmax(np.linalg.norm(fit.points[0] - sample.hidden, axis=-1)) < 0.03


def test_a_jaw_that_has_turned_away_teaches_no_fit_and_bad_fits_are_left_out(packed_root, monkeypatch, tmp_path):
    """The first fit gives the jaw a tenth, the second the part of it that faces the camera; what does not is placed
    anew; pupils count for nothing; a photo whose fit is bad gets neither pose nor hidden landmarks."""
    seen = []

    def fit(points, weights, space):
        seen.append(weights.copy())
        rotation = look_at_rotation(np.full(len(points), 80.0), 0.0)
        residual = np.where(np.arange(len(points)) == 2, 1.0, 0.0)
        return SingleViews(np.tile(shapes[0], (len(points), 1, 1)), rotation, sphere_translation(rotation), residual)

    monkeypatch.setattr("facelift.datasets.real_faces.fit_single_views", fit)
    faces = RealFaces(packed_root, ("small",))
    shapes = np.random.default_rng(0).normal(size=(3, 98, 3))
    assert faces.fit_poses(shapes, tmp_path / "fits.npz") == pytest.approx(5 / 6)
    first, second = seen
    assert (first[:, :33] == 0.1).all() and (second[:, :9] == 0).all() and (second[:, 24:33] == 1).all()
    assert all((weights[:, 33:96] == 1).all() and (weights[:, 96:] == 0).all() for weights in seen)
    good, bad = faces.crop(faces.train[0], 64), faces.crop(faces.train[2], 64)
    placed = np.isfinite(good.hidden).all(-1)
    assert placed[:9].all() and not placed[24:33].any() and not placed[96:].any()
    assert not np.isfinite(bad.hidden).any() and not np.isfinite(bad.rotation).any()

    again = RealFaces(packed_root, ("small",))
    assert again.fit_poses(shapes, tmp_path / "fits.npz") == pytest.approx(5 / 6) and len(seen) == 2  # from the file
    np.testing.assert_array_equal(again.crop(faces.train[0], 64).hidden, good.hidden)
    again.fit_poses(shapes + 1, tmp_path / "fits.npz")
    assert len(seen) == 4  # other shapes, other fits
