"""Which sample a step sees: a pure function of the step, so that a run resumes exactly."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Int

_KEPT = 8
"""Orders of epochs that are kept, of all sets of a process together: 8 bytes a sample each."""


def indices(step: int, *, batch: int, count: int, seed: int, rank: int = 0, world: int = 1) -> np.ndarray:
    """The `batch` sample indices of one process: every epoch is a fresh permutation, shared out over the processes."""
    place = {"batch": batch, "count": count, "rank": rank, "world": world}
    return _share(lambda epoch: _shuffled(count, seed, epoch), step, **place)


def streamed_indices(
    step: int, shard: Int[np.ndarray, "n"], window: int, *, batch: int, seed: int, rank: int = 0, world: int = 1
) -> np.ndarray:
    """The same, but an epoch goes through the shards in a random order, `window` of them at a time, their samples
    mixed: a process reads from a few shards, then from the next, and from none again. `shard`: where each sample is."""
    layout = _Layout(shard)
    place = {"batch": batch, "count": len(shard), "rank": rank, "world": world}
    return _share(lambda epoch: _streamed(layout, window, seed, epoch), step, **place)


class _Layout:
    """Where each sample is, as a key: equal where the arrays are."""

    def __init__(self, shard: Int[np.ndarray, "n"]):
        self.shard = shard
        self._hash = hash((len(shard), shard[:: max(1, len(shard) // 16)].tobytes()))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Layout) and np.array_equal(self.shard, other.shard)

    def keep(self) -> None:
        """Takes a copy: the caller may write into the array."""
        self.shard = self.shard.copy()


@lru_cache(maxsize=_KEPT)
def _shuffled(count: int, seed: int, epoch: int) -> Int[np.ndarray, "n"]:
    return np.random.default_rng([seed, epoch]).permutation(count)


@lru_cache(maxsize=_KEPT)
def _streamed(layout: _Layout, window: int, seed: int, epoch: int) -> Int[np.ndarray, "n"]:
    layout.keep()
    rng = np.random.default_rng([seed, epoch])
    names, inside = np.unique(layout.shard, return_inverse=True)
    group = rng.permutation(len(names))[inside] // window
    return np.lexsort((rng.random(len(inside)), group))


def _share(
    order: Callable[[int], np.ndarray], step: int, *, batch: int, count: int, rank: int, world: int
) -> np.ndarray:
    """The part of a process in the step's share of its epoch's order; a batch may span epochs."""
    positions = (step * world + rank) * batch + np.arange(batch)
    epochs, places = positions // count, positions % count
    chosen = np.empty(batch, np.int64)
    for epoch in np.unique(epochs):
        chosen[epochs == epoch] = order(int(epoch))[places[epochs == epoch]]
    return chosen


def sample_rng(step: int, *, seed: int, rank: int, index: int) -> np.random.Generator:
    """Augmentation's random numbers of one sample of one step."""
    return np.random.default_rng([seed, 1, step, rank, index])
