"""Generated views: the same picture for the same seed, and truth that fits the picture."""

import io
import json
import pickle
import tarfile

import cv2
import numpy as np
import pytest

from facelift.cli import main
from facelift.generators.morphable import MorphableGenerator
from facelift.generators.protocol import Generator
from facelift.generators.sheet import contact_sheet
from facelift.geometry import intrinsics, look_at_rotation, project, sphere_translation, to_camera
from facelift.landmarks import WFLW98
from facelift.rendering.raster import rasterize

AZIMUTHS = np.array([0.0, 90.0, -90.0])


@pytest.fixture(scope="module")
def cameras():
    rotations = look_at_rotation(AZIMUTHS, 0.0)
    return rotations, sphere_translation(rotations)


@pytest.fixture(scope="module")
def procedural() -> MorphableGenerator:
    return MorphableGenerator(None)


@pytest.fixture(params=["procedural", "open"])
def generator(request, procedural) -> MorphableGenerator:
    if request.param == "procedural":
        return procedural
    return _open(request.getfixturevalue("assets_dir"))


_CACHE: dict = {}


def _open(assets) -> MorphableGenerator:
    return _CACHE.setdefault("open", MorphableGenerator(assets)) if "open" not in _CACHE else _CACHE["open"]


def test_same_seed_same_picture_whatever_was_drawn_before(generator, cameras):
    assert isinstance(generator, Generator)
    first = generator.render(3, *cameras, 96)
    generator.render(4, *cameras, 64)
    generator._faces.clear()
    again = generator.render(3, cameras[0][::-1], cameras[1][::-1], 96)[::-1]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.visible, b.visible)
    other = generator.render(5, *cameras, 96)[0]
    assert np.abs(first[0].image.astype(int) - other.image).mean() > 5
    assert np.abs(first[0].points - other.points).max() > 0.5


def test_background_changes_only_what_the_head_does_not_cover(generator, cameras):
    one, two = (generator.render(3, *cameras, 96, background=seed)[0].image for seed in (1, 2))
    assert (one[48, 48] == two[48, 48]).all() and (one[0, 0] != two[0, 0]).any()


def test_points_are_the_projections_of_the_landmarks(generator, cameras):
    views = generator.render(6, *cameras, 128)
    expected = project(np.stack([generator.landmarks(6)] * 3), *cameras, intrinsics(128))
    for view, points in zip(views, expected, strict=True):
        np.testing.assert_allclose(view.points, points, atol=1e-3)
        assert ((points > 0) & (points < 128)).all()


def test_the_far_side_is_hidden_in_profile(generator, cameras):
    """At azimuth 90 the camera sees the subject's left (image right of a frontal picture)."""
    _, left_side, right_side = generator.render(7, *cameras, 128)
    eye_right, eye_left = WFLW98.regions["eyes"][:8], WFLW98.regions["eyes"][8:]
    assert left_side.visible[eye_left].mean() > 0.5 and not left_side.visible[eye_right].any()
    assert right_side.visible[eye_right].mean() > 0.5 and not right_side.visible[eye_left].any()
    assert not left_side.visible[:12].any() and not right_side.visible[21:33].any()


def test_seen_landmarks_lie_on_the_surface_that_the_picture_shows(generator, cameras):
    """The depth of the mesh at a landmark's pixel is the landmark's own, where it is seen; but for contours, whose
    pixel may show what lies behind the outline."""
    face = generator._face(7)
    rotation, translation = cameras[0][0], cameras[1][0]
    view = generator.render(7, cameras[0][:1], cameras[1][:1], 512)[0]
    pixels = to_camera(face.surface.vertices.astype(float), rotation, translation)
    K = intrinsics(512)
    pixels[:, :2] = pixels[:, :2] / pixels[:, 2:] * K[0, 0] + K[:2, 2]
    opaque = face.surface.faces[face.alpha_of < 0]
    depth = rasterize(pixels.astype(np.float32), opaque, 512).depth
    seen = np.flatnonzero(view.visible[33:]) + 33
    column, row = np.floor(view.points[seen]).astype(int).T
    own = to_camera(face.marks.points, rotation, translation)[seen, 2]
    off = np.abs(depth[row, column] - own)
    assert np.median(off) < 0.002 and np.percentile(off, 95) < 0.012


def test_travels_to_another_process_as_its_recipe(procedural, cameras):
    sent = pickle.dumps(procedural)
    assert len(sent) < 1000
    one, two = (g.render(5, *cameras, 48)[1] for g in (procedural, pickle.loads(sent)))
    np.testing.assert_array_equal(one.image, two.image)


def test_most_landmarks_are_seen_from_the_front(generator, cameras):
    assert generator.render(7, *cameras, 128)[0].visible[51:96].mean() > 0.8


def test_identities_differ_by_centimetres_not_metres(generator):
    marks = np.stack([generator.landmarks(seed) for seed in range(8)])
    spread = marks.std(0).mean() * 360  # mm
    assert 0.5 < spread < 15


def test_edges_are_smooth(procedural, cameras):
    """Coverage between 0 and 1 along the outline: a white scene behind a black head must give greys."""
    face = procedural._face(3)
    scene = np.ones((96, 96, 3), np.float32)
    view = procedural._view(face, cameras[0][0], cameras[1][0], 96, scene)
    dark = procedural._view(face, cameras[0][0], cameras[1][0], 96, 0 * scene)
    covered = 1 - ((view.image / 255.0) ** 2.2 - (dark.image / 255.0) ** 2.2).mean(-1)
    assert ((covered > 0.2) & (covered < 0.8)).sum() > 50


def test_contact_sheet_and_command(tmp_path, procedural, cameras):
    sheet = contact_sheet(procedural, [1, 2], *cameras, size=64, columns=4, points=True)
    assert sheet.shape == (128, 256, 3)
    arguments = ["render", "--generator", "procedural", "--out", str(tmp_path), "--seeds", "1", "--size", "64"]
    assert main([*arguments, "--azimuth-deg", "0", "30", "--pictures"]) == 0
    cameras_file = json.loads((tmp_path / "cameras.json").read_text())
    assert sorted(cameras_file) == ["000001-00.png", "000001-01.png"]
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (64, 128, 3)
    entry = cameras_file["000001-01.png"]
    points = project(
        procedural.landmarks(1), np.array(entry["rotation"]), np.array(entry["translation"]), np.array(entry["K"])
    )
    np.testing.assert_allclose(points, entry["points_px"], atol=1e-3)


def test_assets_that_are_not_there_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"head\.npz: expected the open head"):
        MorphableGenerator(tmp_path)


def test_scenes_without_photos(tmp_path, procedural, cameras):
    """Told so, a generator leaves the photos of its data folder alone, in every process."""
    data = cv2.imencode(".jpg", np.full((64, 64, 3), (0, 255, 0), np.uint8))[1].tobytes()
    with tarfile.open(tmp_path / "backgrounds.tar", "w") as tar:
        info = tarfile.TarInfo("green.jpg")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    front = cameras[0][:1], cameras[1][:1]
    plain = procedural.render(1, *front, 48)[0].image
    with_photos, without = (MorphableGenerator(None, data=tmp_path, photos=photos) for photos in (True, False))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(without)).render(1, *front, 48)[0].image, plain)
    assert np.abs(with_photos.backgrounds(1, 48) - without.backgrounds(1, 48)).max() > 0.1
