"""The labels of a benchmark, stacked: what predictions are scored against."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int8

from facelift.datasets.benchmarks import Benchmark, Faces
from facelift.datasets.sample import UNKNOWN, VISIBLE
from facelift.landmarks import conversion


@dataclass(frozen=True, eq=False)
class Truth:
    """m labelled faces of a benchmark with 2D points; pictures stay with `faces`."""

    benchmark: Benchmark
    faces: Faces
    name: np.ndarray
    """(m,) str, each once."""
    scheme: str
    """Of the points; the benchmark's, or what `to` took them to."""
    points: Float[np.ndarray, "m n 2"]
    """px; NaN where there is no label."""
    state: Int8[np.ndarray, "m n"]
    box: Float[np.ndarray, "m 4"]
    identity: np.ndarray
    """(m,) str: what a bootstrap draws as one; the face's own name where the set names no person."""
    attributes: dict[str, np.ndarray]
    """(m,) each: str or float, "" or NaN where a face has none."""
    rotation: Float[np.ndarray, "m 3 3"] | None
    points_3d: Float[np.ndarray, "m n 3"] | None
    """In the frame and unit that the reader documents."""

    def __len__(self) -> int:
        return len(self.name)

    @property
    def has_points(self) -> bool:
        """Whether the benchmark labels points, and not poses alone."""
        return self.points.shape[1] > 0

    @property
    def yaw(self) -> Float[np.ndarray, "m"] | None:
        """Degrees, NaN where a face's is not known; None where the benchmark has no bins of yaw."""
        yaw = self.attributes.get("yaw")
        return yaw if "yaw" in self.benchmark.groups and yaw is not None and yaw.dtype == float else None

    @property
    def counted(self) -> Bool[np.ndarray, "m n"]:
        """The points of the main tables: the visible ones where the set labels visibility, else all labelled."""
        labelled = np.isfinite(self.points).all(-1)
        return labelled & (self.state == VISIBLE) if self.benchmark.visibility else labelled

    @property
    def state_known(self) -> Bool[np.ndarray, "m n"]:
        """Points whose visibility somebody labelled."""
        return self.state != UNKNOWN

    def face(self, index: int) -> "Truth":
        """One face alone."""
        one = slice(index, index + 1)
        return replace(
            self,
            name=self.name[one],
            points=self.points[one],
            state=self.state[one],
            box=self.box[one],
            identity=self.identity[one],
            attributes={key: values[one] for key, values in self.attributes.items()},
            rotation=None if self.rotation is None else self.rotation[one],
            points_3d=None if self.points_3d is None else self.points_3d[one],
        )

    def to(self, scheme: str) -> "Truth":
        """With those of its points that are another scheme's. ValueError where `is_part` is False."""
        if scheme == self.scheme:
            return self
        if not is_part(scheme, self.scheme):
            raise ValueError(f"{self.benchmark.name}: expected labels that hold those of {scheme}, found {self.scheme}")
        index = conversion(self.scheme, scheme).argmax(1)
        points_3d = None if self.points_3d is None else self.points_3d[:, index]
        return replace(
            self, scheme=scheme, points=self.points[:, index], state=self.state[:, index], points_3d=points_3d
        )


def is_part(scheme: str, whole: str) -> bool:
    """Whether every landmark of `scheme` is one of those of `whole`, not a mean of several."""
    if scheme == whole:
        return True
    try:
        return bool((conversion(whole, scheme).max(1) == 1).all())
    except ValueError:
        return False


def gather(benchmark: Benchmark, faces: Faces) -> Truth:
    """Reads the labels of all faces. Raises ValueError for a name that comes twice, and what the reader raises."""
    samples = [faces[index] for index in range(len(faces))]
    names = [sample.name for sample in samples]
    check_names(benchmark.name, names)
    keys = list(dict.fromkeys(key for sample in samples for key in sample.attributes))
    return Truth(
        benchmark,
        faces,
        np.array(names, str),
        benchmark.scheme,
        np.stack([sample.points for sample in samples]).astype(float),
        np.stack([sample.state for sample in samples]),
        np.stack([sample.box for sample in samples]).astype(float),
        np.array([sample.identity or sample.name for sample in samples], str),
        {key: _column([sample.attributes.get(key) for sample in samples]) for key in keys},
        _stacked([sample.rotation for sample in samples]),
        _stacked([sample.points_3d for sample in samples]),
    )


def check_names(benchmark: str, names: Sequence[str]) -> None:
    """Raises ValueError for a name that comes twice: predictions could not be told apart."""
    name, count = next(iter(Counter(names).most_common(1)), ("", 0))
    if count > 1:
        raise ValueError(f"{benchmark}: expected every name once, found {name!r} {count} times")


def _column(values: list) -> np.ndarray:
    if any(isinstance(value, str) for value in values):
        return np.array(["" if value is None else str(value) for value in values], str)
    return np.array([np.nan if value is None else value for value in values], float)


def _stacked(values: list) -> np.ndarray | None:
    return None if any(value is None for value in values) else np.stack(values).astype(float)
