"""Face swaps on a folded sheet, of which every colour is known."""

import numpy as np
import pytest

pytest.importorskip("numba")

from facelift.datasets.face_swap import draw_partners, swap_texture, swap_textures
from facelift.rendering.mesh_view import MeshView
from facelift.rendering.uv_textures import UvLayout

SIZE = 64
SIDE = 20
"""Squares of the sheet along a side."""
RED, BLUE = np.array([220, 40, 30]), np.array([30, 60, 200])


def roof(turn_deg: float = 0.0) -> np.ndarray:
    """(v, 3): a sheet of 48 px folded by 90 degrees along its upright middle, the ridge to the camera; turned, one half
    hides."""
    x, y = np.meshgrid(np.linspace(-24, 24, SIDE + 1), np.linspace(-24, 24, SIDE + 1))
    points = np.stack([x / np.sqrt(2), y, np.abs(x) / np.sqrt(2)], -1).reshape(-1, 3)
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    return points @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T + [32, 32, 0]


@pytest.fixture(scope="module")
def layout() -> UvLayout:
    corner = (np.arange(SIDE)[:, None] * (SIDE + 1) + np.arange(SIDE)).reshape(-1, 1)
    steps = ([0, SIDE + 1, 1], [1, SIDE + 1, SIDE + 2])
    u, v = np.meshgrid(np.linspace(0, 1, SIDE + 1), np.linspace(1, 0, SIDE + 1))
    faces = np.concatenate([corner + np.array(step) for step in steps])
    return UvLayout(faces, np.stack([u, v], -1).reshape(-1, 2), 64)


def view(vertices: np.ndarray, layout: UvLayout) -> MeshView:
    return MeshView(vertices, layout.faces, (SIZE, SIZE))


def picture(vertices: np.ndarray, layout: UvLayout, left: np.ndarray, right: np.ndarray, rng) -> np.ndarray:
    """The sheet's two halves in two colours, a little noisy, before a noisy grey."""
    u = view(vertices, layout).interpolate(layout.uv)[..., :1]
    there = view(vertices, layout).front.triangle[..., None] >= 0
    ground = np.where(there, np.where(u < 0.5, left, right), 128)
    return (ground + rng.integers(-8, 9, (SIZE, SIZE, 3))).astype(np.uint8)


def inner(vertices: np.ndarray, layout: UvLayout) -> np.ndarray:
    """Pixels well inside of the mesh, and away from its ridge."""
    place = view(vertices, layout).interpolate(layout.uv)
    return ((place > 0.2) & (place < 0.8)).all(-1) & (np.abs(place[..., 0] - 0.5) > 0.15)


def test_pixels_inside_become_the_other_s_and_those_outside_stay(layout, rng):
    mine, other = roof(20), roof(-20)
    image, source = (picture(p, layout, *c, rng) for p, c in ((mine, (RED, RED)), (other, (BLUE, RED))))
    kept = image.copy()
    swapped = swap_texture(image, view(mine, layout), source, view(other, layout), layout, colour_match=0.0)
    outside = view(mine, layout).front.triangle < 0
    assert outside.sum() > 1000
    np.testing.assert_array_equal(swapped[outside], image[outside])
    np.testing.assert_array_equal(image, kept)
    u = view(mine, layout).interpolate(layout.uv)[..., 0]
    for half, colour in ((u < 0.5, BLUE), (u > 0.5, RED)):
        chosen = half & inner(mine, layout)
        assert chosen.sum() > 60 and np.abs(swapped[chosen].astype(int) - colour).max() <= 10


def test_a_face_swapped_with_itself_hardly_changes(layout, rng):
    """At the rims, which it does not show well, it takes a little of its other side; here that is another colour."""
    vertices = roof(15)
    image = picture(vertices, layout, RED, BLUE, rng)
    swapped = swap_texture(image, view(vertices, layout), image, view(vertices, layout), layout)
    change = np.abs(swapped.astype(int) - image)
    assert change[inner(vertices, layout)].max() <= 2 and change.mean() < 0.5


def test_the_hidden_half_is_the_mirrored_seen_one(layout, rng):
    """The other face shows its left half alone, dark above and light below: both halves of mine get it so."""
    mine, other = roof(0), roof(60)
    u, v = view(other, layout).interpolate(layout.uv).transpose(2, 0, 1)
    assert np.ptp(u[view(other, layout).front.triangle >= 0]) < 0.6
    v = v[..., None]
    source = np.where(v > 0.5, np.uint8(60), np.uint8(200)).repeat(3, -1)
    image = picture(mine, layout, RED, BLUE, rng)
    swapped = swap_texture(image, view(mine, layout), source, view(other, layout), layout, colour_match=0.0)
    v = view(mine, layout).interpolate(layout.uv)[..., 1]
    for rows, grey in (((v > 0.6), 60), ((v < 0.4), 200)):
        chosen = inner(mine, layout) & rows
        assert chosen.sum() > 80 and np.abs(swapped[chosen].astype(int) - grey).max() <= 3


