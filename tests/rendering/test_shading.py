"""The fused shader against a plain twin in NumPy, and against a highlight worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from facelift.rendering import materials
from facelift.rendering.lighting import Light, directions
from facelift.rendering.raster import Fragments, rasterize
from facelift.rendering.shading import Surface, highlights, shade

EYE_POINT = np.array([0.1, -0.2, 2.7])


def plain_lookup(picture: np.ndarray, u: np.ndarray, v: np.ndarray, *, wide: bool) -> np.ndarray:
    """Bilinear, v up."""
    height, width = picture.shape[:2]
    x, y = (u * height, (1 - v) * height) if wide else ((u % 1) * width, (1 - v % 1) * height)
    x, y = np.clip(x - 0.5, 0, width - 1.001), np.clip(y - 0.5, 0, height - 1.001)
    column, row = x.astype(int), y.astype(int)
    fx, fy = (x - column)[:, None], (y - row)[:, None]
    top = picture[row, column] * (1 - fx) + picture[row, column + 1] * fx
    return top * (1 - fy) + (picture[row + 1, column] * (1 - fx) + picture[row + 1, column + 1] * fx) * fy


def plain_shade(surface: Surface, fragments: Fragments) -> np.ndarray:
    """One fragment a pixel: texture x colour x diffuse light + Blinn's highlights with Schlick's Fresnel factor."""
    seen = fragments.triangle >= 0
    face, first = fragments.triangle[seen], fragments.barycentric[seen].astype(float)
    weights = np.column_stack([first, 1 - first.sum(1)])[..., None]
    at = lambda values: (values[surface.faces[face]].astype(float) * weights).sum(1)  # noqa: E731
    material = surface.material[face]
    u, v = (surface.uv[face] * weights).sum(1).T
    texture = np.ones((len(face), 3))
    for index, picture in (
        (materials.SKIN, surface.skin),
        (materials.EYE, surface.eye),
        (materials.HAIR, surface.hair),
        (materials.HAND, surface.skin),
        (materials.CLOTH, surface.worn),
        (materials.FRAME, surface.worn),
        (materials.LENS, surface.worn),
    ):
        own = material == index
        texture[own] = plain_lookup(picture, u[own], v[own], wide=picture is surface.skin)
    colour = texture * surface.flat[material] * at(surface.diffuse)
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    normal, view, share = unit(at(surface.normals)), unit(EYE_POINT - at(surface.vertices)), at(surface.shine)
    strength = materials.TABLE[material, 0] * np.where(
        np.isin(material, (materials.SKIN, materials.HAND)), surface.oiliness, 1
    )
    for k, (towards, power) in enumerate(zip(*highlights(surface.light), strict=True)):
        half = unit(view + towards)
        facing = np.clip((normal * half).sum(-1), 0, None) ** materials.TABLE[material, 1]
        fresnel = 0.04 + 0.96 * (1 - np.clip((view * half).sum(-1), 0, 1)) ** 5
        colour += (6 * strength * fresnel * share[:, k] * facing)[:, None] * power
    image = np.zeros((*seen.shape, 3))
    image[seen] = colour
    return image


@pytest.fixture
def scene(rng):
    """Random triangles of all materials under random light."""
    count = 40
    pixels = np.concatenate([rng.uniform(-10, 74, (3 * count, 2)), rng.uniform(1, 5, (3 * count, 1))], 1)
    faces = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
    normals = rng.standard_normal((3 * count, 3)) * 0.3 + [0, 0, 1]
    surface = Surface(
        vertices=rng.uniform(-0.3, 0.3, (3 * count, 3)).astype(np.float32),
        normals=normals.astype(np.float32),
        diffuse=rng.uniform(0, 1, (3 * count, 3)).astype(np.float32),
        shine=rng.uniform(0, 1, (3 * count, 3)).astype(np.float32),
        faces=faces,
        uv=rng.uniform(0, 1.9, (count, 3, 2)).astype(np.float32),
        material=rng.integers(0, len(materials.TABLE), count).astype(np.int32),
        flat=rng.uniform(0.2, 1, (len(materials.TABLE), 3)).astype(np.float32),
        skin=rng.uniform(0, 1, (16, 32, 3)).astype(np.float32),
        eye=rng.uniform(0, 1, (8, 8, 3)).astype(np.float32),
        hair=rng.uniform(0, 1, (8, 12, 3)).astype(np.float32),
        worn=rng.uniform(0, 1, (12, 8, 3)).astype(np.float32),
        light=Light(rng.uniform(0, 4, (64, 3))),
        oiliness=0.4,
    )
    eye = surface.material == materials.EYE
    surface.uv[eye] = surface.uv[eye] / 2  # the eye's picture does not repeat
    surface.uv[~eye, :, 1] /= 2
    return surface, rasterize(pixels.astype(np.float32), faces, 64, cull=False)


def test_equals_the_plain_twin(scene):
    surface, fragments = scene
    image, coverage = shade(surface, fragments, EYE_POINT)
    np.testing.assert_array_equal(coverage, fragments.triangle >= 0)
    assert coverage.mean() > 0.5 and len(np.unique(surface.material[fragments.triangle[coverage > 0]])) == len(
        materials.TABLE
    )
    # 1e-3: highlights below that are not computed
    np.testing.assert_allclose(image, plain_shade(surface, fragments), atol=3e-3)


def test_two_samples_a_side_average_four_fragments_on_edges_and_a_diagonal_inside(scene):
    surface, fragments = scene
    image, coverage = shade(surface, fragments, EYE_POINT, samples=2)
    quarters = plain_shade(surface, fragments).reshape(32, 2, 32, 2, 3).transpose(0, 2, 1, 3, 4)
    triangle = fragments.triangle.reshape(32, 2, 32, 2).transpose(0, 2, 1, 3).reshape(32, 32, 4)
    np.testing.assert_allclose(coverage, (triangle >= 0).mean(-1))
    material = np.where(triangle >= 0, surface.material[triangle], -1)
    inside = (material == material[..., :1]).all(-1) & (material[..., 0] >= 0)
    assert 0.05 < inside.mean() < 0.95
    np.testing.assert_allclose(image[~inside], quarters.mean((2, 3))[~inside], atol=3e-3)
    diagonal = (quarters[:, :, 0, 0] + quarters[:, :, 1, 1]) / 2
    np.testing.assert_allclose(image[inside], diagonal[inside], atol=3e-3)


def test_highlight_by_hand(scene):
    """Normal, eye and lamp in one line: cosine 1, Fresnel 0.04, so the glow is 6 x 0.04 x strength x power."""
    surface, _ = scene
    towards = highlights(surface.light)[0][0].astype(float)
    lamp = int(np.argmax(directions() @ towards))
    light = Light(np.eye(64)[lamp][:, None] * np.ones(3) * 2)
    triangle = np.zeros((1, 1), np.int32)
    teeth = replace(
        surface,
        vertices=np.zeros((3, 3), np.float32),
        normals=np.tile(directions()[lamp], (3, 1)).astype(np.float32),
        diffuse=np.zeros((3, 3), np.float32),
        shine=np.ones((3, 3), np.float32),
        faces=np.array([[0, 1, 2]], np.int32),
        uv=np.zeros((1, 3, 2), np.float32),
        material=np.array([materials.TEETH], np.int32),
        light=light,
    )
    fragments = Fragments(triangle, np.full((1, 1, 2), 1 / 3, np.float32), np.ones((1, 1), np.float32))
    image, _ = shade(teeth, fragments, 3 * directions()[lamp])
    power = 2 * 0.05  # of a lamp below the limit
    assert image[0, 0] == pytest.approx(np.full(3, 6 * 0.04 * materials.TABLE[materials.TEETH, 0] * power), rel=1e-3)


def test_other_numbers_of_samples_are_refused(scene):
    with pytest.raises(ValueError, match="expected 1 or 2 fragments along a pixel's side, found 3"):
        shade(*scene, EYE_POINT, samples=3)
