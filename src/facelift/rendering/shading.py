"""Colours of fragments: texture, shadowed diffuse light and highlights, in one pass over the pixels."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from facelift.rendering import materials
from facelift.rendering.compiled import compiled
from facelift.rendering.lighting import Light, directions
from facelift.rendering.raster import Fragments

_ZERO, _HALF, _ONE, _EDGE = np.float32(0), np.float32(0.5), np.float32(1), np.float32(0.999)
_TINY, _DARK = np.float32(1e-12), np.float32(-7)
"""In single precision, so that the loops stay in it."""


@dataclass(frozen=True)
class Surface:
    """A lit mesh, ready to be seen from anywhere. Colours are linear."""

    vertices: Float[np.ndarray, "v 3"]
    normals: Float[np.ndarray, "v 3"]
    diffuse: Float[np.ndarray, "v 3"]
    """Light on each vertex."""
    shine: Float[np.ndarray, "v 3"]
    """Share of each of the three strongest lights that reaches the vertex."""
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "f 3 2"]
    material: Int[np.ndarray, "f"]
    flat: Float[np.ndarray, "m 3"]
    """Colour of each material; factor of its texture where it has one."""
    skin: Float[np.ndarray, "sh sw 3"]
    """Face on the left half, back of the head on the right."""
    eye: Float[np.ndarray, "eh ew 3"]
    hair: Float[np.ndarray, "hh hw 3"]
    worn: Float[np.ndarray, "wh ww 3"]
    """Of what is worn and held."""
    light: Light
    oiliness: float

    @cached_property
    def attributes(self) -> Float[np.ndarray, "v 12"]:
        """Vertices, normals, diffuse and shine side by side: one line of the cache a vertex."""
        columns = (self.vertices, self.normals, self.diffuse, self.shine)
        return np.ascontiguousarray(np.concatenate(columns, axis=1), np.float32)


def shade(
    surface: Surface, fragments: Fragments, eye_point: Float[np.ndarray, "3"], *, samples: int = 1
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """(linear colour times coverage, coverage 0..1) of every pixel; black and 0 where there is nothing.

    `samples`: fragments along a pixel's side, 1 or 2. With 2, a pixel inside one material is shaded at the two
    fragments of a diagonal, whose mean lies at its centre; pixels on an edge at each of the four.
    """
    if samples not in (1, 2):
        raise ValueError(f"samples: expected 1 or 2 fragments along a pixel's side, found {samples}")
    towards, power = highlights(surface.light)
    side = len(fragments.triangle) // samples
    image, coverage = np.zeros((side, side, 3), np.float32), np.zeros((side, side), np.float32)
    mesh = (surface.faces, surface.uv, surface.material, surface.attributes)
    light = (towards, power, np.float32(surface.oiliness), eye_point.astype(np.float32))
    pictures = (surface.skin, surface.eye, surface.hair, surface.worn)
    flat, table = surface.flat, materials.TABLE
    _resolve(fragments.triangle, fragments.barycentric, mesh, light, pictures, flat, table, samples, image, coverage)
    return image, coverage


def highlights(light: Light) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3 3"]]:
    """(unit vectors towards the three strongest lights, their power), limited so that a bare sun does not burn."""
    chosen = light.strongest
    power = light.radiance[chosen]
    power = power * np.minimum(1.0, 12.0 / np.maximum(power.mean(-1, keepdims=True), 1e-6)) * 0.05
    return directions()[chosen].astype(np.float32), power.astype(np.float32)


@compiled
def _resolve(triangle, bary, mesh, light, pictures, flat, table, samples, image, coverage):
    """Averages the fragments of each pixel."""
    material = mesh[2]
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            weight, step = 1.0 / (samples * samples), 1
            if samples == 2:
                f0, f1 = triangle[2 * y, 2 * x], triangle[2 * y, 2 * x + 1]
                f2, f3 = triangle[2 * y + 1, 2 * x], triangle[2 * y + 1, 2 * x + 1]
                if f0 >= 0 and f1 >= 0 and f2 >= 0 and f3 >= 0:
                    m = material[f0]
                    if material[f1] == m and material[f2] == m and material[f3] == m:
                        weight, step = 0.5, 3
            for sample in range(0, samples * samples, step):
                row, column = samples * y + sample // samples, samples * x + sample % samples
                f = triangle[row, column]
                if f >= 0:
                    red, green, blue = _shade(
                        f, bary[row, column, 0], bary[row, column, 1], mesh, light, pictures, flat, table
                    )
                    image[y, x, 0] += weight * red
                    image[y, x, 1] += weight * green
                    image[y, x, 2] += weight * blue
                    coverage[y, x] += weight


@compiled
def _lookup(picture, u, v, wide):
    """Bilinear, v up; `wide` counts u in heights of the picture and clamps, else u and v repeat."""
    height, width = picture.shape[0], picture.shape[1]
    if wide:
        x, y = u * np.float32(height) - _HALF, (_ONE - v) * np.float32(height) - _HALF
    else:
        u, v = u - np.float32(math.floor(u)), v - np.float32(math.floor(v))
        x, y = u * np.float32(width) - _HALF, (_ONE - v) * np.float32(height) - _HALF
    x, y = min(max(x, _ZERO), np.float32(width - 1.001)), min(max(y, _ZERO), np.float32(height - 1.001))
    column, row = int(x), int(y)
    fx, fy = x - np.float32(column), y - np.float32(row)
    a, b = (_ONE - fx) * (_ONE - fy), fx * (_ONE - fy)
    c, d = (_ONE - fx) * fy, fx * fy
    p, q, r, s = picture[row, column], picture[row, column + 1], picture[row + 1, column], picture[row + 1, column + 1]
    return (
        a * p[0] + b * q[0] + c * r[0] + d * s[0],
        a * p[1] + b * q[1] + c * r[1] + d * s[1],
        a * p[2] + b * q[2] + c * r[2] + d * s[2],
    )


@compiled
def _shade(f, a, b, mesh, light, pictures, flat, table):
    """Linear colour of a fragment: texture x colour of the material x diffuse light, and the shine of three lights."""
    faces, uv, material, attributes = mesh
    towards, power, oil, eye_point = light
    i, j, k = attributes[faces[f, 0]], attributes[faces[f, 1]], attributes[faces[f, 2]]
    c = _ONE - a - b
    m = material[f]
    u = a * uv[f, 0, 0] + b * uv[f, 1, 0] + c * uv[f, 2, 0]
    v = a * uv[f, 0, 1] + b * uv[f, 1, 1] + c * uv[f, 2, 1]
    red, green, blue = flat[m, 0], flat[m, 1], flat[m, 2]
    if m == materials.SKIN or m == materials.HAND:
        tr, tg, tb = _lookup(pictures[0], u, v, True)
        red, green, blue = red * tr, green * tg, blue * tb
    elif m == materials.EYE:
        tr, tg, tb = _lookup(pictures[1], min(max(u, _ZERO), _EDGE), min(max(v, _ZERO), _EDGE), False)
        red, green, blue = red * tr, green * tg, blue * tb
    elif m == materials.HAIR:
        tr, tg, tb = _lookup(pictures[2], u, v, False)
        red, green, blue = red * tr, green * tg, blue * tb
    elif m >= materials.CLOTH:
        tr, tg, tb = _lookup(pictures[3], u, v, False)
        red, green, blue = red * tr, green * tg, blue * tb
    red *= a * i[6] + b * j[6] + c * k[6]
    green *= a * i[7] + b * j[7] + c * k[7]
    blue *= a * i[8] + b * j[8] + c * k[8]
    strength, exponent = table[m, 0], table[m, 1]
    if m == materials.SKIN or m == materials.HAND:
        strength *= oil
    if strength <= _ZERO:
        return red, green, blue
    nx = a * i[3] + b * j[3] + c * k[3]
    ny = a * i[4] + b * j[4] + c * k[4]
    nz = a * i[5] + b * j[5] + c * k[5]
    vx = eye_point[0] - (a * i[0] + b * j[0] + c * k[0])
    vy = eye_point[1] - (a * i[1] + b * j[1] + c * k[1])
    vz = eye_point[2] - (a * i[2] + b * j[2] + c * k[2])
    n = _ONE / math.sqrt(nx * nx + ny * ny + nz * nz + _TINY)
    w = _ONE / math.sqrt(vx * vx + vy * vy + vz * vz + _TINY)
    for s in range(3):
        hx, hy, hz = vx * w + towards[s, 0], vy * w + towards[s, 1], vz * w + towards[s, 2]
        h = _ONE / math.sqrt(hx * hx + hy * hy + hz * hz + _TINY)
        facing = (nx * hx + ny * hy + nz * hz) * n * h
        if exponent * (facing - _ONE) < _DARK or facing <= _ZERO:  # then facing^exponent < 0.001
            continue
        grazing = _ONE - min(max((vx * hx + vy * hy + vz * hz) * w * h, _ZERO), _ONE)
        squared = grazing * grazing
        fresnel = np.float32(0.04) + np.float32(0.96) * squared * squared * grazing  # Schlick 1994, Eq. 24
        seen = a * i[9 + s] + b * j[9 + s] + c * k[9 + s]
        glow = np.float32(6.0) * strength * fresnel * seen * math.exp(exponent * math.log(facing))
        red += glow * power[s, 0]
        green += glow * power[s, 1]
        blue += glow * power[s, 2]
    return red, green, blue
