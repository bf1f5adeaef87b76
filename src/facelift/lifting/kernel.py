"""The fast solver: one compiled loop over faces (in parallel), landmarks, iterations and views. Needs numba.

Not cached on disk: numba would not notice a change of formulas.py.
"""

import functools
import inspect
import math

import numba
import numpy as np

from facelift.lifting import formulas

# No "nnan", "ninf": NaN marks a missing detection.
_FAST = {"contract", "arcp", "reassoc", "nsz"}
_NONE = (math.nan, math.nan, math.nan)


def _compiled(function, **options):
    """The function in machine code. Unwrapped first: the tests' type checker wraps every function of the package."""
    return numba.njit(fastmath=_FAST, error_model="numpy", **options)(inspect.unwrap(function))


def _inlined(function):
    return numba.njit(inline="always")(inspect.unwrap(function))


_image_error = _inlined(formulas.image_error)
_jacobian = _inlined(formulas.jacobian)
_linear_error = _inlined(formulas.linear_error)
_squared_distance = _inlined(formulas.squared_distance)
_cauchy_weight = _inlined(formulas.cauchy_weight)
_normal_terms = _inlined(formulas.normal_terms)
_adjugate = _compiled(formulas.adjugate)
_conditioning = _compiled(formulas.conditioning)
_annealed = _compiled(formulas.annealed)
_newton_step = _compiled(formulas.newton_step)


@_compiled
def _step(X, linear, points, weights, information, R, t, focal_px, cauchy, power, floor):
    """(normal terms, sums, views in front) at X for one landmark.

    sums: of weight, weight c, weight c^p, weight c^p d^2, weight c |e|^2 px^2, and the views that count.
    """
    h0 = h1 = h2 = h3 = h4 = h5 = g0 = g1 = g2 = 0.0
    total = total_c = total_power = distance = error = 0.0
    inliers = front = 0
    for view in range(points.shape[0]):
        weight, u, v = weights[view], points[view, 0], points[view, 1]
        if not (weight > 0 and math.isfinite(u) and math.isfinite(v)):
            continue
        r = (
            (R[view, 0, 0], R[view, 0, 1], R[view, 0, 2]),
            (R[view, 1, 0], R[view, 1, 1], R[view, 1, 2]),
            (R[view, 2, 0], R[view, 2, 1], R[view, 2, 2]),
        )
        tv = (t[view, 0], t[view, 1], t[view, 2])
        row = min(view, information.shape[0] - 1)
        w = (information[row, 0], information[row, 1], information[row, 2])
        if linear:
            row1, row2 = _jacobian(u, v, focal_px, r)
            e1, e2 = _linear_error(u, v, focal_px, tv)
            n = _normal_terms(row1, row2, e1, e2, weight, w)
        else:
            p, q, z, e1, e2 = _image_error(X, r, tv, u, v, focal_px)
            if not z > floor:
                continue
            squared = _squared_distance(e1, e2, w)
            c = _cauchy_weight(squared, cauchy)
            c_power = c * c if power == 2 else c
            total += weight
            total_c += weight * c
            total_power += weight * c_power
            distance += weight * c_power * squared
            error += weight * c * (e1 * e1 + e2 * e2)
            inliers += c >= formulas.INLIER_WEIGHT
            row1, row2 = _jacobian(p, q, focal_px / z, r)
            n = _normal_terms(row1, row2, e1, e2, weight * c_power, w)
        front += 1
        h0, h1, h2, h3, h4, h5 = h0 + n[0], h1 + n[1], h2 + n[2], h3 + n[3], h4 + n[4], h5 + n[5]
        g0, g1, g2 = g0 + n[6], g1 + n[7], g2 + n[8]
    sums = (total, total_c, total_power, distance, error, inliers)
    return (h0, h1, h2, h3, h4, h5), (g0, g1, g2), sums, front


@_compiled
def _solve(points, weights, information, R, t, focal_px, cauchy, iterations, tolerance, min_views, floor, flat):
    """(X, covariance's upper triangle, residual px, inliers) of one landmark; NaN where it has no solution."""
    nothing = _NONE, (math.nan, math.nan, math.nan, math.nan, math.nan, math.nan), math.nan, 0
    X = (0.0, 0.0, 0.0)
    for iteration in range(iterations + 1):
        scale = _annealed(cauchy, iteration)
        H, g, _, front = _step(X, iteration == 0, points, weights, information, R, t, focal_px, scale, 1, floor)
        adj, det = _adjugate(H)
        if front < min_views or not _conditioning(H, det) > flat:
            return nothing
        d = _newton_step(adj, det, g)
        X = (X[0] - d[0], X[1] - d[1], X[2] - d[2])
        if iteration > formulas.ANNEALING and d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < tolerance * tolerance:
            break
    H, _, sums, front = _step(X, False, points, weights, information, R, t, focal_px, cauchy, 2, floor)
    adj, det = _adjugate(H)
    total, total_c, total_power, distance, error, inliers = sums
    if inliers < min_views or not _conditioning(H, det) > flat:
        return nothing
    variance = distance / (2 * front - 3) * total / total_power / det
    covariance = (
        variance * adj[0], variance * adj[1], variance * adj[2], variance * adj[3], variance * adj[4], variance * adj[5]
    )  # fmt: skip
    return X, covariance, math.sqrt(error / total_c), inliers


@functools.partial(_compiled, parallel=True)
def solve_all(points, weights, information, R, t, focal_px, cauchy, iterations, tolerance, min_views, floor, flat):
    """X (b, l, 3), covariance's upper triangle (b, l, 6), residual px (b, l), inliers (b, l).

    points (b, v, l, 2) on the focal plane, weights (b, v, l), information (b, v, l, 3) or (1, 1, 1, 3), R (v, 3, 3),
    t (v, 3).
    """
    faces, _, landmarks = weights.shape
    X, covariance = np.empty((faces, landmarks, 3)), np.empty((faces, landmarks, 6))
    residual, inliers = np.empty((faces, landmarks)), np.empty((faces, landmarks), np.int64)
    for index in numba.prange(faces):
        face = np.int64(index)
        for landmark in range(landmarks):
            x, c, residual[face, landmark], inliers[face, landmark] = _solve(
                points[face, :, landmark],
                weights[face, :, landmark],
                information[min(face, information.shape[0] - 1), :, min(landmark, information.shape[2] - 1)],
                R, t, focal_px, cauchy, iterations, tolerance, min_views, floor, flat,
            )  # fmt: skip
            X[face, landmark, 0], X[face, landmark, 1], X[face, landmark, 2] = x
            for k in range(6):
                covariance[face, landmark, k] = c[k]
    return X, covariance, residual, inliers
