"""Textures taken back from renders of known ones."""

import numpy as np
import pytest
from spheres import REACH, smooth_texture, sphere, topology

from facelift.rendering.bilinear import bilinear
from facelift.rendering.fragments import Fragments
from facelift.rendering.mesh_view import MeshView
from facelift.rendering.uv_textures import (
    RIM,
    UvLayout,
    complete,
    continued,
    faded,
    share_of_first,
    uv_texture,
    vertex_colours,
)

FACES, UV = topology()
SIZE = 96


@pytest.fixture(scope="module")
def layout() -> UvLayout:
    return UvLayout(FACES, UV, SIZE)


def render(vertices: np.ndarray, texture: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """The textured mesh before green, by the plain interpolation of uv."""
    view = MeshView(vertices, FACES, hw)
    place = view.interpolate(UV) * [1, -1] + [0, 1]
    picture = bilinear(texture, place * len(texture))
    return np.where(view.front.triangle[..., None] >= 0, picture, np.array([0, 255, 0], np.uint8))


def test_bilinear_by_hand():
    picture = np.array([[0, 100], [200, 40]], np.uint8)
    at = np.array([[0.5, 0.5], [1.0, 0.5], [1.0, 1.0], [1.5, 1.0], [-3, 0.5], [9, 9]])
    assert bilinear(picture, at).tolist() == [0, 50, 85, 70, 0, 40]
    many = bilinear(picture.astype(np.float32), np.tile(at, (900, 1)).reshape(90, 60, 2))
    np.testing.assert_allclose(many.ravel(), np.tile([0, 50, 85, 70, 0, 40], 900))
    assert bilinear(np.zeros((2, 2, 3), np.uint8), np.zeros((0, 2))).shape == (0, 3)


def test_the_layout_covers_its_rectangle_of_texels(layout):
    centre = (np.arange(SIZE) + 0.5) / SIZE
    inside = (centre > 0.05) & (centre < 0.95)
    np.testing.assert_array_equal(layout.covered, inside[:, None] & inside)
    assert layout.symmetric
    place = layout.texels.interpolate(UV, FACES)[inside][:, inside]
    np.testing.assert_allclose(place[0, :, 0], centre[inside], atol=1e-5)
    np.testing.assert_allclose(place[:, 0, 1], 1 - centre[inside], atol=1e-5)
    left = FACES[UV[FACES, 0].max(1) < 0.8]
    assert not UvLayout(left, UV, SIZE).symmetric


def test_the_mirrored_place_is_on_the_other_side(layout):
    view = MeshView(sphere((40, 40), 30, turn_deg=30), FACES, (80, 80))
    place, mirrored = view.interpolate(UV), layout.mirrored(view.front).interpolate(UV, FACES)
    there = (view.front.triangle >= 0) & (place > 0.06).all(-1) & (place < 0.94).all(-1)
    np.testing.assert_allclose(mirrored[there] * [-1, 1] + [1, 0], place[there], atol=0.51 * np.sqrt(2) / SIZE)
    nothing = Fragments(np.full((2, 2), -1), np.zeros((2, 2, 2), np.float32), np.ones((2, 2), np.float32))
    assert (layout.mirrored(nothing).triangle == -1).all()


@pytest.mark.parametrize("turn_deg", [0, 35])
def test_a_sphere_s_texture_comes_back_where_it_is_seen(layout, turn_deg):
    true = smooth_texture(SIZE, symmetric=False)
    vertices = sphere((100, 90), 80, turn_deg=turn_deg)
    texture, seen = uv_texture(render(vertices, true, (180, 200)), vertices, layout)
    difference = np.abs(texture.astype(int) - true)
    assert difference[faded(seen, 1, drop_px=RIM * SIZE) > 0].max() <= 4  # within the rim the other side is mixed in
    assert difference[seen].max() <= 20 and difference[seen].mean() < 1
    towards = layout.texels.interpolate(-(vertices - [100, 90, 0]) / 80, FACES)[..., 2]
    assert seen[layout.covered & (towards > 0.5)].all() and not seen[towards < 0.2].any()


def test_the_hidden_side_is_the_mirrored_seen_one(layout):
    """Turned until its far side is hidden: all but the rims, where neither side is seen, come back."""
    true = smooth_texture(SIZE, symmetric=True)
    vertices = sphere((100, 90), 80, turn_deg=60)
    texture, seen = uv_texture(render(vertices, true, (180, 200)), vertices, layout)
    either = seen | seen[:, ::-1]
    difference = np.abs(texture.astype(int) - true)[either]
    assert seen[layout.covered].mean() < 0.7 < 0.75 < either[layout.covered].mean()
    assert difference.max() <= 12 and difference.mean() < 1.5


def test_one_colour_comes_back_everywhere(layout):
    """Nothing of the background gets in, even at the silhouette."""
    true = np.tile(np.array([200, 100, 50], np.uint8), (SIZE, SIZE, 1))
    for turn_deg in (0, 70):
        vertices = sphere((30, 28), 25, turn_deg=turn_deg)
        texture, _ = uv_texture(render(vertices, true, (56, 60)), vertices, layout)
        assert (texture == true).all()


def test_a_large_picture_is_shrunk_without_skipping_pixels(layout):
    """Noise of one pixel on a plane of 10 px to the texel: the texture is its mean, not its samples."""
    rng = np.random.default_rng(0)
    vertices = np.column_stack([UV * [960, -960] + [0, 960], np.zeros(len(UV))])
    image = rng.integers(0, 256, (960, 960, 3), dtype=np.uint8)
    texture, seen = uv_texture(image, vertices, layout)
    assert seen[layout.covered].mean() > 0.9 and texture[seen].std() < 20 < image.std()
    blocks = image.reshape(96, 10, 96, 10, 3).mean((1, 3))
    assert np.abs(texture - blocks)[12:-12, 12:-12].max() <= 1  # the rim takes part of its colours from the other side


def test_what_something_nearer_hides_is_not_seen():
    """A wall of the same mesh before the sphere's left half."""
    wall = np.array([[0, 0, -90], [0, 180, -90], [100, 0, -90], [100, 180, -90.0]])
    vertices = np.concatenate([sphere((100, 90), 80), wall])
    first = len(UV)
    faces = np.concatenate([FACES, np.array([[0, 1, 2], [2, 1, 3]]) + first])
    uv = np.concatenate([UV, np.zeros((4, 2))])
    _, seen = uv_texture(np.zeros((180, 200, 3), np.uint8), vertices, UvLayout(faces, uv, SIZE))
    azimuth = ((np.arange(SIZE) + 0.5) / SIZE - 0.5) / 0.45 * REACH
    assert not seen[:, azimuth < 0].any() and seen[SIZE // 2, (azimuth > 0.1) & (azimuth < 1.0)].all()


@pytest.mark.parametrize("case", ["outside", "from behind", "no faces"])
def test_nothing_seen_is_black(case):
    vertices, faces = sphere((30, 30), 25), FACES
    if case == "outside":
        vertices = sphere((530, 30), 25)
    elif case == "from behind":
        faces = FACES[:, ::-1]
    else:
        faces = np.zeros((0, 3), int)
    texture, seen = uv_texture(np.full((60, 60, 3), 99, np.uint8), vertices, UvLayout(faces, UV, 32))
    assert not seen.any() and not texture.any() and texture.shape == (32, 32, 3)


def test_continued_keeps_what_is_known_and_spreads_it(rng):
    values, known = rng.random((13, 22, 3)).astype(np.float32), rng.random((13, 22)) < 0.2
    full = continued(values, known)
    np.testing.assert_array_equal(full[known], values[known])
    assert full.min() >= values[known].min() - 1e-6 and full.max() <= values[known].max() + 1e-6
    single = np.zeros((9, 9), bool)
    single[7, 2] = True
    np.testing.assert_allclose(continued(values[:9, :9], single), np.broadcast_to(values[7, 2], (9, 9, 3)), rtol=1e-5)
    assert not continued(values, np.zeros((13, 22), bool)).any()
    corner = np.array([[[4.0], [0]], [[0], [0]]], np.float32).repeat(3, -1)
    assert (continued(corner, np.array([[True, False], [False, False]])) == 4).all()


def test_mirrored_colours_get_the_light_of_their_side():
    """The left side is seen alone in its outer part, and darker by 30 than the right: the middle, seen on both, tells
    so. What the left shows goes to the right, brighter by 30."""
    rng = np.random.default_rng(1)
    side = rng.integers(80, 120, (64, 32, 3)).astype(np.float32)
    true = np.concatenate([side - 30, side[:, ::-1]], axis=1)
    weight = np.zeros((64, 64), np.float32)
    weight[:, :44] = 1
    found = complete(np.where(weight[..., None] > 0, true, np.float32(7)), weight, symmetric=True)
    outer = np.abs(found - true)[:, 52:]
    assert outer.max() < 1.5
    np.testing.assert_array_equal(found[:, :44], true[:, :44])


def test_fading_and_shares_by_hand():
    mask = np.zeros((5, 12), bool)
    mask[:, 2:] = True
    np.testing.assert_allclose(faded(mask, 4)[2], [0, 0, 0.25, 0.5, 0.75, *[1] * 7])
    np.testing.assert_allclose(faded(mask, 4, drop_px=1)[2], [0, 0, 0, 0.25, 0.5, 0.75, *[1] * 6])
    first, second = np.array([[1, 0.5, 0.5, 0, 0]]), np.array([[1, 1, 0, 0.2, 0]])
    np.testing.assert_allclose(share_of_first(first, second)[0, :, 0], [1, 0.5, 1, 0, 0])


def test_colours_of_vertices():
    texture = np.zeros((4, 4, 3), np.uint8)
    texture[0, 3], texture[3, 0] = (10, 20, 30), (40, 50, 60)
    uv = np.array([[0.875, 0.875], [0.125, 0.125], [1, 1], [0.75, 0.875]])
    assert vertex_colours(texture, uv).tolist() == [[10, 20, 30], [40, 50, 60], [10, 20, 30], [5, 10, 15]]
