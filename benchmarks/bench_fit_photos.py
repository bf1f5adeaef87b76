"""How far fitted heads lie from where people marked the landmarks, beside the points that they were fitted to.

    python benchmarks/bench_fit_photos.py [--models small dense] [--set merl_test] [--head openhead] [--faces N]
        [--threads 1]

Every face of a packed set is looked at in its given box; a head is fitted to the landmarks of a lifter, or to the
vertices that a network of dense landmarks gives, and projected. NME in percent over visible points of iBUG-68, by
sqrt(w h) of the labelled points' box; brackets: bootstrap 95 % intervals. Times: medians over batches of 64 faces; the
points of a face from its photo in memory, as they are predicted one by one, and the fit of the batch.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from dev_faces import point_nme
from facelift.datasets.packed import data_root
from facelift.datasets.real_faces import RealFaces
from facelift.datasets.sample import FaceSample
from facelift.evaluation.metrics.bootstrap import Interval, bootstrap_mean
from facelift.fitting.config import FitConfig
from facelift.fitting.fit import HeadFits, fit_heads
from facelift.fitting.given_points import joined, of_dense_faces, of_faces
from facelift.fitting.head import SkinnedHead
from facelift.fitting.models import load_head
from facelift.geometry import project
from facelift.morphable.skinned import SkinnedModel
from facelift.onnx_models.dense import is_dense
from facelift.predictors.dense_predictor import DensePredictor
from facelift.predictors.predictor import Predictor

CONFIG = FitConfig(kernel="cauchy", noise=0.02, iterations=50)
"""That of `facelift fit`."""
BATCH = 64


def fitted_to_landmarks(
    predictor: Predictor, model: SkinnedModel, samples: list[FaceSample]
) -> tuple[np.ndarray, HeadFits, tuple[float, float]]:
    """(raw iBUG-68 points (n, 68, 2), fits, ms a face of points and of fits)."""
    begin = time.perf_counter()
    faces = [predictor.predict(sample.image, [sample.box])[0] for sample in samples]
    start = time.perf_counter()
    given = of_faces(faces, model, (1, 1), CONFIG, "predictor")
    table = model.table(str(given.scheme))
    fits = fit_heads(
        SkinnedHead(model, table.vertices, table.weights),
        given.points,
        given.weights,
        given.intrinsics,
        start=given.start,
        config=CONFIG,
    )
    return np.stack([face.to("ibug68").points_2d for face in faces]), fits, _ms(begin, start, len(samples))


def fitted_to_vertices(
    predictor: DensePredictor, model: SkinnedModel, samples: list[FaceSample]
) -> tuple[np.ndarray, HeadFits, tuple[float, float]]:
    """The same by dense landmarks; a coordinate's weight is its inverse deviation."""
    begin = time.perf_counter()
    faces = [predictor.predict(sample.image, [sample.box])[0] for sample in samples]
    start = time.perf_counter()
    vertices = predictor.network.mesh["vertices"]
    given = joined(
        [
            of_dense_faces([face], vertices, (sample.image.shape[1], sample.image.shape[0]), CONFIG)
            for face, sample in zip(faces, samples, strict=True)
        ]
    )
    fits = fit_heads(SkinnedHead(model, vertices), given.points, given.weights, given.intrinsics, config=CONFIG)
    return np.stack([face.landmarks for face in faces]), fits, _ms(begin, start, len(samples))


def _ms(begin: float, start: float, count: int) -> tuple[float, float]:
    """A face's share of the time from `begin` to `start`, and from then to now."""
    return 1e3 * (start - begin) / count, 1e3 * (time.perf_counter() - start) / count


def projected(model: SkinnedModel, fits: HeadFits) -> Float[np.ndarray, "n 68 2"]:
    """iBUG-68 of the fitted heads, px; NaN for those that failed."""
    mesh = model.vertices(fits.shape, fits.expression, fits.joints)
    marks = model.landmark_points("ibug68", mesh)
    return np.stack(
        [project(*one) for one in zip(marks, fits.rotation, fits.translation, fits.intrinsics, strict=True)]
    )


def measured(
    name: str, model: SkinnedModel, samples: list[FaceSample], threads: int
) -> tuple[Interval, Interval, tuple[float, float], int]:
    """(raw NME, NME of the fit, median ms a face of points and fit, fits that failed)."""
    dense = is_dense(name)
    predictor = (DensePredictor if dense else Predictor)(name, threads=threads)
    raw, fitted, took = [], [], []
    for first in range(0, len(samples), BATCH):
        part = samples[first : first + BATCH]
        points, fits, ms = (fitted_to_vertices if dense else fitted_to_landmarks)(predictor, model, part)
        raw.append(point_nme(points, part))
        fitted.append(point_nme(projected(model, fits), part))
        took.append(ms)
    failed = int(np.isnan(np.concatenate(fitted)).sum())
    both = (bootstrap_mean(100 * np.concatenate(values)) for values in (raw, fitted))
    points_ms, fit_ms = np.median(took, axis=0)
    return *both, (float(points_ms), float(fit_ms)), failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["small", "dense"])
    parser.add_argument("--set", default="merl_test")
    parser.add_argument("--head", default="openhead")
    parser.add_argument("--faces", type=int, help="evenly chosen ones; all without it")
    parser.add_argument("--threads", type=int, default=1, help="of network and fit")
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = load_head(arguments.head)
    faces = RealFaces(data_root(arguments.data), (arguments.set,), dev=1).sets[0]
    step = max(1, len(faces) // (arguments.faces or len(faces)))
    samples = [faces[index] for index in range(0, len(faces), step)]
    print(f"{len(samples)} faces of {arguments.set}, {arguments.head}, threads: {arguments.threads}\n")
    columns = (
        "model",
        "its own points, NME %",
        "fitted head, NME %",
        "points, ms",
        "fit, ms",
        "faces a second",
        "failed",
    )
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for name in arguments.models:
        raw, fitted, (points, fit), failed = measured(name, model, samples, arguments.threads)
        times = f"{points:.1f} | {fit:.1f} | {1e3 / (points + fit):.0f}"
        print(f"| {name} | {_text(raw)} | {_text(fitted)} | {times} | {failed} |", flush=True)


def _text(value: Interval) -> str:
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"


if __name__ == "__main__":
    main()
