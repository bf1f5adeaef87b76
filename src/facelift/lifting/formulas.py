"""The formulas of triangulation, once: compiled on scalars they are the fast solver, on arrays the plain one.

One landmark X of one face, seen at (u, v) by cameras x_cam = R X + t. Rays are in units of the focal length: the
calibrated pixel is (u - c) / f. All arguments broadcast.
"""

INLIER_WEIGHT = 0.2
"""A view is used if its Cauchy weight is at least this: its error is at most twice the loss's scale."""
ANNEALING = 4
"""The first so many steps see a wider loss, so that a bad linear start does not decide which views are outliers."""


def annealed(cauchy, step):
    """Scale of the loss in Gauss-Newton step 1, 2, ...: 8, 4, 2 and 1 times its value, and so on at 1."""
    return cauchy * max(1.0, 2.0 ** (ANNEALING - step))


def image_error(X, r, t, u, v, focal_px):
    """(p, q, depth, e1, e2): the projection of X on the focal plane, its depth, and projection - detection in px."""
    x = r[0][0] * X[0] + r[0][1] * X[1] + r[0][2] * X[2] + t[0]
    y = r[1][0] * X[0] + r[1][1] * X[1] + r[1][2] * X[2] + t[1]
    z = r[2][0] * X[0] + r[2][1] * X[1] + r[2][2] * X[2] + t[2]
    p, q = x / z, y / z
    return p, q, z, focal_px * (p - u), focal_px * (q - v)


def jacobian(p, q, scale, r):
    """Rows d(e1)/dX and d(e2)/dX as two triples, `scale` = focal / depth.

    With (p, q) = (u, v), the detection itself, these are the rows of linear triangulation (Hartley & Zisserman 2004,
    section 12.2), whose constant terms are `linear_error`.
    """
    row1 = (scale * (r[0][0] - p * r[2][0]), scale * (r[0][1] - p * r[2][1]), scale * (r[0][2] - p * r[2][2]))
    row2 = (scale * (r[1][0] - q * r[2][0]), scale * (r[1][1] - q * r[2][1]), scale * (r[1][2] - q * r[2][2]))
    return row1, row2


def linear_error(u, v, scale, t):
    """Constant terms of linear triangulation: its residual at X = 0."""
    return scale * (t[0] - u * t[2]), scale * (t[1] - v * t[2])


def squared_distance(e1, e2, information):
    """e^T W e for the 2x2 inverse covariance W = (w11, w12, w22)."""
    return information[0] * e1 * e1 + 2 * information[1] * e1 * e2 + information[2] * e2 * e2


def cauchy_weight(squared, cauchy):
    """IRLS weight of the Cauchy loss c^2/2 log(1 + d^2/c^2): 1 / (1 + d^2/c^2)."""
    return 1 / (1 + squared / (cauchy * cauchy))


def normal_terms(row1, row2, e1, e2, weight, information):
    """One view's share of J^T W J (upper triangle: 00 01 02 11 12 22) and of J^T W e, as nine values."""
    w11, w12, w22 = weight * information[0], weight * information[1], weight * information[2]
    a0, a1, a2 = w11 * row1[0] + w12 * row2[0], w11 * row1[1] + w12 * row2[1], w11 * row1[2] + w12 * row2[2]
    b0, b1, b2 = w12 * row1[0] + w22 * row2[0], w12 * row1[1] + w22 * row2[1], w12 * row1[2] + w22 * row2[2]
    return (
        a0 * row1[0] + b0 * row2[0],
        a0 * row1[1] + b0 * row2[1],
        a0 * row1[2] + b0 * row2[2],
        a1 * row1[1] + b1 * row2[1],
        a1 * row1[2] + b1 * row2[2],
        a2 * row1[2] + b2 * row2[2],
        a0 * e1 + b0 * e2,
        a1 * e1 + b1 * e2,
        a2 * e1 + b2 * e2,
    )


def adjugate(h):
    """(adjugate, determinant) of the symmetric 3x3 matrix with upper triangle `h`; their ratio is its inverse."""
    a, b, c, d, e, f = h[0], h[1], h[2], h[3], h[4], h[5]
    adj = (d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b)
    return adj, a * adj[0] + b * adj[1] + c * adj[2]


def conditioning(h, determinant):
    """Determinant over the cube of the mean eigenvalue, in [0, 1]: 1 for rays from all sides, 0 for parallel ones."""
    mean = (h[0] + h[3] + h[5]) / 3
    return determinant / (mean * mean * mean)


def newton_step(adj, determinant, g):
    """The step H^-1 g from the adjugate."""
    return (
        (adj[0] * g[0] + adj[1] * g[1] + adj[2] * g[2]) / determinant,
        (adj[1] * g[0] + adj[3] * g[1] + adj[4] * g[2]) / determinant,
        (adj[2] * g[0] + adj[4] * g[1] + adj[5] * g[2]) / determinant,
    )
