"""`facelift shards`: what a folder of shards holds, and whether it is whole."""

from collections.abc import Callable
from dataclasses import dataclass

import tyro

from facelift.commands.report import say
from facelift.datasets.views import views_folder
from facelift.labelling.stage import frames_folder
from facelift.lifting.stage import lift_folder
from facelift.scale.folder import ShardFolder
from facelift.scale.store import Place, Store

FOLDERS: dict[str, Callable[[Place], ShardFolder]] = {
    "lift.json": lift_folder,
    "frames.json": frames_folder,
    "views.json": views_folder,
}
"""By the note in them: what the stages write."""


@dataclass(frozen=True)
class ShardsConfig:
    """List the shards of `facelift lift`, `label frames` or `views`."""

    folder: tyro.conf.Positional[Place]
    """The folder, or its URL."""
    verify: bool = False
    """Read all shards and compare their checksums with the index."""


def list_shards(config: ShardsConfig) -> int:
    """Prints each shard with its samples, bytes and checksum; 1 where one is damaged. Changes nothing.

    Raises FileNotFoundError for another folder.
    """
    store = Store(config.folder)
    kinds = [build for note, build in FOLDERS.items() if store.exists(note)]
    if not kinds:
        raise FileNotFoundError(f"{store}: expected one of {', '.join(FOLDERS)}, found none")
    folder = kinds[0](config.folder)
    damaged = folder.scan(verify=config.verify)
    for name, entry in folder.entries.items():
        say(f"{name}  {entry.samples:8d} samples  {entry.bytes:12d} bytes  sha256 {entry.sha256}")
    samples = sum(entry.samples for entry in folder.entries.values())
    say(f"{len(folder.entries)} shards, {samples} samples, {len(damaged)} damaged")
    return int(bool(damaged))
