"""`facelift evaluate predict`: a system's answers for every face of a benchmark, in one predictions file."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facelift.atomic import written_whole
from facelift.commands.report import progress, say, tell
from facelift.datasets.benchmarks import Faces
from facelift.datasets.sample import FaceSample
from facelift.evaluation.predictions import FAILED, UNREADABLE, Predictions, read_predictions, write_predictions
from facelift.evaluation.systems import Answer, System
from facelift.landmarks import SCHEMES

_OF_FACES = ("points_2d", "points_3d", "rotation", "covariance", "visibility", "marks_2d", "marks_covariance", "box")
_BLOCK = 50
"""Faces between two writes: what a kill loses."""


@dataclass(frozen=True)
class PredictStage:
    """One system over one benchmark."""

    system: System
    benchmark: Faces
    out: Path

    def run(self) -> Path:
        """Writes the file, going on from the finished blocks of a killed run; returns its path.

        A picture that cannot be read is told, and so is a ValueError of the system (NumPy's LinAlgError is one); such
        faces count as not found, each kind in a number of its own. Raises ValueError for a folder of blocks that
        another system or benchmark left, and for a benchmark without faces.
        """
        count = len(self.benchmark)
        if not count:
            raise ValueError(f"{self.benchmark.name}: expected faces, found none")
        folder = self.out.with_name(f".{self.out.stem}.blocks")
        self._claim(folder)
        for first in range(0, count, _BLOCK):
            block = folder / f"{first:06d}.npz"
            if block.exists():
                continue
            write_predictions(block, self._block(range(first, min(first + _BLOCK, count))))
            progress(f"{self.benchmark.name}: {min(first + _BLOCK, count)}/{count}")
        parts = [read_predictions(folder / f"{first:06d}.npz") for first in range(0, count, _BLOCK)]
        lost = {key: str(sum(int(part.about.get(key, "0")) for part in parts)) for key in (UNREADABLE, FAILED)}
        whole = replace(joined(parts), about={**self._about(), **lost})
        write_predictions(self.out, whole)
        shutil.rmtree(folder)
        say(
            f"{self.benchmark.name}: {count} faces, {int(whole.found.sum())} found, "
            f"{lost[UNREADABLE]} unreadable, {lost[FAILED]} failed"
        )
        return self.out

    def _claim(self, folder: Path) -> None:
        about = json.dumps(self._about(), sort_keys=True)
        claim = folder / "about.json"
        if claim.exists() and claim.read_text() != about:
            raise ValueError(
                f"{folder}: expected the blocks of this run, found those of {claim.read_text()}; "
                "delete the folder or give another --out"
            )
        with written_whole(claim) as partial:
            partial.write_text(about)

    def _about(self) -> dict[str, str]:
        return {**self.system.about, "benchmark": self.benchmark.name, "faces": str(len(self.benchmark))}

    def _block(self, indices: range) -> Predictions:
        names, boxes, answers, lost = [], [], [], {UNREADABLE: 0, FAILED: 0}
        for index in indices:
            sample = self.benchmark[index]
            names.append(sample.name)
            boxes.append(sample.box)
            answer, problem = self._answer(sample)
            answers.append(answer)
            if problem:
                lost[problem] += 1
        about = {**self._about(), **{key: str(count) for key, count in lost.items()}}
        return stacked(names, np.array(boxes, float), answers, self.system.scheme, about)

    def _answer(self, sample: FaceSample) -> tuple[Answer | None, str | None]:
        """The system's answer, and which of the keys of `about` counts the face where it has none."""
        try:
            image = sample.image
        except (FileNotFoundError, ValueError) as error:
            tell(f"{sample.name}: {error}")
            return None, UNREADABLE
        try:
            return self.system.answer(image, sample.box), None
        except ValueError as error:
            tell(f"{sample.name}: the system failed: {error}")
            return None, FAILED


def stacked(
    names: list[str], boxes: np.ndarray, answers: list[Answer | None], scheme: str, about: dict[str, str]
) -> Predictions:
    """Answers as a predictions table; a field that no answer has is None."""
    landmarks = SCHEMES[scheme].size
    shapes = {
        "points_2d": (landmarks, 2),
        "points_3d": (landmarks, 3),
        "rotation": (3, 3),
        "covariance": (landmarks, 2, 2),
        "visibility": (landmarks,),
        "marks_2d": (landmarks, 2),
        "marks_covariance": (landmarks, 2, 2),
    }
    found = np.array([answer is not None for answer in answers], bool)
    arrays = {}
    for name, shape in shapes.items():
        values = [getattr(answer, name) if answer is not None else None for answer in answers]
        if name == "points_2d" or any(value is not None for value in values):
            blank = np.full(shape, np.nan)
            arrays[name] = np.stack([blank if value is None else np.asarray(value, float) for value in values])
    return Predictions(np.array(names, str), scheme, found=found, box=boxes, about=about, **arrays)


def joined(parts: list[Predictions]) -> Predictions:
    """Blocks of one run, one after the other; a field that only some blocks have is NaN in the others."""
    first = parts[0]
    arrays = dict(_joined_arrays(parts))
    return Predictions(
        np.concatenate([part.name for part in parts]),
        first.scheme,
        found=np.concatenate([part.found for part in parts]),
        about=first.about,
        **arrays,
    )


def _joined_arrays(parts: list[Predictions]) -> Iterator[tuple[str, np.ndarray]]:
    for name in _OF_FACES:
        values = [getattr(part, name) for part in parts]
        shape = next((value.shape[1:] for value in values if value is not None), None)
        if shape is not None:
            filled = [
                np.full((len(part), *shape), np.nan) if value is None else value
                for part, value in zip(parts, values, strict=True)
            ]
            yield name, np.concatenate(filled)
