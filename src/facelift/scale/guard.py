"""One run at a time in a folder: two would write the same shards."""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facelift.scale.store import Store

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

LEASE = "run.lease"
BEAT_S = 20.0
"""How often a run in an object store says that it lives; silent for four times as long, it is taken for dead."""


@contextmanager
def only_run(store: Store) -> Iterator[None]:
    """Raises ValueError where another run is at work in the folder. A killed run leaves nothing in the way.

    On a disk by a lock on the folder, which the system takes off when the process ends; else by a lease: a file that
    names the run and is renewed as long as it lives.
    """
    if store.folder is not None:
        store.folder.mkdir(parents=True, exist_ok=True)
    locked = _lock(store.folder) if store.folder is not None else None
    if locked is not None:
        try:
            yield
        finally:
            os.close(locked)
        return
    with _lease(store):
        yield


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


@contextmanager
def _lease(store: Store) -> Iterator[None]:
    owner = uuid.uuid4().hex
    found = _holder(store)
    if found and time.time() - float(found["time"]) < 4 * BEAT_S:
        who = f"process {found['pid']} on {found['host']}"
        age = f"{time.time() - float(found['time']):.0f} s ago"
        raise ValueError(f"{store}: expected no other run in this folder, found that of {who}, alive {age}")
    _renew(store, owner)
    if (_holder(store) or {}).get("owner") != owner:
        raise ValueError(f"{store}: expected no other run in this folder, found one that started at the same time")
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT_S):
            _renew(store, owner)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        store.remove(LEASE)


def _holder(store: Store) -> dict[str, str] | None:
    return json.loads(store.read(LEASE)) if store.exists(LEASE) else None


def _renew(store: Store, owner: str) -> None:
    content = {"owner": owner, "host": socket.gethostname(), "pid": os.getpid(), "time": time.time()}
    store.write(LEASE, json.dumps(content).encode())
