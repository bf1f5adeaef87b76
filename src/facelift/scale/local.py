"""Workers on this machine: one process after another item, models loaded once, a worker that dies replaced."""

import os
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from facelift.scale.stages import Chain, Passage, Stage, one_thread

AHEAD = 16
"""Items under way or waiting to be handed on, for each worker: memory does not grow with the run."""
_TRIES = 2
"""An item on which so many workers have died has failed."""


def run_here(stages: Sequence[Stage], items: Sequence[Any]) -> Iterator[Passage]:
    """All in this process."""
    chain = Chain(stages)
    for number, item in enumerate(items):
        yield chain(Passage(number, item))


def run_processes(stages: Sequence[Stage], items: Sequence[Any], workers: int) -> Iterator[Passage]:
    """In the order of `items`. A stage's `load` that raises, or a fault of the program, ends the run with that error;
    an item on which workers die (a decoder that crashes, memory that runs out) has failed, and the others go on."""
    with _Pool(stages, workers) as pool:
        done: dict[int, Passage] = {}
        tries = [0] * len(items)
        waiting, next_out = deque(range(len(items))), 0
        while next_out < len(items):
            while waiting and waiting[0] < next_out + AHEAD * workers and pool.has_idle():
                number = waiting.popleft()
                tries[number] += 1
                pool.give(Passage(number, items[number]))
            for passage, alive in pool.results():
                if alive or tries[passage.number] == _TRIES:
                    done[passage.number] = passage
                else:
                    waiting.appendleft(passage.number)
            while next_out in done:
                yield done.pop(next_out)
                next_out += 1


class _Pool:
    """Worker processes, each at the end of a pipe."""

    def __init__(self, stages: Sequence[Stage], workers: int):
        self._stages, self._context = stages, get_context("spawn")
        self._workers: dict[Connection, BaseProcess] = {}
        self._given: dict[Connection, Passage] = {}
        self._idle: list[Connection] = []
        self._count = workers

    def __enter__(self) -> "_Pool":
        for _ in range(self._count):
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        for pipe, process in self._workers.items():
            pipe.close()
            process.terminate()
        for process in self._workers.values():
            process.join()

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._stages), daemon=True)
        process.start()
        theirs.close()
        self._workers[ours] = process
        self._idle.append(ours)

    def has_idle(self) -> bool:
        """Whether a worker waits for an item."""
        return bool(self._idle)

    def give(self, passage: Passage) -> None:
        """Hands an item to an idle worker; one that died meanwhile is found out by `results`."""
        pipe = self._idle.pop()
        self._given[pipe] = passage
        with suppress(OSError):
            pipe.send(passage)

    def results(self) -> Iterator[tuple[Passage, bool]]:
        """Waits for one or more of the items that were given: (passage, whether its worker has lived to its end)."""
        for ready in connection.wait(list(self._given)):
            assert isinstance(ready, Connection)
            given = self._given.pop(ready)
            try:
                answer = ready.recv()
            except (EOFError, OSError):
                code = self._bury(ready)
                given.value, given.error = None, f"a worker process died on it (exit code {code})"
                given.again = True
                yield given, False
                continue
            if isinstance(answer, BaseException):
                raise answer
            self._idle.append(ready)
            yield answer, True

    def _bury(self, pipe: Connection) -> int | None:
        """Puts a new worker in the place of a dead one; the latter's exit code."""
        process = self._workers.pop(pipe)
        pipe.close()
        process.join()
        self._start()
        return process.exitcode


def _work(pipe: Connection, stages: Sequence[Stage]) -> None:
    """A worker's life: until its parent closes the pipe or dies."""
    one_thread()
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    chain: Chain | None = None
    try:
        while True:
            passage = pipe.recv()
            try:
                chain = chain or Chain(stages)  # not before an item is here to answer: errors must reach the parent
                passage = chain(passage)
            except Exception as error:  # the parent raises it again
                error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
                pipe.send(error)
                continue
            pipe.send(passage)
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _exit_with_parent() -> None:
    """A killed parent cannot end its workers: they watch it."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
