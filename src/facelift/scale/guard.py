"""One run at a time in a folder: two would write the same shards."""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facelift.commands.report import explain
from facelift.scale.store import Store

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

LEASE = "run.lease"
BEAT_S = 20.0
"""How often a run in an object store says that it lives; silent for four times as long, it is taken for dead."""


class Hold:
    """A run's hold on its folder. That by a lock lasts as long as the process."""

    lost = ""
    """Why the folder is no longer this run's; empty while it is."""

    def check(self) -> None:
        """Before each write. Raises ValueError once the folder is another run's."""


@contextmanager
def only_run(store: Store) -> Iterator[Hold]:
    """Raises ValueError where another run is at work in the folder. A killed run leaves nothing in the way.

    On a disk by a lock on the folder, which the system takes off when the process ends; else by a lease: a file that
    names the run and is renewed as long as it lives. A run that loses it learns that from `Hold.check`.
    """
    if store.folder is not None:
        store.folder.mkdir(parents=True, exist_ok=True)
    locked = _lock(store.folder) if store.folder is not None else None
    if locked is not None:
        try:
            yield Hold()
        finally:
            os.close(locked)
        return
    lease = Lease(store)
    lease.take()
    with lease.beating():
        yield lease


def _lock(folder: Path) -> int | None:
    """A file descriptor that holds the lock; None where the file system has no locks."""
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ValueError(f"{folder}: expected no other run in this folder, found one at work") from None
    except OSError:
        os.close(handle)
        return None
    return handle


class Lease(Hold):
    """A file in the folder that names a run, and when it was last alive."""

    def __init__(self, store: Store):
        self._store, self._owner = store, uuid.uuid4().hex
        self._renewed = 0.0
        """Time of the last renewal, s since the epoch: unlike a monotonic clock it goes on while the machine sleeps."""
        self._lock = threading.Lock()

    def take(self) -> None:
        """Raises ValueError where another run has it, or takes it at the same moment."""
        found = self._holder()
        if found and time.time() - float(found["time"]) < 4 * BEAT_S:
            who = f"process {found['pid']} on {found['host']}"
            age = f"{time.time() - float(found['time']):.0f} s ago"
            raise ValueError(f"{self._store}: expected no other run in this folder, found that of {who}, alive {age}")
        self._renew()
        if not self._mine():
            raise ValueError(
                f"{self._store}: expected no other run in this folder, found one that started at the same time"
            )

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Renews the lease until the block ends, then gives it back if it is still this run's."""
        stop = threading.Event()

        def live() -> None:
            while not self.lost and not stop.wait(BEAT_S / 4 if self._silent_s() > BEAT_S else BEAT_S):
                self.beat()

        thread = threading.Thread(target=live, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self._give_back()

    def beat(self) -> None:
        """Renews the lease. A store that does not answer is asked again, until others would take the run for dead."""
        with self._lock:
            try:
                if self._mine():
                    self._renew()
                else:
                    self.lost = "another run has taken it over"
            except Exception as error:  # every store has errors of its own; a thread that ends by one protects nothing
                log.warning("lease of %s not renewed: %r", self._store, error)
                if self._silent_s() > 3 * BEAT_S:
                    self.lost = f"not renewed for {self._silent_s():.0f} s: {explain(error)}"

    def check(self) -> None:
        """Raises ValueError once the lease is lost. One that is overdue, after a machine's sleep, is renewed first."""
        if not self.lost and self._silent_s() > 2 * BEAT_S:
            self.beat()
        if self.lost:
            raise ValueError(f"{self._store}: expected to keep the lease of this folder, found it lost: {self.lost}")

    def _silent_s(self) -> float:
        return time.time() - self._renewed

    def _holder(self) -> dict[str, str] | None:
        return json.loads(self._store.read(LEASE)) if self._store.exists(LEASE) else None

    def _mine(self) -> bool:
        return (self._holder() or {}).get("owner") == self._owner

    def _renew(self) -> None:
        now = time.time()
        content = {"owner": self._owner, "host": socket.gethostname(), "pid": os.getpid(), "time": now}
        self._store.write(LEASE, json.dumps(content).encode())
        self._renewed = now

    def _give_back(self) -> None:
        try:
            if self._mine():
                self._store.remove(LEASE)
        except Exception as error:  # as in `beat`; the lease runs out by itself
            log.warning("lease of %s not given back: %r", self._store, error)
