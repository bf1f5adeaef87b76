"""A folder of shards with its note (NAME.json: settings) and index.json (each shard's samples, bytes and checksum).

The shards are what counts: each appears whole or not at all, and the index is made from them again where it is missing
or behind. A run does what no shard holds, so it may be killed at any moment and started again.
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from facelift.atomic import require_settings
from facelift.commands.report import explain
from facelift.scale.guard import Hold, only_run
from facelift.scale.store import Place, Store

log = logging.getLogger(__name__)

INDEX = "index.json"
_INDEX_S = 5.0
"""How often the index is written; the rest is made up from the shards."""
_FAILURES = 3
"""So many shards in a row that cannot be written end a run: the disk is full, or gone."""


@dataclass(frozen=True)
class ShardEntry:
    """A line of the index."""

    samples: int
    bytes: int
    sha256: str


class ShardFolder:
    """The shards PREFIX-00000.SUFFIX and on of a folder. `count` reads a shard's samples from (store, name), or raises
    ValueError where it is damaged."""

    def __init__(self, place: Place, prefix: str, suffixes: tuple[str, ...], count: Callable[[Store, str], int]):
        self.store = Store(place)
        self._names = re.compile(rf"{prefix}-\d{{5,}}({'|'.join(map(re.escape, suffixes))})")
        self._note, self._count = f"{prefix}.json", count
        self.entries: dict[str, ShardEntry] = {}
        self.unwritten: list[str] = []
        """Shards that could not be written, and why."""
        self._failed_in_a_row, self._indexed = 0, 0.0
        self._stored: set[str] = set()
        """Shards that the stored index has a line of."""
        self._hold: Hold | None = None

    @contextmanager
    def run(self, settings: dict[str, Any], about: dict[str, Any]) -> Iterator[None]:
        """Holds the folder for a run with these settings; the index is complete afterwards.

        Raises ValueError where another run is at work, or comes to be (`write`), or where the folder's shards were made
        by other settings. A damaged shard is named and removed, to be made anew.
        """
        with only_run(self.store) as self._hold:
            self.store.remove_partial()
            self._claim(settings, about)
            self.scan(remove_damaged=True)
            try:
                yield
            finally:
                if not self._hold.lost:
                    self._save_index()

    def scan(self, *, remove_damaged: bool = False, verify: bool = False) -> list[str]:
        """Brings `entries` up to what is there; the names of damaged shards. Only shards that the index does not know,
        by name and size, are read; with `verify` all."""
        known = self._load_index()
        self._stored = set(known)
        sizes = {name: size for name, size in self.store.sizes().items() if self._names.fullmatch(name)}
        self.entries, damaged = {}, []
        for name, size in sizes.items():
            entry = known.get(name)
            if entry is not None and entry.bytes == size and not verify:
                self.entries[name] = entry
                continue
            try:
                found = self._entry(name)
                if verify and entry is not None and found != entry:
                    raise ValueError(f"{self.store.path(name)}: expected sha256 {entry.sha256}, found {found.sha256}")
                self.entries[name] = found
            except ValueError as error:
                damaged.append(name)
                if remove_damaged:
                    self.drop(name, error)
                else:
                    log.warning("damaged: %s", error)
        return damaged

    def drop(self, name: str, why: ValueError) -> None:
        """Names and removes a damaged shard, to be made anew."""
        log.warning("damaged, made anew: %s", why)
        self.store.remove(name)
        self.entries.pop(name, None)

    def write(self, name: str, content: bytes, samples: int) -> bool:
        """Whether the shard could be written; if not, see `refuse`. Raises ValueError where another run has the folder.

        What the stored index says of an older shard of this name goes first: a kill must not leave the new shard with
        the old one's checksum, since both may be of one size.
        """
        assert self._hold is not None  # within `run`
        self._hold.check()
        try:
            if name in self._stored:
                self.entries.pop(name, None)
                self._store_index()
            self.store.write(name, content)
        except OSError as error:
            self.refuse(name, explain(error))
            return False
        self._failed_in_a_row = 0
        self.entries[name] = ShardEntry(samples, len(content), hashlib.sha256(content).hexdigest())
        if time.monotonic() - self._indexed > _INDEX_S:
            self._save_index()
        return True

    def refuse(self, name: str, why: str) -> None:
        """Names and counts a shard that cannot be written; the next run makes it. Raises OSError at the third in a row:
        then there is no use in going on."""
        self.unwritten.append(f"{name}: {why}")
        log.warning("not written: %s", self.unwritten[-1])
        self._failed_in_a_row += 1
        if self._failed_in_a_row == _FAILURES:
            raise OSError(f"{self.store}: expected to write shards, found {_FAILURES} in a row that cannot be: {why}")

    def raise_unwritten(self) -> None:
        """Raises OSError where a shard of this run could not be written: at its end, when all others are."""
        if self.unwritten:
            raise OSError(f"{self.store}: {len(self.unwritten)} shards not written, start again: {self.unwritten[0]}")

    def _claim(self, settings: dict[str, Any], about: dict[str, Any]) -> None:
        """Writes the note, or raises ValueError where it names other settings."""
        settings = json.loads(json.dumps(settings, default=str))
        if self.store.exists(self._note):
            found = json.loads(self.store.read(self._note)).get("settings", {})
            require_settings(self.store.path(self._note), found, settings)
        self.store.write(self._note, json.dumps({"settings": settings, **about}, indent=2).encode())

    def _entry(self, name: str) -> ShardEntry:
        samples, content = self._count(self.store, name), self.store.read(name)
        return ShardEntry(samples, len(content), hashlib.sha256(content).hexdigest())

    def _load_index(self) -> dict[str, ShardEntry]:
        """Empty where there is none, or none that can be read: it is made anew."""
        try:
            shards = json.loads(self.store.read(INDEX))["shards"]
            return {name: ShardEntry(**entry) for name, entry in shards.items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _save_index(self) -> None:
        try:
            self._store_index()
        except OSError as error:
            log.warning("not written: %s", explain(error))  # the next run makes it

    def _store_index(self) -> None:
        shards = {name: asdict(self.entries[name]) for name in sorted(self.entries)}
        content = {"format": 1, "samples": sum(entry.samples for entry in self.entries.values()), "shards": shards}
        self._indexed = time.monotonic()
        self.store.write(INDEX, json.dumps(content, indent=1).encode())
        self._stored = set(shards)
