"""Which sample a step sees: a pure function of the step, so that a run resumes exactly."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int


def indices(step: int, *, batch: int, count: int, seed: int, rank: int = 0, world: int = 1) -> np.ndarray:
    """The `batch` sample indices of one process: every epoch is a fresh permutation, shared out over the processes."""
    return _share(lambda rng: rng.permutation(count), step, batch=batch, count=count, seed=seed, rank=rank, world=world)


def streamed_indices(
    step: int, shard: Int[np.ndarray, "n"], window: int, *, batch: int, seed: int, rank: int = 0, world: int = 1
) -> np.ndarray:
    """The same, but an epoch goes through the shards in a random order, `window` of them at a time, their samples
    mixed: a process reads from a few shards, then from the next, and from none again. `shard`: where each sample is."""
    names, inside = np.unique(shard, return_inverse=True)

    def order(rng: np.random.Generator) -> np.ndarray:
        group = rng.permutation(len(names))[inside] // window
        return np.lexsort((rng.random(len(shard)), group))

    return _share(order, step, batch=batch, count=len(shard), seed=seed, rank=rank, world=world)


def _share(
    order: Callable[[np.random.Generator], np.ndarray],
    step: int,
    *,
    batch: int,
    count: int,
    seed: int,
    rank: int,
    world: int,
) -> np.ndarray:
    """The part of a process in the step's share of its epoch's order; a batch may span epochs."""
    positions = (step * world + rank) * batch + np.arange(batch)
    epochs = positions // count
    orders = {int(epoch): order(np.random.default_rng([seed, int(epoch)])) for epoch in np.unique(epochs)}
    chosen = [orders[int(epoch)][position % count] for epoch, position in zip(epochs, positions, strict=True)]
    return np.array(chosen, np.int64)


def sample_rng(step: int, *, seed: int, rank: int, index: int) -> np.random.Generator:
    """Augmentation's random numbers of one sample of one step."""
    return np.random.default_rng([seed, 1, step, rank, index])
