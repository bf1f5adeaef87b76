"""Colours of fragments: texture, shadowed diffuse light and highlights, in one pass over the pixels."""

import math
from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float, Int

from facelift.rendering import materials
from facelift.rendering.lighting import Light, directions
from facelift.rendering.raster import Fragments


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
    light: Light
    oiliness: float


def shade(
    surface: Surface, fragments: Fragments, eye_point: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "h w 3"]:
    """Linear colour of every pixel, black where there is nothing."""
    chosen = surface.light.strongest
    towards = directions()[chosen].astype(np.float32)
    power = surface.light.radiance[chosen]
    power = (power * np.minimum(1.0, 12.0 / np.maximum(power.mean(-1, keepdims=True), 1e-6)) * 0.05).astype(np.float32)
    image = np.zeros((*fragments.triangle.shape, 3), np.float32)
    _shade(
        fragments.triangle,
        fragments.barycentric,
        surface.faces,
        surface.uv,
        surface.material,
        surface.vertices,
        surface.normals,
        surface.diffuse,
        surface.shine,
        surface.flat,
        (surface.skin, surface.eye, surface.hair),
        materials.TABLE,
        towards,
        power,
        np.float32(surface.oiliness),
        eye_point.astype(np.float32),
        image,
    )
    return image


@numba.njit(cache=True, fastmath=True)
def _lookup(picture, u, v, wide):
    """Bilinear, v up; `wide` counts u in heights of the picture and clamps, else u and v repeat."""
    height, width = picture.shape[0], picture.shape[1]
    if wide:
        x, y = u * height - 0.5, (1.0 - v) * height - 0.5
    else:
        x, y = (u - math.floor(u)) * width - 0.5, (1.0 - (v - math.floor(v))) * height - 0.5
    x, y = min(max(x, 0.0), width - 1.001), min(max(y, 0.0), height - 1.001)
    column, row = int(x), int(y)
    fx, fy = x - column, y - row
    a, b = (1 - fx) * (1 - fy), fx * (1 - fy)
    c, d = (1 - fx) * fy, fx * fy
    colour0 = a * picture[row, column, 0] + b * picture[row, column + 1, 0]
    colour0 += c * picture[row + 1, column, 0] + d * picture[row + 1, column + 1, 0]
    colour1 = a * picture[row, column, 1] + b * picture[row, column + 1, 1]
    colour1 += c * picture[row + 1, column, 1] + d * picture[row + 1, column + 1, 1]
    colour2 = a * picture[row, column, 2] + b * picture[row, column + 1, 2]
    colour2 += c * picture[row + 1, column, 2] + d * picture[row + 1, column + 1, 2]
    return colour0, colour1, colour2


@numba.njit(cache=True, fastmath=True)
def _shade(
    triangle, bary, faces, uv, material, vertices, normals, diffuse, shine, flat, pictures, table, towards, power, oil,
    eye_point, image,
):  # fmt: skip
    for y in range(triangle.shape[0]):
        for x in range(triangle.shape[1]):
            f = triangle[y, x]
            if f < 0:
                continue
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            a, b = bary[y, x, 0], bary[y, x, 1]
            c = 1.0 - a - b
            m = material[f]
            u = a * uv[f, 0, 0] + b * uv[f, 1, 0] + c * uv[f, 2, 0]
            v = a * uv[f, 0, 1] + b * uv[f, 1, 1] + c * uv[f, 2, 1]
            red, green, blue = 1.0, 1.0, 1.0
            if m == 0:
                red, green, blue = _lookup(pictures[0], u, v, True)
            elif m == 3:
                red, green, blue = _lookup(pictures[1], min(max(u, 0.0), 0.999), min(max(v, 0.0), 0.999), False)
            elif m == 7:
                red, green, blue = _lookup(pictures[2], u, v, False)
            red, green, blue = red * flat[m, 0], green * flat[m, 1], blue * flat[m, 2]
            red *= a * diffuse[i, 0] + b * diffuse[j, 0] + c * diffuse[k, 0]
            green *= a * diffuse[i, 1] + b * diffuse[j, 1] + c * diffuse[k, 1]
            blue *= a * diffuse[i, 2] + b * diffuse[j, 2] + c * diffuse[k, 2]
            strength = table[m, 0] * (oil if m == 0 else 1.0)
            if strength > 0:
                nx = a * normals[i, 0] + b * normals[j, 0] + c * normals[k, 0]
                ny = a * normals[i, 1] + b * normals[j, 1] + c * normals[k, 1]
                nz = a * normals[i, 2] + b * normals[j, 2] + c * normals[k, 2]
                vx = eye_point[0] - (a * vertices[i, 0] + b * vertices[j, 0] + c * vertices[k, 0])
                vy = eye_point[1] - (a * vertices[i, 1] + b * vertices[j, 1] + c * vertices[k, 1])
                vz = eye_point[2] - (a * vertices[i, 2] + b * vertices[j, 2] + c * vertices[k, 2])
                n = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
                w = 1.0 / math.sqrt(vx * vx + vy * vy + vz * vz + 1e-12)
                for s in range(3):
                    hx, hy, hz = vx * w + towards[s, 0], vy * w + towards[s, 1], vz * w + towards[s, 2]
                    h = 1.0 / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-12)
                    facing = (nx * hx + ny * hy + nz * hz) * n * h
                    if facing <= 0:
                        continue
                    grazing = 1.0 - min(max((vx * hx + vy * hy + vz * hz) * w * h, 0.0), 1.0)
                    fresnel = 0.04 + 0.96 * grazing**5
                    seen = a * shine[i, s] + b * shine[j, s] + c * shine[k, s]
                    glow = 6.0 * strength * fresnel * seen * facing ** table[m, 1]
                    red += glow * power[s, 0]
                    green += glow * power[s, 1]
                    blue += glow * power[s, 2]
            image[y, x, 0], image[y, x, 1], image[y, x, 2] = red, green, blue
