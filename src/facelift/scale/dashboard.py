"""How far a run is, how fast, how long it still takes, and which stage holds it up: a line for each."""

import logging
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from facelift.scale.stages import Passage
from facelift.training.progress import clock

log = logging.getLogger(__name__)


class Dashboard:
    """Lines that are rewritten on a terminal, and printed now and then elsewhere.

    The share that a stage is busy is of the time of its workers; its queue is the mean number of items that wait for
    it, by Little's law: arrivals a second times the seconds that each has waited.
    """

    def __init__(self, unit: str, total: int, workers: int, stages: Sequence[str], *, here: Sequence[str] = ()):
        """`stages` run in the workers, those of `here` in this process."""
        self.unit, self.total, self.done = unit, total, 0
        self._workers = dict.fromkeys(stages, workers) | dict.fromkeys(here, 1)
        self._here = tuple(here)
        self._busy: Counter[str] = Counter()
        self._waited: Counter[str] = Counter()
        self._interactive = sys.stderr.isatty()
        self._drawn = 0
        self._started = self._shown = time.monotonic()
        self.counts: Counter[str] = Counter()
        """Shown behind the progress: accepted, failed..."""

    def __enter__(self) -> "Dashboard":
        return self

    def __exit__(self, *_error: object) -> None:
        self._draw()
        if self._interactive:
            print(file=sys.stderr)

    def watch(self, passages: Iterable[Passage]) -> Iterator[Passage]:
        """The passages, counted as they come out of the workers. One that has failed is named."""
        for passage in passages:
            self._busy.update(passage.clock.busy)  # type: ignore[arg-type]  # seconds
            self._waited.update(passage.clock.waited)  # type: ignore[arg-type]
            if self._here and passage.clock.ready is not None:
                self._waited[self._here[0]] += max(0.0, time.time() - passage.clock.ready)  # type: ignore[assignment]
            if passage.error:
                self.counts["failed"] += 1
                self.say(f"failed: {passage.error}", logging.WARNING)
            yield passage
            self.done += 1
            if time.monotonic() - self._shown > (0.5 if self._interactive else 20):
                self._draw()

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Counts the block's seconds for a stage of this process."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._busy[stage] += time.perf_counter() - start  # type: ignore[assignment]

    def say(self, text: str, level: int = logging.INFO) -> None:
        """Logs a line, clear of the dashboard's."""
        if self._drawn:
            sys.stderr.write(_up(self._drawn))
            self._drawn = 0
        log.log(level, "%s", text)

    def rate(self) -> float:
        """Items a second."""
        return self.done / max(1e-9, time.monotonic() - self._started)

    def busy(self) -> dict[str, float]:
        """Of each stage the share of its workers' time."""
        elapsed = max(1e-9, time.monotonic() - self._started)
        return {stage: self._busy[stage] / elapsed / count for stage, count in self._workers.items()}

    def queues(self) -> dict[str, float]:
        """Mean number of items that have waited for each stage that has a queue of its own."""
        elapsed = max(1e-9, time.monotonic() - self._started)
        return {stage: waited / elapsed for stage, waited in self._waited.items()}

    def lines(self) -> list[str]:
        """Progress, then each stage."""
        rate = self.rate()
        left = clock((self.total - self.done) / rate) if rate else "?"
        counts = "".join(f"  {name} {count}" for name, count in self.counts.items())
        lines = [f"{self.done}/{self.total} {self.unit}  {rate:.3g}/s  {left} left{counts}"]
        busy, queues = self.busy(), self.queues()
        slowest = max(busy, key=lambda stage: busy[stage], default="")
        for stage, share in busy.items():
            waiting = f"queue {queues[stage]:6.1f}" if stage in queues else " " * 12
            mark = "  <- holds the others up" if stage == slowest and share > 0.5 else ""
            each = self._busy[stage] / max(1, self.done)
            lines.append(
                f"  {stage:8s} {self._workers[stage]:3d} at work  {100 * share:3.0f} % busy  {waiting}"
                f"  {each:8.3f} s each{mark}"
            )
        return lines

    def _draw(self) -> None:
        self._shown = time.monotonic()
        lines, width = self.lines(), shutil.get_terminal_size().columns
        if self._interactive:
            sys.stderr.write((_up(self._drawn) if self._drawn else "") + "\n".join(line[:width] for line in lines))
            self._drawn = len(lines)
        else:
            sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()


def _up(lines: int) -> str:
    """To the start of the first of so many lines, all erased."""
    return "\r" + "\x1b[1A" * (lines - 1) + "\x1b[J"
