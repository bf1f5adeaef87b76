"""How a command over many files talks: results on stdout, progress and troubles on stderr, counts at the end."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from facelift.commands.inputs import Input


@dataclass
class Report:
    """Counts of one run."""

    faces: int = 0
    done: int = 0
    without_face: int = 0
    failed: list[str] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)

    def summary(self, out: Path | None) -> str:
        """One line: what was found, what failed, where it was written."""
        parts = [f"{self.faces} face{'s' * (self.faces != 1)} in {self.done} file{'s' * (self.done != 1)}"]
        if self.without_face:
            parts.append(f"{self.without_face} without a face")
        if self.failed:
            parts.append(f"{len(self.failed)} failed")
        written = f" -> {out}" if self.written and out else ""
        return ", ".join(parts) + written

    @property
    def exit_code(self) -> int:
        """Not 0 only if nothing could be done."""
        return 0 if self.done else 1


def run_over(inputs: Sequence[Input], work: Callable[[Input, Report], int]) -> Report:
    """Calls `work`, which returns the number of faces, for each input; a bad file is told and the rest goes on."""
    report = Report()
    for index, entry in enumerate(inputs):
        progress(f"[{index + 1}/{len(inputs)}] {entry.path}")
        try:
            faces = work(entry, report)
        except (ValueError, OSError) as error:
            report.failed.append(str(entry.path))
            tell(f"failed: {explain(error)}")
            continue
        report.done += 1
        report.faces += faces
        report.without_face += faces == 0
    progress("")
    return report


def explain(error: Exception) -> str:
    """The error in one line; for one of the operating system, its file and reason."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def progress(text: str) -> None:
    """Replaces the progress line on a terminal; silent elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[2K{text[:120]}")
        sys.stderr.flush()


def tell(text: str) -> None:
    """A line on stderr, clear of the progress line."""
    progress("")
    print(text, file=sys.stderr)


def say(text: str) -> None:
    """A result on stdout, clear of the progress line."""
    progress("")
    print(text)
