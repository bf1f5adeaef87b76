"""The rasteriser for GPUs against the one for CPUs, in both precisions; its pictures against the generator's."""

import numpy as np
import pytest
import torch

from facelift.generators.morphable import MorphableGenerator
from facelift.generators.on_device import DeviceRenderer
from facelift.geometry import CameraSpace, intrinsics, look_at_rotation, project, sphere_translation
from facelift.rendering import materials
from facelift.rendering.raster import HALF, MOSTLY, TWO_SIDED, rasterize_alpha
from facelift.rendering.torch_raster import Triangles, rasterize
from facelift.rendering.torch_textures import Atlas

CPU = torch.device("cpu")
WORN = (0, 16, 201)
"""Faces with dark glasses, with tinted ones, and with glasses, a mask and a hand."""


def soup(rng, count: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(pixels, faces, uv, alpha_of) of random triangles, some with alpha or gaps, some behind the camera."""
    pixels = np.concatenate([rng.uniform(-8, 40, (60, 2)), rng.uniform(-0.2, 5, (60, 1))], axis=1).astype(np.float32)
    faces = rng.integers(0, 60, (count, 3)).astype(np.int32)
    uv = rng.uniform(-1, 2, (count, 3, 2)).astype(np.float32)
    return pixels, faces, uv, rng.integers(-4, 2, count).astype(np.int32)


def on_torch(parts, dtype) -> Triangles:
    """The triangles of several soups, as views of one list."""
    put = torch.as_tensor
    return Triangles(
        torch.cat([put(pixels[faces]) for pixels, faces, *_ in parts]).to(dtype),
        torch.cat([torch.full((len(faces),), view) for view, (_, faces, *_) in enumerate(parts)]),
        torch.cat([torch.arange(len(faces)) for _, faces, *_ in parts]),
        torch.cat([put(uv) for *_, uv, _ in parts]),
        torch.cat([put(alpha).long() for *_, alpha in parts]),
    )


@pytest.mark.parametrize(("dtype", "same_share", "tolerance"), [("float64", 0.9995, 2e-6), ("float32", 0.997, 1e-3)])
@pytest.mark.parametrize("cull", [True, False])
@pytest.mark.parametrize("chunk", [2**23, 500])
def test_equals_the_compiled_rasteriser(rng, dtype, same_share, tolerance, cull, chunk):
    parts = [soup(rng, count) for count in (60, 25, 60)]
    alphas = tuple(rng.integers(0, 2, shape).astype(np.float32) for shape in ((5, 7), (4, 3)))
    atlas = Atlas(CPU, 1)
    assert [atlas.add(alpha[..., None]) for alpha in alphas] == [0, 1]
    triangles = on_torch(parts, getattr(torch, dtype))
    found = rasterize(triangles, 3, 32, alphas=atlas, cull=cull, chunk=chunk)
    first = 0
    for view, (pixels, faces, uv, alpha_of) in enumerate(parts):
        expected = rasterize_alpha(pixels, faces, uv, alpha_of, alphas, 32, cull=cull)
        own = np.where(found.triangle[view] < 0, -1, found.triangle[view] - first)
        same = own == expected.triangle
        assert same.mean() >= same_share and (own >= 0).mean() > 0.3
        np.testing.assert_allclose(found.depth[view][same], expected.depth[same], rtol=tolerance)
        np.testing.assert_allclose(found.barycentric[view][same], expected.barycentric[same], atol=tolerance)
        first += len(faces)


def test_of_two_equally_near_triangles_the_first_wins_and_nothing_is_seen_of_none(rng):
    pixels = np.array([[0, 0, 2], [0, 8, 2], [8, 0, 2]], np.float32)
    faces, uv, alpha = np.array([[0, 1, 2], [0, 1, 2]], np.int32), np.zeros((2, 3, 2), np.float32), np.full(2, -1)
    found = rasterize(on_torch([(pixels, faces, uv, alpha)], torch.float32), 2, 8)
    assert set(found.triangle[0].unique().tolist()) == {-1, 0} and (found.triangle[1] == -1).all()


def test_textures_of_bytes_keep_half_a_step_and_repeat(rng):
    pictures = [rng.uniform(0, top, (6, 9, 3)).astype(np.float32) for top in (1.0, 1.8)]
    atlas = Atlas(CPU, 3)
    assert [atlas.add(picture) for picture in (*pictures, pictures[0])] == [0, 1, 0]
    row, column = rng.integers(0, 6, 50), rng.integers(0, 9, 50)
    index = rng.integers(0, 2, 50)
    uv = np.column_stack([(column + 0.5) / 9 + 2, 1 - (row + 0.5) / 6 - 1]).astype(np.float32)
    found = atlas.nearest(torch.as_tensor(index), torch.as_tensor(uv)).numpy()
    expected = np.stack([pictures[i][r, c] for i, r, c in zip(index, row, column, strict=True)])
    np.testing.assert_allclose(found, expected, atol=1.8 * 2.2 / 510)


@pytest.fixture(scope="module", params=["procedural", "open"])
def generator(request) -> MorphableGenerator:
    assets = request.getfixturevalue("assets_dir") if request.param == "open" else None
    return MorphableGenerator(assets, occluders=True)


def test_pictures_and_what_is_seen_are_the_generator_s(generator):
    """The same faces, cameras and scenes: equal within two levels of 255 but for single pixels on edges."""
    seeds = np.array([3, 3, 4, 6, *WORN])
    azimuth = np.array([0.0, 70.0, -40.0, 100.0, *np.resize([0.0, 35.0, -50.0], len(WORN))])
    rotations = look_at_rotation(azimuth, np.resize([0.0, 10.0, -20.0, 5.0], len(seeds)))
    translations = sphere_translation(rotations)
    scenes = np.stack([generator.backgrounds(int(seed), 64) for seed in seeds])
    found = DeviceRenderer(generator, CPU).render(seeds, rotations, translations, scenes)
    views, materials_there, codes, differing = [], set(), set(), 0
    for view, seed, rotation, translation in zip(found, seeds, rotations, translations, strict=True):
        expected = generator.render(int(seed), rotation[None], translation[None], 64)[0]
        difference = np.abs(view.image.astype(int) - expected.image).max(-1)
        assert (difference > 2).mean() < 0.003 and difference.mean() < 0.4
        assert np.ptp(expected.image.astype(int)) > 60
        np.testing.assert_array_equal(view.points, expected.points)
        differing += (view.visible != expected.visible).sum() + (view.covered != expected.covered).sum()
        face = generator._face(int(seed))
        materials_there |= set(face.surface.material.tolist())
        codes |= set(face.alpha_of.tolist())
        views.append(expected)
    assert {materials.HAND, materials.CLOTH, materials.FRAME, materials.LENS} < materials_there
    assert {TWO_SIDED, MOSTLY, HALF} < codes
    assert sum(view.covered.sum() for view in views) > 100 and differing <= 4


def test_drawn_views_are_of_the_camera_space_and_repeat(generator):
    renderer, space = DeviceRenderer(generator, CPU), CameraSpace()
    seeds = np.array([3, 4])
    landmarks = np.stack([generator.landmarks(int(seed)) for seed in seeds]).astype(np.float32)
    draw = lambda order: renderer.draw(  # noqa: E731
        seeds[order], landmarks[order], [np.random.default_rng(i) for i in order], 48
    )
    views, again = draw([0, 1]), draw([1, 0])[::-1]
    for view, other, points in zip(views, again, landmarks, strict=True):
        np.testing.assert_array_equal(view.image, other.image)
        np.testing.assert_array_equal(view.landmarks, points)
        np.testing.assert_array_equal(view.visible, other.visible)
        placed = project(points.astype(float), view.rotation, view.translation, intrinsics(1.0))
        assert placed.min() > 0 and placed.max() < 1 and np.ptp(placed, axis=0).min() > space.smaller_side - 1e-3
    assert np.abs(views[0].image.astype(int) - views[1].image).mean() > 5
