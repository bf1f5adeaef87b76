"""Scenes for the face finder: labels stay on what they label, however it is turned, scaled, mirrored and pasted."""

import io
import tarfile

import cv2
import numpy as np
import pytest

from facelift.datasets.finder_scenes import (
    FinderScenes,
    Scene,
    _Canvas,
    _flipped,
    _mosaic,
    _similarity,
    collated,
    five_points,
    held_out,
)

SIZE = 128


def dotted(size: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """A dark picture whose only light is a white disc at its nose tip, and its 68 points."""
    rng = np.random.default_rng(2)
    points = rng.uniform(0.25, 0.75, (68, 2)) * size
    points[30] = [0.6 * size, 0.45 * size]
    image = np.full((size, size, 3), 20, np.uint8)
    cv2.circle(image, tuple(int(v) for v in points[30]), size // 24, (255, 255, 255), -1)
    return image, points


def write_tar(path, images: dict[str, np.ndarray]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, image in images.items():
            data = cv2.imencode(".jpg", image)[1].tobytes()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Packed sets of the test's own: dark crops and photos with one white disc at each nose, dark backgrounds."""
    root = tmp_path_factory.mktemp("packed")
    image, points = dotted()
    crops = [f"{i}.jpg" for i in range(12)]
    write_tar(root / "merl_train.tar", dict.fromkeys(crops, image))
    np.savez(root / "merl_train.npz", name=crops, pts68=np.stack([points] * 12).astype(np.float32), yaw=np.zeros(12))
    photos = [f"helen_{i}.jpg" for i in range(16)] + ["afw_1_1.jpg"]
    other = [*photos[:3], "helen_900.jpg", "afw_1_1.jpg"]
    write_tar(root / "w300_train.tar", dict.fromkeys(other, image))
    np.savez(root / "w300_train.npz", name=other, pts68=np.stack([points] * 5).astype(np.float32))
    wide = cv2.copyMakeBorder(image, 0, 0, 40, 60, cv2.BORDER_REPLICATE)
    write_tar(root / "w300_full.tar", dict.fromkeys(photos, wide))
    np.savez(
        root / "w300_full.npz",
        name=photos,
        source=["x"] * 17,
        face_image_index=np.arange(17),
        face_pts68=np.stack([points + np.array([40, 0])] * 17).astype(np.float32),
        face_box=np.zeros((17, 4), np.float32),
        extra_face_image_index=np.array([0, 0]),
        extra_face_boxes=np.array([[1, 2, 30, 40], [150, 2, 170, 30]], np.float32),
    )
    grey = np.full((60, 90, 3), 30, np.uint8)
    write_tar(root / "backgrounds.tar", {f"b{i}.jpg": grey for i in range(12)})
    np.savez(root / "backgrounds.npz", name=[f"b{i}.jpg" for i in range(12)])
    return root


@pytest.fixture(scope="module")
def scenes(root) -> FinderScenes:
    return FinderScenes(root, ("merl_train", "w300_train"), heads=None, dev=2, every=4)


def test_what_is_held_out_is_not_trained_on(scenes):
    secret = {photo.name for photo in scenes.dev_photos}
    assert secret == {photo.name for photo in scenes.dev_photos if held_out(photo.name, 4)} and secret
    assert not secret & {photo.name for photo in scenes.photos}
    names = {str(scenes._crops[s].labels["name"][i]) for s, i in scenes.crops if s == 1}
    assert not secret & names and "afw_1_1.jpg" not in names and "helen_900.jpg" in names
    assert scenes.dev_crops == [(0, 10), (0, 11)] and not set(scenes.dev_crops) & set(scenes.crops)
    assert len(scenes.dev_backgrounds) + len(scenes._backgrounds) == 12 and scenes.dev_backgrounds


def test_photos_carry_their_ignored_places(scenes):
    photo = next(photo for photo in [*scenes.photos, *scenes.dev_photos] if photo.name == "helen_0.jpg")
    assert photo.ignored.tolist() == [[1, 2, 30, 40], [150, 2, 170, 30]] and photo.points.shape == (1, 68, 2)


def test_labels_follow_what_is_pasted(scenes):
    """The white disc lies at the labelled nose, whatever was done: one face, found by its light alone."""
    checked = 0
    for seed in range(60):
        scene = scenes._scene(np.random.default_rng(seed), SIZE)
        if len(scene.points) != 1 or np.ptp(scene.boxes[0].reshape(2, 2), axis=0).max() < 24:
            continue
        bright = scene.image.min(-1) > 150
        nose = scene.points[0, 30]
        if not bright.any() or not ((nose > 4) & (nose < SIZE - 4)).all():
            continue
        light = np.argwhere(bright)[:, ::-1].mean(0) + 0.5
        np.testing.assert_allclose(light, nose, atol=2.5)
        checked += 1
    assert checked >= 10


def test_a_scene_is_a_function_of_its_numbers(scenes):
    one, two, other = (scenes.scene(np.random.default_rng(seed), SIZE) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.points, two.points)
    assert not np.array_equal(one.image, other.image)


def test_too_little_of_a_face_is_ignored():
    """One whole, one of 6 px, one half outside."""
    image, points = dotted()
    canvas = _Canvas(np.zeros((SIZE, SIZE, 3), np.uint8))
    scene = Scene(image, points[None], np.array([[0.0, 0.0, 10.0, 10.0]]))
    side = np.ptp(points, axis=0).max()
    mask = np.full(image.shape[:2], 255, np.uint8)
    for scale, place in ((1.0, [0, 0]), (6 / side, [120, 120]), (1.0, [-60, 0])):
        canvas.add(scene, np.array([[scale, 0, place[0]], [0, scale, place[1]]], float), mask)
    found = canvas.scene()
    assert len(found.points) == 1 and len(found.ignored) == 5  # two faces, and each paste's own ignored box
    np.testing.assert_allclose(found.points[0], points)


def test_nothing_is_pasted_over_a_face():
    image, points = dotted()
    canvas = _Canvas(np.zeros((SIZE, SIZE, 3), np.uint8))
    same = np.array([[0.5, 0, 0], [0, 0.5, 0]])
    canvas.add(Scene(image, points[None], np.zeros((0, 4))), same, np.full((120, 120), 255, np.uint8))
    assert not canvas.free(same, (120, 120))
    assert canvas.free(same + np.array([[0, 0, 64], [0, 0, 64]]), (120, 120))


def test_mirroring_by_hand():
    image, points = dotted()
    flipped = _flipped(Scene(image, points[None], np.array([[10.0, 20.0, 30.0, 40.0]])))
    np.testing.assert_allclose(flipped.points[0, 30], [120 - points[30, 0], points[30, 1]])
    np.testing.assert_allclose(flipped.points[0, 36], [120 - points[45, 0], points[45, 1]])
    assert flipped.ignored.tolist() == [[90, 20, 110, 40]]
    again = _flipped(flipped)
    np.testing.assert_allclose(again.points[0], points)


def test_mosaic_moves_each_quarter():
    image, points = dotted(64)
    part = Scene(image, points[None], np.array([[1.0, 2.0, 3.0, 4.0]]))
    whole = _mosaic([part] * 4)
    assert whole.image.shape == (128, 128, 3)
    np.testing.assert_allclose(whole.points[3], points + 64)
    assert whole.ignored[1].tolist() == [65, 2, 67, 4]


def test_a_similarity_brings_the_middle_to_its_place(rng):
    matrix = _similarity(rng, np.array([10.0, 20.0]), 0.5, np.array([70.0, 30.0]))
    np.testing.assert_allclose(matrix @ [10, 20, 1], [70, 30])
    assert np.sqrt(np.linalg.det(matrix[:, :2])) == pytest.approx(0.5)


def test_five_points_by_hand():
    points = np.arange(136, dtype=float).reshape(68, 2)
    five = five_points(points)
    np.testing.assert_allclose(five[0], points[36:42].mean(0))
    np.testing.assert_allclose(five[2:], points[[30, 48, 54]])
    points[37] = np.nan
    assert np.isnan(five_points(points)[0]).all() and np.isfinite(five_points(points)[1:]).all()


def test_batches_are_filled_up():
    image, points = dotted()
    one = Scene(image, points[None], np.zeros((0, 4)))
    none = Scene(image, np.zeros((0, 68, 2)), np.zeros((0, 4)))
    boxes, five, ignored = collated([none, one])
    assert boxes.shape == (2, 1, 4) and five.shape == (2, 1, 5, 2) and ignored.shape == (2, 1, 4)
    assert np.isnan(boxes[0]).all() and np.isfinite(boxes[1]).all() and np.isnan(ignored).all()


def test_held_out_scenes(scenes):
    """Both held-out crops, and the turn of each as it was pasted."""
    scene, angles = scenes.dev_scene(0, 256)
    assert len(scene.points) == len(angles) > 0
    _, points = dotted()
    for face, (yaw, turn) in zip(scene.points, angles, strict=True):
        before, after = points[30] - points[8], face[30] - face[8]
        turned = np.arctan2(after[1], after[0]) - np.arctan2(before[1], before[0])
        assert np.degrees(np.angle(np.exp(1j * (turned - np.radians(turn))))) == pytest.approx(0, abs=1e-4) and yaw == 0