def test_what_the_other_does_not_show_stays_without_symmetry(layout, rng):
    """Two thirds of the sheet are no symmetric layout: the half that the other face hides keeps its pixels, although
    the mirrored places are shown."""
    part = UvLayout(layout.faces[layout.uv[layout.faces, 0].max(1) < 0.77], layout.uv, 64)
    mine, other = roof(0), roof(60)
    image, source = (picture(p, part, *c, rng) for p, c in ((mine, (RED, RED)), (other, (BLUE, BLUE))))
    assert not part.symmetric
    u = view(mine, part).interpolate(part.uv)[..., 0]
    changed = (swap_texture(image, view(mine, part), source, view(other, part), part) != image).any(-1)
    assert changed[32, u[32] > 0.5].sum() > 3 and not changed[u < 0.5].any()


@pytest.mark.parametrize("case", ["no faces", "outside", "from behind"])
def test_a_mesh_that_is_not_seen_changes_nothing(layout, rng, case):
    mine, faces = roof(), layout.faces
    if case == "no faces":
        faces = faces[:0]
    elif case == "outside":
        mine = mine + np.array([200, 0, 0])
    else:
        faces = faces[:, ::-1]
    changed = UvLayout(faces, layout.uv, 64)
    image, source = (picture(roof(), layout, *c, rng) for c in ((RED, RED), (BLUE, BLUE)))
    swapped = swap_texture(image, view(mine, changed), source, view(roof(), changed), changed)
    np.testing.assert_array_equal(swapped, image)


def test_colours_are_matched_to_the_picture_s(layout, rng):
    """Mean and spread of each channel over the middle of the face are those of what was there, and the pattern is the
    other's."""
    vertices = roof()
    image = picture(vertices, layout, RED - 15, RED + 15, rng)
    source = picture(vertices, layout, BLUE + 20, BLUE - 20, rng)
    swapped = swap_texture(image, view(vertices, layout), source, view(vertices, layout), layout)
    chosen = inner(vertices, layout)
    np.testing.assert_allclose(swapped[chosen].mean(0), image[chosen].mean(0), atol=3)
    np.testing.assert_allclose(swapped[chosen].std(0), image[chosen].std(0), atol=3)
    u = view(vertices, layout).interpolate(layout.uv)[..., 0]
    assert swapped[chosen & (u < 0.5), 0].mean() > swapped[chosen & (u > 0.5), 0].mean() + 20
    assert image[chosen & (u < 0.5), 0].mean() < image[chosen & (u > 0.5), 0].mean() - 20


def test_the_seam_is_soft(layout, rng):
    """Across the upper edge no step of more than a third of the way."""
    vertices = roof()
    image, source = np.full((SIZE, SIZE, 3), 40, np.uint8), np.full((SIZE, SIZE, 3), 200, np.uint8)
    swapped = swap_texture(image, view(vertices, layout), source, view(vertices, layout), layout, colour_match=0.0)
    column = swapped[:32, 24, 0].astype(int)
    assert column[0] == 40 and column[-1] == 200 and 0 <= np.diff(column).min() <= np.diff(column).max() <= 54


def test_a_batch_leaves_what_has_no_partner(layout, rng):
    vertices = [roof(t) for t in (0, 20, -20)]
    images = [
        picture(p, layout, *c, rng) for p, c in zip(vertices, [(RED, RED), (BLUE, BLUE), (RED, BLUE)], strict=True)
    ]
    swapped = swap_textures(images, vertices, np.array([1, 0, 2]), layout, colour_match=0.0)
    assert swapped[2] is images[2]
    for index, colour in ((0, BLUE), (1, RED)):
        chosen = inner(vertices[index], layout)
        assert np.abs(swapped[index][chosen].astype(int) - colour).max() <= 10


def test_partners_are_others_of_the_chosen_share(rng):
    partners = np.stack([draw_partners(rng, 10, 0.5) for _ in range(200)])
    np.testing.assert_array_equal(np.sort(partners, axis=1), np.tile(np.arange(10), (200, 1)))
    assert 0.45 < (partners != np.arange(10)).mean() < 0.55
    assert (draw_partners(rng, 6, 0.0) == np.arange(6)).all()
    assert (draw_partners(rng, 6, 1.0) != np.arange(6)).all()
    assert draw_partners(rng, 1, 1.0).tolist() == [0] and draw_partners(rng, 0, 1.0).shape == (0,)
