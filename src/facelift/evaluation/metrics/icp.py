"""Rigid iterative closest points: point-to-point (Besl & McKay 1992) and point-to-plane (Chen & Medioni 1992)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from facelift.geometry import Similarity, procrustes, rotation_from_vector


@dataclass(frozen=True)
class IcpResult:
    """Where ICP ended."""

    transform: Similarity
    """Moves the source onto the target."""
    residuals: Float[np.ndarray, "n"]
    """Of every moved source point: distance to the nearest target point, or to its tangent plane."""
    kept: Bool[np.ndarray, "n"]
    """Points that trimming left in."""
    iterations: int
    converged: bool
    """False where the last allowed iteration still moved the source by more than the tolerance."""

    @property
    def rmse(self) -> float:
        """Root mean square of the residuals of the points kept."""
        return float(np.sqrt((self.residuals[self.kept] ** 2).mean()))


def icp(
    source: Float[np.ndarray, "n 3"],
    target: Float[np.ndarray, "m 3"],
    *,
    metric: Literal["point", "plane"] = "point",
    target_normals: Float[np.ndarray, "m 3"] | None = None,
    with_scale: bool = False,
    trim: float = 0.0,
    start: Similarity | None = None,
    iterations: int = 200,
    tolerance: float = 1e-10,
) -> IcpResult:
    """The motion of `source` onto `target` that locally minimises sum_i e_i^2, from `start` (the identity).

    e_i = |T x_i - y_i| (point) or n_i . (T x_i - y_i) (plane), y_i the target point nearest to T x_i and n_i its unit
    normal. `trim`: the share of source points with the largest |e| that each iteration leaves out (Chetverikov et
    al. 2002). Stops when no source point moves by more than `tolerance` times the target's extent. Only a local
    minimum: start from landmarks; the point metric locks onto wrong neighbours where the start is off by much more
    than their spacing, the plane metric slides past them. Raises ValueError for fewer than 3 points, values that are
    not finite, a trim outside [0, 1), or the plane metric without normals.
    """
    from scipy.spatial import cKDTree

    source, target = np.asarray(source, float), np.asarray(target, float)
    _check(source, target, metric, target_normals, trim)
    tree, extent = cKDTree(target), float(np.linalg.norm(np.ptp(target, axis=0)))
    transform = start or Similarity(np.array(1.0), np.eye(3), np.zeros(3))
    moved, converged = transform.apply(source), False
    for iteration in range(1, iterations + 1):  # noqa: B007, the count is a result
        nearest = tree.query(moved)[1]
        normals = None if target_normals is None or metric == "point" else target_normals[nearest]
        kept = _smallest(residual(moved, target[nearest], normals), trim)
        if normals is None:
            transform = procrustes(source[kept], target[nearest[kept]], with_scale=with_scale)
        else:
            step = plane_step(moved[kept], target[nearest[kept]], normals[kept], with_scale=with_scale)
            transform = compose(step, transform)
        previous, moved = moved, transform.apply(source)
        if np.linalg.norm(moved - previous, axis=-1).max() <= tolerance * extent:
            converged = True
            break
    nearest = tree.query(moved)[1]
    normals = None if target_normals is None or metric == "point" else target_normals[nearest]
    residuals = residual(moved, target[nearest], normals)
    return IcpResult(transform, residuals, _smallest(residuals, trim), iteration, converged)


def residual(
    points: Float[np.ndarray, "n 3"], feet: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"] | None = None
) -> Float[np.ndarray, "n"]:
    """|x - y|, or with normals |n . (x - y)|."""
    if normals is None:
        return np.linalg.norm(points - feet, axis=-1)
    return np.abs(((points - feet) * normals).sum(-1))


def plane_step(
    points: Float[np.ndarray, "n 3"],
    feet: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    *,
    with_scale: bool = False,
) -> Similarity:
    """The Gauss-Newton step of sum (n . (T x - y))^2 about the points' centroid (Low 2004, Eq. 8).

    With x' = x - c: n . (w x x' + v + s x') = n . (y - x); then T = (1 + s) exp(w) about c, plus v. Directions that
    the planes leave free (a plane slides in itself) do not move.
    """
    centre = points.mean(0)
    arms = points - centre
    columns = [np.cross(arms, normals), normals]
    if with_scale:
        columns.append((arms * normals).sum(-1, keepdims=True))
    step = np.linalg.lstsq(np.hstack(columns), ((feet - points) * normals).sum(-1), rcond=1e-12)[0]
    rotation = rotation_from_vector(step[:3])
    scale = np.array(1.0 + (step[6] if with_scale else 0.0))
    return Similarity(scale, rotation, centre + step[3:6] - scale * rotation @ centre)


def compose(outer: Similarity, inner: Similarity) -> Similarity:
    """x -> outer(inner(x))."""
    return Similarity(
        np.asarray(outer.scale * inner.scale),
        outer.rotation @ inner.rotation,
        outer.scale * outer.rotation @ inner.translation + outer.translation,
    )


def _smallest(values: np.ndarray, trim: float) -> np.ndarray:
    """True for the values that remain once the share `trim` of the largest has gone; at least three remain."""
    count = max(3, len(values) - int(np.floor(trim * len(values))))
    kept = np.zeros(len(values), bool)
    kept[np.argsort(values, kind="stable")[:count]] = True
    return kept


def _check(source, target, metric, target_normals, trim) -> None:
    for name, points in (("source", source), ("target", target)):
        if len(points) < 3 or not np.isfinite(points).all():
            raise ValueError(f"icp: expected at least 3 finite points in the {name}, found {len(points)} points")
    if not 0 <= trim < 1:
        raise ValueError(f"icp: expected a share to trim in [0, 1), found {trim}")
    if metric == "plane" and target_normals is None:
        raise ValueError("icp: expected the target's normals for the plane metric, found none")
    if target_normals is not None and target_normals.shape != target.shape:
        raise ValueError(f"icp: expected a normal for each of {len(target)} points, found {len(target_normals)}")
