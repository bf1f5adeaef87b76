"""Stages of a pipeline, and what becomes of an item that goes through them."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cv2

from facelift.commands.report import explain

PASSING_ERRORS = (OSError, MemoryError)
"""What says more about the machine than about an item that is a seed."""
ITEM_ERRORS = (ValueError, OSError, MemoryError, cv2.error)
"""What a broken input can cause: the item is named and counted, the others go on."""

Function = Callable[[Any, "Clock"], Any]


@dataclass(frozen=True)
class Stage:
    """A step of a pipeline: rendering, detecting..."""

    name: str
    load: Callable[[], Function]
    """Called once in each worker, where it loads its models; must pickle unless the run has one process. The function
    takes an item, or what the stage before made of it, and a clock."""
    gpu: bool = False
    """Whether it runs a network, which a GPU speeds up."""


@dataclass
class Clock:
    """Seconds spent in each stage, and waited for each, by one item."""

    busy: dict[str, float] = field(default_factory=dict)
    waited: dict[str, float] = field(default_factory=dict)
    ready: float | None = None
    """When a stage was done with the item, s since the epoch: stages may run on several machines."""

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Counts the block's seconds for the stage `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.busy[name] = self.busy.get(name, 0.0) + time.perf_counter() - start

    def start(self, name: str) -> None:
        """The item has been waiting for the stage until now; for the first, since the run began, which says nothing."""
        if self.ready is not None:
            self.waited[name] = self.waited.get(name, 0.0) + max(0.0, time.time() - self.ready)

    def stop(self) -> None:
        """From now on the item waits for its next stage."""
        self.ready = time.time()


@dataclass
class Passage:
    """An item on its way through the stages, and at its end."""

    number: int
    value: Any
    """The item, then what each stage made of it; None once one has failed."""
    error: str = ""
    """Why it failed, with the stage's name; empty while nothing is wrong."""
    clock: Clock = field(default_factory=Clock)
    again: bool = False
    """Whether it failed for a reason that may have passed by the next run: memory or a disk, not the item's content."""


def one_thread() -> None:
    """For a worker process: there is one for each core."""
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)


class Chain:
    """Stages that one worker runs one after the other, their models loaded."""

    def __init__(self, stages: Sequence[Stage]):
        self._functions = [(stage.name, stage.load()) for stage in stages]

    def __call__(self, passage: Passage) -> Passage:
        """The passage after these stages. A stage that times parts of itself (`Clock.time`) is not timed as a whole."""
        for name, function in self._functions:
            if passage.error:
                break
            passage.clock.start(name)
            before, start = sum(passage.clock.busy.values()), time.perf_counter()
            try:
                passage.value = function(passage.value, passage.clock)
            except ITEM_ERRORS as error:
                passage.value, passage.error = None, f"{name}: {explain(error)}"
                passage.again = isinstance(error, PASSING_ERRORS)
            inside = sum(passage.clock.busy.values()) - before
            rest = time.perf_counter() - start - inside
            passage.clock.busy[name] = passage.clock.busy.get(name, 0.0) + rest
            passage.clock.stop()
        return passage
