"""Things before a face: the landmarks stay, and what they hide is hidden."""

import numpy as np
import pytest

from facelift.generators.morphable import MorphableGenerator
from facelift.generators.occluders import fabric, glasses, occluders
from facelift.geometry import look_at_rotation, sphere_translation
from facelift.rendering import materials
from facelift.rendering.raster import HALF, TWO_SIDED

KINDS = ("glasses", "mask", "hand", "cap", "headscarf", "scarf")
ROTATIONS = look_at_rotation(np.array([0.0, 35.0]), 0.0)
TRANSLATIONS = sphere_translation(ROTATIONS)


@pytest.fixture(scope="module")
def bare() -> MorphableGenerator:
    return MorphableGenerator(None)


def wearing(monkeypatch, *kinds: str) -> MorphableGenerator:
    """A generator whose every face wears these things and no others."""
    monkeypatch.setattr(occluders, "_CHANCES", {kind: float(kind in kinds) for kind in KINDS})
    return MorphableGenerator(None, occluders=True)


def blocked(face, eye_point: np.ndarray, mark: np.ndarray, triangles: slice) -> bool:
    """Whether a ray from the camera meets one of the triangles before the landmark (Moeller and Trumbore 1997)."""
    a, b, c = (face.surface.vertices[face.surface.faces[triangles, k]].astype(float) for k in range(3))
    ray = mark - eye_point
    normal = np.cross(ray, c - a)
    scale = (normal * (b - a)).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = eye_point - a
        u = (offset * normal).sum(-1) / scale
        side = np.cross(offset, b - a)
        v, t = side @ ray / scale, ((c - a) * side).sum(-1) / scale
        return bool(((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0) & (t < 1)).any())


@pytest.mark.parametrize("kind", ["glasses", "mask", "hand", "scarf"])
def test_what_a_ray_meets_first_hides_the_landmark(kind, bare, monkeypatch):
    """Every ray from camera to landmark against every triangle of the thing, but for landmarks near its edge."""
    generator, hidden, free = wearing(monkeypatch, kind), 0, 0
    for seed in (1, 2):
        face = generator._face(seed)
        assert (face.alpha_of != HALF).all()
        things = face.surface.material >= materials.HAIR
        views = generator.render(seed, ROTATIONS, TRANSLATIONS, 256)
        plain = bare.render(seed, ROTATIONS, TRANSLATIONS, 256)
        for view, other in zip(views, plain, strict=True):
            eye_point = -view.rotation.T @ view.translation
            right = view.rotation[0] * 0.004, view.rotation[1] * 0.004
            for index, mark in enumerate(face.marks.points[:96]):
                around = [mark, *(mark + s * r for s in (-1, 1) for r in right)]
                met = {blocked(face, eye_point, point, things) for point in around}
                if len(met) == 2 or not other.visible[index]:
                    continue
                assert view.visible[index] != met.pop(), (seed, index)
                assert view.visible[index] != view.covered[index]
                hidden, free = hidden + view.covered[index], free + view.visible[index]
    assert free > 50 and (hidden > 10 or kind == "glasses")


@pytest.mark.parametrize("kind", KINDS)
def test_things_change_the_picture_and_not_the_landmarks(kind, bare, monkeypatch):
    generator = wearing(monkeypatch, kind)
    view, plain = (g.render(5, ROTATIONS[:1], TRANSLATIONS[:1], 96)[0] for g in (generator, bare))
    np.testing.assert_array_equal(generator.landmarks(5), bare.landmarks(5))
    np.testing.assert_array_equal(view.points, plain.points)
    assert (np.abs(view.image.astype(int) - plain.image).max(-1) > 20).mean() > 0.005
    assert not (view.visible & ~plain.visible).any() and not plain.covered.any()
    assert np.isfinite(generator._face(5).surface.attributes).all()


def test_a_mask_hides_the_mouth_and_not_the_eyes_and_a_hat_hides_no_mouth(monkeypatch):
    masked = wearing(monkeypatch, "mask").render(4, ROTATIONS[:1], TRANSLATIONS[:1], 128)[0]
    assert masked.covered[76:88].all() and masked.visible[60:76].mean() > 0.8
    hat = wearing(monkeypatch, "cap").render(4, ROTATIONS[:1], TRANSLATIONS[:1], 128)[0]
    assert hat.visible[51:96].mean() > 0.8


def test_tinted_lenses_let_eyes_through_and_black_ones_do_not(monkeypatch):
    for shade, expected in ((HALF, True), (TWO_SIDED, False)):
        monkeypatch.setattr(glasses, "_SHADES", ((1.0, shade),))
        generator = wearing(monkeypatch, "glasses")
        bare = MorphableGenerator(None).render(2, ROTATIONS[:1], TRANSLATIONS[:1], 256)[0]
        view = generator.render(2, ROTATIONS[:1], TRANSLATIONS[:1], 256)[0]
        assert (generator._face(2).surface.material == materials.LENS).any()
        assert (view.visible[60:76] & bare.visible[60:76]).sum() == (bare.visible[60:76].sum() if expected else 0)


def test_things_are_common_but_not_everywhere(bare):
    skin = bare.head.vertices(np.zeros(5), np.zeros(3)).astype(float)
    counts = [
        len(occluders.draw(np.random.default_rng(seed), skin, bare.landmarks(0), np.zeros(2)).parts)
        for seed in range(60)
    ]
    assert 0.3 < np.mean(np.array(counts) > 0) < 0.7


def test_hair_is_pressed_under_a_cap(bare, rng):
    skin = bare.head.vertices(np.zeros(5), np.zeros(3)).astype(float)
    parts = fabric.cap(rng, skin, bare.landmarks(0))
    centre = parts[0].vertices.mean(0)
    up, down = np.array([0.02, 0.9, 0.02]), np.array([0.02, -0.9, 0.02])
    pressed = occluders.Occluders(over_hair=parts[:1]).pressed(np.stack([centre + up, centre + down]))
    crown = np.linalg.norm(parts[0].vertices - centre, axis=1).max()
    assert np.linalg.norm(pressed[0] - centre) < crown < 0.9
    np.testing.assert_allclose(pressed[1], centre + down)
